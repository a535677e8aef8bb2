//! Traffic that is uneven: it must be said, in time, by its name, and taken back when it is over.

use std::time::Duration;

use super::super::round::Settings;
use super::super::verdict::Verdict;
use super::{Chance, World, brisk};

#[test]
fn a_scale_up_that_nobody_notices() {
    let mut chance = Chance(1);
    let mut world = World::new(brisk(), 2);
    assert_eq!(
        world.rounds(4, |_| chance.poisson(125.0)),
        Verdict::Balanced
    );
    world.scale(4);
    let mut old_only = |pod| if pod < 2 { chance.poisson(125.0) } else { 0.0 };
    for _ in 0..3 {
        let report = world.round(&mut old_only);
        assert_eq!(
            (report.verdict, report.pods, report.judged, report.warming),
            (Verdict::Balanced, 4, 2, 2)
        );
    }
    // The promise is two windows of ten seconds, and three windows of evidence end ten seconds later.
    let rounds = 3 + world.rounds_until(Verdict::NewPodsStarved, &mut old_only);
    assert!((4..=6).contains(&rounds), "{rounds} rounds of 5 s");
    let report = world.judge.report();
    let starved: Vec<&str> = report
        .starved
        .iter()
        .map(|share| share.pod.as_str())
        .collect();
    assert_eq!(starved, ["pod-3", "pod-4"]);
    assert!(
        report.message.starts_with("pod-3, pod-4 served no request"),
        "{}",
        report.message
    );
    assert!((report.effective_pods.unwrap() - 2.0).abs() < 0.05);

    // The clients find them.
    let rounds = world.rounds_until(Verdict::Balanced, |_| chance.poisson(62.0));
    assert!((5..=8).contains(&rounds), "{rounds} rounds of 5 s");
    let discovery = world.judge.report().discovery.unwrap();
    assert_eq!(discovery.pods, 2);
    assert!(discovery.median >= (world.settings.interval * 3) && discovery.promise.is_none());
}

#[test]
fn the_tenth_pod_idles_though_the_maximum_looks_fine() {
    let mut chance = Chance(2);
    let mut world = World::new(brisk(), 9);
    world.rounds(4, |_| chance.poisson(20.0));
    world.scale(10);
    let rounds = world.rounds_until(Verdict::NewPodsStarved, |pod| {
        if pod < 9 { chance.poisson(20.0) } else { 0.0 }
    });
    assert!(rounds <= 6, "{rounds}");
    assert!(world.judge.report().max_over_mean.unwrap() < 1.5);
}

#[test]
fn a_promise_is_waited_for() {
    let mut settings = brisk();
    settings.promise = Some(std::time::Duration::from_secs(100));
    let mut world = World::new(settings, 2);
    world.rounds(4, |_| 50.0);
    world.scale(4);
    let rounds = world.rounds_until(
        Verdict::NewPodsStarved,
        |pod| if pod < 2 { 50.0 } else { 0.0 },
    );
    assert_eq!(
        rounds, 20,
        "at once when the promise is broken: the evidence began with the pod"
    );
}

/// A request that came since it was read may be the first.
#[test]
fn a_new_pod_is_accused_by_what_was_read_after_the_promise() {
    let mut settings = brisk();
    settings.promise = Some(std::time::Duration::from_secs(100));
    let mut world = World::new(settings, 2);
    world.in_turn = true;
    world.rounds(4, |_| 50.0);
    world.scale(3);
    world.pods.swap(0, 2);
    let rounds = world.rounds_until(
        Verdict::NewPodsStarved,
        |pod| if pod > 0 { 50.0 } else { 0.0 },
    );
    assert_eq!(rounds, 21, "it is read at a third of each interval");
}

#[test]
fn new_pods_that_are_found_are_timed() {
    let mut world = World::new(brisk(), 2);
    world.rounds(4, |_| 50.0);
    world.scale(3);
    world.rounds(2, |pod| if pod < 2 { 50.0 } else { 0.0 });
    // Found 12 s after it became ready, then 10 requests a second.
    world.round(|pod| if pod < 2 { 50.0 } else { 30.0 });
    assert_eq!(world.judge.report().discovery, None);
    world.round(|_| 50.0);
    let discovery = world.judge.report().discovery.unwrap();
    assert_eq!(
        (
            discovery.pods,
            discovery.median.as_secs(),
            discovery.max.as_secs()
        ),
        (1, 12, 12)
    );
    assert_eq!(discovery.histogram.first_request, [0, 1, 0, 0, 0, 0, 0, 0]);
    // 80 requests of 100 in a window that began 10 s after it became ready.
    let fair = discovery.fair_share.map(|fair| fair.as_secs());
    assert_eq!(fair, Some(12), "{discovery:?}");
    assert_eq!(world.rounds(8, |_| 50.0), Verdict::Balanced);
    assert_eq!(world.judge.report().discovery, Some(discovery));
}

