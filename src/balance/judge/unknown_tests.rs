//! Pods of which nothing is known: what is said of them, and of the others.

use super::super::Counters;
use super::super::round::ScrapeError;
use super::super::simulation::{World, brisk};
use super::super::verdict::Verdict;
use super::tests::{even, of_pods};

#[test]
fn idle_pods_that_may_count_otherwise_are_told_apart() {
    for (pods, silent, words) in [
        (
            5,
            3..5,
            "; or 2 of the idle pods count requests in no metric",
        ),
        (
            5,
            4..5,
            "; or 1 of the idle pods counts requests in no metric",
        ),
        (
            4,
            2..4,
            "; or pod-3, pod-4 count requests in no metric that is known: see whether their pages have one",
        ),
    ] {
        let mut world = World::new(brisk(), 2);
        world.rounds(4, even);
        world.scale(pods);
        for pod in &mut world.pods[silent] {
            pod.silent = true;
        }
        world.rounds(3, |_| 0.0);
        let starve = |pod| if pod < 2 { 100.0 } else { 0.0 };
        world.rounds_until(Verdict::NewPodsStarved, starve);
        let message = &world.judge.report().message;
        assert!(message.contains(words), "{message}");
    }
    // The other way round: one of two seems to have nearly all.
    let mut world = World::new(brisk(), 2);
    world.pods[1].silent = true;
    world.rounds_until(Verdict::FewClients, even);
    let message = &world.judge.report().message;
    assert!(
        message.contains("; or pod-2 counts requests in"),
        "{message}"
    );
}

/// A pod that is too busy to answer for its metrics is no less busy for it.
#[test]
fn what_is_said_of_a_pod_stands_while_it_gives_no_numbers() {
    type Load = fn(usize) -> f64;
    let hot = |pod: usize| if pod == 9 { 500.0 } else { 100.0 };
    let idle = |pod: usize| if pod == 9 { 0.0 } else { 100.0 };
    let half = |pod: usize| if pod < 5 { 100.0 } else { 250.0 };
    for (load, silent, said, was) in [
        (
            hot as Load,
            9..10,
            Verdict::HotPod,
            "one pod had far more requests than the others",
        ),
        (
            idle,
            9..10,
            Verdict::FewClients,
            "the connections were too few to reach every pod",
        ),
        (half, 5..10, Verdict::Skewed, "the requests were uneven"),
    ] {
        let mut world = World::new(brisk(), 10);
        world.rounds(8, even);
        world.rounds_until(said, load);
        for pod in &mut world.pods[silent.clone()] {
            pod.error = Some(ScrapeError::Timeout);
        }
        assert_eq!(world.rounds(40, load), said);
        let message = &world.judge.report().message;
        let which = match silent.len() {
            1 => "1 pod that showed it gives".to_owned(),
            more => format!("{more} pods that showed it give"),
        };
        let begin = format!("{was}; {which} no numbers now: ");
        assert!(message.starts_with(&begin), "{message}");
        let end = "; what was said before still stands";
        assert!(message.ends_with(end), "{message}");
        // It answers, and has what the others have.
        for pod in &mut world.pods {
            pod.error = None;
        }
        assert!(world.rounds_until(Verdict::Balanced, even) <= 16);
        assert!(world.judge.accused.is_empty());
        // It goes.
        world.rounds_until(said, load);
        for pod in &mut world.pods[silent] {
            pod.error = Some(ScrapeError::Timeout);
        }
        assert_eq!(world.rounds(20, load), said);
        world.scale(5);
        world.rounds_until(Verdict::Balanced, even);
    }
}

