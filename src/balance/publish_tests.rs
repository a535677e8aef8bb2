use super::super::report::MetricsReason;
use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn report() -> Report {
    Report {
        verdict: Verdict::Balanced,
        message: "even".to_owned(),
        pods: 3,
        judged: 3,
        scraped: 3,
        effective_pods: Some(2.984),
        max_over_mean: Some(1.061),
        min_over_mean: Some(0.94),
        cv: Some(0.05),
        requests_per_second: Some(1234.0),
        window: Duration::from_secs(10),
        metric: Some("grpc_server_started_total"),
        metrics: MetricsState::new(MetricsReason::Scraped, "fine".to_owned()),
        ..Report::default()
    }
}

fn share(pod: &str, share: f64) -> Share {
    Share {
        pod: pod.to_owned(),
        share,
    }
}

/// Whether `change` to the report is published.
fn moves(change: impl FnOnce(&mut Report)) -> bool {
    let last = publish(None, &report(), at(0));
    let mut next = report();
    change(&mut next);
    publish(Some(&last), &next, at(30)) != last
}

#[test]
fn decimals_are_strings() {
    let published = publish(None, &report(), at(0));
    assert_eq!(published.effective_pods.as_deref(), Some("2.98"));
    assert_eq!(published.max_over_mean.as_deref(), Some("1.06"));
    assert_eq!(published.requests_per_second.as_deref(), Some("1200"));
    assert_eq!(published.last_evaluated, at(0));
}

#[test]
fn what_chance_moves_is_not_published() {
    assert!(!moves(|_| {}));
    assert!(!moves(|report| report.max_over_mean = Some(1.12)));
    assert!(!moves(|report| report.min_over_mean = Some(0.85)));
    assert!(!moves(|report| report.effective_pods = Some(2.91)));
    assert!(!moves(|report| report.requests_per_second = Some(1010.0)));
    assert!(!moves(|report| report.message = "even, again".to_owned()));
    assert!(!moves(|report| report.effective_pods = None));
    assert!(!moves(
        |report| (report.dispersion, report.max_over_mean) = (40.0, Some(1.5))
    ));
}

#[test]
fn what_has_happened_is_published() {
    assert!(moves(|report| report.max_over_mean = Some(1.2)));
    assert!(moves(|report| report.min_over_mean = Some(0.8)));
    assert!(moves(|report| report.effective_pods = Some(2.8)));
    assert!(moves(|report| report.requests_per_second = Some(1800.0)));
    assert!(moves(|report| report.verdict = Verdict::NoTraffic));
    assert!(moves(|report| report.pods = 4));
    assert!(moves(|report| report.judged = 2));
    assert!(moves(|report| report.warming = 1));
    assert!(moves(|report| report.scraped = 2));
    assert!(moves(|report| report.metrics.message = "finer".to_owned()));
    assert!(moves(
        |report| report.metrics.reason = MetricsReason::PartlyScraped
    ));
    assert!(moves(|report| report.hottest = vec![share("a", 0.5)]));
    assert!(moves(|report| report.starved_pods = 1));
    let found = Duration::from_millis(12_340);
    let found = super::super::report::Discovery {
        pods: 1,
        median: found,
        max: found,
        fair_share: None,
        promise: None,
        resolution: Duration::from_secs(5),
        histogram: super::super::arrivals::Histogram::default(),
    };
    assert!(moves(|report| report.discovery = Some(found)));
}

#[test]
fn the_time_is_refreshed_every_ten_minutes_and_the_figures_with_it() {
    let last = publish(None, &report(), at(0));
    let drifted = Report {
        max_over_mean: Some(1.1),
        ..report()
    };
    assert_eq!(publish(Some(&last), &drifted, at(599)), last);
    let refreshed = publish(Some(&last), &drifted, at(600));
    assert_eq!(
        (refreshed.last_evaluated, refreshed.max_over_mean.as_deref()),
        (at(600), Some("1.10"))
    );
}

#[test]
fn lists_follow_other_pods_and_large_moves() {
    let skewed = |hottest: Vec<Share>| Report {
        verdict: Verdict::HotPod,
        hottest,
        ..report()
    };
    let last = publish(None, &skewed(vec![share("a", 0.6)]), at(0));
    let moved = |hottest| publish(Some(&last), &skewed(hottest), at(30)) != last;
    assert!(!moved(vec![share("a", 0.63)]));
    assert!(!moved(vec![]));
    assert!(moved(vec![share("a", 0.9)]));
    assert!(moved(vec![share("b", 0.6)]));
}