#[test]
fn a_small_pod_has_its_share_with_its_part_of_the_capacity() {
    let load = |pod| if pod == 0 { 150.0 } else { 50.0 };
    let mut world = World::new(brisk(), 2);
    world.pods[0].target.capacity = Some(3000);
    world.pods[1].target.capacity = Some(1000);
    world.rounds(12, load);
    world.scale(3);
    world.pods[2].target.capacity = Some(1000);
    world.rounds(8, load);
    let found = world.judge.report().discovery.unwrap();
    assert!(found.fair_share.is_some(), "{found:?}");
    assert_eq!(found.histogram.fair_share.iter().sum::<u32>(), 1);
}

#[test]
fn a_new_pod_that_gets_its_share_slowly_is_timed_to_it() {
    let mut world = World::new(brisk(), 2);
    world.rounds(4, |_| 50.0);
    world.scale(3);
    let late = |after: usize, round: usize| {
        move |pod| match pod {
            0 | 1 => 50.0,
            _ if round < after => 10.0,
            _ => 50.0,
        }
    };
    for round in 0..8 {
        world.round(late(8, round));
    }
    let fair = |world: &World| world.judge.report().discovery.unwrap().fair_share;
    assert_eq!(fair(&world), None);
    world.rounds(2, |_| 50.0);
    // From 40 s on, and in a window since 40 s.
    assert_eq!(fair(&world).map(|fair| fair.as_secs()), Some(40));
}

#[test]
fn a_share_is_timed_also_where_all_pods_are_young() {
    let settings = Settings {
        promise: Some(Duration::from_mins(2)),
        ..brisk()
    };
    let mut world = World::new(settings, 2);
    let now = world.now;
    for pod in &mut world.pods {
        pod.target.ready_since = now;
    }
    world.rounds(4, |_| 50.0);
    world.scale(3);
    assert_eq!(world.rounds(6, |_| 50.0), Verdict::WarmingUp);
    let discovery = world.judge.report().discovery.unwrap();
    assert!(
        discovery
            .fair_share
            .is_some_and(|fair| fair <= Duration::from_secs(15)),
        "{discovery:?}"
    );
}

#[test]
fn a_client_that_is_pinned_to_a_pod() {
    let mut chance = Chance(3);
    let mut world = World::new(brisk(), 3);
    world.rounds(8, |_| chance.poisson(80.0));
    let rounds = world.rounds_until(Verdict::HotPod, |pod| {
        chance.poisson(if pod == 1 { 330.0 } else { 80.0 })
    });
    assert!(rounds <= 7, "{rounds}");
    assert_eq!(world.judge.report().hottest[0].pod, "pod-2");
    let rounds = world.rounds_until(Verdict::Balanced, |_| chance.poisson(80.0));
    assert!(rounds <= 7, "{rounds}");
    world.changes = 0;
    assert_eq!(
        world.rounds(100, |_| chance.poisson(80.0)),
        Verdict::Balanced
    );
    assert_eq!(world.changes, 0);
}

/// With so few requests it is chance that could hide the pod from whoever does not know any more how bursty they come.
#[test]
fn an_idle_pod_is_found_as_soon_after_a_change_of_thresholds() {
    for seed in 0..20 {
        let mut chance = Chance(seed);
        let mut world = World::new(brisk(), 3);
        world.rounds(60, |_| chance.poisson(15.0));
        world.settings.thresholds.max_over_mean = 2.0;
        world.judge.configure(world.settings);
        let rounds = world.rounds_until(Verdict::FewClients, |pod| {
            if pod == 1 { 0.0 } else { chance.poisson(15.0) }
        });
        assert!(rounds <= 7, "{seed}: {rounds} rounds of 5 s");
    }
}

