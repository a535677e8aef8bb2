use std::time::Duration;

use super::super::exposition;
use super::super::report::MetricsReason;
use super::super::round::{Scrape, ScrapeError};
use super::super::simulation::{Chance, World, brisk};
use super::super::turnover::Turnover;
use super::super::verdict::Verdict;
use super::*;

pub(super) fn even(_: usize) -> f64 {
    100.0
}

#[test]
fn the_first_verdict_comes_with_the_first_full_window() {
    let mut world = World::new(brisk(), 3);
    let said: Vec<Verdict> = (0..4).map(|_| world.round(even).verdict).collect();
    assert_eq!(
        said,
        [
            Verdict::WarmingUp,
            Verdict::WarmingUp,
            Verdict::Balanced,
            Verdict::Balanced
        ]
    );
    let report = world.judge.report();
    assert_eq!(
        (report.pods, report.judged, report.warming, report.scraped),
        (3, 3, 0, 3)
    );
    assert_eq!(report.effective_pods, Some(3.0));
    assert_eq!(report.requests_per_second, Some(60.0));
    assert_eq!(report.metric, Some("grpc_server_started_total"));
    assert_eq!(report.metrics.reason, MetricsReason::Scraped);
    assert!(report.hottest.is_empty() && report.starved.is_empty());
}

#[test]
fn circumstances() {
    let mut world = World::new(brisk(), 1);
    assert_eq!(world.rounds(4, even), Verdict::SinglePod);
    assert_eq!(world.rounds(1, |_| 0.0), Verdict::SinglePod);
    world.rolling_out = true;
    assert_eq!(world.rounds(1, even), Verdict::RollingOut);
    world.scale(0);
    assert_eq!(world.rounds(1, even), Verdict::NoPods);
    world.rolling_out = false;
    world.scale(3);
    assert_eq!(world.rounds(3, even), Verdict::WarmingUp);
    assert_eq!(world.rounds(1, even), Verdict::Balanced);
}

#[test]
fn traffic_that_stops_and_comes_back() {
    let mut world = World::new(brisk(), 3);
    world.rounds(4, even);
    assert!(world.rounds_until(Verdict::NoTraffic, |_| 0.0) <= 7);
    assert!(world.rounds_until(Verdict::Balanced, even) <= 7);
    assert!(world.rounds_until(Verdict::InsufficientData, |_| 3.0) <= 7);
}

#[test]
fn long_streams_are_not_silence() {
    let mut world = World::new(brisk(), 2);
    world.pods[0].open = 3.0;
    assert_eq!(world.rounds(3, |_| 0.0), Verdict::StreamsOnly);
    let message = &world.judge.report().message;
    assert!(
        message.contains("3 long streams are open, from 0 to 3 a pod"),
        "{message}"
    );
    assert_eq!(world.rounds(10, even), Verdict::Balanced);
}

#[test]
fn off_and_observe() {
    let mut world = World::new(
        Settings {
            mode: Mode::Off,
            ..brisk()
        },
        2,
    );
    assert_eq!(world.rounds(4, even), Verdict::Off);
    assert_eq!(world.judge.report().metrics.reason, MetricsReason::Off);
    world.judge.configure(Settings {
        mode: Mode::Observe,
        ..brisk()
    });
    let pinned = |pod| if pod == 0 { 100.0 } else { 0.0 };
    assert_eq!(world.rounds(10, pinned), Verdict::Observed);
    assert_eq!(world.judge.report().max_over_mean, Some(2.0));
    world.judge.configure(brisk());
    assert_eq!(world.rounds(8, pinned), Verdict::FewClients);
}

