//! What Helm makes of the chart, for each combination of values in charts/evenkeel/ci.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::LazyLock;

use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::{document, documents, path, text, yaml_files};

const COMBINATIONS: &str = "charts/evenkeel/ci";
/// What Helm says of a release, and kustomize of nothing.
const OF_A_RELEASE: [&str; 5] = [
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/version",
    "helm.sh/chart",
    "helm.sh/resource-policy",
];

/// What the schema takes and the chart does not read: Helm sets the first in every dependency, and by the second a chart that depends on
/// this one says whether it wants it (`condition: evenkeel.enabled`).
pub const OF_A_DEPENDENCY: [&str; 2] = ["global", "enabled"];

/// What Helm says; an error is what it complains of.
pub fn helm(arguments: &[&str]) -> Result<String, String> {
    static HELM: LazyLock<std::path::PathBuf> =
        LazyLock::new(|| evenkeel_cluster::build_helm().unwrap());
    let output = Command::new(&*HELM).args(arguments).output().unwrap();
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() {
        Ok(said(output.stdout))
    } else {
        Err(said(output.stdout) + &said(output.stderr))
    }
}

pub fn chart() -> String {
    path("charts/evenkeel").display().to_string()
}

/// The objects of a release `evenkeel` in `evenkeel-system`.
pub fn rendered(values: &str) -> Vec<Value> {
    release_of(&chart(), &["--values", &path(values).display().to_string()])
}

fn release_of(chart: &str, further: &[&str]) -> Vec<Value> {
    let release = ["template", "evenkeel", chart, "--namespace=evenkeel-system"];
    let text = helm(&[&release[..], further].concat()).unwrap();
    serde_yaml_ng::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

pub fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    let is_one = |object: &&Value| object["kind"] == kind;
    objects.iter().filter(is_one).collect()
}

#[test]
fn every_combination_passes_the_linter() {
    for values in yaml_files(COMBINATIONS) {
        let (chart, file) = (chart(), path(&values).display().to_string());
        let linted = helm(&["lint", "--strict", &chart, "--values", &file]);
        assert!(linted.is_ok(), "{values}: {}", linted.unwrap_err());
    }
}

/// What kube-score finds wanting in the objects of a release.
fn found_wanting(values: &str, options: &[&str]) -> BTreeSet<String> {
    let (chart, file) = (chart(), path(values).display().to_string());
    let release = [
        "template",
        "evenkeel",
        &chart,
        "--namespace=evenkeel-system",
    ];
    // The pod of `helm test` is no other than with default values, and no policy is made for it.
    let hooks = values.ends_with("/default-values.yaml");
    let hooks: &[&str] = if hooks { &[] } else { &["--no-hooks"] };
    let text = helm(&[&release[..], &["--values", &file], hooks].concat()).unwrap();
    let mut manifests = tempfile::NamedTempFile::new().unwrap();
    manifests.write_all(text.as_bytes()).unwrap();
    let output = Command::new(evenkeel_cluster::build_kube_score().unwrap())
        .args(["score", "--output-format=json"])
        .args(options)
        .arg(manifests.path())
        .output()
        .unwrap();
    let objects: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!objects.is_empty(), "{values}");
    let checks = objects
        .iter()
        .flat_map(|object| object["checks"].as_array().unwrap());
    let wanting = checks.filter(|check| check["skipped"] == false && check["grade"] != 10);
    wanting
        .map(|check| check["check"]["id"].as_str().unwrap().to_owned())
        .collect()
}

/// What is left open stands in the file of the values, no more and no less, and why in the chart's README.
#[test]
fn kube_score_has_nothing_else_to_say() {
    let readme = text("charts/evenkeel/README.md");
    let (_, table) = readme
        .split_once("| check | it misses | because |")
        .unwrap();
    let rows = table.split("\n\n").next().unwrap().lines();
    let argued = rows.filter_map(|row| row.strip_prefix("| `")?.split('`').next());
    let (options, argued): (Vec<&str>, Vec<&str>) = argued.partition(|name| name.starts_with("--"));
    let mut left_open = BTreeSet::new();
    for values in yaml_files(COMBINATIONS) {
        let text = text(&values);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("# kube-score: "));
        let said: BTreeSet<String> = line.unwrap().split(' ').map(str::to_owned).collect();
        assert_eq!(found_wanting(&values, &options), said, "{values}");
        left_open.extend(said);
    }
    let argued: BTreeSet<String> = argued.into_iter().map(str::to_owned).collect();
    assert_eq!(left_open, argued, "the files, and the table of the README");
}

