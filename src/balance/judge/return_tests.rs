//! Pods that restart, that are not ready for a while, or that leave and come back.

use super::super::report::MetricsReason;
use super::super::round::{ScrapeError, Settings};
use super::super::simulation::{Chance, World, brisk};
use super::super::verdict::Verdict;
use super::tests::even;

#[test]
fn a_restarted_container_is_not_judged_for_a_window() {
    let mut world = World::new(brisk(), 3);
    world.rounds(5, even);
    world.pods[0].count = 0.0;
    world.pods[0].target.restarts = 1;
    for judged in [2, 2, 3] {
        assert_eq!(world.round(even).judged, judged);
    }
    // The counter alone tells it too.
    world.pods[1].count = 0.0;
    assert_eq!(world.round(even).judged, 2);
    assert_eq!(world.judge.report().verdict, Verdict::Balanced);
}

#[test]
fn a_pod_that_becomes_ready_again_is_new() {
    let mut world = World::new(brisk(), 3);
    world.rounds(5, even);
    world.pods[2].target.ready_since = world.now;
    let rounds = world.rounds_until(
        Verdict::NewPodsStarved,
        |pod| if pod < 2 { 100.0 } else { 0.0 },
    );
    assert!(rounds <= 6, "{rounds}");
    // One that only stopped being used is not.
    let mut world = World::new(brisk(), 3);
    world.rounds(5, even);
    world.rounds_until(Verdict::FewClients, |pod| if pod < 2 { 100.0 } else { 0.0 });
}

/// Not ready for some rounds, in which clients still send what they have under way.
fn flap(world: &mut World, rounds: usize, meanwhile: f64) {
    let mut pod = world.pods.pop().unwrap();
    world.rounds(rounds, even);
    pod.count += meanwhile;
    pod.target.ready_since = world.now;
    world.pods.push(pod);
}

#[test]
fn a_pod_that_was_not_ready_for_a_while_is_new_and_counts_on() {
    for meanwhile in [0.0, 70.0] {
        let mut world = World::new(brisk(), 3);
        world.rounds(5, even);
        flap(&mut world, 1, meanwhile);
        let missed = |pod| if pod < 2 { 100.0 } else { 0.0 };
        let rounds = world.rounds_until(Verdict::NewPodsStarved, missed);
        assert!(rounds <= 7, "{rounds}");
        assert_eq!(world.judge.report().discovery, None);
        // Found in the end: 20 seconds after the verdict, and not before it was ready.
        world.rounds(4, missed);
        world.rounds(4, even);
        let found = world.judge.report().discovery.unwrap();
        let waited = 5 * (rounds as u64 + 4);
        assert_eq!(found.max.as_secs(), waited);
        assert_eq!(found.histogram.first_request.iter().sum::<u32>(), 1);
    }
}

#[test]
fn a_pod_that_clients_find_at_once_after_a_flap_took_an_interval_at_most() {
    let mut world = World::new(brisk(), 3);
    world.rounds(5, even);
    flap(&mut world, 3, 70.0);
    world.rounds(8, even);
    let report = world.judge.report();
    assert_eq!((report.verdict, report.judged), (Verdict::Balanced, 3));
    let found = report.discovery.unwrap().max;
    assert!(found <= world.settings.interval, "{found:?}");
}

#[test]
fn a_restart_while_it_is_not_ready_counts_from_zero() {
    let mut world = World::new(brisk(), 3);
    world.rounds(5, even);
    flap(&mut world, 2, 0.0);
    (world.pods[2].count, world.pods[2].target.restarts) = (0.0, 1);
    world.rounds(2, |pod| if pod < 2 { 100.0 } else { 0.0 });
    world.rounds(3, even);
    let found = world.judge.report().discovery.unwrap().max;
    assert_eq!(found.as_secs(), 10);
}

#[test]
fn a_sidecar_that_restarts_does_not_have_a_pod_found() {
    let mut world = World::new(brisk(), 3);
    world.rounds(5, even);
    flap(&mut world, 2, 0.0);
    world.pods[2].target.restarts = 1;
    world.rounds(3, |pod| if pod < 2 { 100.0 } else { 0.0 });
    assert_eq!(world.judge.report().discovery, None);
    world.pods[2].target.restarts = 2;
    world.rounds(3, |pod| if pod < 2 { 100.0 } else { 0.0 });
    assert_eq!(world.judge.report().discovery, None);
}

#[test]
fn a_pod_that_is_out_of_the_selector_for_a_while_is_not_new() {
    let mut world = World::new(brisk(), 3);
    world.rounds(5, even);
    let pod = world.pods.pop().unwrap();
    world.rounds(2, even);
    world.pods.push(pod);
    world.rounds(5, even);
    assert_eq!(world.judge.report().discovery, None);
}