#[test]
fn what_the_traffic_has_taught_is_forgotten_only_where_windows_are_others() {
    type Change = fn(&mut Settings);
    const LATER: Option<Duration> = Some(Duration::from_secs(90));
    let changes: [(Change, bool); 8] = [
        (|settings| settings.thresholds.min_over_mean /= 2.0, true),
        (|settings| settings.age = LATER, true),
        (|settings| settings.grace = Duration::from_secs(10), true),
        (|settings| settings.promise = LATER, true),
        (|settings| settings.promised = LATER, true),
        (|settings| settings.window *= 2, false),
        (|settings| settings.interval /= 2, false),
        (|settings| settings.mode = Mode::Observe, false),
    ];
    for (number, (change, is_kept)) in changes.into_iter().enumerate() {
        let mut chance = Chance(1);
        let mut world = World::new(brisk(), 3);
        world.rounds(60, |_| 5.0 * chance.poisson(20.0));
        assert!(world.judge.detector.dispersion() > 2.0);
        change(&mut world.settings);
        world.judge.configure(world.settings);
        let dispersion = world.judge.detector.dispersion();
        assert_eq!(dispersion > 2.0, is_kept, "{number}: {dispersion}");
    }
}

#[test]
fn one_lost_scrape_changes_nothing_two_are_told() {
    let mut world = World::new(brisk(), 3);
    world.rounds(5, even);
    let before = world.judge.report().clone();
    world.pods[2].error = Some(ScrapeError::Timeout);
    assert_eq!(world.round(even), &before);
    let report = world.round(even);
    assert_eq!(
        (report.verdict, report.judged, report.scraped),
        (Verdict::Balanced, 2, 2)
    );
    let loads = report.loads.iter();
    let loads: Vec<_> = loads
        .map(|load| (load.standing, load.requests_per_second))
        .collect();
    let judged = (PodStanding::Judged, Some(20.0));
    // What it had when it was read last is no figure of now.
    assert_eq!(loads, [judged, judged, (PodStanding::Failing, None)]);
    assert_eq!(report.metrics.reason, MetricsReason::PartlyScraped);
    assert!(
        report
            .metrics
            .message
            .starts_with("2/3 pods scraped: pod pod-3 did not answer"),
        "{}",
        report.metrics.message
    );
}

/// What is said of pods with these counters.
pub(super) fn of_pods() -> impl FnMut(i64, &[Counters]) -> Report {
    let mut judge = Judge::new(brisk(), None);
    let begin = Timestamp::from_second(1_800_000_000).unwrap();
    move |second: i64, counters: &[Counters]| {
        let now = begin + jiff::SignedDuration::from_secs(second);
        let target = |pod: usize| Target {
            uid: format!("pod-{pod}"),
            name: format!("pod-{pod}"),
            created: begin - jiff::SignedDuration::from_hours(1),
            ready_since: begin - jiff::SignedDuration::from_hours(1),
            restarts: 0,
            capacity: None,
        };
        let targets: Vec<Target> = (1..=counters.len()).map(target).collect();
        let scrapes = targets.iter().zip(counters);
        let scrapes = scrapes.map(|(target, counters)| Scrape {
            uid: target.uid.clone(),
            at: now,
            outcome: Ok(*counters),
        });
        let round = Round {
            now,
            scrapes: scrapes.collect(),
            targets,
            rolling_out: false,
            obstacle: None,
        };
        judge.round(&round).clone()
    }
}

#[test]
fn where_one_end_is_counted_silence_does_not_deny_streams() {
    let count = Some(7.0);
    for (started, handled, is_seen) in [
        (count, None, false),
        (None, count, false),
        (count, count, true),
    ] {
        for (each, verdict) in [(0.0, Verdict::NoTraffic), (1.0, Verdict::InsufficientData)] {
            let mut said = of_pods();
            for look in 0..5 {
                let more = |count: Option<f64>| count.map(|count| count + each * f64::from(look));
                let counters = Counters {
                    started: more(started),
                    handled: more(handled),
                    ..Counters::default()
                };
                let report = said(i64::from(look) * 5, &[counters; 2]);
                if look == 4 {
                    assert_eq!(report.verdict, verdict);
                    let message = &report.message;
                    assert_eq!(!message.contains("cannot be seen"), is_seen, "{message}");
                }
            }
        }
    }
}

