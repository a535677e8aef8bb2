//! The operator as users install it: from its chart and by kustomize, as a pod in a restricted namespace.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, Ready};
use evenkeel::api::GrpcBackend;
use evenkeel_cluster::{Identity, images, monitoring_kinds, until};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, Subject};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT};
use crate::lasting::{lasting, lasts, only_pods};
use crate::manifests;
use crate::tests;
use crate::world::{World, root};

tests![
    installs uninstalled_and_installed_again(600),
    installs limited_to_a_namespace(600),
    installs by_kustomize(600),
    installs a_definition_is_handed_over(300),
    shared every_combination_is_taken(200),
];

pub const SYSTEM: &str = "evenkeel-system";
/// A new operator waits for the Lease of the one before.
pub const TAKES_OVER: Duration = Duration::from_secs(90);

/// The real image, imported: minutes where the binary has to be built, seconds otherwise.
pub async fn image(world: &World) -> Result<()> {
    let archive = tokio::task::spawn_blocking(images::operator).await??;
    world.cluster.import_image(&archive).await
}

/// The release, from the chart as it is.
async fn install(world: &World, further: &[&str]) -> Result<()> {
    bring(world, "install", "charts/evenkeel", further).await
}

/// Installs or upgrades the release from a chart of the repository.
pub async fn bring(world: &World, verb: &str, chart: &str, further: &[&str]) -> Result<()> {
    let namespace = format!("--namespace={SYSTEM}");
    let chart = root().join(chart).display().to_string();
    let bring = [
        verb,
        "evenkeel",
        &chart,
        &namespace,
        "--wait",
        "--timeout=3m",
    ];
    world
        .cluster
        .helm(&[&bring[..], further].concat())
        .await
        .map(drop)
}

/// `helm test` finds the operator at work, and leaves nothing behind.
async fn tested(world: &World) -> Result<()> {
    let namespace = format!("--namespace={SYSTEM}");
    let test = ["test", "evenkeel", &namespace, "--timeout=3m"];
    let said = world.cluster.helm(&test).await?;
    ensure!(said.contains("Succeeded"), "{said}");
    until("the test's pod is gone", ROLLOUT, async || {
        let pods = [&namespace, "get", "pods", "--output=name"];
        let pods = world.cluster.kubectl(&pods).await?;
        ensure!(!pods.contains("test"), "{pods}");
        Ok(Some(()))
    })
    .await
}

/// A namespace that refuses pods which are not restricted.
pub async fn restricted_namespace(world: &World) -> Result<()> {
    world
        .cluster
        .kubectl(&["create", "namespace", SYSTEM])
        .await?;
    let label = "pod-security.kubernetes.io/enforce=restricted";
    world
        .cluster
        .kubectl(&["label", "namespace", SYSTEM, label])
        .await
        .map(drop)
}

/// A backend with an age; that of `echo` also with an account for clients that watch.
fn aged(name: &str) -> Value {
    let mut backend = manifests::backend_with_age(name, "60s");
    if name == "echo" {
        backend["spec"]["endpointWatch"] = json!({"serviceAccount": {"create": true}});
    }
    backend
}

/// Servers that run with an age, and backends that say so.
async fn served(bed: &Bed, servers: &[(&str, u32)]) -> Result<()> {
    for (name, replicas) in servers {
        bed.apply(&manifests::server(name, *replicas)).await?;
        bed.apply(&aged(name)).await?;
    }
    for (name, _) in servers {
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        bed.rolled_out(name).await?;
        bed.reason(name, Ready, "AllReady", ROLLOUT).await?;
    }
    Ok(())
}

