//! The clock is set, or the process stands still: that says nothing of the pods.

use super::super::simulation::{World, brisk};
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

/// What was answered before the process stood still is all that there is at first.
#[test]
fn a_process_that_stood_still_says_nothing_of_the_pods() {
    for seconds in [30, 60, 80, HOUR] {
        let mut world = world(Settings::default(), pinned);
        let before = world.judge.report().clone();
        assert_eq!(before.verdict, Verdict::HotPod);
        let read = world.now;
        after(&mut world, seconds);
        let targets: Vec<_> = world.pods.iter().map(|pod| pod.target.clone()).collect();
        let scrape = |(target, pod): (&Target, &super::super::simulation::SimPod)| Scrape {
            uid: target.uid.clone(),
            at: read + jiff::SignedDuration::from_secs(1),
            outcome: Ok(Counters {
                started: Some(pod.count),
                handled: Some(pod.count),
                ..Counters::default()
            }),
        };
        let scrapes = targets.iter().zip(&world.pods).map(scrape).collect();
        let round = Round {
            now: world.now,
            targets,
            scrapes,
            rolling_out: false,
            obstacle: None,
        };
        let report = world.judge.round(&round);
        assert_eq!(
            (report.verdict, &report.message, &report.metrics),
            (before.verdict, &before.message, &before.metrics),
            "{seconds} s"
        );
        for _ in 0..12 {
            assert_eq!(world.round(pinned).verdict, Verdict::HotPod, "{seconds} s");
        }
    }
}