/// One of them could not be compared with the others, whatever it counts.
#[test]
fn a_pod_that_counts_the_other_end_is_named() {
    let counters = |count, is_begun: bool| Counters {
        started: is_begun.then_some(count),
        handled: (!is_begun).then_some(count),
        ..Counters::default()
    };
    let mut said = of_pods();
    for look in 0..8 {
        let count = 100.0 * f64::from(look);
        let all = [true, true, true, false].map(|is_begun| counters(count, is_begun));
        let report = said(i64::from(look) * 5, &all);
        if look == 7 {
            assert_eq!(report.verdict, Verdict::Balanced);
            assert_eq!((report.judged, report.scraped), (3, 3));
            assert_eq!(report.metrics.reason, MetricsReason::PartlyScraped);
            let words = "3/4 pods scraped: pod pod-4 counts its requests in another metric";
            let message = &report.metrics.message;
            assert!(message.starts_with(words), "{message}");
        }
    }
}

#[test]
fn streams_that_cannot_be_seen_are_said_to_be_so() {
    let mut said = of_pods();
    let streams = |streams| Counters {
        started: Some(7.0),
        streams,
        ..Counters::default()
    };
    for second in (0..=20).step_by(5) {
        said(second, &[streams(true); 2]);
    }
    let report = said(25, &[streams(true); 2]);
    assert_eq!(report.verdict, Verdict::StreamsOnly);
    assert_eq!(
        report.open_rpcs,
        Some(super::super::report::OpenRpcs::Unseen)
    );
    assert!(
        report.message.contains("cannot be seen"),
        "{}",
        report.message
    );
    for second in (30..=60).step_by(5) {
        said(second, &[streams(false); 2]);
    }
    assert_eq!(said(65, &[streams(false); 2]).verdict, Verdict::NoTraffic);
}

#[test]
fn a_minority_of_pods_is_not_judged_for_all() {
    let mut world = World::new(brisk(), 5);
    world.rounds(5, even);
    for pod in &mut world.pods[1..] {
        pod.error = Some(ScrapeError::Refused);
    }
    assert_eq!(world.rounds(8, even), Verdict::InsufficientData);
    world.pods[0].error = Some(ScrapeError::Refused);
    assert_eq!(world.rounds(2, even), Verdict::NoMetrics);
    assert_eq!(world.judge.report().metrics.reason, MetricsReason::Refused);
}

/// What no waiting mends is not said to be under way.
#[test]
fn connections_are_not_counted_where_there_is_no_port_for_it() {
    for (error, turnover) in [
        (ScrapeError::NoMetricsPort, Turnover::Unknown),
        (ScrapeError::UndeclaredPort(9), Turnover::Unknown),
        (ScrapeError::HostNetwork, Turnover::Unknown),
        (ScrapeError::Refused, Turnover::Measuring),
        (ScrapeError::NotInPrometheus, Turnover::Measuring),
    ] {
        let mut world = World::new(brisk(), 1);
        world.pods[0].error = Some(error);
        world.rounds(2, even);
        let seen: Vec<Turnover> = world.judge.report().turnover.values().copied().collect();
        assert_eq!(seen, [turnover], "{error:?}");
    }
}

#[test]
fn each_reason_of_no_metrics() {
    for (error, reason) in [
        (ScrapeError::NoMetricsPort, MetricsReason::NoMetricsPort),
        (ScrapeError::HttpStatus(403), MetricsReason::Refused),
        (ScrapeError::MeshTls, MetricsReason::Refused),
        (ScrapeError::NotHttp, MetricsReason::Refused),
        (ScrapeError::MeshForbidden, MetricsReason::Refused),
        (ScrapeError::HttpStatus(500), MetricsReason::ScrapeFailed),
        (ScrapeError::Malformed, MetricsReason::ScrapeFailed),
        (ScrapeError::NotACount, MetricsReason::ScrapeFailed),
        (ScrapeError::CutOff, MetricsReason::ScrapeFailed),
        (ScrapeError::Encoding, MetricsReason::ScrapeFailed),
    ] {
        let mut world = World::new(brisk(), 2);
        for pod in &mut world.pods {
            pod.error = Some(error);
        }
        assert_eq!(world.rounds(5, even), Verdict::NoMetrics, "{error:?}");
        let metrics = &world.judge.report().metrics;
        assert_eq!(metrics.reason, reason, "{error:?}");
        let mesh = "pod pod-1 (and 1 more) refuses the scrape by its mesh's proxy, which asks for mutual TLS";
        assert_eq!(
            metrics.message.starts_with(mesh),
            error == ScrapeError::MeshTls,
            "{}",
            metrics.message
        );
    }
}

