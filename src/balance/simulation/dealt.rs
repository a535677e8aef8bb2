//! Requests that chance deals to pods many at a time: bursts, and clients with one connection each.

use super::super::round::{ScrapeError, Settings};
use super::super::verdict::Verdict;
use super::{Chance, World};

/// Clients that keep one connection each, to a pod by chance, and choose another with every age of a minute.
#[test]
fn clients_that_are_dealt_anew_each_minute_do_not_write_all_the_time() {
    for (pods, clients) in [(20, 10), (40, 20)] {
        let mut chance = Chance(12);
        let mut world = World::new(Settings::default(), pods);
        let mut counts = vec![0.0; pods];
        let mut round = 0;
        let mut deal = |world: &mut World| {
            if round % 4 == 0 {
                counts.fill(0.0);
                for _ in 0..clients {
                    counts[chance.below(pods)] += 200.0;
                }
            }
            round += 1;
            world.round(|pod| counts[pod]).verdict
        };
        for _ in 0..40 {
            deal(&mut world);
        }
        world.changes = 0;
        let trouble = (0..240).filter(|_| deal(&mut world).is_trouble());
        assert!(trouble.count() > 200, "{pods} pods");
        // In an hour; the time of evaluation is written six times.
        assert!(world.changes <= 21, "{pods} pods: {}", world.changes);
    }
}

/// Sixty requests a minute from each connection are taken for bursts, which make the same counts. But that is said.
#[test]
fn what_fits_few_connections_too_is_not_called_even_without_a_word() {
    const CLIENTS: usize = 20;
    for seed in 0..10 {
        let mut chance = Chance(seed);
        let mut world = World::new(Settings::default(), 10);
        let mut connected: Vec<usize> = (0..CLIENTS).map(|_| chance.below(10)).collect();
        let (mut told, mut counts) = (0, [0.0; 10]);
        for round in 0..280 {
            if round == 40 {
                world.changes = 0;
            }
            counts.fill(0.0);
            for (client, pod) in connected.iter_mut().enumerate() {
                // Each at an age of four rounds, a minute, of its own.
                if (round + client) % 4 == 0 {
                    *pod = chance.below(10);
                }
                counts[*pod] += 15.0;
            }
            let report = world.round(|pod| counts[pod]);
            let (max, min) = (report.max_over_mean, report.min_over_mean);
            let is_large = max.is_some_and(|max| max > 1.5) || min.is_some_and(|min| min < 0.5);
            if is_large && report.verdict == Verdict::Balanced {
                let words = if report.last_window.is_trouble() {
                    "10 pods but for the last window; whether that lasts is being watched"
                } else {
                    "only in the long run: the last window has from"
                };
                assert!(report.message.contains(words), "{}", report.message);
                told += 1;
            }
        }
        assert!(told > 100, "{seed}: {told}");
        // In an hour: what moves by φ moves no figure out of its band.
        assert!(world.changes <= 2, "{seed}: {}", world.changes);
    }
}

/// Bursts that explain what was do not explain what comes.
#[test]
fn what_does_not_fit_bursts_is_not_said_to_fit() {
    let mut chance = Chance(5);
    let mut world = World::new(Settings::default(), 10);
    let mut burst = |times: f64| 15.0 * chance.poisson(16.0 * times);
    world.rounds(240, |_| burst(1.0));
    let report = world.judge.report();
    assert!(report.dispersion >= 10.0, "{}", report.dispersion);
    // A client is pinned to the first.
    let mut watched = 0;
    for _ in 0..40 {
        let report = world.round(|pod| burst(if pod == 0 { 3.0 } else { 1.0 }));
        if report.verdict == Verdict::Balanced && report.last_window.is_trouble() {
            let words = "requests are spread evenly over 10 pods but for the last window; whether that lasts is being watched";
            assert_eq!(report.message, words);
            watched += 1;
        }
    }
    assert!((1..=12).contains(&watched), "{watched}");
    assert_eq!(world.judge.report().verdict, Verdict::HotPod);
}

/// The others' clients are dealt anew all the time.
#[test]
fn what_is_held_over_a_silent_pod_does_not_write_all_the_time() {
    for clients in [20, 60] {
        let mut chance = Chance(clients);
        let mut world = World::new(Settings::default(), 10);
        world.rounds(40, |_| 100.0);
        let hot = |pod| if pod == 9 { 500.0 } else { 100.0 };
        world.rounds_until(Verdict::HotPod, hot);
        world.pods[9].error = Some(ScrapeError::Timeout);
        let mut counts = [0.0; 10];
        for round in 0..280 {
            if round == 40 {
                world.changes = 0;
            }
            if round % 4 == 0 {
                counts.fill(0.0);
                for _ in 0..clients {
                    counts[chance.below(9)] += 15.0;
                }
            }
            let report = world.round(|pod| counts[pod]);
            assert!(report.verdict.is_trouble(), "{}", report.message);
        }
        assert_eq!(world.judge.report().missing, 1);
        // In an hour.
        assert!(world.changes <= 21, "{clients}: {}", world.changes);
    }
}

/// Bursts as they are usual explain what few of them do.
#[test]
fn small_bursts_are_called_even() {
    let mut chance = Chance(8);
    let mut world = World::new(Settings::default(), 5);
    let mut uneven = 0;
    for _ in 0..480 {
        let report = world.round(|_| 5.0 * chance.poisson(2.0));
        uneven += usize::from(report.max_over_mean.is_some_and(|max| max > 1.5));
        if report.verdict == Verdict::Balanced {
            let message = &report.message;
            assert!(!message.contains("in the long run"), "{message}");
        }
    }
    assert!(uneven > 50, "{uneven}");
}
