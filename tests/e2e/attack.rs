//! What somebody who may edit one namespace could try through a GrpcBackend. The table in SECURITY.md names each attack with
//! its test, here or beside what it attacks.

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{
    Balanced, ConnectionAgeApplied, EndpointWatchReady, MetricsAvailable, ServicesReady,
};
use evenkeel_cluster::Identity;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON, start_operator};
use crate::manifests;
use crate::pages::odd;
use crate::tests;
use crate::traces::COLLECT;
use crate::world::{World, root};

tests![
    shared another_namespace_is_out_of_reach(150),
    shared only_declared_ports_of_pods_are_asked(150),
    shared what_others_write_stays_text(240),
    shared what_pods_answer_goes_nowhere(150),
    shared a_manifest_holds_up_nobody(90),
];

/// Most of what the API server takes of one object, of what costs most to read: all is done on one thread.
async fn a_manifest_holds_up_nobody(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "flood").await?;
    let who = tenant(&bed).await?;
    let references = || vec!["$(".repeat(600_000)];
    let shells = ["sh", "-o"].map(str::to_owned).into_iter().cycle();
    let hostile = [
        ("one", references()),
        ("two", references()),
        ("three", references()),
        ("words", vec!["a ".repeat(500_000)]),
        ("shells", shells.take(150_000).collect()),
    ];
    for (name, words) in &hostile {
        let mut server = manifests::server(name, 0);
        // Else the cluster's own controllers write as much again, and again.
        server["spec"]["paused"] = true.into();
        manifests::container(&mut server)["args"] = json!(words);
        by(&who, &bed, &["create", "-f", "-"], &server).await?;
        applied(&who, &bed, &manifests::backend_with_age(name, "30s")).await?;
    }
    for (name, _) in &hostile {
        bed.reason(name, ServicesReady, "Created", SOON).await?;
        bed.reason(name, ConnectionAgeApplied, "Paused", ROLLOUT)
            .await?;
    }
    Ok(())
}

/// Where the cluster's only node is.
const NODE: &str = "192.168.77.1";

/// Somebody with the rights of `edit`, and the chart's for GrpcBackends, in one namespace.
async fn tenant(bed: &Bed) -> Result<Identity> {
    let name = format!("tenant-of-{}", bed.name());
    let edit = std::fs::read_to_string(root().join("charts/evenkeel/files/rbac/edit.yaml"))?;
    let rules: Vec<Value> = serde_yaml_ng::from_str(&edit)?;
    let group = "rbac.authorization.k8s.io";
    let binding = |kind: &str, role: &str| {
        json!({"apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": {"name": format!("tenant-{role}")},
            "roleRef": {"apiGroup": group, "kind": kind, "name": role},
            "subjects": [{"apiGroup": group, "kind": "User", "name": name}]})
    };
    bed.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": {"name": "grpcbackends"}, "rules": rules},
        binding("Role", "grpcbackends"),
        binding("ClusterRole", "edit"),
    ]}))
    .await?;
    Ok(Identity::user(&name))
}

/// kubectl as somebody in a namespace, with something on standard input.
async fn by(who: &Identity, bed: &Bed, arguments: &[&str], input: &Value) -> Result<String> {
    let all = [&["-n", bed.name()], arguments].concat();
    let cluster = &bed.world.cluster;
    cluster.kubectl_with(who, &all, &input.to_string()).await
}

/// Applied by somebody who may.
async fn applied(who: &Identity, bed: &Bed, object: &Value) -> Result<()> {
    by(who, bed, &["apply", "-f", "-"], object).await.map(drop)
}

/// Fails unless the API server refuses it in these words.
fn refused(said: Result<String>, words: &str) -> Result<()> {
    let error = said.err().context("it was taken")?;
    let error = format!("{error:#}");
    ensure!(error.contains(words), "{error}");
    Ok(())
}

/// A namespace beside one with an operator that may write in both.
async fn neighbours(world: &Arc<World>) -> Result<(Bed, Bed)> {
    let mut bed = Bed::without_operator(world, "attacker").await?;
    let victim = Bed::without_operator(world, "victim").await?;
    for namespace in [bed.name(), victim.name()] {
        bed.grant(namespace).await?;
    }
    let namespaces = [bed.name(), victim.name()];
    bed.operator = Some(start_operator(world, bed.name(), &namespaces, &[]).await?);
    Ok((bed, victim))
}