#[test]
fn counts_that_no_counter_can_have_are_told_as_that() {
    for count in ["NaN", "-1", "+Inf"] {
        let text = format!("grpc_server_started_total {count}\n");
        let error = exposition::read(text.as_bytes(), &exposition::Wanted::default());
        let mut world = World::new(brisk(), 2);
        for pod in &mut world.pods {
            pod.error = error.clone().err().map(ScrapeError::from);
        }
        world.rounds(5, even);
        let message = &world.judge.report().metrics.message;
        assert!(
            message.contains("as no counter can be"),
            "{count}: {message}"
        );
    }
}

#[test]
fn pages_without_the_metric_give_both_reasons_until_one_pod_shows_it() {
    let mut world = World::new(brisk(), 2);
    for pod in &mut world.pods {
        (pod.silent, pod.count) = (true, 0.0);
    }
    assert_eq!(world.rounds(5, |_| 0.0), Verdict::NoMetrics);
    let metrics = world.judge.report().metrics.clone();
    assert_eq!(metrics.reason, MetricsReason::NoKnownMetric);
    for words in [
        "no request has been served yet",
        "do not count requests on this page",
        "grpc_server_started_total",
        "spec.balance.metrics.port",
    ] {
        assert!(metrics.message.contains(words), "{}", metrics.message);
    }
    // One pod that shows it tells of the others that they have served nothing.
    world.pods[0].silent = false;
    let only_the_first = |pod| if pod == 0 { 100.0 } else { 0.0 };
    world.rounds_until(Verdict::FewClients, only_the_first);
    let report = world.judge.report();
    assert_eq!((report.judged, report.scraped), (2, 2));
    assert_eq!(report.starved[0].pod, "pod-2");
}

#[test]
fn a_pod_that_does_not_show_the_family_yet_counts_as_idle() {
    let mut world = World::new(brisk(), 2);
    world.rounds(4, even);
    world.scale(3);
    world.pods[2].silent = true;
    let rounds = world.rounds_until(
        Verdict::NewPodsStarved,
        |pod| if pod < 2 { 100.0 } else { 0.0 },
    );
    assert!(rounds <= 6, "{rounds}");
    let report = world.judge.report();
    assert_eq!(report.metrics.reason, MetricsReason::Scraped);
    assert!(
        report
            .metrics
            .message
            .ends_with("; 1 pod does not show it yet and counts as idle"),
        "{}",
        report.metrics.message
    );
    let words = "; or pod-3 counts requests in no metric that is known: see whether its page has one that docs/metrics.md lists";
    assert!(report.message.ends_with(words), "{}", report.message);
    // Of one that was not read yet nothing is known.
    world.scale(4);
    world.pods[3].error = Some(ScrapeError::Timeout);
    let message = &world.round(even).metrics.message;
    assert!(message.contains("; 1 pod does not"), "{message}");
}

#[test]
fn pods_that_clients_have_not_found_are_told_in_the_right_number() {
    for (pods, words) in [
        (3, "clients have not found it;"),
        (4, "clients have not found them;"),
    ] {
        let mut world = World::new(brisk(), 2);
        world.rounds(4, even);
        world.scale(pods);
        let starve = |pod| if pod < 2 { 100.0 } else { 0.0 };
        world.rounds_until(Verdict::NewPodsStarved, starve);
        let message = &world.judge.report().message;
        assert!(message.contains(words), "{message}");
        assert!(!message.contains("no metric that is known"), "{message}");
    }
}

