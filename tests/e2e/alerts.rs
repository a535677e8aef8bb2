//! The chart's alerts and dashboard before a real Prometheus that reads the operator: alerts fire for what they are about, and cease when
//! it is mended; every query of the dashboard is answered with figures, and its variables find what there is to choose.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use evenkeel_cluster::{Fault, Rule, Seen, Signal, until};
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::client::Client;
use crate::helm::SYSTEM;
use crate::manifests;
use crate::pods::target;
use crate::prometheus::Server;
use crate::tests;
use crate::world::{World, root};

tests![shared alerts_fire_and_cease_and_the_dashboard_shows(480)];

/// Windows of ten seconds, and evidence from several of them.
const JUDGED: Duration = Duration::from_mins(2);
/// Of this a pass has two, one after the other: more than the ten seconds that are slow, and each less than the ten after which it is
/// given up.
const LATE: Duration = Duration::from_secs(6);
/// What an alert's own `for` becomes: to be pending stays a part of its way.
const FOR: &str = "2s";
/// What the times become over which alerts look back.
const RANGES: [[&str; 2]; 2] = [["[15m]", "[15s]"], ["[5m]", "[10s]"]];
/// As the Service for the metrics is called, and Prometheus's job with it.
const SERVICE: &str = "evenkeel-metrics";
const JOB: &str = "evenkeel-system/evenkeel-metrics";
/// The variables of the dashboard, with this release and all of its backends chosen, as Grafana fills them in.
const VARIABLES: [(&str, &str); 4] = [
    ("$__rate_interval", "1m"),
    ("$job", JOB),
    // The longer name first.
    ("$namespace", ".*"),
    ("$name", ".*"),
];

/// What Helm makes of one of the chart's templates.
async fn template(world: &World, name: &str) -> Result<Value> {
    let chart = root().join("charts/evenkeel").display().to_string();
    let namespace = format!("--namespace={SYSTEM}");
    let only = format!("--show-only=templates/{name}.yaml");
    let on = "--set=prometheusRule.enabled=true,serviceMonitor.enabled=true,grafanaDashboard.enabled=true";
    let release = ["template", "evenkeel", &chart, &namespace, &only, on];
    serde_yaml_ng::from_str(&world.cluster.helm(&release).await?).with_context(|| name.to_owned())
}

/// The groups of the chart's PrometheusRule, in a hurry.
async fn rules(world: &World) -> Result<Value> {
    let mut rule = template(world, "prometheusrule").await?;
    let groups = rule["spec"]["groups"].as_array_mut().context("no groups")?;
    for alert in groups
        .iter_mut()
        .filter_map(|group| group["rules"].as_array_mut())
        .flatten()
    {
        let expression = alert["expr"].as_str().context("no expression")?;
        let hurried = RANGES
            .iter()
            .fold(expression.to_owned(), |expression, [range, short]| {
                expression.replace(range, short)
            });
        alert["expr"] = hurried.into();
        alert["for"] = FOR.into();
    }
    Ok(json!({ "groups": groups }))
}

/// As the Prometheus operator makes it of the chart's ServiceMonitor.
async fn config(world: &World) -> Result<Value> {
    let monitor = template(world, "servicemonitor").await?;
    let endpoint = &monitor["spec"]["endpoints"][0];
    ensure!(endpoint["port"] == "metrics", "{endpoint}");
    let relabeling = &endpoint["relabelings"][0];
    Ok(json!({
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.json"],
        "scrape_configs": [{
            // Of the Service, until the monitor says otherwise.
            "job_name": SERVICE,
            "relabel_configs": [{
                "target_label": relabeling["targetLabel"],
                "replacement": relabeling["replacement"],
            }],
            "honor_labels": endpoint["honorLabels"],
            "file_sd_configs": [{"files": ["operator.json"], "refresh_interval": "1s"}],
        }],
    }))
}

/// The operator, with the labels that its Service and pod give it.
fn operator(bed: &Bed) -> Result<Value> {
    let metrics = bed.operator.as_ref().context("no operator runs")?.metrics;
    let labels = json!({"namespace": SYSTEM, "service": SERVICE, "pod": "evenkeel-0"});
    Ok(json!([{"targets": [metrics], "labels": labels}]))
}

