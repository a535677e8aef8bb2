//! Traffic that is even, up to chance: nothing may be said against it, and nothing written.

use super::super::verdict::Verdict;
use super::{Chance, Settings, World, brisk};

/// Rounds in an hour at an interval of five seconds.
const HOUR: usize = 720;
/// What a backend needs to be settled: the window, and three more to be sure.
const SETTLED: usize = 12;

/// Runs an hour of Poisson traffic; counts rounds with a verdict of trouble, and publications.
fn hour(pods: usize, mean: f64, seed: u64) -> (usize, usize) {
    let mut chance = Chance(seed);
    let mut world = World::new(brisk(), pods);
    let mut traffic = |_| chance.poisson(mean / 2.0);
    world.rounds(SETTLED, &mut traffic);
    world.changes = 0;
    let alarms = (0..HOUR)
        .filter(|_| world.round(&mut traffic).verdict.is_trouble())
        .count();
    (alarms, world.changes)
}

#[test]
fn chance_alone_raises_no_alarm_and_hardly_ever_writes() {
    let mut seed = 0;
    let (mut hours, mut alarms, mut changes) = (0, 0, 0);
    for pods in [2, 3, 5, 10, 20] {
        for mean in [12.0, 40.0, 100.0, 400.0] {
            seed += 1;
            let (raised, published) = hour(pods, mean, seed);
            hours += 1;
            alarms += raised;
            changes += published;
            assert!(
                published <= 2,
                "{pods} pods with {mean} requests: {published} publications in an hour"
            );
        }
    }
    assert_eq!(hours, 20);
    assert_eq!(alarms, 0);
    assert!(
        changes <= 4,
        "{changes} publications by {hours} backends in an hour"
    );
}

#[test]
fn the_rate_of_false_alarms() {
    // The hardest case: few requests, where chance is widest. Rarer errors are looked for in tests/calibration.
    let alarms: usize = (0..30).map(|seed| hour(3, 34.0, 1_000 + seed).0).sum();
    assert_eq!(alarms, 0);
}

#[test]
fn bursts_raise_no_alarm() {
    for (pods, seed) in [(2, 7), (3, 8), (5, 9), (10, 10)] {
        let mut chance = Chance(seed);
        let mut world = World::new(brisk(), pods);
        let mut alarms = 0;
        for round in 0..HOUR {
            // Batches of 20 requests, each to a pod by chance: φ is 20.
            let mut counts = vec![0.0; pods];
            for _ in 0..5 * pods {
                counts[chance.below(pods)] += 20.0;
            }
            let verdict = world.round(|pod| counts[pod]).verdict;
            alarms += usize::from(round > 20 && verdict.is_trouble());
        }
        assert_eq!(alarms, 0, "{pods} pods");
    }
}

/// Pods that were read before the first request seem idle beside those that were read after it, for one look.
#[test]
fn first_traffic_is_said_at_once_whenever_pods_are_read() {
    for settings in [brisk(), Settings::default()] {
        for pods in [2, 3, 10, 50] {
            let mut world = World::new(settings, pods);
            world.in_turn = true;
            world.rounds_until(Verdict::NoTraffic, |_| 0.0);
            let said: Vec<Verdict> = (0..20).map(|_| world.round(|_| 250.0).verdict).collect();
            let silent = said.iter().take_while(|said| **said == Verdict::NoTraffic);
            let silent = silent.count();
            assert!(silent <= 2, "{pods} pods: {said:?}");
            let rest = &said[silent..];
            assert!(
                rest.iter().all(|said| *said == Verdict::Balanced),
                "{said:?}"
            );
        }
    }
}

#[test]
fn round_robin_writes_nothing_once_it_is_stable() {
    for (pods, per_round) in [(2, 250), (3, 251), (7, 1003)] {
        let mut world = World::new(brisk(), pods);
        let mut next = 0;
        let mut counts = vec![0.0; pods];
        let mut deal = |world: &mut World| {
            counts.fill(0.0);
            for _ in 0..per_round {
                counts[next % pods] += 1.0;
                next += 1;
            }
            world.round(|pod| counts[pod]).verdict
        };
        for _ in 0..4 {
            deal(&mut world);
        }
        world.changes = 0;
        let published = world.published.clone().unwrap();
        for _ in 0..HOUR {
            assert_eq!(deal(&mut world), Verdict::Balanced);
        }
        assert_eq!(world.changes, 0);
        let later = world.published.unwrap();
        assert_eq!(later.max_over_mean.as_deref(), Some("1.00"));
        assert_eq!(
            (later.message, later.requests_per_second),
            (published.message, published.requests_per_second)
        );
    }
}

#[test]
fn twenty_backends_write_nothing_in_two_minutes() {
    let changes: usize = (0..20)
        .map(|seed| {
            let mut chance = Chance(seed);
            let mut world = World::new(brisk(), 2);
            world.rounds(10, |_| chance.poisson(25.0));
            world.changes = 0;
            let before = world.published.clone();
            world.rounds(24, |_| chance.poisson(25.0));
            assert_eq!(world.published, before);
            world.changes
        })
        .sum();
    assert_eq!(changes, 0);
}

#[test]
fn traffic_on_the_border_of_enough_does_not_flap() {
    for mean in [9.0, 10.0, 28.0, 30.0] {
        let mut chance = Chance(5);
        let mut world = World::new(brisk(), 4);
        let mut last = world.rounds(SETTLED, |_| chance.poisson(mean / 2.0));
        let mut turns = 0;
        for _ in 0..HOUR {
            let verdict = world.round(|_| chance.poisson(mean / 2.0)).verdict;
            turns += usize::from(verdict != last);
            last = verdict;
        }
        assert!(turns <= 2, "{turns} turns at a mean of {mean}");
    }
}

/// A probe of somebody's, a job by the clock: the status neither follows each request nor denies them.
#[test]
fn a_request_now_and_then_is_no_coming_and_going() {
    for minutes in [2, 5, 9] {
        let mut world = World::new(Settings::default(), 2);
        world.rounds(5, |_| 0.0);
        let mut round = 0;
        let mut rare = |pod: usize| {
            round += usize::from(pod == 0);
            f64::from(u8::from(pod == 0 && round % (4 * minutes) == 0))
        };
        world.rounds(4 * 30, &mut rare);
        world.changes = 0;
        let said = world.rounds(4 * 240, &mut rare);
        assert_eq!(said, Verdict::InsufficientData);
        assert_eq!(world.changes, 0, "one request each {minutes} minutes");
    }
}