#[test]
fn too_few_pods_that_can_be_judged_are_told_while_the_verdict_stands() {
    let hot = |pod| if pod == 2 { 500.0 } else { 100.0 };
    for (load, said) in [
        (even as fn(usize) -> f64, Verdict::Balanced),
        (hot, Verdict::HotPod),
    ] {
        let mut world = World::new(brisk(), 3);
        world.rounds(8, load);
        for pod in &mut world.pods[..2] {
            pod.error = Some(ScrapeError::Timeout);
        }
        world.rounds(2, load);
        let report = world.judge.report();
        assert_eq!((report.verdict, report.judged), (said, 1));
        let message = &report.message;
        let begin = "only 1 of 3 pods can be judged now: 1/3 pods scraped: pod pod-1";
        assert!(message.starts_with(begin), "{message}");
        let end = "; what was said before still stands";
        assert!(message.ends_with(end), "{message}");
    }
}

#[test]
fn rounds_that_are_not_later_are_ignored() {
    let mut world = World::new(brisk(), 2);
    world.rounds(4, even);
    let before = world.judge.report().clone();
    let stale = Round {
        now: world.now,
        targets: Vec::new(),
        scrapes: Vec::new(),
        rolling_out: true,
        obstacle: None,
    };
    assert_eq!(world.judge.round(&stale), &before);
}

#[test]
fn the_age_from_which_a_pod_is_judged() {
    let promise = |promise| Settings { promise, ..brisk() }.promise().as_secs();
    assert_eq!(promise(None), 20);
    assert_eq!(promise(Some(Duration::from_secs(101))), 101);
    assert_eq!(promise(Some(Duration::from_secs(1))), 10);
}

#[test]
fn the_fullest_pod_tells_how_many_connections_the_age_ends() {
    let mut world = World::new(brisk(), 2);
    let settings = Settings {
        age: Some(Duration::from_secs(30)),
        ..brisk()
    };
    let mut judge = Judge::new(settings, None);
    let targets: Vec<_> = world.pods.iter().map(|pod| pod.target.clone()).collect();
    let mut look = |open: [Option<f64>; 2]| {
        world.now += jiff::SignedDuration::from_secs(5);
        let scrape = |(target, open): (&Target, Option<f64>)| Scrape {
            uid: target.uid.clone(),
            at: world.now,
            outcome: Ok(Counters {
                connections_created: open,
                connections_open: open,
                ..Counters::default()
            }),
        };
        let round = Round {
            now: world.now,
            targets: targets.clone(),
            scrapes: targets.iter().zip(open).map(scrape).collect(),
            rolling_out: false,
            obstacle: None,
        };
        judge.round(&round).reconnects
    };
    assert_eq!(look([Some(100.0), Some(3100.0)]), Some(100));
    assert_eq!(look([Some(1600.0), Some(100.0)]), Some(50));
    assert_eq!(look([None, Some(100.0)]), Some(0));
}

/// As after a rollout, where pods become ready one after the other.
#[test]
fn the_first_grown_pod_of_several_is_no_single_pod() {
    let settings = Settings {
        promise: Some(Duration::from_secs(30)),
        ..brisk()
    };
    let mut world = World::new(settings, 0);
    let mut said = Vec::new();
    for pods in 1..=3 {
        world.scale(pods);
        for _ in 0..2 {
            world.rolling_out = pods < 3;
            said.push(world.round(even).verdict);
        }
    }
    for _ in 0..6 {
        let report = world.round(even);
        said.push(report.verdict);
        if report.verdict == Verdict::WarmingUp {
            let words = match report.warming {
                1 => "1 pod is warming up".to_owned(),
                more => format!("{more} pods are warming up"),
            };
            assert!(report.message.starts_with(&words), "{}", report.message);
        }
    }
    assert!(!said.contains(&Verdict::SinglePod), "{said:?}");
    assert_eq!(said.last(), Some(&Verdict::Balanced));
    // Where there was one, it is that until there is something to compare it with.
    let mut world = World::new(settings, 1);
    assert_eq!(world.rounds(4, even), Verdict::SinglePod);
    world.scale(2);
    let said: Vec<Verdict> = (0..8).map(|_| world.round(even).verdict).collect();
    let single = said.iter().take_while(|said| **said == Verdict::SinglePod);
    assert_eq!(single.count(), 5, "{said:?}");
    assert!(said[5..].iter().all(|said| *said == Verdict::Balanced));
}