#[test]
fn pods_with_more_processors_may_have_more_requests() {
    let traffic = |pod: usize| if pod == 0 { 200.0 } else { 50.0 };
    let mut world = World::new(brisk(), 3);
    for (pod, millis) in [4000, 1000, 1000].into_iter().enumerate() {
        world.pods[pod].target.capacity = Some(millis);
    }
    assert_eq!(world.rounds(20, traffic), Verdict::Balanced);
    let report = world.judge.report();
    assert!(
        report.message.contains("CPU requests"),
        "{}",
        report.message
    );
    assert_eq!(report.max_over_mean, Some(1.0));
    // Clients that take turns do not ask for capacities.
    let mut world = World::new(brisk(), 3);
    world.pods[0].target.capacity = Some(4000);
    world.pods[1].target.capacity = Some(1000);
    world.pods[2].target.capacity = Some(1000);
    assert_eq!(world.rounds(20, |_| 100.0), Verdict::Balanced);
    assert!(!world.judge.report().message.contains("CPU"));
    // Neither by turns nor by capacity.
    let small = |pod: usize| if pod == 1 { 200.0 } else { 50.0 };
    assert_ne!(world.rounds(20, small), Verdict::Balanced);
    // Where they are equal nothing is said of them.
    let mut world = World::new(brisk(), 3);
    for pod in &mut world.pods {
        pod.target.capacity = Some(500);
    }
    assert_eq!(world.rounds(20, |_| 100.0), Verdict::Balanced);
    assert!(!world.judge.report().message.contains("CPU"));
}

/// Of bursts one window may look as if every pod had the same, though the next ones have each by its capacity.
#[test]
fn what_a_first_window_was_taken_for_is_no_trouble_later() {
    for seed in 0..200 {
        let mut chance = Chance(seed);
        let mut world = World::new(brisk(), 3);
        world.pods[0].target.capacity = Some(1000);
        world.pods[1].target.capacity = Some(2000);
        world.pods[2].target.capacity = Some(1000);
        for _ in 0..30 {
            let report = world.round(|pod| 5.0 * chance.poisson([22.5, 45.0, 22.5][pod]));
            assert!(!report.verdict.is_trouble(), "{seed}: {}", report.message);
        }
    }
}

#[test]
fn one_connection_through_a_cluster_ip() {
    let mut world = World::new(brisk(), 2);
    let rounds = world.rounds_until(
        Verdict::FewClients,
        |pod| if pod == 0 { 250.0 } else { 0.0 },
    );
    assert!(rounds <= 7, "{rounds}");
    let report = world.judge.report();
    assert!(
        report.message.contains("pod-1 has nearly all requests"),
        "{}",
        report.message
    );
    assert_eq!(
        (report.hottest[0].share, report.starved[0].share),
        (1.0, 0.0)
    );
}

#[test]
fn steady_skew_writes_once() {
    for seed in 0..5 {
        let mut chance = Chance(40 + seed);
        let mut world = World::new(brisk(), 4);
        let mean = |pod: usize| if pod < 2 { 80.0 } else { 25.0 };
        world.rounds_until(Verdict::Skewed, |pod| chance.poisson(mean(pod)));
        world.changes = 0;
        for _ in 0..720 {
            assert_eq!(
                world.round(|pod| chance.poisson(mean(pod))).verdict,
                Verdict::Skewed
            );
        }
        assert!(world.changes <= 1, "{} publications", world.changes);
    }
}

#[test]
fn starving_under_bursts_is_still_seen() {
    let mut chance = Chance(6);
    let mut world = World::new(brisk(), 4);
    let mut counts = [0.0; 5];
    let mut deal = |world: &mut World| {
        counts.fill(0.0);
        for _ in 0..40 {
            counts[chance.below(4)] += 20.0;
        }
        world.round(|pod| counts[pod]).verdict
    };
    for _ in 0..40 {
        deal(&mut world);
    }
    world.scale(5);
    let said: Vec<Verdict> = (0..20).map(|_| deal(&mut world)).collect();
    assert!(said.contains(&Verdict::NewPodsStarved), "{said:?}");
}