/// What it did not have while nobody could read it says nothing of what it has now.
#[test]
fn a_pod_that_was_not_read_for_long_is_judged_by_what_it_has_now() {
    let mut world = World::new(brisk(), 5);
    world.rounds(12, |_| 60.0);
    world.pods[0].error = Some(ScrapeError::Timeout);
    world.rounds(60, |pod| if pod == 0 { 0.0 } else { 75.0 });
    world.pods[0].error = None;
    for round in 0..12 {
        let report = world.round(|_| 60.0);
        assert!(
            !report.verdict.is_trouble(),
            "round {round}: {}",
            report.message
        );
    }
    assert_eq!(world.judge.report().judged, 5);
}

#[test]
fn a_pod_whose_count_keeps_falling_is_named() {
    let mut world = World::new(brisk(), 3);
    world.rounds(6, even);
    for round in 0..12 {
        world.pods[2].count = 9e5 - 1e3 * f64::from(round);
        let report = world.round(even);
        assert_eq!(report.verdict, Verdict::Balanced, "{}", report.message);
        let is_named = report.metrics.reason == MetricsReason::PartlyScraped;
        assert_eq!(is_named, round >= 3, "{round}: {}", report.metrics.message);
    }
    let named = &world.judge.report().metrics.message;
    let words = "2/3 pods scraped: pod pod-3 has counts that fall again and again";
    assert!(named.starts_with(words), "{named}");
    // Once is a process that was replaced, and six windows without are enough.
    for rounds in [12, 20] {
        world.rounds(rounds, even);
        let report = world.judge.report();
        assert_eq!(report.metrics.reason, MetricsReason::Scraped);
        assert_eq!(report.judged, 3);
        world.pods[2].count = 0.0;
    }
    // Where all are so, nothing warms up.
    for round in 0..12 {
        for pod in &mut world.pods {
            pod.count = 9e5 - 1e3 * f64::from(round);
        }
        world.round(even);
    }
    let report = world.judge.report();
    assert_eq!(report.verdict, Verdict::NoMetrics);
    assert_eq!(report.metrics.reason, MetricsReason::ScrapeFailed);
    let words = "no pod gives numbers: pod pod-1 (and 2 more) has counts that fall";
    assert!(report.message.starts_with(words), "{}", report.message);
}

/// As where a worker is replaced inside the container.
#[test]
fn a_pod_whose_count_begins_anew_now_and_then_is_judged_meanwhile() {
    let mut world = World::new(Settings::default(), 3);
    world.rounds(14, even);
    let mut judged = 0;
    for round in 0..200 {
        // Every 105 s.
        if round % 7 == 0 {
            world.pods[2].count = 0.0;
        }
        let report = world.round(even);
        assert_eq!(report.metrics.reason, MetricsReason::Scraped);
        judged += u32::from(report.judged == 3);
    }
    assert!(judged > 70, "{judged}");
}

/// Many servers show the metric only from the first request on.
#[test]
fn a_pod_that_shows_nothing_after_some_falls_is_not_named_for_ever() {
    let mut world = World::new(brisk(), 3);
    world.rounds(6, even);
    for round in 0..5 {
        world.pods[2].count = 9e5 - 1e3 * f64::from(round);
        world.round(even);
    }
    assert_eq!(
        world.judge.report().metrics.reason,
        MetricsReason::PartlyScraped
    );
    world.pods[2].silent = true;
    world.rounds(20, even);
    assert_eq!(world.judge.report().metrics.reason, MetricsReason::Scraped);
}

/// As where a server has several processes, and whoever is free answers the scrape.
#[test]
fn processes_that_answer_by_turns_are_no_hot_pod() {
    let mut chance = Chance(3);
    let mut world = World::new(Settings::default(), 3);
    world.rounds(14, even);
    let mut counts = [0.0, 20_000.0];
    let mut named = 0;
    for _ in 0..400 {
        counts = counts.map(|count| count + 50.0);
        world.pods[2].count = counts[chance.below(2)] - 100.0;
        let report = world.round(even);
        assert!(!report.verdict.is_trouble(), "{}", report.message);
        named += u32::from(report.metrics.reason == MetricsReason::PartlyScraped);
    }
    assert!(named > 350, "{named}");
}

#[test]
fn pods_that_warm_up_are_told_by_why() {
    let said = |world: &mut World| {
        let report = world.round(even);
        assert_eq!(report.verdict, Verdict::WarmingUp);
        report.message.clone()
    };
    let mut world = World::new(brisk(), 2);
    assert_eq!(
        said(&mut world),
        "2 pods are warming up: they are judged once they have been read for 10 s without a break"
    );
    let mut world = World::new(brisk(), 0);
    world.scale(2);
    assert_eq!(
        said(&mut world),
        "2 pods are warming up: they are judged 20 s after becoming ready"
    );
    let mut world = World::new(brisk(), 1);
    assert_eq!(
        said(&mut world),
        "1 pod is warming up: it is judged once it has been read for 10 s without a break"
    );
    let metrics = &world.judge.report().metrics.message;
    assert!(metrics.starts_with("1 pod scraped for "), "{metrics}");
    let mut world = World::new(brisk(), 1);
    world.scale(2);
    assert_eq!(
        said(&mut world),
        "2 pods are warming up: they are judged 20 s after becoming ready, and once they have been read for 10 s without a break"
    );
}
