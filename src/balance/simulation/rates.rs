//! Counters that begin anew, scrapes that come late or not at all: none of it is imbalance.

use jiff::Timestamp;

use super::super::verdict::Verdict;
use super::super::{Counters, Judge, Round, Scrape, ScrapeError, Target};
use super::{Chance, World, brisk};

fn even(_: usize) -> f64 {
    100.0
}

#[test]
fn a_restarted_pod_is_no_idle_pod() {
    // It begins at zero with others at full speed, and again and again.
    let mut world = World::new(brisk(), 3);
    world.rounds(8, even);
    for _ in 0..6 {
        world.pods[0].count = 0.0;
        world.pods[0].target.restarts += 1;
        for _ in 0..6 {
            let report = world.round(even);
            assert_eq!(report.verdict, Verdict::Balanced, "{}", report.message);
        }
    }
    // By the counter alone, as where a process is replaced within its container.
    for _ in 0..6 {
        world.pods[1].count = 0.0;
        world.rounds(4, even);
        assert_eq!(world.judge.report().verdict, Verdict::Balanced);
    }
}

#[test]
fn scrapes_that_jitter_and_get_lost_change_nothing() {
    let mut chance = Chance(11);
    let mut judge = Judge::new(brisk(), None);
    let begin = Timestamp::from_second(1_800_000_000).unwrap();
    for round in 1..400_i64 {
        let now = begin + jiff::SignedDuration::from_secs(5 * round);
        let targets: Vec<Target> = (0..4)
            .map(|pod| Target {
                uid: pod.to_string(),
                name: format!("pod-{pod}"),
                created: begin - jiff::SignedDuration::from_hours(1),
                ready_since: begin - jiff::SignedDuration::from_hours(1),
                restarts: 0,
                capacity: None,
            })
            .collect();
        // Up to 1.2 s late, and one of twenty is lost; each pod has exactly 20 requests a second.
        let scrapes = targets.iter().map(|target| {
            let late = i64::try_from(chance.below(1200)).unwrap();
            let at = now - jiff::SignedDuration::from_millis(1200 - late);
            let seconds = at.duration_since(begin).as_secs_f64();
            let counters = Counters {
                started: Some((20.0 * seconds).floor()),
                ..Counters::default()
            };
            let lost = chance.below(20) == 0;
            Scrape {
                uid: target.uid.clone(),
                at,
                outcome: if lost {
                    Err(ScrapeError::Timeout)
                } else {
                    Ok(counters)
                },
            }
        });
        let round_of = Round {
            now,
            scrapes: scrapes.collect(),
            targets,
            rolling_out: false,
            obstacle: None,
        };
        let report = judge.round(&round_of);
        if round > 3 {
            assert_eq!(report.verdict, Verdict::Balanced, "{}", report.message);
            assert!(report.max_over_mean.unwrap() < 1.02, "{report:?}");
            let rate = report.requests_per_second.unwrap() / f64::from(report.judged);
            assert!((rate - 20.0).abs() < 0.3, "{rate}");
        }
    }
}