#[test]
fn the_story_of_the_demo() {
    const MINUTE: usize = 12;
    let mut world = World::new(brisk(), 2);
    let mut next = 0;
    let mut deal = |over: usize| {
        let mut counts = [0.0; 4];
        for _ in 0..250 {
            counts[next % over] += 1.0;
            next += 1;
        }
        move |pod: usize| counts[pod]
    };
    let mut act = |world: &mut World, rounds: usize, over: usize| {
        (0..rounds)
            .map(|_| world.round(deal(over)).verdict)
            .last()
            .unwrap()
    };
    assert_eq!(act(&mut world, 8, 1), Verdict::FewClients);
    assert_eq!(act(&mut world, 8, 2), Verdict::Balanced);
    world.scale(4);
    assert_eq!(act(&mut world, 7, 2), Verdict::NewPodsStarved);

    // The age rolls the pods: four others, which the clients find.
    world.settings.promise = Some(std::time::Duration::from_secs(101));
    world.judge.configure(world.settings);
    world.rolling_out = true;
    assert_eq!(act(&mut world, 1, 2), Verdict::RollingOut);
    world.scale(0);
    world.scale(4);
    assert_eq!(act(&mut world, 4, 4), Verdict::RollingOut);
    world.rolling_out = false;
    assert_eq!(act(&mut world, MINUTE, 4), Verdict::WarmingUp);
    assert_eq!(act(&mut world, MINUTE, 4), Verdict::Balanced);

    world.scale(2);
    assert_eq!(act(&mut world, 2, 2), Verdict::Balanced);
    world.scale(4);
    assert_eq!(act(&mut world, 5, 2), Verdict::Balanced);
    assert_eq!(act(&mut world, 2 * MINUTE, 4), Verdict::Balanced);
    let discovery = world.judge.report().discovery.unwrap();
    assert_eq!((discovery.pods, discovery.median.as_secs()), (2, 25));
}

#[test]
fn new_pods_are_timed_while_the_others_are_still_too_young_to_be_judged() {
    let mut settings = brisk();
    settings.promise = Some(std::time::Duration::from_secs(100));
    let mut world = World::new(settings, 2);
    assert_eq!(world.rounds(2, |_| 50.0), Verdict::WarmingUp);
    world.scale(3);
    world.rounds(3, |pod| if pod < 2 { 50.0 } else { 0.0 });
    world.rounds(2, |_| 50.0);
    let discovery = world.judge.report().discovery.unwrap();
    assert_eq!((discovery.pods, discovery.median.as_secs()), (1, 15));
}

#[test]
fn one_pod_becomes_two_and_the_second_is_not_found() {
    let mut world = World::new(brisk(), 1);
    assert_eq!(world.rounds(5, |_| 100.0), Verdict::SinglePod);
    world.scale(2);
    let first = |pod| if pod == 0 { 100.0 } else { 0.0 };
    assert_eq!(world.rounds(3, first), Verdict::SinglePod);
    assert!(world.rounds_until(Verdict::FewClients, first) <= 3);
    assert!(world.judge.report().message.contains("spec.connectionAge"));
}

/// Like the cells of tests/calibration, but from counters on, with pods that come: what is compiled there has none that never served.
#[test]
fn pods_that_never_serve_are_found_and_pods_that_do_are_not_accused() {
    // Looks in a window; requests a pod and look.
    const LOOKS: usize = 4;
    const MEAN: f64 = 25.0;
    for (pods, seed) in [(3, 60), (10, 61)] {
        let mut chance = Chance(seed);
        let mut missed = 0;
        let mut world = World::new(Settings::default(), pods);
        world.in_turn = true;
        let mut look = |world: &mut World, serving: usize| {
            let requests = |pod| chance.poisson(if pod < serving { MEAN } else { 0.0 });
            world.round(requests).verdict
        };
        for _ in 0..60 * LOOKS {
            assert!(!look(&mut world, pods).is_trouble());
        }
        for _ in 0..100 {
            // A new one that is served as the others are, and one that is not.
            world.scale(pods + 1);
            for _ in 0..5 * LOOKS {
                assert!(!look(&mut world, pods + 1).is_trouble());
            }
            world.scale(pods + 2);
            let said = (0..=3 * LOOKS).map(|_| look(&mut world, pods + 1)).last();
            missed += usize::from(said != Some(Verdict::NewPodsStarved));
            world.scale(pods);
            for _ in 0..5 * LOOKS {
                look(&mut world, pods);
            }
        }
        assert!(missed <= 1, "{missed} of 100 with {pods} pods");
    }
}