#[test]
fn every_value_is_set_by_a_combination() {
    let schema: Value = serde_json::from_str(&text("charts/evenkeel/values.schema.json")).unwrap();
    let mut missing: BTreeSet<String> = values("", &schema).collect();
    missing.retain(|place| !OF_A_DEPENDENCY.contains(&&place[1..]));
    assert!(missing.contains("/image/digest"), "{missing:?}");
    for combination in yaml_files(COMBINATIONS) {
        let set = document(&combination);
        missing.retain(|place| set.pointer(place).is_none());
    }
    assert!(
        missing.is_empty(),
        "no file of {COMBINATIONS} sets {missing:?}"
    );
}

fn keys(object: &Value) -> BTreeSet<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

/// Where the schema has values, but for what is within those that are an object's own, such as tolerations.
fn values(place: &str, schema: &Value) -> Box<dyn Iterator<Item = String>> {
    const AS_PODS_HAVE_THEM: [&str; 1] = ["/affinity"];
    match schema["properties"].as_object() {
        Some(fields) if !AS_PODS_HAVE_THEM.contains(&place) => {
            let inner: Vec<_> = fields
                .iter()
                .flat_map(|(name, field)| values(&format!("{place}/{name}"), field))
                .collect();
            Box::new(inner.into_iter())
        }
        _ => Box::new(std::iter::once(place.to_owned())),
    }
}

#[test]
fn every_object_has_the_common_labels() {
    let everything = "serviceMonitor.enabled=true,prometheusRule.enabled=true,grafanaDashboard.enabled=true,\
                      networkPolicy.enabled=true,podDisruptionBudget.enabled=true,commonLabels.team=platform";
    for limited in ["", ",watchNamespaces={shop}"] {
        let sets = format!("{everything}{limited}");
        let text = helm(&["template", "evenkeel", &chart(), "--set", &sets]).unwrap();
        let mut objects = 0;
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            let object = Value::deserialize(document).unwrap();
            let name = format!("{} {}", object["kind"], object["metadata"]["name"]);
            assert_eq!(object["metadata"]["labels"]["team"], "platform", "{name}");
            objects += 1;
        }
        assert!(objects > 14, "{objects} objects");
    }
    let refused = "commonLabels.app\\.kubernetes\\.io/name=other";
    assert!(helm(&["template", "evenkeel", &chart(), "--set", refused]).is_err());
}

#[test]
fn every_pod_is_restricted() {
    for values in yaml_files(COMBINATIONS) {
        let objects = rendered(&values);
        let deployments = of_kind(&objects, "Deployment").into_iter();
        let pods = deployments.map(|deployment| &deployment["spec"]["template"]["spec"]);
        let of_tests = of_kind(&objects, "Pod").into_iter().map(|pod| &pod["spec"]);
        for pod in pods.chain(of_tests) {
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{values}");
            assert_eq!(
                security["seccompProfile"]["type"], "RuntimeDefault",
                "{values}"
            );
            let container = &pod["containers"][0];
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{values}");
            assert_eq!(security["readOnlyRootFilesystem"], true, "{values}");
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{values}");
            let serves = pod["restartPolicy"] != "Never";
            for probe in ["livenessProbe", "readinessProbe"] {
                assert_eq!(container[probe].is_object(), serves, "{values}: {probe}");
            }
            assert!(
                container["resources"]["limits"]["memory"].is_string(),
                "{values}"
            );
        }
    }
}

