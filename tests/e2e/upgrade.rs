//! From the last packaged chart to the one at hand and back, and away with everything: as docs/install.md says.
//!
//! `tests/upgrade` has that chart and what users may have stored under it. The image is today's for both: no other is to be had.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::ConditionType::{Balanced, ConnectionAgeApplied, Ready};
use evenkeel::api::GrpcBackend;
use evenkeel_cluster::until;
use jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde::Deserialize as _;
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT};
use crate::helm::{
    DEFINITION, OF_A_RELEASE, SYSTEM, TAKES_OVER, bring, image, lease_stays, nothing_is_left,
    restricted_namespace, way_out,
};
use crate::lasting::{lasting, lasts, only_pods};
use crate::manifests::{self, none_of_our_fields, same};
use crate::tests;
use crate::versions::{conditions, each};
use crate::world::{World, root};

tests![
    installs stored_resources_outlive_an_upgrade(720),
    installs nothing_is_left_without_the_definition(600),
    installs what_still_holds_an_age_is_let_go(600),
];

/// Of what the rules of today refuse.
const WITH_AN_AGE: &str = "climbing";
const BEFORE: &str = "tests/upgrade/evenkeel-0.1.0.tgz";
/// That chart knew the image by another name.
const IMAGE: &str = "--set=image.repository=ghcr.io/evenkeel/evenkeel";
const NOW: &str = "charts/evenkeel";
/// As the API server knows the operator of the release.
const OPERATOR: &str = "system:serviceaccount:evenkeel-system:evenkeel";
/// More than the three windows of ten seconds that make a verdict.
const JUDGED: Duration = Duration::from_secs(40);
/// Rollouts of all servers, a few at a time.
const SERVED: Duration = Duration::from_mins(3);

/// What a GrpcBackend asks for, and what each of its conditions says.
#[derive(Debug)]
struct Said {
    asked: String,
    conditions: BTreeMap<String, String>,
}

impl Said {
    fn of(backend: &GrpcBackend) -> Result<Self> {
        let spec = serde_json::to_string(&backend.spec)?;
        let says =
            |(kind, status, reason, since)| (kind, format!("{status} {reason} since {since}"));
        Ok(Self {
            asked: format!("{spec} {:?}", backend.uid()),
            conditions: conditions(backend).into_iter().map(says).collect(),
        })
    }

    /// Time alone brings what comes after warming up, and nothing else; and nothing has become uneven.
    fn stands(&self, now: &Self) -> bool {
        let kept = |(kind, says): (&String, &String)| {
            let warmed_up = says.contains(" WarmingUp ");
            let now = now.conditions.get(kind);
            now.is_some_and(|now| now == says || warmed_up && !now.starts_with("False "))
        };
        self.asked == now.asked
            && self.conditions.len() == now.conditions.len()
            && self.conditions.iter().all(kept)
    }
}

async fn said(bed: &Bed) -> Result<BTreeMap<String, Said>> {
    let backends = bed.namespace.api::<GrpcBackend>();
    let list = backends.list(&ListParams::default()).await?;
    let say = |backend: &GrpcBackend| Ok((backend.name_any(), Said::of(backend)?));
    list.items.iter().map(say).collect()
}

/// Ends only when something is said that was not said before; counts what it has seen.
async fn flaps(bed: &Bed, before: &BTreeMap<String, Said>, seen: &Cell<usize>) -> Result<()> {
    each(bed, |backend| {
        seen.set(seen.get() + 1);
        if let Some(told) = before.get(&backend.name_any()) {
            let now = Said::of(&backend)?;
            ensure!(told.stands(&now), "{now:#?}\nbefore: {told:#?}");
        }
        Ok(ControlFlow::Continue(()))
    })
    .await
}

/// Everything stored has been looked at, and the last word is said: the same for as long as a verdict takes.
async fn settled(bed: &Bed, stored: usize) -> Result<BTreeMap<String, Said>> {
    until("all is quiet", SERVED, async || {
        let now = said(bed).await?;
        let looked_at = |said: &&Said| said.conditions.contains_key("Ready");
        let looked_at = now.values().filter(looked_at).count();
        ensure!(
            looked_at == stored,
            "{looked_at} of {stored} were looked at"
        );
        // What the last rollout was about is said a round of scrapes after its end.
        let rolls = |(_, said): &(&String, &Said)| {
            let mut says = said.conditions.values();
            says.any(|says| says.contains(" RollingOut "))
        };
        if let Some((name, _)) = now.iter().find(rolls) {
            bail!("{name} is said to roll out");
        }
        let seen = Cell::new(0);
        let flapped = tokio::time::timeout(JUDGED, flaps(bed, &now, &seen)).await;
        ensure!(seen.get() >= stored, "the watch showed {}", seen.get());
        Ok(flapped.is_err().then_some(now))
    })
    .await
}