#[test]
fn pods_beyond_those_that_are_looked_at_are_told_of() {
    let mut world = World::new(brisk(), MAX_PODS + 3);
    assert!(!world.judge.report().message.contains("left out"));
    let message = world.round(even).message.clone();
    assert!(
        message.ends_with("; 3 more pods are left out: 5000 are looked at, at most"),
        "{message}"
    );
    world.scale(MAX_PODS + 1);
    let message = world.round(even).message.clone();
    assert!(message.contains("; 1 more pod is left out: "), "{message}");
}

#[test]
fn counts_of_something_else_are_not_held_against_those_before() {
    let mut world = World::new(brisk(), 3);
    world.rounds(6, even);
    // As where a filter by labels is dropped: each page shows what was never counted, one more than the others.
    for (pod, other) in world.pods.iter_mut().zip([5e6, 1e6, 1e6]) {
        pod.count += other;
    }
    world.judge.begin_anew();
    let mut said = Vec::new();
    for _ in 0..8 {
        let report = world.round(even);
        said.push(report.verdict);
        assert!(
            report.requests_per_second.is_none_or(|rate| rate < 61.0),
            "{report:?}"
        );
        assert!(report.max_over_mean.is_none_or(|max| max < 1.01));
    }
    assert_eq!(said[..2], [Verdict::WarmingUp; 2]);
    assert_eq!(said[2..], [Verdict::Balanced; 6]);
    // What has served once has served, whatever is counted.
    world.judge.begin_anew();
    let idle = |pod| if pod < 2 { 100.0 } else { 0.0 };
    world.rounds_until(Verdict::FewClients, idle);
}

#[test]
fn streams_that_begin_anew_with_each_connection_are_no_few_requests() {
    for (begun, open, verdict) in [
        // Three of twelve streams begin anew in a window.
        (1.5, 6.0, Verdict::StreamsOnly),
        (0.0, 6.0, Verdict::StreamsOnly),
        // Short calls, one of which is under way.
        (6.0, 1.0, Verdict::InsufficientData),
        (1.5, 0.0, Verdict::InsufficientData),
        (50.0, 6.0, Verdict::Balanced),
    ] {
        let mut world = World::new(brisk(), 2);
        for pod in &mut world.pods {
            pod.open = open;
        }
        assert_eq!(
            world.rounds(20, |_| begun),
            verdict,
            "{begun} begin, {open} are open"
        );
        let message = &world.judge.report().message;
        if verdict == Verdict::StreamsOnly {
            let words = if begun > 0.0 {
                "little new begins, and 12 long streams are open"
            } else {
                "nothing new begins, and 12 long streams are open"
            };
            assert!(message.starts_with(words), "{message}");
        }
    }
}

#[test]
fn few_clients_are_told_by_what_is_so() {
    let mut world = World::new(brisk(), 3);
    world.rounds(4, even);
    let most = |pod: usize| [60.0, 40.0, 0.0][pod];
    world.rounds_until(Verdict::FewClients, most);
    let message = &world.judge.report().message;
    assert!(message.starts_with("pod-3 is idle;"), "{message}");
    let mut world = World::new(brisk(), 4);
    world.rounds(4, even);
    let half = |pod: usize| if pod < 2 { 100.0 } else { 0.0 };
    world.rounds_until(Verdict::FewClients, half);
    let message = &world.judge.report().message;
    assert!(message.starts_with("pod-3, pod-4 are idle;"), "{message}");
    let mut world = World::new(brisk(), 3);
    let nearly = |pod: usize| [920.0, 40.0, 40.0][pod];
    world.rounds_until(Verdict::FewClients, nearly);
    let message = &world.judge.report().message;
    assert!(
        message.starts_with("pod-1 has nearly all requests;"),
        "{message}"
    );
    // Said already, it holds below nine tenths: then in figures.
    world.rounds(12, |pod: usize| [780.0, 110.0, 110.0][pod]);
    let report = world.judge.report();
    assert_eq!(report.verdict, Verdict::FewClients);
    assert!(
        report
            .message
            .starts_with("pod-1 has 78 % of all requests;"),
        "{}",
        report.message
    );
}