/// A budget that selects no pod keeps none, and a constraint that does spreads none; nobody would be told.
#[test]
fn what_selects_pods_selects_those_of_the_operator() {
    let objects = rendered("charts/evenkeel/ci/highly-available-values.yaml");
    let template = &of_kind(&objects, "Deployment")[0]["spec"]["template"];
    let selects = |selector: &Value| {
        let mut labels = selector["matchLabels"].as_object().unwrap().iter();
        labels.len() > 0 && labels.all(|(key, value)| template["metadata"]["labels"][key] == *value)
    };
    let budget = of_kind(&objects, "PodDisruptionBudget")[0];
    assert!(selects(&budget["spec"]["selector"]), "{budget}");
    let constraints = template["spec"]["topologySpreadConstraints"]
        .as_array()
        .unwrap();
    // One is written without a selector, and one with its own.
    assert_eq!(constraints.len(), 2);
    for constraint in constraints {
        assert!(selects(&constraint["labelSelector"]), "{constraint}");
    }
}

#[test]
fn what_helm_test_runs_is_no_operator_and_has_no_rights() {
    for values in yaml_files(COMBINATIONS) {
        let objects = rendered(&values);
        let pods = of_kind(&objects, "Pod");
        assert_eq!(pods.len(), 1, "{values}");
        let annotations = &pods[0]["metadata"]["annotations"];
        assert_eq!(annotations["helm.sh/hook"], "test", "{values}");
        let spec = &pods[0]["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false, "{values}");
        assert!(spec["serviceAccountName"].is_null(), "{values}");
        // Else the Service would lead to it, and the Deployment would take it for its own.
        let selector = &of_kind(&objects, "Deployment")[0]["spec"]["selector"]["matchLabels"];
        let labels = &pods[0]["metadata"]["labels"];
        let name = "app.kubernetes.io/name";
        assert_ne!(labels[name], selector[name], "{values}");
    }
}

#[test]
fn limited_to_namespaces_nothing_is_cluster_wide() {
    let objects = rendered("charts/evenkeel/ci/namespaces-only-values.yaml");
    assert!(!objects.is_empty());
    for object in &objects {
        let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
        assert!(
            object["metadata"]["namespace"].is_string(),
            "{kind} {name} is cluster-wide"
        );
    }
    let roles = of_kind(&objects, "Role");
    let places: BTreeSet<&str> = roles
        .iter()
        .map(|role| role["metadata"]["namespace"].as_str().unwrap())
        .collect();
    assert_eq!(
        places,
        BTreeSet::from(["evenkeel-system", "shop", "warehouse"])
    );
}

#[test]
fn the_definition_is_kept_unless_it_is_not_to_be() {
    for (file, kept) in [("default", true), ("locked-down", false)] {
        let objects = rendered(&format!("{COMBINATIONS}/{file}-values.yaml"));
        let definitions = of_kind(&objects, "CustomResourceDefinition");
        assert_eq!(definitions.len(), 1, "{file}");
        let policy = &definitions[0]["metadata"]["annotations"]["helm.sh/resource-policy"];
        assert_eq!(*policy == json!("keep"), kept, "{file}");
    }
    let objects = rendered("charts/evenkeel/ci/rights-from-elsewhere-values.yaml");
    assert!(of_kind(&objects, "CustomResourceDefinition").is_empty());
}

#[test]
fn a_digest_goes_before_a_tag() {
    let objects = rendered("charts/evenkeel/ci/locked-down-values.yaml");
    let image =
        &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["image"];
    assert!(
        image
            .as_str()
            .unwrap()
            .starts_with("registry.example.com/mirror/evenkeel@sha256:0123"),
        "{image}"
    );
}

#[test]
fn labels_for_prometheus_are_one_argument() {
    let objects = rendered("charts/evenkeel/ci/locked-down-values.yaml");
    let container = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"];
    let arguments = container[0]["args"].as_array().unwrap();
    let expected = json!("--prometheus-matchers=_region=eu,cluster=prod \"1\"");
    assert!(arguments.contains(&expected), "{arguments:#?}");
}

#[test]
fn kustomize_makes_what_the_chart_makes() {
    let named = |objects: Vec<Value>| -> Vec<(String, Value)> {
        let mut named: Vec<_> = objects
            .into_iter()
            .filter(|object| object["kind"] != "Namespace")
            .map(|mut object| {
                without_release(&mut object);
                let name = &object["metadata"]["name"];
                (format!("{} {name}", object["kind"]), object)
            })
            .collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        named
    };
    let mut release = rendered("charts/evenkeel/ci/default-values.yaml");
    // kustomize has nothing that is only made for a while.
    release.retain(|object| object["metadata"]["annotations"]["helm.sh/hook"].is_null());
    let chart = named(release);
    let plain = named(kustomized("config/default"));
    let titles = |objects: &[(String, Value)]| -> Vec<String> {
        objects.iter().map(|(name, _)| name.clone()).collect()
    };
    assert_eq!(
        titles(&chart),
        titles(&plain),
        "the chart's objects and those of config/default"
    );
    for ((name, chart), (_, plain)) in chart.iter().zip(&plain) {
        let found = difference(chart, plain, "");
        assert!(found.is_none(), "{name}: {}", found.unwrap());
    }
}

/// The first place where two objects differ. Helm writes large numbers as 1e+06.
fn difference(chart: &Value, plain: &Value, place: &str) -> Option<String> {
    match (chart, plain) {
        (Value::Object(a), Value::Object(b)) => a
            .keys()
            .chain(b.keys())
            .find_map(|key| difference(&chart[key], &plain[key], &format!("{place}.{key}"))),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            (0..a.len()).find_map(|at| difference(&a[at], &b[at], &format!("{place}[{at}]")))
        }
        _ if chart == plain || chart.as_f64().is_some_and(|a| Some(a) == plain.as_f64()) => None,
        _ => Some(format!(
            "{place} is {chart} in the chart, and {plain} in config/"
        )),
    }
}