/// One client is pinned to the first pod, which then stops answering, and others with it.
#[test]
fn whatever_the_others_have_says_nothing_of_a_pod_that_gives_no_numbers() {
    const FEW: &str = "the connections were too few to reach every pod; 1 pod that showed it gives no numbers now: ";
    for (pods, others, open, silent, begin) in [
        // Without any request, with too few to tell, and with open streams alone.
        (3, 0.0, 0.0, 1, FEW),
        (3, 2.0, 0.0, 1, FEW),
        (3, 0.0, 6.0, 1, FEW),
        (2, 0.0, 0.0, 1, "only 1 of 2 pods can be judged now: "),
        (5, 0.0, 0.0, 4, "only 1 of 5 pods can be judged now: "),
    ] {
        let load = |pod: usize| if pod == 0 { 100.0 } else { others };
        let mut world = World::new(brisk(), pods);
        for pod in &mut world.pods {
            pod.open = open;
        }
        world.rounds_until(Verdict::FewClients, load);
        for pod in &mut world.pods[..silent] {
            pod.error = Some(ScrapeError::Timeout);
        }
        let said = world.rounds(40, load);
        let message = &world.judge.report().message;
        assert_eq!(said, Verdict::FewClients, "{message}");
        assert!(message.starts_with(begin), "{message}");
        let end = "; what was said before still stands";
        assert!(message.ends_with(end), "{message}");
        for pod in &mut world.pods {
            pod.error = None;
        }
        assert!(world.rounds_until(Verdict::Balanced, even) <= 16);
    }
}

/// A canary whose page shows no metric that is known until clients find it. Then it has been read, however it counts.
#[test]
fn a_pod_that_begins_to_count_is_missed_no_more() {
    let other = Some(ScrapeError::OtherFamily);
    for (first, then) in [
        (None, None),
        (other, other),
        (other, Some(ScrapeError::Timeout)),
    ] {
        let mut world = World::new(brisk(), 4);
        world.rounds(4, even);
        world.scale(5);
        world.pods[4].silent = true;
        let starve = |pod| if pod < 4 { 100.0 } else { 0.0 };
        world.rounds_until(Verdict::NewPodsStarved, starve);
        world.pods[4].silent = false;
        world.pods[4].error = first;
        world.rounds(2, even);
        world.pods[4].error = then;
        assert!(world.rounds_until(Verdict::Balanced, even) <= 14);
        assert_eq!(world.judge.report().missing, 0);
    }
}

#[test]
fn a_pod_that_begins_to_count_the_other_end_is_missed_no_more() {
    let mut said = of_pods();
    for look in 0..40 {
        let count = Some(100.0 * f64::from(look));
        let begun = Counters {
            started: count,
            ..Counters::default()
        };
        let ended = Counters {
            handled: count.filter(|_| look > 15),
            ..Counters::default()
        };
        let report = said(i64::from(look) * 5, &[begun, begun, begun, ended]);
        match look {
            15 => assert_eq!(report.verdict, Verdict::NewPodsStarved),
            39 => assert_eq!((report.verdict, report.missing), (Verdict::Balanced, 0)),
            _ => {}
        }
    }
}

/// What was said stands where the clock was set; which pods it was of is another matter where they are asked for something else.
#[test]
fn counts_of_something_else_say_nothing_of_a_pod_that_gives_no_numbers() {
    let hot = |pod| if pod == 9 { 500.0 } else { 100.0 };
    let mut world = World::new(brisk(), 10);
    world.rounds(8, even);
    world.rounds_until(Verdict::HotPod, hot);
    world.pods[9].error = Some(ScrapeError::Timeout);
    assert_eq!(world.rounds(20, hot), Verdict::HotPod);
    world.now += jiff::SignedDuration::from_hours(1);
    assert_eq!(world.rounds(1, hot), Verdict::HotPod);
    world.judge.begin_anew();
    assert!(world.rounds_until(Verdict::Balanced, even) <= 12);
}

/// It was not the one.
#[test]
fn a_pod_that_nothing_was_said_of_holds_nothing_up() {
    let mut world = World::new(brisk(), 4);
    world.rounds_until(Verdict::HotPod, |pod| if pod == 1 { 500.0 } else { 100.0 });
    world.pods[3].error = Some(ScrapeError::Timeout);
    world.rounds(2, |pod| if pod == 1 { 500.0 } else { 100.0 });
    let message = &world.judge.report().message;
    assert!(message.ends_with("; 1 pod gives no numbers"), "{message}");
    assert!(world.rounds_until(Verdict::Balanced, even) <= 7);
    let message = &world.judge.report().message;
    let words = "requests are spread evenly over 3 pods; 1 pod gives no numbers";
    assert_eq!(message, words);
}
