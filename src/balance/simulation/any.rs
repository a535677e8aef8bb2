//! Whatever comes, in whatever order: no panic, and figures within their bounds.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::super::publish::publish;
use super::super::round::{Mode, Round, Scrape, ScrapeError, Settings, Target};
use super::super::{Counters, Judge};
use super::brisk;

#[derive(Clone, Debug)]
struct Event {
    after: i64,
    targets: Vec<(u8, i64, u32)>,
    scrapes: Vec<(u8, i64, Option<f64>, Option<f64>)>,
    rolling_out: bool,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let targets = prop::collection::vec((0..6_u8, -200..5_i64, 0..2_u32), 0..14);
    let count = prop::option::weighted(0.9, prop_oneof![0.0..1e4_f64, Just(0.0), Just(1e300)]);
    let scrapes = prop::collection::vec((0..7_u8, -20..2_i64, count.clone(), count), 0..8);
    let event = (-2..8_i64, targets, scrapes, prop::bool::weighted(0.1)).prop_map(
        |(after, targets, scrapes, rolling_out)| Event {
            after,
            targets,
            scrapes,
            rolling_out,
        },
    );
    prop::collection::vec(event, 1..25)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(seconds)
}

fn round(event: &Event, now: i64) -> Round {
    let target = |(pod, ready, restarts): &(u8, i64, u32)| Target {
        uid: pod.to_string(),
        name: format!("pod-{pod}"),
        created: at(now + ready),
        ready_since: at(now + ready),
        restarts: *restarts,
        capacity: (*restarts > 0).then_some(u32::from(*pod) + 1),
    };
    let scrape = |(pod, ago, started, handled): &(u8, i64, Option<f64>, Option<f64>)| Scrape {
        uid: pod.to_string(),
        at: at(now + ago),
        outcome: match (started, handled) {
            (None, Some(_)) => Err(ScrapeError::Timeout),
            (started, handled) => Ok(Counters {
                started: *started,
                handled: *handled,
                ..Counters::default()
            }),
        },
    };
    Round {
        now: at(now),
        targets: event.targets.iter().map(target).collect(),
        scrapes: event.scrapes.iter().map(scrape).collect(),
        rolling_out: event.rolling_out,
        obstacle: None,
    }
}

proptest! {
    #[test]
    fn never_panics_and_stays_within_bounds(events in events(), observe in any::<bool>(), promise in 0..40_u64) {
        let mode = if observe { Mode::Observe } else { Mode::Judge };
        let settings = Settings { mode, promise: Some(Duration::from_secs(promise)), ..brisk() };
        let mut judge = Judge::new(settings, None);
        let (mut now, mut last) = (0, None);
        for event in &events {
            now += event.after;
            let report = judge.round(&round(event, now)).clone();
            prop_assert!(report.judged + report.warming <= report.pods && report.scraped <= report.pods);
            prop_assert_eq!(report.verdict.is_trouble(), report.verdict.is_balanced() == Some(false));
            prop_assert!(report.hottest.len() <= 10 && report.starved.len() <= 10);
            if let (Some(effective), Some(max), Some(min)) =
                (report.effective_pods, report.max_over_mean, report.min_over_mean)
            {
                let pods = f64::from(report.judged) * (1.0 + 1e-9);
                prop_assert!((1.0..=pods).contains(&effective) && (1.0..=pods).contains(&max));
                prop_assert!((0.0..=1.0).contains(&min));
            }
            let next = publish(last.as_ref(), &report, at(now));
            prop_assert_eq!(&publish(Some(&next), &report, at(now)), &next, "publishing twice is publishing once");
            last = Some(next);
        }
    }

    #[test]
    fn the_order_of_targets_and_scrapes_does_not_matter(
        counts in prop::collection::vec(0.0..300.0_f64, 2..8), turn in 0_usize..8, rounds in 3_i64..12
    ) {
        let judged = |turn: usize| {
            let mut judge = Judge::new(brisk(), None);
            for step in 0..rounds {
                let mut targets: Vec<(u8, i64, u32)> = Vec::new();
                let mut scrapes = Vec::new();
                for (pod, count) in (0_u8..).zip(&counts) {
                    targets.push((pod, -1000 - step * 5, 0));
                    #[allow(clippy::cast_precision_loss)]
                    scrapes.push((pod, 0, Some(count.floor() * step as f64), None));
                }
                targets.rotate_left(turn % counts.len());
                scrapes.rotate_left((turn + 1) % counts.len());
                judge.round(&round(&Event { after: 5, targets, scrapes, rolling_out: false }, step * 5));
            }
            judge.report().clone()
        };
        prop_assert_eq!(judged(turn), judged(0));
    }
}
