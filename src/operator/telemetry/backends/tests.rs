use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::balance::{Discovery, PodLoad};
use crate::operator::telemetry::Metrics;
use serde_json::json;

fn backend(name: &str) -> GrpcBackend {
    let mut backend = GrpcBackend::new(
        name,
        serde_json::from_value(json!({"selector": {"app": name}, "ports": [{"port": 80}]}))
            .unwrap(),
    );
    backend.metadata.namespace = Some("shop".into());
    backend
}

fn report(pods: usize) -> Report {
    let load = |index: usize| PodLoad {
        pod: format!("pod-{index:04}"),
        standing: PodStanding::Judged,
        requests_per_second: Some(f64::from(u32::try_from(index).unwrap())),
    };
    Report {
        pods: u32::try_from(pods).unwrap(),
        judged: u32::try_from(pods).unwrap(),
        effective_pods: Some(2.5),
        loads: (0..pods).map(load).collect(),
        discovery: Some(Discovery {
            pods: 1,
            median: Duration::from_secs(3),
            max: Duration::from_secs(4),
            fair_share: None,
            promise: None,
            resolution: Duration::from_secs(5),
            histogram: Histogram {
                first_request: [1, 0, 2, 0, 0, 0, 0, 1],
                fair_share: [0; 8],
            },
        }),
        ..Report::default()
    }
}

fn lines<'a>(page: &'a str, start: &str) -> Vec<&'a str> {
    page.lines()
        .filter(|line| line.starts_with(start))
        .collect()
}

