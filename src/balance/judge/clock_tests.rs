//! The clock is set, or the process stands still: that says nothing of the pods.

use super::super::round::ScrapeError;
use super::super::simulation::{SimPod, World, brisk};
use super::super::verdict::Verdict;
use super::tests::even;
use super::*;

const HOUR: i64 = 3600;

/// Pods that have been there for long enough, whatever the clock says.
fn world(settings: Settings, load: fn(usize) -> f64) -> World {
    let mut world = World::new(settings, 4);
    for pod in &mut world.pods {
        pod.target.created -= jiff::SignedDuration::from_secs(10 * HOUR);
        pod.target.ready_since = pod.target.created;
    }
    world.rounds(20, load);
    world
}

fn pinned(pod: usize) -> f64 {
    if pod == 0 { 500.0 } else { 100.0 }
}

fn after(world: &mut World, seconds: i64) {
    world.now += jiff::SignedDuration::from_secs(seconds);
}

#[test]
fn a_clock_that_is_set_changes_nothing_that_is_said() {
    for settings in [brisk(), Settings::default()] {
        for load in [even, pinned] {
            for seconds in [-HOUR, HOUR] {
                let mut world = world(settings, load);
                let before = world.published.clone().unwrap();
                world.changes = 0;
                after(&mut world, seconds);
                for round in 0..12 {
                    let report = world.round(load);
                    assert_eq!(
                        (report.verdict, &report.message),
                        (before.verdict, &before.message),
                        "{seconds} s, round {round}"
                    );
                }
                assert!(!world.judge.report().restored);
                assert_eq!(world.changes, 0, "{:?}", world.published);
                assert!(world.published.unwrap().last_evaluated <= world.now);
            }
        }
    }
}

#[test]
fn a_clock_that_is_set_back_holds_up_nothing() {
    let mut world = world(brisk(), even);
    after(&mut world, -HOUR);
    assert!(world.rounds_until(Verdict::HotPod, pinned) <= 12);
    assert_eq!(world.published.unwrap().verdict, Verdict::HotPod);
}

/// A round at the end of so many seconds in which nothing came but these outcomes, a second after the last round.
fn late_round(
    world: &mut World,
    seconds: i64,
    outcome: impl Fn(usize, Counters) -> Option<Result<Counters, ScrapeError>>,
) -> Report {
    let at = world.now + jiff::SignedDuration::from_secs(1);
    after(world, seconds);
    let scrape = |(index, pod): (usize, &SimPod)| {
        let counters = Counters {
            started: Some(pod.count),
            handled: Some(pod.count),
            ..Counters::default()
        };
        Some(Scrape {
            uid: pod.target.uid.clone(),
            at,
            outcome: outcome(index, counters)?,
        })
    };
    let round = Round {
        now: world.now,
        targets: world.pods.iter().map(|pod| pod.target.clone()).collect(),
        scrapes: world.pods.iter().enumerate().filter_map(scrape).collect(),
        rolling_out: false,
        obstacle: None,
    };
    world.judge.round(&round).clone()
}

/// What was answered before the process stood still is all that there is at first.
#[test]
fn a_process_that_stood_still_says_nothing_of_the_pods() {
    for (pods, in_turn) in [(4, false), (2, true), (4, true), (15, true)] {
        for has_answered in [false, true] {
            for seconds in (16..=80).chain([HOUR]) {
                let case = format!("{pods} pods, {in_turn}, {has_answered}, {seconds} s");
                let mut world = World::new(Settings::default(), pods);
                world.in_turn = in_turn;
                world.rounds(20, pinned);
                let before = world.judge.report().clone();
                assert!(before.verdict.is_trouble());
                let report = late_round(&mut world, seconds, |_, counters| {
                    has_answered.then_some(Ok(counters))
                });
                assert_eq!(report.verdict, before.verdict, "{case}");
                if seconds >= 35 {
                    assert_eq!(
                        (&report.message, &report.metrics),
                        (&before.message, &before.metrics),
                        "{case}"
                    );
                }
                for _ in 0..12 {
                    let verdict = world.round(pinned).verdict;
                    assert_eq!(verdict, before.verdict, "{case}");
                }
            }
        }
    }
}

/// Many of them take long to be asked once each.
#[test]
fn pods_that_hang_one_and_all_are_not_called_balanced_for_long() {
    let mut world = World::new(Settings::default(), 12);
    assert_eq!(world.rounds(20, even), Verdict::Balanced);
    for round in 0..12 {
        let hangs = |pod, _| (pod == round).then_some(Err(ScrapeError::Timeout));
        let report = late_round(&mut world, 15, hangs);
        assert!(
            round < 3 || report.verdict != Verdict::Balanced,
            "round {round}: {}",
            report.message
        );
    }
    let report = world.judge.report();
    assert_eq!(report.verdict, Verdict::NoMetrics);
    let words = "no pod gives numbers: pod pod-1 (and 11 more) did not answer the scrape in time";
    assert!(report.message.starts_with(words), "{}", report.message);
}

/// A process that is held up all the time goes on to judge.
#[test]
fn a_verdict_does_not_stand_for_ever_in_a_process_that_is_always_late() {
    let mut world = World::new(Settings::default(), 2);
    world.in_turn = true;
    assert_eq!(world.rounds(20, even), Verdict::Balanced);
    let said = (0..8).map(|_| late_round(&mut world, 30, |_, _| None).verdict);
    assert!(said.last() != Some(Verdict::Balanced));
}