/// Whether an alert fires, for a backend of this name, if it is about one.
async fn fires(server: &Server, name: &str, about: Option<&str>) -> Result<bool> {
    let answer = server.ask("alerts", &[]).await?;
    let alerts = answer["alerts"].as_array().context("no alerts")?;
    let found = alerts.iter().find(|alert| {
        let labels = &alert["labels"];
        labels["alertname"] == name
            && about.is_none_or(|about| labels["name"] == about)
            && alert["state"] == "firing"
    });
    if let Some(alert) = found {
        let told = alert["annotations"].to_string();
        ensure!(!told.contains("<no value>"), "{told}");
        ensure!(told.contains(&format!("/{name}.md")), "no page in {told}");
    }
    Ok(found.is_some())
}

/// Whether Prometheus has just read the operator.
async fn is_read(server: &Server) -> Result<bool> {
    let query = format!("up{{job=\"{JOB}\"}} == 1");
    let answer = server.ask("query", &[("query", &query)]).await?;
    let found = answer["result"].as_array().context("no result")?;
    Ok(!found.is_empty())
}

/// Asked so often in a row, a second apart: what is not there for a moment, as where Prometheus is late, has not ceased.
const CEASED: usize = 3;

/// Waits until it does, or no longer does while the operator is read.
async fn alert(server: &Server, name: &str, about: Option<&str>, wanted: bool) -> Result<()> {
    let what = if wanted { "fires" } else { "has ceased" };
    let what = format!("{name} {what} for {about:?}");
    until(&what, JUDGED, async || {
        if wanted {
            return Ok(fires(server, name, about).await?.then_some(()));
        }
        for _ in 0..CEASED {
            ensure!(!fires(server, name, about).await?, "it fires");
            ensure!(is_read(server).await?, "the operator is not read");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(Some(()))
    })
    .await
}

/// The dashboard, as Grafana reads it.
async fn dashboard(world: &World) -> Result<Value> {
    let map = template(world, "dashboard").await?;
    let files = map["data"].as_object().context("no files")?;
    let text = files.values().find_map(Value::as_str);
    serde_json::from_str(text.context("no dashboard")?).context("the dashboard")
}

fn filled_in(query: &str) -> String {
    VARIABLES
        .iter()
        .fold(query.to_owned(), |query, (variable, value)| {
            query.replace(variable, value)
        })
}

/// Every query of the dashboard's panels.
fn queries(dashboard: &Value) -> Result<Vec<String>> {
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<String> = targets
        .flatten()
        .filter_map(|target| target["expr"].as_str())
        .map(filled_in)
        .collect();
    ensure!(queries.len() > 10, "only {} queries", queries.len());
    Ok(queries)
}

/// What each of the dashboard's variables offers, asked for as Grafana asks.
async fn offered(server: &Server, dashboard: &Value) -> Result<BTreeMap<String, Vec<String>>> {
    let variables = dashboard["templating"]["list"].as_array();
    let mut offered = BTreeMap::new();
    for variable in variables.context("no variables")? {
        let Some(query) = variable["query"]["query"].as_str() else {
            continue;
        };
        let query = filled_in(query);
        let (series, label) = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')')?.rsplit_once(", "))
            .with_context(|| format!("{query} is no label_values(SERIES, LABEL)"))?;
        let path = format!("label/{label}/values");
        let values = server.ask(&path, &[("match[]", series)]).await?;
        let name = variable["name"].as_str().context("no name")?;
        offered.insert(name.to_owned(), serde_json::from_value(values)?);
    }
    Ok(offered)
}

/// There is one release to choose, and every backend of it.
async fn variables_offer_what_there_is(
    bed: &Bed,
    server: &Server,
    dashboard: &Value,
) -> Result<()> {
    let offered = offered(server, dashboard).await?;
    let of = |name: &str| offered.get(name).map_or(&[][..], Vec::as_slice);
    ensure!(
        of("job") == [JOB] && of("namespace") == [bed.name()],
        "{offered:?}"
    );
    for backend in ["echo", "few", "mute", "odd"] {
        ensure!(of("name").iter().any(|name| name == backend), "{offered:?}");
    }
    Ok(())
}

