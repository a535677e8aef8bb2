//! Alerts and the dashboard: each alert has its page and is tested, and what is asked for is what the operator tells.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::{document, path, strings, text};

const RULES: &str = "charts/evenkeel/files/rules.yaml";
const SCHEMA: &str = "charts/evenkeel/values.schema.json";
const UNIT_TESTS: &str = "tests/rules/alerts.yaml";
const DASHBOARD: &str = "charts/evenkeel/files/dashboard.json";
const RUNBOOKS: &str = "docs/runbooks";

fn alerts() -> Vec<Value> {
    let groups = document(RULES);
    let rules = groups["groups"].as_array().unwrap().iter();
    rules
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .collect()
}

fn names() -> BTreeSet<String> {
    let name = |alert: &Value| alert["alert"].as_str().unwrap().to_owned();
    alerts().iter().map(name).collect()
}

#[test]
fn every_alert_has_its_page_and_every_page_its_alert() {
    let pages: BTreeSet<String> = fs::read_dir(path(RUNBOOKS))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|page| page.file_stem().unwrap().to_str().unwrap().to_owned())
        // Of all of them.
        .filter(|page| page != "README")
        .collect();
    assert_eq!(names(), pages, "{RULES} and {RUNBOOKS}");
    for page in pages {
        let text = text(&format!("{RUNBOOKS}/{page}.md"));
        assert!(
            text.starts_with(&format!("# {page}\n")),
            "{page} has another title"
        );
        for part in ["## What it means for users", "## Find out", "## What to do"] {
            let told =
                text.contains(part) || (part == "## What to do" && text.contains("| what to do |"));
            assert!(told, "{page} lacks {part:?}");
        }
    }
}

#[test]
fn every_alert_says_what_it_needs() {
    for alert in alerts() {
        let name = &alert["alert"];
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}: {severity}"
        );
        assert!(alert["for"].is_string(), "{name} fires at the first sign");
        for annotation in ["summary", "description"] {
            let text = alert["annotations"][annotation]
                .as_str()
                .unwrap_or_default();
            assert!(text.ends_with('.'), "{name} has no {annotation}");
        }
        let expr = alert["expr"].as_str().unwrap();
        assert!(
            expr.contains(r#"job="evenkeel-system/evenkeel-metrics""#),
            "{name} is not bound to the release"
        );
    }
}

/// At a takeover nobody tells of backends for a while, and an alert that waits for an hour would begin anew each time.
#[test]
fn what_waits_for_longer_than_the_memory_has_it() {
    for alert in alerts() {
        let (name, expr) = (&alert["alert"], alert["expr"].as_str().unwrap());
        if !expr.contains("evenkeel_condition{") {
            continue;
        }
        let minutes = match alert["for"].as_str().unwrap() {
            "1h" => 60,
            minutes => minutes.strip_suffix('m').unwrap().parse().unwrap(),
        };
        let remembers = expr.contains("last_over_time(evenkeel_condition{");
        assert_eq!(remembers, minutes > 5, "{name}");
        assert_eq!(expr.contains("}[5m])"), remembers, "{name}");
    }
}

/// One that is misspelt would go on firing, and nobody would be told why.
#[test]
fn the_chart_knows_the_alerts_that_can_be_left_out() {
    let schema: Value = serde_json::from_str(&text(SCHEMA)).unwrap();
    let disabled = &schema["properties"]["prometheusRule"]["properties"]["disabled"];
    let known: Vec<String> = strings(&disabled["items"]["enum"])
        .into_iter()
        .map(str::to_owned)
        .collect();
    let names: Vec<String> = names().into_iter().collect();
    assert_eq!(known, names, "prometheusRule.disabled in {SCHEMA}");
}

#[test]
fn every_alert_is_tested() {
    let mut untested = names();
    for test in document(UNIT_TESTS)["tests"].as_array().unwrap() {
        for case in test["alert_rule_test"].as_array().into_iter().flatten() {
            let fires = case["exp_alerts"]
                .as_array()
                .is_some_and(|alerts| !alerts.is_empty());
            if fires {
                untested.remove(case["alertname"].as_str().unwrap());
            }
        }
    }
    assert!(
        untested.is_empty(),
        "{UNIT_TESTS} shows none of {untested:?}"
    );
}

#[test]
fn the_alerts_pass_their_unit_tests() {
    let promtool = evenkeel_cluster::promtool().unwrap();
    let output = Command::new(promtool)
        .args(["test", "rules", UNIT_TESTS])
        .current_dir(path(""))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn what_is_asked_for_is_told() {
    let told = told();
    assert!(
        told.len() > 4,
        "the operator's metrics are not found any more: {told:?}"
    );
    let mut asked = BTreeSet::new();
    for alert in alerts() {
        asked.extend(metrics_in(alert["expr"].as_str().unwrap()));
    }
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            asked.extend(metrics_in(target["expr"].as_str().unwrap()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            asked.extend(metrics_in(query));
        }
    }
    assert!(
        asked.len() > 4,
        "no metrics are found in the expressions: {asked:?}"
    );
    let unknown: Vec<_> = asked.difference(&told).collect();
    assert!(
        unknown.is_empty(),
        "the operator does not tell {unknown:?}; it tells {told:?}"
    );
}

/// Two releases in one Prometheus: each panel is of the one that is chosen, as the alerts are of theirs.
#[test]
fn the_dashboard_is_bound_to_a_release() {
    let dashboard: Value = serde_json::from_str(&text(DASHBOARD)).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            for series in expression.split("evenkeel_").skip(1) {
                let selector = series.split_once('}').unwrap_or_default().0;
                let bound =
                    selector.contains(r#"{job="$job","#) || selector.ends_with(r#"{job="$job""#);
                assert!(bound, "evenkeel_{series} is of any release");
            }
        }
    }
}

/// Words that begin as our metrics do; `job="evenkeel-metrics"` is none.
fn metrics_in(expression: &str) -> BTreeSet<String> {
    expression
        .split(|character: char| !(character.is_ascii_alphanumeric() || "_-".contains(character)))
        .filter(|word| word.starts_with("evenkeel_"))
        .map(str::to_owned)
        .collect()
}

/// The rows of the page that a unit test of src/operator/telemetry compares with what the operator registers.
fn told() -> BTreeSet<String> {
    let page = text("docs/operator-metrics.md");
    let mut told = BTreeSet::new();
    for row in page.lines().filter_map(|line| line.strip_prefix("| `")) {
        let mut columns = row.split(" | ");
        let (name, kind) = (columns.next().unwrap(), columns.next().unwrap());
        let name = name.trim_end_matches('`');
        let series: &[&str] = match kind {
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        told.extend(series.iter().map(|suffix| format!("{name}{suffix}")));
    }
    told
}