/// Selectors, names and accounts: all of them mean the namespace of the resource, and what it may not mean is refused.
async fn another_namespace_is_out_of_reach(world: Arc<World>) -> Result<()> {
    let (bed, victim) = neighbours(&world).await?;
    let tenant = tenant(&bed).await?;
    victim.deploy(&manifests::server("echo", 1)).await?;
    victim.apply(&manifests::service("echo")).await?;
    let before = victim.version("service/echo").await?;
    let begun = Timestamp::now();

    let mut backend = manifests::backend_with_age("echo", "30s");
    backend["spec"]["endpointWatch"] =
        json!({"clients": [{"namespace": victim.name(), "serviceAccount": "default"}]});
    applied(&tenant, &bed, &backend).await?;
    bed.reason("echo", ConnectionAgeApplied, "NoServer", SOON)
        .await?;
    bed.reason("echo", EndpointWatchReady, "Rejected", SOON)
        .await?;
    let status = bed.backend("echo").await?.status.unwrap_or_default();
    ensure!(status.servers.is_empty(), "{:?}", status.servers);
    bed.becomes("gb/echo", "/status/endpoints/ready", &json!(0))
        .await?;

    // No field takes a name of elsewhere.
    let elsewhere = format!("{}/echo", victim.name());
    let host = format!("echo.{}.svc", victim.name());
    for (field, spec) in [
        (
            "services",
            json!({"services": {"headless": {"name": elsewhere}}}),
        ),
        (
            "services",
            json!({"services": {"clusterIP": {"name": host}}}),
        ),
        (
            "path",
            json!({"balance": {"metrics": {"path": "/m HTTP/1.1\r\nHost: x\r\n\r\n"}}}),
        ),
    ] {
        let patch = json!({ "spec": spec }).to_string();
        let patch = ["patch", "gb", "echo", "--type=merge", "-p", &patch];
        refused(by(&tenant, &bed, &patch, &Value::Null).await, field)
            .with_context(|| spec.to_string())?;
    }
    // Nor is the tenant let in by hand.
    let get = ["get", "pods"];
    refused(by(&tenant, &victim, &get, &Value::Null).await, "Forbidden")?;

    let writes = bed.writes_since(begun)?;
    let beyond = writes.iter().find(|write| write.namespace != bed.name());
    ensure!(beyond.is_none(), "{beyond:#?}");
    let after = victim.version("service/echo").await?;
    ensure!(after == before, "the other's Service was written");
    let template = victim.template("echo").await?;
    let variables = &template["spec"]["containers"][0]["env"];
    ensure!(
        !variables.to_string().contains("MAX_CONNECTION_AGE"),
        "{variables}"
    );
    Ok(())
}

/// Metrics are asked for at the pod's own address, as the kubelet told it, and nowhere else.
async fn only_declared_ports_of_pods_are_asked(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "ssrf").await?;
    let tenant = tenant(&bed).await?;
    // What nobody but the operator would ask on the node.
    let port = world.port();
    let mut listen = Command::new(std::env::current_exe()?);
    listen.args([COLLECT, &format!("{NODE}:{port}")]);
    let listener = world.cluster.spawn_in_net("listener", &listen)?;
    let lures = lures(port);
    for (name, server, backend, ..) in &lures {
        applied(&tenant, &bed, server)
            .await
            .with_context(|| (*name).to_owned())?;
        applied(&tenant, &bed, backend).await?;
    }
    for (name, .., reason, words) in lures {
        bed.reason(name, MetricsAvailable, reason, ROLLOUT)
            .await
            .with_context(|| name.to_owned())?;
        let message = bed.message(name, MetricsAvailable).await?;
        ensure!(message.contains(words), "{name}: {message}");
    }

    let heard = listener.log_text()?;
    ensure!(heard.is_empty(), "the node was asked: {heard}");
    // It would have heard of it.
    let pod = bed.pods("app=host").await?.remove(0);
    let pod = pod.metadata.name.context("a pod without a name")?;
    let proxy = format!(
        "/api/v1/namespaces/{}/pods/http:{pod}:{port}/proxy/",
        bed.name()
    );
    world.cluster.kubectl(&["get", "--raw", &proxy]).await?;
    ensure!(!listener.log_text()?.is_empty(), "nothing listens");

    // Whoever could say where a pod is could send the operator anywhere: that right goes with no role for people.
    let pod = bed.pods("app=undeclared").await?.remove(0);
    let pod = pod.metadata.name.context("a pod without a name")?;
    let node = json!({"status": {"podIP": NODE, "podIPs": [{"ip": NODE}]}});
    let node = node.to_string();
    let status = ["--subresource=status", "--type=merge", "-p", &node];
    let forge = [&["patch", "pod", &pod][..], &status].concat();
    refused(by(&tenant, &bed, &forge, &Value::Null).await, "Forbidden")?;

    // EndpointSlices may say what they like: the operator does not read them. (Where clients watch, it counts them.)
    let operator = bed.operator.as_ref().context("no operator")?;
    let audit = world.cluster.audit();
    let requests = audit.requests_by(&operator.user, Timestamp::UNIX_EPOCH)?;
    let reads = |resource: &str| requests.iter().any(|request| request.resource == resource);
    ensure!(
        !reads("endpointslices") && !reads("endpoints"),
        "endpoints are read"
    );
    ensure!(reads("pods"), "the audit log shows nothing of the operator");
    Ok(())
}