async fn uninstalled_and_installed_again(world: Arc<World>) -> Result<()> {
    image(&world).await?;
    restricted_namespace(&world).await?;
    install(&world, &[]).await?;
    tested(&world).await?;
    let bed = Bed::without_operator(&world, "shop").await?;
    users_may(&bed).await?;
    served(&bed, &[("echo", 2), ("stuck", 1)]).await?;
    only_pods(&bed, 3).await?;
    let before = lasting(&bed).await?;
    ensure!(
        before.len() == 18,
        "three pods, twice a Deployment, two Services and the resource, once an account, its Role and binding; and the namespace's \
         own account and three bindings of users: {before:#?}"
    );

    let namespace = format!("--namespace={SYSTEM}");
    world
        .cluster
        .helm(&["uninstall", "evenkeel", &namespace, "--wait"])
        .await?;
    until("the operator is gone", ROLLOUT, async || {
        let pods = world
            .cluster
            .kubectl(&[&namespace, "get", "pods", "--output=name"])
            .await?;
        Ok(pods.trim().is_empty().then_some(()))
    })
    .await?;
    nothing_is_left(&world, OF_A_RELEASE).await?;
    lease_stays(&world).await?;
    let policy =
        r"jsonpath={.metadata.annotations.helm\.sh/resource-policy}{.metadata.deletionTimestamp}";
    let definition = ["get", "crd", DEFINITION, "--output", policy];
    let definition = world.cluster.kubectl(&definition).await?;
    ensure!(definition == "keep", "the definition is {definition:?}");
    lasts(&bed, &before, "without the operator").await?;
    let_go(&bed, "stuck").await?;
    let of_stuck = ["Service stuck", "GrpcBackend stuck"];
    let rest = |what: &&String| !of_stuck.iter().any(|gone| what.starts_with(gone));
    let before: Vec<String> = before.iter().filter(rest).cloned().collect();
    lasts(&bed, &before, "after one was let go").await?;

    install(&world, &[]).await?;
    // Something to do, so that it can be seen that the new one is at work.
    let mut changed = aged("echo");
    changed["spec"]["balance"]["window"] = "15s".into();
    bed.apply(&changed).await?;
    bed.reason("echo", ConnectionAgeApplied, "Applied", TAKES_OVER)
        .await?;
    bed.reason("echo", Ready, "AllReady", TAKES_OVER).await?;
    lasts(&bed, &before, "installed again").await
}

/// What the holders of Kubernetes' own roles may do with GrpcBackends, and with their status.
const MAY: [(&str, [&[&str]; 2]); 3] = [
    ("view", [&READ, &READ]),
    ("edit", [&VERBS, &READ]),
    ("admin", [&VERBS, &READ]),
];
const READ: [&str; 3] = ["get", "list", "watch"];
const VERBS: [&str; 8] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