/// Waits until each has an answer with a figure in it.
async fn all_answered(server: &Server, mut queries: Vec<String>) -> Result<()> {
    until(
        "every query of the dashboard is answered",
        JUDGED,
        async || {
            let mut silent = Vec::new();
            for query in &queries {
                let answer = server.ask("query", &[("query", query)]).await?;
                let series = answer["result"].as_array().context("no result")?;
                let figure = |series: &Value| {
                    series["value"][1]
                        .as_str()
                        .is_some_and(|value| value != "NaN")
                };
                if !series.iter().any(figure) {
                    silent.push(query.clone());
                }
            }
            queries.clone_from(&silent);
            ensure!(silent.is_empty(), "nothing comes of {silent:#?}");
            Ok(Some(()))
        },
    )
    .await
}

/// Every rule has been evaluated, and without an error.
async fn all_evaluated(server: &Server) -> Result<()> {
    until("every rule has been evaluated", SOON, async || {
        let answer = server.ask("rules", &[]).await?;
        let groups = answer["groups"].as_array().context("no groups")?;
        let rules: Vec<&Value> = groups
            .iter()
            .filter_map(|group| group["rules"].as_array())
            .flatten()
            .collect();
        ensure!(rules.len() > 8, "only {} rules", rules.len());
        let ill: Vec<_> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
        ensure!(ill.is_empty(), "{ill:#?}");
        Ok(Some(()))
    })
    .await
}

/// What is wrong, and with which backend, once [`Faults`] are there.
const FAULTS: [(&str, &str); 6] = [
    ("EvenkeelBackendNotReady", "odd"),
    ("EvenkeelConnectionAgeNotApplied", "odd"),
    ("EvenkeelMetricsUnavailable", "mute"),
    ("EvenkeelDeletionStuck", "aged"),
    ("EvenkeelFewClients", "few"),
    ("EvenkeelBackendSkewed", "echo"),
];

/// The clients that are to blame.
struct Faults {
    pinned: Client,
}

fn even(bed: &Bed, name: &str) -> String {
    format!("dns:///{name}-headless.{}.svc:8080", bed.name())
}

/// Clients that know one pod of an application and nothing else.
async fn pinned(bed: &Bed, app: &str, rate: &str) -> Result<Client> {
    let pods = bed.pods(&format!("app={app}")).await?;
    let target = target(&pods[0])?;
    bed.client(&format!("pinned-{app}"), &target, &[rate]).await
}