#[test]
fn nothing_is_said_before_something_is_judged_after_a_restart() {
    let last = publish(None, &report(), at(0));
    let restored = Report {
        restored: true,
        judged: 0,
        warming: 3,
        effective_pods: None,
        ..report()
    };
    assert_eq!(publish(Some(&last), &restored, at(5000)), last);
    assert_ne!(publish(None, &restored, at(5000)), last);
}

#[test]
fn what_a_status_said_stands_until_something_has_happened() {
    let first = publish(None, &report(), at(0));
    let read_back = Published {
        counts: None,
        ..first.clone()
    };
    let drifted = Report {
        max_over_mean: Some(1.1),
        requests_per_second: Some(1100.0),
        ..report()
    };
    assert_eq!(publish(Some(&read_back), &drifted, at(60)), first);
    let moved = Report {
        max_over_mean: Some(1.4),
        ..report()
    };
    let published = publish(Some(&read_back), &moved, at(60));
    assert_eq!(published.max_over_mean.as_deref(), Some("1.40"));
    assert_eq!(published.last_evaluated, at(60));
}

#[test]
fn two_significant_digits() {
    for (figure, text) in [
        (0.0, "0"),
        (f64::NAN, "0"),
        (0.0123, "0.012"),
        (0.126, "0.13"),
        (0.999, "1.0"),
        (7.26, "7.3"),
        (9.96, "10"),
        (49.6, "50"),
        (99.9, "100"),
        (1234.0, "1200"),
    ] {
        assert_eq!(two_digits(figure), text);
    }
}

#[test]
fn reasons_of_metrics_read_back() {
    for reason in MetricsReason::ALL {
        assert_eq!(MetricsReason::of_name(reason.reason()), Some(*reason));
    }
    assert_eq!(MetricsReason::of_name("Fine"), None);
}

#[test]
fn figures_and_names_follow_at_most_once_in_three_windows() {
    let skewed = |starved: u32, max: f64| Report {
        verdict: Verdict::FewClients,
        judged: 30,
        starved_pods: starved,
        starved: (0..starved.min(10))
            .map(|pod| share(&format!("{max}-{pod}"), 0.0))
            .collect(),
        max_over_mean: Some(max),
        ..report()
    };
    let last = publish(None, &skewed(5, 3.0), at(0));
    let other = skewed(9, 5.0);
    assert_eq!(publish(Some(&last), &other, at(29)), last);
    let next = publish(Some(&last), &other, at(30));
    assert_eq!((next.starved_pods, next.last_evaluated), (9, at(30)));
    // What is said itself waits for nothing.
    let over = Report {
        verdict: Verdict::Balanced,
        ..report()
    };
    assert_eq!(
        publish(Some(&last), &over, at(5)).verdict,
        Verdict::Balanced
    );
}

#[test]
fn the_number_of_idle_pods_moves_by_a_tenth_of_all() {
    let idle = |starved_pods: u32| Report {
        verdict: Verdict::FewClients,
        judged: 30,
        starved_pods,
        ..report()
    };
    let last = publish(None, &idle(8), at(0));
    let moved = |starved| publish(Some(&last), &idle(starved), at(60)) != last;
    for (starved, expected) in [(7, false), (10, false), (11, false), (12, true), (0, true)] {
        assert_eq!(moved(starved), expected, "{starved}");
    }
    let few = Report {
        judged: 3,
        ..idle(1)
    };
    let last = publish(None, &few, at(0));
    let two = Report {
        starved_pods: 2,
        ..few
    };
    assert_ne!(publish(Some(&last), &two, at(60)), last);
}

/// Another of the pods may be named in each round, but a redirect is no time-out.
#[test]
fn another_kind_of_failure_is_published() {
    use super::super::round::ScrapeError::{Redirected, Timeout};
    let failing = |pod: &str, error| Report {
        metrics: MetricsState::failing((2, 3), 1, pod, error),
        ..report()
    };
    let last = publish(None, &failing("a", Timeout), at(0));
    let soon = failing("b", Redirected(302));
    assert_eq!(publish(Some(&last), &soon, at(29)), last);
    assert_ne!(publish(Some(&last), &soon, at(30)), last);
    assert_eq!(publish(Some(&last), &failing("b", Timeout), at(599)), last);
    // A status has only the sentence: what it is of is learnt from the next look.
    let mut read = last.clone();
    read.metrics.error = None;
    let same = publish(Some(&read), &failing("a", Timeout), at(30));
    assert_eq!(same, last);
    // Also where it is another one by then.
    assert_eq!(publish(Some(&read), &soon, at(29)), read);
    assert_ne!(publish(Some(&read), &soon, at(30)), read);
}