type Lure = (&'static str, Value, Value, &'static str, &'static str);

/// A server and a backend each, with the reason and the words that it comes to.
fn lures(port_of_node: u16) -> [Lure; 6] {
    let mut undeclared = manifests::server("undeclared", 1);
    let grpc = json!([{"name": "grpc", "containerPort": manifests::PORT}]);
    manifests::container(&mut undeclared)["ports"] = grpc.clone();
    let mut asks = manifests::backend("undeclared");
    asks["spec"]["balance"]["metrics"] = json!({"port": 9090});

    // The kubelet's port and the like, by the annotations that Prometheus reads.
    let mut annotated = manifests::server("annotated", 1);
    manifests::container(&mut annotated)["ports"] = grpc;
    annotated["spec"]["template"]["metadata"]["annotations"] = json!({
        "prometheus.io/port": "10250", "prometheus.io/path": "//169.254.169.254/latest",
    });

    // A port that may be asked, and beside it where else to ask and how.
    let mut elsewhere = manifests::server("elsewhere", 1);
    elsewhere["spec"]["template"]["metadata"]["annotations"] = json!({
        "prometheus.io/port": "9090", "prometheus.io/scheme": "https",
        "prometheus.io/address": format!("{NODE}:{port_of_node}"),
    });

    // A path that would be a request of its own, for a port that may be asked.
    let mut lines = manifests::server("lines", 1);
    lines["spec"]["template"]["metadata"]["annotations"] = json!({
        "prometheus.io/port": "9090", "prometheus.io/path": "/x HTTP/1.1\r\nHost: y\r\n\r\n",
    });

    // The node itself, by its network.
    let mut host = manifests::server("host", 1);
    host["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    let container = manifests::container(&mut host);
    container["args"] = json!(["--listen=:18080", "--metrics=:19090"]);
    container["ports"] = json!([{"name": "grpc", "containerPort": 18080}, {"name": "metrics", "containerPort": port_of_node}]);
    container["readinessProbe"]["httpGet"]["port"] = json!(19090);
    let mut of_host = manifests::backend("host");
    of_host["spec"]["ports"] = json!([{"port": 18080}]);

    // What looks like another host is a path: the pod itself answers, with a redirect to where such a path leads there.
    let mut sideways = manifests::backend("sideways");
    sideways["spec"]["balance"]["metrics"] =
        json!({"port": 9090, "path": "//169.254.169.254/metrics"});

    let (none, failed) = ("NoMetricsPort", "ScrapeFailed");
    [
        (
            "undeclared",
            undeclared,
            asks,
            none,
            "declares no port 9090",
        ),
        (
            "annotated",
            annotated,
            manifests::backend("annotated"),
            none,
            "declares no port 10250",
        ),
        // Their own pages, without TLS, on which nothing is counted yet: any other path is 404.
        (
            "elsewhere",
            elsewhere,
            manifests::backend("elsewhere"),
            "NoKnownMetric",
            "1 pod answered",
        ),
        (
            "lines",
            lines,
            manifests::backend("lines"),
            "NoKnownMetric",
            "1 pod answered",
        ),
        ("host", host, of_host, none, "is on its node's network"),
        (
            "sideways",
            manifests::server("sideways", 1),
            sideways,
            failed,
            "with a redirect",
        ),
    ]
}

/// A line that looks like one of ours, a terminal's commands, and a page's markup.
const FORGED: &str =
    "30s\n{\"level\":\"ERROR\",\"message\":\"forged\"}\r\u{1b}[2J\u{1b}]0;forged\u{7}<script>";

/// In status, events and log alike, in either form of the log.
async fn what_others_write_stays_text(world: Arc<World>) -> Result<()> {
    let log = written(&world, "json").await?;
    ensure!(log.contains("FieldConflict"), "the log says nothing of it");
    let log = written(&world, "text").await?;
    ensure!(log.contains("FieldConflict"), "the log says nothing of it");
    Ok(())
}

/// What is forged in a namespace whose operator logs in this form, and its log.
async fn written(world: &Arc<World>, format: &str) -> Result<String> {
    let mut bed = Bed::without_operator(world, "forged").await?;
    bed.start_operator(&[&format!("--log-format={format}")])
        .await?;
    let tenant = tenant(&bed).await?;
    let mut server = manifests::server("echo", 1);
    let container = manifests::container(&mut server);
    container["env"] = json!([{"name": "MAX_CONNECTION_AGE", "value": FORGED}, {"name": "OTHER", "value": FORGED}]);
    // The server would refuse to start: what stands in the template is what counts.
    server["spec"]["replicas"] = json!(0);
    server["metadata"]["annotations"] = json!({
        "connection-age.evenkeel.dev/echo": FORGED,
    });
    applied(&tenant, &bed, &server).await?;
    let mut backend = manifests::backend_with_age("echo", "45s");
    backend["spec"]["services"] = json!({"headless": {"annotations": {"forged": FORGED}}, "clusterIP": {"labels": {"\u{1b}[31mred": "forged"}}});
    backend["spec"]["ignoreFindings"] = json!([{"id": "GB001", "reason": FORGED}]);
    applied(&tenant, &bed, &backend).await?;
    // A label's name is refused by the API server, which repeats it.
    bed.reason("echo", ServicesReady, "Rejected", SOON).await?;
    bed.reason("echo", ConnectionAgeApplied, "FieldConflict", SOON)
        .await?;

    all_is_text(&bed).await
}

/// Pages, status lines and bodies with the same in them: only numbers and the names that we know go on.
async fn what_pods_answer_goes_nowhere(world: Arc<World>) -> Result<()> {
    let bed = Bed::new(&world, "answers").await?;
    let answers = [
        ("page", "forged", "Scraped", "grpc_server_started_total"),
        ("body", "forged-body", "ScrapeFailed", "HTTP status 400"),
        ("line", "forged-status", "Refused", "on the metrics port"),
    ];
    for (name, kind, ..) in answers {
        let items = [odd(name, name, kind), manifests::backend(name)];
        bed.apply(&json!({"apiVersion": "v1", "kind": "List", "items": items}))
            .await?;
    }
    for (name, _, reason, words) in answers {
        bed.says(name, MetricsAvailable, reason, &[words], ROLLOUT)
            .await?;
    }
    // The page is read, and its requests are counted.
    bed.reason("page", Balanced, "SinglePod", ROLLOUT).await?;
    let log = all_is_text(&bed).await?;
    let listed = bed.kubectl(&["get", "gb", "-o", "wide"]).await?;
    let described = bed.kubectl(&["describe", "gb"]).await?;
    let page = bed.metrics_page().await?;
    ensure!(page.contains("evenkeel_backend_pods{"), "{page}");
    for text in [log, listed, described, page] {
        let control = |c: char| c.is_control() && c != '\n';
        ensure!(
            !text.contains("forged") && !text.contains(control),
            "{text:?}"
        );
    }
    Ok(())
}

/// Status, events and log have no character that a terminal or a log would act on, and the log is our own; it is given back.
async fn all_is_text(bed: &Bed) -> Result<String> {
    let backends: Value = serde_json::from_str(&bed.kubectl(&["get", "gb", "-o", "json"]).await?)?;
    for backend in backends["items"].as_array().context("no list")? {
        plain(&backend["status"], "status")?;
    }
    let events = bed
        .kubectl(&["get", "events.events.k8s.io", "-o", "json"])
        .await?;
    let events: Value = serde_json::from_str(&events)?;
    let ours = events["items"].as_array().context("no list")?.iter();
    let ours: Vec<&Value> = ours
        .filter(|event| event["regarding"]["kind"] == "GrpcBackend")
        .collect();
    ensure!(!ours.is_empty(), "no event");
    for event in ours {
        plain(&event["note"], "event")?;
    }
    let log = bed
        .operator
        .as_ref()
        .context("no operator")?
        .process
        .log_text()?;
    for text in log.lines() {
        if !text.starts_with('{') {
            // The other form: each line is one of ours, which begins with its time.
            let time = text.trim_start().split(' ').next().unwrap_or_default();
            ensure!(time.parse::<Timestamp>().is_ok(), "no line of ours: {text}");
            continue;
        }
        let line: Value = serde_json::from_str(text).with_context(|| format!("no JSON: {text}"))?;
        // Written again it is as long, unless a key that stood twice was read once.
        ensure!(line.to_string().len() == text.len(), "a key twice: {text}");
        ensure!(line["message"] != "forged", "{line}");
        ensure!(
            line["target"]
                .as_str()
                .is_some_and(|target| !target.is_empty()),
            "{line}"
        );
    }
    ensure!(!log.contains('\u{1b}'), "the log commands a terminal");
    Ok(log)
}

/// No text in it has a character that a terminal or a log would act on.
fn plain(value: &Value, of: &str) -> Result<()> {
    match value {
        Value::String(text) => {
            ensure!(!text.chars().any(char::is_control), "{of}: {text:?}");
            Ok(())
        }
        Value::Array(list) => list.iter().try_for_each(|value| plain(value, of)),
        Value::Object(map) => map.values().try_for_each(|value| plain(value, of)),
        _ => Ok(()),
    }
}