/// Servers for those of the stored shapes that the test's server has a knob for, with their names.
fn servers() -> [(&'static str, Value); 6] {
    let server = |name: &str, app: &str, port: u16| {
        let mut server = manifests::server(name, 1);
        let labels = json!({"app": app, "tier": "backend", "workload": name});
        server["spec"]["selector"]["matchLabels"] = labels.clone();
        server["spec"]["template"]["metadata"]["labels"] = labels;
        let container = manifests::container(&mut server);
        container["args"] = json!([format!("--listen=:{port}")]);
        container["ports"][0]["containerPort"] = json!(port);
        server
    };
    // What both of its workloads do not have yet takes turns of a minute: this one's owner was first.
    let mut second = server("catalog-v2", "catalog", 8081);
    if let Some(env) = manifests::container(&mut second)["env"].as_array_mut() {
        env.push(json!({"name": "MAX_CONNECTION_AGE", "value": "1m30s"}));
        env.push(json!({"name": "MAX_CONNECTION_AGE_GRACE", "value": "30s"}));
    }
    [
        ("rng", server("rng", "rng", 8081)),
        ("gateway", server("gateway", "gateway", 8080)),
        ("assistant", server("assistant", "assistant", 8080)),
        ("scorer", server("scorer", "scorer", 8080)),
        ("catalog", server("catalog-v1", "catalog", 8081)),
        ("catalog", second),
    ]
}

/// The stored shapes with the pods of some, and a backend beside them that is judged by its load; how many there are in all.
async fn stored(bed: &Bed) -> Result<usize> {
    let corpus = std::fs::read_to_string(root().join("tests/upgrade/stored.yaml"))?;
    let servers = servers();
    let workloads = servers.iter().map(|(_, workload)| workload.clone());
    let workloads: Vec<Value> = workloads.chain([manifests::server("even", 2)]).collect();
    bed.apply(&json!({"apiVersion": "v1", "kind": "List", "items": workloads}))
        .await?;
    for workload in &workloads {
        let name = workload["metadata"]["name"].as_str().unwrap_or_default();
        bed.rolled_out(name).await?;
    }
    bed.kubectl_with(&["apply", "-f", "-"], &corpus).await?;
    bed.apply(&manifests::backend("even")).await?;
    let target = format!("dns:///even-headless.{}.svc.cluster.local:8080", bed.name());
    bed.client("client", &target, &["--rate=40"]).await?;
    for (name, _) in servers {
        bed.reason(name, ConnectionAgeApplied, "Applied", SERVED)
            .await?;
    }
    bed.reason("even", Balanced, "Balanced", SERVED).await?;
    only_pods(bed, workloads.len() + 2).await?;
    let stored = corpus.matches("kind: GrpcBackend").count();
    ensure!(stored > 10, "only {stored} shapes");
    Ok(stored + 1)
}

/// What the rules of today refuse, stored under the definition before them, and one of it with an age; in a namespace of its own.
async fn narrowed(world: &Arc<World>) -> Result<(Bed, Vec<Value>)> {
    let bed = Bed::without_operator(world, "narrowed").await?;
    bed.deploy(&manifests::server(WITH_AN_AGE, 1)).await?;
    let text = std::fs::read_to_string(root().join("tests/upgrade/narrowed.yaml"))?;
    let documents = serde_yaml_ng::Deserializer::from_str(&text);
    let backends: Vec<Value> = documents
        .map(Value::deserialize)
        .collect::<Result<_, _>>()?;
    bed.apply(&json!({"apiVersion": "v1", "kind": "List", "items": backends}))
        .await?;
    looked_at(&bed, backends.len()).await?;
    bed.reason(WITH_AN_AGE, ConnectionAgeApplied, "Applied", SERVED)
        .await?;
    Ok((bed, backends))
}

/// Waits until the operator has written of every GrpcBackend what it says to its newest spec.
async fn looked_at(bed: &Bed, count: usize) -> Result<()> {
    let backends = bed.namespace.api::<GrpcBackend>();
    until("all were looked at", SERVED, async || {
        let mut list = backends.list(&ListParams::default()).await?.items;
        list.retain(|backend| {
            let status = backend.status.as_ref();
            status.and_then(|status| status.observed_generation) == backend.metadata.generation
        });
        ensure!(list.len() == count, "{} of {count} were", list.len());
        Ok(Some(()))
    })
    .await
}

/// None of it could be made today, and yet it can be changed elsewhere, its status written, and it can go: with the age that it has.
async fn is_served_until_it_goes(bed: Bed, backends: &[Value]) -> Result<()> {
    for backend in backends {
        let text = |pointer: &str| backend.pointer(pointer).and_then(Value::as_str);
        let name = text("/metadata/name").context("no name")?;
        let rule = text("/metadata/annotations/breaks").context("no rule")?;
        let place = rule.trim_start_matches('.').split(' ').next();
        let mut another = backend.clone();
        another["metadata"]["name"] = json!("another");
        let create = ["create", "--dry-run=server", "-f", "-"];
        let Err(refused) = bed.kubectl_with(&create, &another.to_string()).await else {
            bail!("{name} can still be made");
        };
        let refused = format!("{refused:#}");
        let by_the_rule = place.is_some_and(|place| refused.contains(&format!("{place}: Invalid")));
        ensure!(by_the_rule, "{name}: {refused}");
        let elsewhere = json!({"balance": {"window": "90s"}});
        bed.change(name, &elsewhere).await?;
    }
    looked_at(&bed, backends.len()).await?;
    bed.rolled_out(WITH_AN_AGE).await?;
    bed.finish().await
}

async fn stored_resources_outlive_an_upgrade(world: Arc<World>) -> Result<()> {
    image(&world).await?;
    restricted_namespace(&world).await?;
    let values = ["--set=replicaCount=2", IMAGE];
    bring(&world, "install", BEFORE, &values).await?;
    let bed = Bed::without_operator(&world, "shop").await?;
    let stored = stored(&bed).await?;
    let (refused, backends) = narrowed(&world).await?;
    let told = settled(&bed, stored).await?;
    let there = lasting(&bed).await?;
    let begun = Timestamp::now();

    // Another pod template, as with every release.
    let upgrade = [
        "--reset-then-reuse-values",
        "--set=podAnnotations.release=next",
    ];
    let upgraded = async {
        bring(&world, "upgrade", NOW, &upgrade).await?;
        marked(&world, 2).await?;
        at_work(&bed).await?;
        // It judges for itself, from what it has seen since.
        tokio::time::sleep(JUDGED).await;
        anyhow::Ok(())
    };
    let seen = Cell::new(0);
    tokio::select! {
        upgraded = upgraded => upgraded?,
        flapped = flaps(&bed, &told, &seen) => return flapped.context("while it was upgraded, or after it"),
    }
    ensure!(seen.get() >= stored, "the watch showed {}", seen.get());
    untouched(&bed, &there, begun, "upgraded").await?;
    is_served_until_it_goes(refused, &backends).await?;
    let begun = Timestamp::now();

    // Back again, with the rights and the definition of before.
    let namespace = format!("--namespace={SYSTEM}");
    let back = ["rollback", "evenkeel", &namespace, "--wait", "--timeout=3m"];
    world.cluster.helm(&back).await?;
    marked(&world, 0).await?;
    at_work(&bed).await?;
    untouched(&bed, &there, begun, "rolled back").await
}

/// Waits until so many pods of the operator are of the release that marks them: those that were replaced are gone then.
async fn marked(world: &World, count: usize) -> Result<()> {
    let namespace = format!("--namespace={SYSTEM}");
    until("only new pods of the operator", TAKES_OVER, async || {
        let path = "jsonpath={.items[*].metadata.annotations.release}";
        let pods = [&namespace, "get", "pods", "-o", path];
        let releases = world.cluster.kubectl(&pods).await?;
        Ok((releases.split_whitespace().count() == count).then_some(()))
    })
    .await
}

/// Gives the operator something to do, so that it can be seen that it does it.
async fn at_work(bed: &Bed) -> Result<()> {
    bed.apply(&manifests::backend("another")).await?;
    bed.reason("another", Ready, "AllReady", TAKES_OVER)
        .await
        .map(drop)
}

/// Everything is as it was, and no workload or pod was written.
async fn untouched(bed: &Bed, there: &[String], begun: Timestamp, when: &str) -> Result<()> {
    bed.kubectl(&["delete", "gb", "another"]).await?;
    bed.gone("service/another").await?;
    bed.gone("service/another-headless").await?;
    lasts(bed, there, when).await?;
    let mut writes = bed.world.cluster.audit().writes_by(OPERATOR, begun)?;
    ensure!(!writes.is_empty(), "the audit log shows nothing of it");
    writes.retain(|write| write.group == "apps" || write.resource == "pods");
    ensure!(
        writes.is_empty(),
        "{when}: workloads were written: {writes:#?}"
    );
    Ok(())
}

/// The order that the page gives: first the resources, whose ages are taken back, then the release.
async fn nothing_is_left_without_the_definition(world: Arc<World>) -> Result<()> {
    image(&world).await?;
    restricted_namespace(&world).await?;
    bring(&world, "install", NOW, &["--set=crds.keep=false"]).await?;
    let bed = Bed::without_operator(&world, "shop").await?;
    bed.echo(2).await?;
    let before = bed.template("echo").await?;
    bed.apply_age(&manifests::backend_with_age("echo", "60s"))
        .await?;
    ensure!(bed.template("echo").await? != before, "no age is set");

    let all = ["delete", "gb", "--all", "--all-namespaces", "--timeout=3m"];
    world.cluster.kubectl(&all).await?;
    same(&bed.template("echo").await?, &before)?;
    let live = bed.live("echo").await?;
    none_of_our_fields(&live)?;
    let record = live.annotations().keys();
    let mut record = record.filter(|name| name.starts_with(manifests::RECORDS));
    ensure!(record.next().is_none(), "{:?}", live.annotations());
    for service in ["service/echo", "service/echo-headless"] {
        bed.gone(service).await?;
    }
    let namespace = format!("--namespace={SYSTEM}");
    let uninstall = [
        "uninstall",
        "evenkeel",
        &namespace,
        "--wait",
        "--timeout=3m",
    ];
    world.cluster.helm(&uninstall).await?;
    nothing_is_left(&world, &format!("crd,{OF_A_RELEASE}")).await?;
    lease_stays(&world).await?;
    let served = world.cluster.kubectl(&["get", "gb", "-A"]).await;
    ensure!(served.is_err(), "the kind is still served");
    bed.rolled_out("echo").await
}

/// The other order: the definition goes with the operator, and waits for an age that nobody takes back. The page has the way out.
async fn what_still_holds_an_age_is_let_go(world: Arc<World>) -> Result<()> {
    image(&world).await?;
    restricted_namespace(&world).await?;
    bring(&world, "install", NOW, &["--set=crds.keep=false"]).await?;
    let bed = Bed::without_operator(&world, "shop").await?;
    bed.echo(1).await?;
    bed.apply_age(&manifests::backend_with_age("echo", "60s"))
        .await?;
    bed.reason("echo", Ready, "AllReady", ROLLOUT).await?;

    let namespace = format!("--namespace={SYSTEM}");
    let uninstall = ["uninstall", "evenkeel", &namespace];
    world.cluster.helm(&uninstall).await?;
    nothing_is_left(&world, OF_A_RELEASE).await?;
    until("the operator is gone", ROLLOUT, async || {
        let pods = ["get", "pods", &namespace, "--output=name"];
        let pods = world.cluster.kubectl(&pods).await?;
        Ok(pods.trim().is_empty().then_some(()))
    })
    .await?;
    let going = [
        "get",
        "crd",
        DEFINITION,
        "--output=jsonpath={.metadata.deletionTimestamp}",
    ];
    until("the definition is going", ROLLOUT, async || {
        let since = world.cluster.kubectl(&going).await?;
        let backend = bed.backend("echo").await?;
        let both = !since.is_empty() && backend.metadata.deletion_timestamp.is_some();
        Ok(both.then_some(()))
    })
    .await?;
    let aged = bed.template("echo").await?;
    way_out(&bed, "echo").await?;
    until("the definition is gone", ROLLOUT, async || {
        let left = ["get", "crd", "--output=name"];
        let left = world.cluster.kubectl(&left).await?;
        Ok((!left.contains(DEFINITION)).then_some(()))
    })
    .await?;
    same(&bed.template("echo").await?, &aged)
}