impl Faults {
    async fn make(bed: &Bed) -> Result<Self> {
        let mut foreign = manifests::service("odd");
        foreign["spec"]["selector"] = json!({"app": "of-another-team"});
        bed.apply(&foreign).await?;
        bed.apply(&manifests::backend_with_age("odd", "60s"))
            .await?;
        let mut mute = manifests::backend("mute");
        mute["spec"]["selector"] = json!({"app": "echo"});
        mute["spec"]["balance"]["metrics"] = json!({"port": 9999});
        bed.apply(&mute).await?;
        for (name, replicas) in [("aged", 1), ("few", 2)] {
            bed.apply(&manifests::server(name, replicas)).await?;
        }
        bed.apply(&manifests::backend("few")).await?;
        bed.apply(&manifests::backend("echo")).await?;
        bed.echo(3).await?;
        // They know three pods for as long as they run, since no age makes them look again.
        bed.client("even", &even(bed, "echo"), &["--rate=60"])
            .await?;
        let echo = pinned(bed, "echo", "--rate=150").await?;
        bed.rolled_out("few").await?;
        pinned(bed, "few", "--rate=60").await?;
        bed.apply(&manifests::backend_with_age("aged", "60s"))
            .await?;
        bed.reason("aged", ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        // What was set cannot be taken back.
        let rule = json!([
            {"op": "test", "path": "/rules/2/apiGroups", "value": ["apps"]},
            {"op": "replace", "path": "/rules/2/verbs", "value": ["get", "list", "watch"]},
        ]);
        let rule = format!("--patch={rule}");
        bed.kubectl(&["patch", "role", "the-operator", "--type=json", &rule])
            .await?;
        bed.kubectl(&["delete", "gb", "aged", "--wait=false"])
            .await?;
        Ok(Self { pinned: echo })
    }

    async fn mend(self, bed: &Bed) -> Result<()> {
        self.pinned.stop().await?;
        bed.kubectl(&["delete", "service", "odd"]).await?;
        bed.change("odd", &json!({"connectionAge": null})).await?;
        let off = json!({"balance": {"mode": "Disabled", "metrics": null}});
        bed.change("mute", &off).await?;
        bed.grant(bed.name()).await?;
        bed.kubectl(&["annotate", "deployment/aged", "looked=at"])
            .await?;
        bed.client("few-even", &even(bed, "few"), &["--rate=300"])
            .await
            .map(drop)
    }
}

async fn alerts_fire_and_cease_and_the_dashboard_shows(world: Arc<World>) -> Result<()> {
    let mut bed = Bed::new(&world, "alerts").await?;
    let (config, rules, target) = (config(&world).await?, rules(&world).await?, operator(&bed)?);
    let files = [
        ("prometheus.yml", &config),
        ("rules.json", &rules),
        ("operator.json", &target),
    ];
    let server = Server::start(&bed, world.port(), &files).await?;
    let faults = Faults::make(&bed).await?;
    for (name, backend) in FAULTS {
        alert(&server, name, Some(backend), true).await?;
    }

    faults.mend(&bed).await?;
    // What is new gets nothing from clients that look no more, until others come.
    bed.kubectl(&["scale", "deployment/echo", "--replicas=4"])
        .await?;
    let starved = "EvenkeelPodsStarved";
    alert(&server, starved, Some("echo"), true).await?;
    bed.client("later", &even(&bed, "echo"), &["--rate=120"])
        .await?;
    alert(&server, starved, Some("echo"), false).await?;
    for (name, backend) in FAULTS {
        alert(&server, name, Some(backend), false).await?;
    }
    let dashboard = dashboard(&world).await?;
    all_answered(&server, queries(&dashboard)?).await?;
    variables_offer_what_there_is(&bed, &server, &dashboard).await?;
    all_evaluated(&server).await?;
    of_the_operator_itself(&mut bed, &server).await
}

/// It is kept from its work, and then it ends.
async fn of_the_operator_itself(bed: &mut Bed, server: &Server) -> Result<()> {
    bed.kubectl(&["delete", "rolebinding", "the-operator"])
        .await?;
    let mut window = 10;
    until("EvenkeelReconcileErrors fires", JUDGED, async || {
        // Something to do, in which it fails.
        window = 10 + (window + 1) % 10;
        let change = json!({"balance": {"window": format!("{window}s")}});
        bed.change("echo", &change).await?;
        let fires = fires(server, "EvenkeelReconcileErrors", None).await?;
        Ok(fires.then_some(()))
    })
    .await?;

    let operator = bed.operator.take().context("no operator runs")?;
    operator.process.signal(Signal::Term)?;
    operator.process.wait(SOON).await?;
    alert(server, "EvenkeelNoLeader", None, true).await?;
    let proxy = bed.start_operator_behind(Vec::new()).await?;
    server.write("operator.json", &self::operator(bed)?)?;
    alert(server, "EvenkeelNoLeader", None, false).await?;
    // It has its rights back.
    alert(server, "EvenkeelReconcileErrors", None, false).await?;

    // Two answers of a pass come late, one after the other, and each within the time that is given to it.
    for slow in ["serviceaccounts", "grpcbackends/status"] {
        let slow = move |seen: &Seen| seen.resource == slow && seen.verb != "watch";
        proxy.add(Rule::new(slow, Fault::Delay(LATE)));
    }
    let name = "EvenkeelReconcileSlow";
    until(&format!("{name} fires"), JUDGED, async || {
        window = 10 + (window + 1) % 10;
        let change = json!({"balance": {"window": format!("{window}s")}});
        bed.change("echo", &change).await?;
        let fires = fires(server, name, None).await?;
        Ok(fires.then_some(()))
    })
    .await?;
    proxy.clear();
    alert(server, name, None, false).await
}
