//! What a new process of the operator shows: what the last one showed, until it can judge itself.

use super::super::round::ScrapeError;
use super::super::simulation::{Chance, World, brisk};
use super::super::verdict::Verdict;
use super::*;

#[test]
fn a_restart_of_the_operator_keeps_the_verdict_until_it_can_judge() {
    let mut world = World::new(brisk(), 2);
    let pinned = |pod| if pod == 0 { 100.0 } else { 0.0 };
    world.rounds(8, pinned);
    let before = world.published.clone().unwrap();
    world.changes = 0;
    world.restart();
    for _ in 0..20 {
        let report = world.round(pinned);
        assert_eq!(
            (report.verdict, &report.message),
            (Verdict::FewClients, &before.message)
        );
    }
    assert_eq!((world.changes, world.published), (0, Some(before)));
}

#[test]
fn a_restart_of_the_operator_changes_nothing_that_is_shown() {
    let shown = |world: &World| world.published.clone().unwrap();
    let unmoved = |mut world: World, case: &str| {
        let mut traffic = Chance(7);
        let before = shown(&world);
        for _ in 0..5 {
            world.restart();
            world.rounds(6, |_| traffic.poisson(60.0));
            assert_eq!(shown(&world), before, "{case}");
        }
    };
    for pods in [1, 2, 5, 10] {
        let mut world = World::new(brisk(), pods);
        let mut traffic = Chance(u64::try_from(pods).unwrap());
        world.rounds(8, |_| traffic.poisson(60.0));
        unmoved(world, "judged");
    }
    let mut world = World::new(
        Settings {
            mode: Mode::Observe,
            ..brisk()
        },
        3,
    );
    world.rounds(8, |_| 60.0);
    assert_eq!(shown(&world).verdict, Verdict::Observed);
    unmoved(world, "observed");

    for (error, silent) in [(Some(ScrapeError::Timeout), false), (None, true)] {
        let mut world = World::new(brisk(), 2);
        for pod in &mut world.pods {
            (pod.error, pod.silent) = (error, silent);
        }
        world.rounds(8, |_| 60.0);
        assert_eq!(shown(&world).verdict, Verdict::NoMetrics);
        unmoved(world, "no metrics");
    }

    let mut world = World::new(brisk(), 3);
    world.rolling_out = true;
    world.rounds(8, |_| 60.0);
    assert_eq!(shown(&world).verdict, Verdict::RollingOut);
    unmoved(world, "rolling out");
}

/// While the windows of the others fill, one that cannot be read is a pod without numbers and not a backend without them.
#[test]
fn a_restart_beside_a_pod_without_numbers_keeps_the_verdict() {
    for pinned in [60.0, 600.0] {
        let load = |pod| if pod == 0 { pinned } else { 60.0 };
        let mut world = World::new(brisk(), 5);
        world.pods[4].error = Some(ScrapeError::Timeout);
        world.rounds(12, load);
        let before = world.published.clone().unwrap();
        assert_ne!(before.verdict, Verdict::NoMetrics);
        world.restart();
        for _ in 0..6 {
            let report = world.round(load);
            assert_eq!(
                (report.verdict, &report.message),
                (before.verdict, &before.message)
            );
        }
    }
}

#[test]
fn a_pod_that_was_not_ready_when_the_operator_restarted_is_not_found_as_new() {
    let even = |_| 100.0;
    for away in [1, 3, 1000] {
        let mut world = World::new(brisk(), 3);
        world.rounds(5, even);
        let mut pod = world.pods.pop().unwrap();
        world.rounds(1, even);
        world.restart();
        world.rounds(away, even);
        pod.count += 70.0;
        pod.target.ready_since = world.now;
        world.pods.push(pod);
        world.rounds(8, even);
        let report = world.judge.report();
        assert_eq!((report.verdict, report.judged), (Verdict::Balanced, 3));
        assert_eq!(report.discovery, None, "after {away} rounds");
        // One that is made after the restart is.
        world.scale(4);
        world.rounds(8, even);
        assert_eq!(world.judge.report().discovery.unwrap().pods, 1);
    }
}

#[test]
fn a_pod_that_was_away_for_longer_than_it_is_remembered_is_not_found_as_new() {
    let mut world = World::new(brisk(), 3);
    world.rounds(5, |_| 100.0);
    world.scale(4);
    world.rounds(8, |_| 100.0);
    let found = world.judge.report().discovery.unwrap();
    let mut pod = world.pods.pop().unwrap();
    world.rounds(800, |_| 100.0);
    pod.target.ready_since = world.now;
    world.pods.push(pod);
    world.rounds(8, |_| 100.0);
    assert_eq!(
        world.judge.report().discovery.unwrap().histogram,
        found.histogram
    );
}

#[test]
fn a_restart_of_the_operator_keeps_how_long_the_last_new_pods_took() {
    let mut world = World::new(brisk(), 2);
    world.rounds(8, |_| 100.0);
    world.scale(3);
    let found_late = |round: usize| move |pod| if pod == 2 && round < 2 { 0.0 } else { 100.0 };
    for round in 0..10 {
        world.round(found_late(round));
    }
    let before = world.published.clone().unwrap().discovery.unwrap();
    assert_eq!(before.histogram.first_request.iter().sum::<u32>(), 1);
    assert_eq!(before.histogram.fair_share.iter().sum::<u32>(), 1);
    assert!(before.fair_seconds.is_some());
    world.restart();
    world.rounds(6, |_| 100.0);
    assert_eq!(
        world.published.clone().unwrap().discovery,
        Some(before.clone())
    );
    // The next new pod is another matter.
    world.scale(4);
    for round in 0..10 {
        world.round(|pod| if pod == 3 && round < 4 { 0.0 } else { 100.0 });
    }
    let after = world.published.unwrap().discovery.unwrap();
    assert_ne!(after.max_seconds, before.max_seconds);
    assert_eq!(after.histogram.first_request.iter().sum::<u32>(), 2);
}