#[test]
fn each_backend_is_told_until_it_is_gone() {
    let metrics = Metrics::new();
    let status = serde_json::from_value(json!({"conditions": [{
        "type": "Balanced", "status": "True", "reason": "Balanced", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "findings": [{"id": "GB021", "severity": "Warning", "message": ""}]}));
    metrics
        .backends()
        .status(&backend("cart"), &status.unwrap());
    metrics.backends().report(&backend("cart"), &report(3));
    let page = metrics.page();
    for expected in [
        r#"evenkeel_condition{namespace="shop",name="cart",type="Balanced",status="True",reason="Balanced"} 1.0"#,
        r#"evenkeel_findings{namespace="shop",name="cart",id="GB021",severity="Warning"} 1.0"#,
        r#"evenkeel_backend_pods{namespace="shop",name="cart",state="judged"} 3.0"#,
        r#"evenkeel_backend_effective_pods{namespace="shop",name="cart"} 2.5"#,
        r#"evenkeel_backend_discovery_seconds_bucket{le="30.0",namespace="shop",name="cart",stage="first_request"} 3"#,
        r#"evenkeel_backend_discovery_seconds_bucket{le="+Inf",namespace="shop",name="cart",stage="first_request"} 4"#,
        r#"evenkeel_backend_discovery_seconds_count{namespace="shop",name="cart",stage="fair_share"} 0"#,
        r#"evenkeel_backend_discovery_seconds_sum{namespace="shop",name="cart",stage="first_request"} 965.0"#,
        r#"evenkeel_pod_requests_per_second{namespace="shop",name="cart",pod="pod-0002"} 2.0"#,
        "evenkeel_pods_not_shown{} 0.0",
    ] {
        assert!(
            page.lines().any(|line| line == expected),
            "{expected}: {page}"
        );
    }
    metrics.backends().unsampled("shop/cart");
    let page = metrics.page();
    let told: Vec<_> = page.lines().filter(|line| line.contains("cart")).collect();
    assert_eq!(told.len(), 2, "{page}");
    assert!(told[0].starts_with("evenkeel_condition{"), "{page}");
    assert!(told[1].starts_with("evenkeel_findings{"), "{page}");
    metrics.backends().forget("shop/cart");
    metrics.backends().unsampled("shop/cart");
    assert!(!metrics.page().contains("cart"));
}

#[test]
fn pods_are_shown_within_bounds() {
    let metrics = Metrics::new();
    for index in 0..60 {
        metrics
            .backends()
            .report(&backend(&format!("b-{index:02}")), &report(130));
    }
    let page = metrics.page();
    let first = lines(
        &page,
        r#"evenkeel_pod_requests_per_second{namespace="shop",name="b-00""#,
    );
    assert_eq!(first.len(), PODS_OF_A_BACKEND);
    assert!(
        first[0].contains("pod-0129") && first[99].contains("pod-0000"),
        "{first:?}"
    );
    assert_eq!(
        lines(&page, "evenkeel_pod_requests_per_second{").len(),
        PODS
    );
    assert_eq!(
        lines(&page, "evenkeel_pods_not_shown"),
        [format!("evenkeel_pods_not_shown{{}} {}.0", 60 * 130 - PODS)]
    );
}

#[test]
fn a_name_cannot_write_a_line_of_its_own() {
    let metrics = Metrics::new();
    let mut report = report(1);
    report.loads[0].pod = "a\"} 1\nevil{x=\"".into();
    metrics.backends().report(&backend("cart"), &report);
    assert!(lines(&metrics.page(), "evil").is_empty());
}

#[test]
fn what_may_happen_is_there_before_it_does() {
    let metrics = Metrics::new();
    let new = Report {
        discovery: None,
        ..report(3)
    };
    metrics.backends().report(&backend("cart"), &new);
    let page = metrics.page();
    for expected in [
        r#"evenkeel_reconciliation_errors_total{kind="forbidden"} 0"#,
        r#"evenkeel_backend_discovery_seconds_count{namespace="shop",name="cart",stage="first_request"} 0"#,
    ] {
        assert!(
            page.lines().any(|line| line == expected),
            "{expected}: {page}"
        );
    }
}

/// Type and labels of each metric.
type Described = BTreeMap<String, (String, BTreeSet<String>)>;

/// What a page has, each by the name that queries use.
fn rendered(page: &str) -> Described {
    let mut all = Described::new();
    for line in lines(page, "# TYPE ") {
        let mut words = line.split(' ').skip(2);
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        let end = if kind == "counter" { "_total" } else { "" };
        all.insert(format!("{name}{end}"), (kind.into(), BTreeSet::new()));
    }
    for line in page.lines().filter(|line| !line.starts_with('#')) {
        let series = line.split(' ').next().unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let parts = ["_bucket", "_count", "_sum"];
        let family = parts.iter().find_map(|part| name.strip_suffix(part));
        let family = family.filter(|family| all.contains_key(*family));
        let (_, known) = all.get_mut(family.unwrap_or(name)).unwrap();
        let labels = labels.split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(label, _)| label.to_owned());
        known.extend(labels.filter(|label| label != "le"));
    }
    all
}

/// The rows of docs/operator-metrics.md.
fn documented() -> Described {
    let page = include_str!("../../../../docs/operator-metrics.md");
    let word = |text: &str| text.trim().trim_matches('`').to_owned();
    let rows = page.lines().filter(|line| line.starts_with("| `evenkeel_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, rest @ ..] = &cells[..] else {
            panic!("{row}");
        };
        assert!(
            rest.len() == 3 && rest.iter().all(|cell| !cell.is_empty()),
            "{row}"
        );
        let labels = labels.split(',').map(word).filter(|label| label != "–");
        (word(name), (word(kind), labels.collect()))
    })
    .collect()
}

#[test]
fn each_metric_is_described_one_by_one() {
    let metrics = Metrics::new();
    let status = serde_json::from_value(json!({"conditions": [{
        "type": "Ready", "status": "True", "reason": "AllReady", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "findings": [{"id": "GB021", "severity": "Warning", "message": ""}]}));
    let full = Report {
        max_over_mean: Some(2.0),
        min_over_mean: Some(0.5),
        requests_per_second: Some(3.0),
        ..report(3)
    };
    let cart = backend("cart");
    metrics.backends().status(&cart, &status.unwrap());
    metrics.backends().report(&cart, &full);
    metrics.pass(Duration::from_secs(1), Some("forbidden"));
    assert_eq!(documented(), rendered(&metrics.page()));
}