#[test]
fn a_pod_that_fails_most_scrapes_is_failing_until_it_answers_some_in_a_row() {
    let mut world = World::new(brisk(), 4);
    world.rounds(6, even);
    let mut states = Vec::new();
    for round in 0..60 {
        world.pods[3].error = (round % 3 != 2).then_some(ScrapeError::Timeout);
        let report = world.round(even);
        states.push((report.metrics.reason, report.scraped, report.judged));
    }
    states.drain(..2);
    assert!(
        states
            .iter()
            .all(|state| *state == (MetricsReason::PartlyScraped, 3, 3)),
        "{states:?}"
    );
    world.pods[3].error = None;
    let said: Vec<u32> = (0..4).map(|_| world.round(even).scraped).collect();
    assert_eq!(said, [3, 4, 4, 4], "the last of the rounds above answered");
}

#[test]
fn what_is_only_still_said_is_not_told_as_if_it_were_there() {
    let idle = |pod| if pod == 2 { 0.0 } else { 100.0 };
    let hot = |pod| if pod == 2 { 500.0 } else { 100.0 };
    let begin = |pods| {
        let mut world = World::new(brisk(), pods);
        world.rounds(8, even);
        world
    };
    let (mut few, mut one, mut new) = (begin(3), begin(3), begin(2));
    few.rounds_until(Verdict::FewClients, idle);
    one.rounds_until(Verdict::HotPod, hot);
    new.scale(3);
    new.rounds_until(Verdict::NewPodsStarved, idle);
    for mut world in [few, one, new] {
        let said = world.judge.report().verdict;
        for _ in 0..4 {
            let report = world.round(even);
            assert_eq!(report.verdict, said);
        }
        let report = world.judge.report();
        assert!(report.starved.is_empty() && report.hottest.is_empty());
        let words = "; the last window shows it no more, and whether that lasts is being watched";
        assert!(report.message.ends_with(words), "{}", report.message);
    }
}

/// What is named beside it is of another verdict.
#[test]
fn a_pod_that_was_hot_is_not_told_as_hot_where_another_is_idle() {
    let mut world = World::new(brisk(), 10);
    world.rounds_until(Verdict::HotPod, |pod| if pod == 0 { 900.0 } else { 100.0 });
    world.rounds(3, |pod| if pod == 5 { 0.0 } else { 111.0 });
    let report = world.judge.report();
    assert_eq!(report.verdict, Verdict::HotPod);
    assert!(report.hottest.is_empty() && !report.starved.is_empty());
    let words = "one pod had far more requests than the others; the last window shows it no more";
    assert!(report.message.starts_with(words), "{}", report.message);
}

#[test]
fn the_busier_of_two_is_named_where_nearly_all_is_held() {
    let mut world = World::new(brisk(), 2);
    world.rounds_until(Verdict::FewClients, |pod| [95.0, 5.0][pod] * 10.0);
    world.rounds(12, |pod| [740.0, 260.0][pod]);
    let report = world.judge.report();
    assert_eq!(report.verdict, Verdict::FewClients);
    let words = "pod-1 has 74 % of all requests;";
    assert!(report.message.starts_with(words), "{}", report.message);
}

/// A small pod has much beside its share with few requests.
#[test]
fn by_capacity_the_pod_that_is_hot_is_the_one_with_the_largest_excess() {
    let mut world = World::new(brisk(), 4);
    for (pod, capacity) in world.pods.iter_mut().zip([1000, 1000, 1000, 100]) {
        pod.target.capacity = Some(capacity);
    }
    world.rounds_until(Verdict::HotPod, |pod| [1300.0, 800.0, 800.0, 200.0][pod]);
    let report = world.judge.report();
    assert!(report.by_capacity);
    let named: Vec<&str> = report.hottest.iter().map(|share| &*share.pod).collect();
    assert_eq!(named, ["pod-1", "pod-4"]);
    let words = "pod-1 has 1.30 times its fair share among 4 pods, and too many requests go to pod-4 as well;";
    assert!(report.message.starts_with(words), "{}", report.message);
}