/// The chart's roles for users are aggregated to those that Kubernetes has: exactly that may be done by those who hold one in a namespace.
async fn users_may(bed: &Bed) -> Result<()> {
    for (role, may) in MAY {
        let user = format!("holder-of-{role}");
        let binding = format!("--user={user}");
        let role_of = format!("--clusterrole={role}");
        bed.kubectl(&["create", "rolebinding", &user, &role_of, &binding])
            .await?;
        let client = bed.world.cluster.client_as(&Identity::user(&user)).await?;
        until(&format!("{user} may exactly that"), ROLLOUT, async || {
            for (resource, may) in ["grpcbackends", "grpcbackends/status"].into_iter().zip(may) {
                for verb in VERBS {
                    let says = can(bed, &client, verb, resource).await?;
                    let said = may.contains(&verb);
                    ensure!(says == said, "{verb} {resource}: {says} instead of {said}");
                }
            }
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}

/// What the API server says, asked as that user.
async fn can(bed: &Bed, user: &Client, verb: &str, resource: &str) -> Result<bool> {
    let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
    let asked = json!({"metadata": {}, "spec": {"resourceAttributes": {
        "namespace": bed.name(), "verb": verb, "group": "evenkeel.dev", "resource": resource, "subresource": part,
    }}});
    let answer = Api::<SelfSubjectAccessReview>::all(user.clone())
        .create(&PostParams::default(), &serde_json::from_value(asked)?)
        .await?;
    Ok(answer.status.context("no answer")?.allowed)
}

/// What makes a definition that is there already Helm's own: as docs/install.md has it.
const HAND_OVER: [&str; 2] = [
    "kubectl annotate crd grpcbackends.evenkeel.dev meta.helm.sh/release-name=evenkeel meta.helm.sh/release-namespace=evenkeel-system",
    "kubectl label crd grpcbackends.evenkeel.dev app.kubernetes.io/managed-by=Helm",
];

/// Applied by hand, with a GrpcBackend of it; then the chart is to have it.
async fn a_definition_is_handed_over(world: Arc<World>) -> Result<()> {
    image(&world).await?;
    restricted_namespace(&world).await?;
    let definition = root().join("crds/grpcbackends.evenkeel.dev.yaml");
    let definition = definition.display().to_string();
    let apply = ["apply", "--server-side", "--filename", &definition];
    world.cluster.kubectl(&apply).await?;
    let bed = Bed::without_operator(&world, "shop").await?;
    bed.echo(1).await?;
    until("the kind is served", ROLLOUT, async || {
        bed.apply(&manifests::backend("echo")).await.map(Some)
    })
    .await?;
    let before = bed.backend("echo").await?.uid();

    let refused = install(&world, &[]).await.err().context("it was taken")?;
    let refused = format!("{refused:#}");
    ensure!(refused.contains("invalid ownership metadata"), "{refused}");
    let page = std::fs::read_to_string(root().join("docs/install.md"))?;
    for command in HAND_OVER {
        ensure!(page.contains(command), "docs/install.md has no {command}");
        let arguments: Vec<&str> = command.split(' ').skip(1).collect();
        world.cluster.kubectl(&arguments).await?;
    }
    install(&world, &[]).await?;
    bed.reason("echo", Ready, "AllReady", ROLLOUT).await?;
    let after = bed.backend("echo").await?.uid();
    ensure!(before == after, "{before:?} is {after:?} now");
    Ok(())
}

/// Whoever installs the operator again finds it; it goes with its namespace.
pub async fn lease_stays(world: &World) -> Result<()> {
    let namespace = format!("--namespace={SYSTEM}");
    let leases = ["get", "leases", &namespace, "--output=name"];
    let leases = world.cluster.kubectl(&leases).await?;
    ensure!(
        leases.contains("/evenkeel"),
        "the Lease is gone: {leases:?}"
    );
    Ok(())
}

pub const DEFINITION: &str = "grpcbackends.evenkeel.dev";
/// The kinds that a release has besides the definition.
pub const OF_A_RELEASE: &str =
    "clusterroles,clusterrolebindings,roles,rolebindings,deployments,services,serviceaccounts";

/// Waits until the release has nothing of these kinds.
pub async fn nothing_is_left(world: &World, kinds: &str) -> Result<()> {
    until("nothing is left of the release", ROLLOUT, async || {
        let ours = "--selector=app.kubernetes.io/instance=evenkeel";
        let left = ["get", kinds, "--all-namespaces", ours, "--output=name"];
        let left = world.cluster.kubectl(&left).await?;
        ensure!(left.trim().is_empty(), "{left}");
        Ok(Some(()))
    })
    .await
}

/// Which GrpcBackends are going, and what lets them: as docs/install.md has it.
const GOING: &str = r#"{range .items[?(@.metadata.deletionTimestamp)]}{.metadata.namespace} {.metadata.name}{"\n"}{end}"#;
pub const LET_GO: &str = r#"{"metadata":{"finalizers":null}}"#;

/// Deletes a GrpcBackend that nobody is there to finish, and lets it go. Its age stays where it is.
async fn let_go(bed: &Bed, name: &str) -> Result<()> {
    let aged = bed.template(name).await?;
    let object = format!("gb/{name}");
    bed.kubectl(&["delete", &object, "--wait=false"]).await?;
    way_out(bed, name).await?;
    bed.gone(&object).await?;
    for service in ["", "-headless"] {
        bed.gone(&format!("service/{name}{service}")).await?;
    }
    manifests::same(&bed.template(name).await?, &aged)
}

/// Finds the one that waits for an operator that is not there, and takes its finalizer away.
pub async fn way_out(bed: &Bed, name: &str) -> Result<()> {
    let page = std::fs::read_to_string(root().join("docs/install.md"))?;
    for command in [GOING, LET_GO] {
        ensure!(page.contains(command), "docs/install.md has no {command}");
    }
    let aged = bed.template(name).await?;
    ensure!(aged.to_string().contains("MAX_CONNECTION_AGE"), "{aged}");
    let backend = bed.backend(name).await?;
    ensure!(
        backend.metadata.deletion_timestamp.is_some()
            && backend.finalizers() == [manifests::FINALIZER],
        "{:?}",
        backend.metadata
    );
    let path = format!("jsonpath={GOING}");
    let kubectl = &bed.world.cluster;
    let going = kubectl.kubectl(&["get", "gb", "-A", "-o", &path]).await?;
    ensure!(going == format!("{} {name}\n", bed.name()), "{going:?}");
    bed.kubectl(&["patch", "gb", name, "--type=merge", "-p", LET_GO])
        .await
        .map(drop)
}

async fn limited_to_a_namespace(world: Arc<World>) -> Result<()> {
    image(&world).await?;
    restricted_namespace(&world).await?;
    let watched = Bed::without_operator(&world, "watched").await?;
    let other = Bed::without_operator(&world, "other").await?;
    install(
        &world,
        &["--set", &format!("watchNamespaces={{{}}}", watched.name())],
    )
    .await?;
    let ours = |subject: &Subject| {
        subject.kind == "ServiceAccount" && subject.namespace.as_deref() == Some(SYSTEM)
    };
    for binding in Api::<ClusterRoleBinding>::all(world.cluster.client().await?)
        .list(&ListParams::default())
        .await?
    {
        let name = binding.name_any();
        ensure!(
            !binding.subjects.unwrap_or_default().iter().any(ours),
            "the ClusterRoleBinding {name} is for the operator"
        );
    }
    for bed in [&other, &watched] {
        bed.echo(1).await?;
        bed.apply(&manifests::backend_with_age("echo", "60s"))
            .await?;
    }
    watched
        .reason("echo", ConnectionAgeApplied, "Applied", TAKES_OVER)
        .await?;
    watched
        .reason("echo", Ready, "AllReady", TAKES_OVER)
        .await?;
    // Applied before the other, and not looked at.
    let backend: GrpcBackend = other.backend("echo").await?;
    let conditions = backend.status.unwrap_or_default().conditions;
    ensure!(
        conditions.is_empty(),
        "a namespace that is not watched: {conditions:?}"
    );
    let generation = other
        .namespace
        .api::<Deployment>()
        .get("echo")
        .await?
        .metadata
        .generation;
    ensure!(
        generation == Some(1),
        "its Deployment is at generation {generation:?}"
    );
    Ok(())
}

async fn by_kustomize(world: Arc<World>) -> Result<()> {
    image(&world).await?;
    let directory = root().join("config/default").display().to_string();
    world
        .cluster
        .kubectl(&["apply", "--kustomize", &directory])
        .await
        .context("kubectl apply -k")?;
    let namespace = format!("--namespace={SYSTEM}");
    world
        .cluster
        .kubectl(&[
            &namespace,
            "rollout",
            "status",
            "deployment/evenkeel",
            "--timeout=3m",
        ])
        .await?;
    let bed = Bed::without_operator(&world, "shop").await?;
    bed.echo(1).await?;
    bed.apply_age(&manifests::backend_with_age("echo", "60s"))
        .await?;
    bed.reason("echo", Ready, "AllReady", ROLLOUT).await?;
    Ok(())
}

/// The API server takes what every combination of values in charts/evenkeel/ci makes, and warns of nothing.
async fn every_combination_is_taken(world: Arc<World>) -> Result<()> {
    for kind in tokio::task::spawn_blocking(monitoring_kinds).await?? {
        let definition = std::fs::read_to_string(kind)?;
        // Of two that apply it first at the same time one is told that it is there already.
        until("the kinds are there", ROLLOUT, async || {
            world.cluster.apply(&definition).await.map(Some)
        })
        .await?;
    }
    // Of a Deployment the policy only warns; it would refuse the pods.
    let labels = json!({"pod-security.kubernetes.io/warn": "restricted"});
    for (name, labels) in [
        (SYSTEM, labels),
        ("shop", json!({})),
        ("warehouse", json!({})),
    ] {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}});
        world.cluster.apply(&namespace.to_string()).await?;
    }
    until("the kinds are served", ROLLOUT, async || {
        let kinds = "servicemonitors,prometheusrules";
        world.cluster.kubectl(&["get", kinds]).await.map(Some)
    })
    .await?;
    let mut combinations = 0;
    let mut tried = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("charts/evenkeel/ci"))? {
        let values = entry?.path();
        let manifest = template(&world, &values).await?;
        taken(&world, &manifest)
            .await
            .with_context(|| values.display().to_string())?;
        combinations += 1;
        // The check itself: it would see a field that does not exist.
        for (field, misspelt) in [
            ("honorLabels", "honorLabel"),
            ("podSelector", "podSelectors"),
        ] {
            let wrong = manifest.replace(&format!("{field}:"), &format!("{misspelt}:"));
            if wrong == manifest || !tried.insert(misspelt) {
                continue;
            }
            let refused = taken(&world, &wrong).await.err();
            let refused = refused.with_context(|| format!("{misspelt} is taken"))?;
            let said = format!("{refused:#}");
            ensure!(said.contains(misspelt), "{said}");
        }
    }
    ensure!(
        combinations > 4 && tried.len() == 2,
        "only {combinations} combinations were found, with {tried:?} misspelt"
    );
    Ok(())
}

async fn template(world: &World, values: &Path) -> Result<String> {
    let chart = root().join("charts/evenkeel").display().to_string();
    let (namespace, values) = (
        format!("--namespace={SYSTEM}"),
        format!("--values={}", values.display()),
    );
    let template = ["template", "evenkeel", &chart, &namespace, &values];
    world.cluster.helm(&template).await
}

async fn taken(world: &World, manifest: &str) -> Result<String> {
    let try_out = [
        "apply",
        "--dry-run=server",
        "--validate=strict",
        "--warnings-as-errors",
        "--filename=-",
    ];
    world
        .cluster
        .kubectl_with(&Identity::Admin, &try_out, manifest)
        .await
}