/// The objects of a kustomization that only lists files and directories, as ours do.
fn kustomized(directory: &str) -> Vec<Value> {
    let kustomization = document(&format!("{directory}/kustomization.yaml"));
    let known = BTreeSet::from(["apiVersion", "kind", "resources"].map(str::to_owned));
    assert_eq!(
        keys(&kustomization),
        known,
        "{directory}: teach this test what it changes"
    );
    let mut objects = Vec::new();
    for resource in kustomization["resources"].as_array().unwrap() {
        let place = format!("{directory}/{}", resource.as_str().unwrap());
        if path(&place).is_dir() {
            objects.extend(kustomized(&place));
        } else {
            objects.extend(documents(&place));
        }
    }
    objects
}

/// Takes away what says which release an object is of, and the labels of the object itself, by which nothing is selected.
fn without_release(object: &mut Value) {
    if let Some(labels) = object["metadata"]["labels"].as_object_mut() {
        labels.remove("app.kubernetes.io/name");
    }
    prune(object);
}

fn prune(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for key in OF_A_RELEASE {
                fields.remove(key);
            }
            fields.values_mut().for_each(prune);
            for key in ["labels", "annotations"] {
                if fields
                    .get(key)
                    .is_some_and(|map| *map == json!({}) || map.is_null())
                {
                    fields.remove(key);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}

#[test]
fn the_schema_takes_nothing_that_it_does_not_name() {
    let schema: Value = serde_json::from_str(&text("charts/evenkeel/values.schema.json")).unwrap();
    let mut open = Vec::new();
    closed(&schema, "", &mut open);
    // What Helm itself puts into a chart that is a dependency.
    open.retain(|place| place != "/properties/global");
    assert!(open.is_empty(), "anything may be put into {open:?}");
}

fn closed(schema: &Value, place: &str, open: &mut Vec<String>) {
    let Some(fields) = schema.as_object() else {
        return;
    };
    // A map of strings and the like has a schema for its values.
    let named = fields.get("additionalProperties");
    if schema["type"] == "object" && named.is_none_or(|named| *named == json!(true)) {
        open.push(place.to_owned());
    }
    for (key, inner) in fields {
        match inner {
            Value::Array(choices) => {
                for choice in choices {
                    closed(choice, &format!("{place}/{key}"), open);
                }
            }
            _ => closed(inner, &format!("{place}/{key}"), open),
        }
    }
}

#[test]
fn what_is_not_a_value_is_refused() {
    let chart = chart();
    for unknown in [
        "replicas=2",
        "image.name=evenkeel",
        "livenessProbe.httpGet.path=/",
        "affinity.nodeAffinity.preferred=1",
        "networkPolicy.metricsFrom[0].namespace=monitoring",
        "env[0].name=POD_NAME",
        "prometheusRule.disabled={Watchdog}",
        "prometheusRule.disabled={EvenkeelFewClient}",
        // Each alert has its own, and two backends would become one.
        "prometheusRule.alertLabels.severity=page",
        "prometheusRule.alertLabels.namespace=monitoring",
        "podLabels.app\\.kubernetes\\.io/name=other",
        "serviceMonitor.labels.app\\.kubernetes\\.io/instance=other",
        "prometheusRule.labels.helm\\.sh/chart=other",
        "grafanaDashboard.labels.app\\.kubernetes\\.io/version=other",
        "serviceAccount.name=Evenkeel",
        // With these every rollout would be over its deadline as it begins.
        "rolloutDeadline=0s",
        "rolloutDeadline=0h500ms",
        // These would evict nobody, for ever.
        "podDisruptionBudget.maxUnavailable=0",
        "podDisruptionBudget.maxUnavailable=0%",
        // With these the operator ends at once, since it would log nothing.
        "logging.filter=warning",
        "logging.filter=",
        "logging.filter=info\\,evenkeel",
        "logging.filter=info\\, evenkeel=debug",
        "logging.filter=evenkeel=verbose",
        // With these too.
        "prometheus.url=https://prometheus:9090",
        "prometheus.url=http://prometheus:9090,prometheus.tokenSecret=token",
        "prometheus.matchers.cluster=prod",
        "prometheus.url=http://prometheus,prometheus.matchers.pod=a",
        "prometheus.url=http://prometheus,prometheus.matchers.a-b=c",
        "prometheus.url=http://prometheus,prometheus.matchers.cluster=",
        "prometheus.url=http://prometheus,prometheus.matchers.cluster=a\\,b",
        // The kubelet would put a variable there.
        "prometheus.url=http://prometheus,prometheus.matchers.cluster=$(A)",
    ] {
        let refused = helm(&["template", "evenkeel", &chart, "--set", unknown]);
        let said = refused.expect_err(unknown);
        assert!(
            said.contains("don't meet the specifications of the schema"),
            "{unknown}: {said}"
        );
    }
}

/// As teams have it that install all of theirs by one chart, by Argo CD above all.
#[test]
fn it_may_be_a_dependency_with_a_condition() {
    let umbrella = tempfile::tempdir().unwrap();
    let within = |name: &str| umbrella.path().join(name);
    let version = env!("CARGO_PKG_VERSION");
    let manifest = json!({
        "apiVersion": "v2", "name": "platform", "version": "1.0.0",
        "dependencies": [{"name": "evenkeel", "version": version, "condition": "evenkeel.enabled"}],
    });
    fs::write(within("Chart.yaml"), manifest.to_string()).unwrap();
    let global = json!({"global": {"imageRegistry": "registry.example.com"}});
    fs::write(within("values.yaml"), global.to_string()).unwrap();
    fs::create_dir(within("charts")).unwrap();
    symlink(path("charts/evenkeel"), within("charts/evenkeel")).unwrap();
    let platform = umbrella.path().display().to_string();
    let enabled = |enabled| {
        release_of(
            &platform,
            &["--set", &format!("evenkeel.enabled={enabled}")],
        )
    };
    let alone = rendered("charts/evenkeel/ci/default-values.yaml");
    assert_eq!(enabled(true), alone);
    assert!(enabled(false).is_empty());
}

#[test]
fn the_alerts_are_those_of_the_release() {
    let release = ["template", "balance", &chart(), "--namespace=elsewhere"];
    let values = [
        "--values",
        &path("charts/evenkeel/ci/monitored-values.yaml")
            .display()
            .to_string(),
    ];
    let only = ["--show-only", "templates/prometheusrule.yaml"];
    let text = helm(&[&release[..], &values, &only].concat()).unwrap();
    assert!(!text.contains("evenkeel-system"), "{text}");
    let rule: Value = serde_yaml_ng::from_str(&text).unwrap();
    let groups = rule["spec"]["groups"].as_array().unwrap().iter();
    let alerts: Vec<&Value> = groups
        .flat_map(|group| group["rules"].as_array().unwrap())
        .collect();
    assert!(alerts.len() > 4, "only {} alerts", alerts.len());
    for alert in alerts {
        let name = alert["alert"].as_str().unwrap();
        assert_ne!(name, "EvenkeelFewClients", "it was not wanted");
        assert!(
            alert["expr"]
                .as_str()
                .unwrap()
                .contains(r#"job="elsewhere/balance-evenkeel-metrics""#),
            "{name}"
        );
        assert_eq!(alert["labels"]["team"], "platform", "{name}");
        let page = format!("https://runbooks.example.com/evenkeel/{name}.md");
        assert_eq!(alert["annotations"]["runbook_url"], page.as_str(), "{name}");
    }
}

/// What a release of this name and namespace makes of the settings.
fn made(release: &str, namespace: &str, settings: &str) -> Vec<Value> {
    let namespace = format!("--namespace={namespace}");
    let text = helm(&["template", release, &chart(), &namespace, "--set", settings]);
    serde_yaml_ng::Deserializer::from_str(&text.unwrap())
        // A key that stands twice is refused here, as by kustomize.
        .map(|document| Value::deserialize(document).unwrap())
        .filter(|document| !document.is_null())
        .collect()
}

const MONITORED: &str =
    "serviceMonitor.enabled=true,prometheusRule.enabled=true,grafanaDashboard.enabled=true";

#[test]
fn a_label_of_one_object_goes_before_that_of_all() {
    let settings = format!(
        "{MONITORED},commonLabels.team=all,podLabels.team=one,serviceMonitor.labels.team=one,\
         prometheusRule.labels.team=one,grafanaDashboard.labels.team=one"
    );
    for object in made("evenkeel", "evenkeel-system", &settings) {
        let kind = object["kind"].as_str().unwrap();
        let own = ["ServiceMonitor", "PrometheusRule", "ConfigMap"].contains(&kind);
        let team = &object["metadata"]["labels"]["team"];
        assert_eq!(team, if own { "one" } else { "all" }, "{kind}");
        if kind == "Deployment" {
            let of_pods = &object["spec"]["template"]["metadata"]["labels"];
            assert_eq!(of_pods["team"], "one");
            assert_eq!(of_pods["app.kubernetes.io/name"], "evenkeel");
        }
    }
}

#[test]
fn a_group_without_rules_is_left_out() {
    let disabled = "EvenkeelNoLeader,EvenkeelReconcileErrors,EvenkeelReconcileSlow";
    let settings = format!("{MONITORED},prometheusRule.disabled={{{disabled}}}");
    let objects = made("evenkeel", "evenkeel-system", &settings);
    let groups = &of_kind(&objects, "PrometheusRule")[0]["spec"]["groups"];
    let groups = groups.as_array().unwrap();
    assert_eq!(groups.len(), 1, "{groups:#?}");
    assert!(!groups[0]["rules"].as_array().unwrap().is_empty());
}

/// Words that YAML takes for something else, and names that no Service can have.
#[test]
fn a_name_is_a_name() {
    for name in ["on", "no", "null", "true", "y"] {
        let chart = chart();
        let strings = ["fullnameOverride", "nameOverride", "serviceAccount.name"]
            .map(|value| format!("--set-string={value}={name}"));
        let strings = strings.each_ref().map(String::as_str);
        let text = helm(&[&["template", "a", &chart, "--set", MONITORED], &strings[..]].concat());
        for document in serde_yaml_ng::Deserializer::from_str(&text.unwrap()) {
            let object = Value::deserialize(document).unwrap();
            let metadata = &object["metadata"];
            assert!(metadata["name"].is_string(), "{name}: {metadata}");
            for label in metadata["labels"].as_object().unwrap().values() {
                assert!(label.is_string(), "{name}: {metadata}");
            }
            for rule in object["rules"].as_array().into_iter().flatten() {
                for of in rule["resourceNames"].as_array().into_iter().flatten() {
                    assert_eq!(of, name);
                }
            }
            for subject in object["subjects"].as_array().into_iter().flatten() {
                assert_eq!(subject["name"], name);
            }
        }
    }
    for release in ["2nd", "a.b"] {
        let said = helm(&["template", release, &chart()]).expect_err(release);
        assert!(said.contains("set fullnameOverride"), "{said}");
        helm(&[
            "template",
            release,
            &chart(),
            "--set",
            "fullnameOverride=second",
        ])
        .unwrap();
    }
}

/// What is said of backends has their namespace, so that only the job tells who says it.
#[test]
fn releases_of_one_name_are_told_apart() {
    let here = made("evenkeel", "here", MONITORED);
    let there = made("evenkeel", "there", MONITORED);
    let monitor = of_kind(&here, "ServiceMonitor")[0];
    let relabeling = &monitor["spec"]["endpoints"][0]["relabelings"][0];
    let job = json!({"targetLabel": "job", "replacement": "here/evenkeel-metrics"});
    assert_eq!(relabeling, &job);
    let alerts = of_kind(&here, "PrometheusRule")[0].to_string();
    assert!(
        alerts.contains(r#"job=\"here/evenkeel-metrics\""#),
        "{alerts}"
    );
    let [one, other] = [&here, &there].map(|release| {
        let map = of_kind(release, "ConfigMap")[0];
        let (file, text) = map["data"].as_object().unwrap().iter().next().unwrap();
        let dashboard: Value = serde_json::from_str(text.as_str().unwrap()).unwrap();
        let uid = dashboard["uid"].as_str().unwrap().to_owned();
        assert!(uid.len() <= 40, "Grafana's bound: {uid}");
        (file.clone(), uid, dashboard["title"].to_string())
    });
    assert_ne!(one.0, other.0);
    assert_ne!(one.1, other.1);
    assert_ne!(one.2, other.2);
}

/// All releases have their Role for the cluster's DNS in kube-system, wherever they are themselves and watch.
#[test]
fn roles_in_kube_system_are_told_apart() {
    const DNS: &str = "findings.readClusterDNS=true";
    for settings in [DNS, &format!("{DNS},watchNamespaces={{shop}}")] {
        let [here, there] = ["here", "there"].map(|namespace| {
            let objects = made("evenkeel", namespace, settings);
            let in_system = |kind: &str| {
                let mut all = of_kind(&objects, kind);
                all.retain(|own| own["metadata"]["namespace"] == "kube-system");
                assert_eq!(all.len(), 1, "{settings}: {kind}");
                all[0].clone()
            };
            let (role, binding) = (in_system("Role"), in_system("RoleBinding"));
            let name = role["metadata"]["name"].clone();
            assert_eq!(binding["metadata"]["name"], name, "{settings}");
            assert_eq!(binding["roleRef"]["name"], name, "{settings}");
            assert_eq!(binding["subjects"][0]["namespace"], namespace, "{settings}");
            let resources = &role["rules"][0]["resources"];
            assert_eq!(resources, &json!(["configmaps"]), "{settings}");
            name
        });
        assert_ne!(here, there, "{settings}");
    }
    // Nobody else gets it.
    let objects = made("evenkeel", "here", "watchNamespaces={shop}");
    let mut roles = of_kind(&objects, "Role").into_iter();
    assert!(roles.all(|own| own["metadata"]["namespace"] != "kube-system"));
}

/// The notes say what is there, and not what might be.
#[test]
fn the_notes_are_of_the_release() {
    let alerts = "See its metrics and alerts";
    for values in yaml_files(COMBINATIONS) {
        let (chart, file) = (chart(), path(&values).display().to_string());
        let said = helm(&[
            "install",
            "evenkeel",
            &chart,
            "--dry-run=client",
            "--values",
            &file,
        ])
        .unwrap();
        let notes = said.split_once("NOTES:").expect(&values).1;
        let set = document(&values);
        let enabled = |value: &str| set[value]["enabled"] == true;
        let both = enabled("serviceMonitor") && enabled("prometheusRule");
        assert_eq!(notes.contains(alerts), both, "{values}: {notes}");
        let none = set["crds"]["enabled"] == false;
        let missing = "The CustomResourceDefinition was not installed";
        assert_eq!(notes.contains(missing), none, "{values}: {notes}");
        assert!(!notes.contains("<no value>"), "{values}: {notes}");
    }
    let chart = chart();
    let monitor = "serviceMonitor.enabled=true";
    let said = helm(&[
        "install",
        "evenkeel",
        &chart,
        "--dry-run=client",
        "--set",
        monitor,
    ]);
    let said = said.unwrap();
    assert!(!said.contains(alerts), "there are none: {said}");
}
