//! Servers that other people wrote take the age by their own knob, and their connections really end at it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, ServicesReady};
use evenkeel_cluster::load::Counts;
use evenkeel_cluster::servers::{self, Server};
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::client::{Client, GoAway};
use crate::manifests::{self, same};
use crate::pods::left_of;
use crate::proof::lifetimes;
use crate::tests;
use crate::world::World;

tests![
    shared ratelimit_by_variable(180),
    shared etcd_has_no_knob(180),
    proof thanos_by_flag(240),
    proof jaeger_by_preset_with_grace(240),
];

/// Which test needs which server: they are built before the clock of a test starts.
const NEEDED: [(&str, Server); 5] = [
    ("servers::ratelimit_by_variable", servers::RATELIMIT),
    ("servers::etcd_has_no_knob", servers::ETCD),
    ("servers::thanos_by_flag", servers::THANOS),
    ("servers::jaeger_by_preset_with_grace", servers::JAEGER),
    ("traces::jaeger_shows_each_pass", servers::JAEGER_ALL_IN_ONE),
];
const AGE: Duration = Duration::from_secs(10);
/// Two or three lives of every connection.
const SPAN: Duration = Duration::from_secs(30);
/// Of two pods, seen by five channels.
const CONNECTIONS: u64 = 10;

/// Builds what these tests need and is not there yet.
pub fn build_for(tests: &[&str]) -> Result<()> {
    for (test, server) in NEEDED {
        if tests.contains(&test) {
            server.build()?;
        }
    }
    Ok(())
}

/// Pods of a server, with what its container has beside name and image. They are ready when this is done.
pub async fn deploy(bed: &Bed, server: Server, container: &Value, replicas: u32) -> Result<()> {
    let archive = tokio::task::spawn_blocking(move || server.build()).await??;
    bed.world.cluster.import_image(&archive).await?;
    let name = server.name;
    let mut container = container.clone();
    container["name"] = name.into();
    container["image"] = server.image().into();
    container["imagePullPolicy"] = "Never".into();
    let pod = json!({
        "terminationGracePeriodSeconds": 5,
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
    });
    bed.deploy(&manifests::deployment(name, replicas, &pod))
        .await
}

async fn ratelimit_by_variable(world: Arc<World>) -> Result<()> {
    let container = json!({
        "env": [
            {"name": "BACKEND_TYPE", "value": "memcache"}, {"name": "MEMCACHE_HOST_PORT", "value": "127.0.0.1:11211"},
            {"name": "RUNTIME_ROOT", "value": "/data"}, {"name": "RUNTIME_SUBDIRECTORY", "value": "ratelimit"},
            {"name": "RUNTIME_WATCH_ROOT", "value": "false"}, {"name": "RUNTIME_IGNOREDOTFILES", "value": "true"},
            {"name": "USE_STATSD", "value": "false"}, {"name": "USE_PROMETHEUS", "value": "true"},
        ],
        "ports": [{"name": "grpc", "containerPort": 8081}, {"name": "metrics", "containerPort": 9090}],
        "volumeMounts": [{"name": "data", "mountPath": "/data/ratelimit/config"}],
        "readinessProbe": {"httpGet": {"path": "/healthcheck", "port": 8080}, "periodSeconds": 1},
    });
    Case {
        server: servers::RATELIMIT,
        container,
        port: 8081,
        age: json!({"maxAge": "10s", "knob": {"env": {"maxAge": "GRPC_MAX_CONNECTION_AGE"}}}),
        knob: "variable `GRPC_MAX_CONNECTION_AGE`",
    }
    .cycles(&world)
    .await
}

async fn thanos_by_flag(world: Arc<World>) -> Result<()> {
    let container = json!({
        "args": ["query", "--grpc-address=0.0.0.0:10901", "--http-address=0.0.0.0:10902"],
        "ports": [{"name": "grpc", "containerPort": 10901}, {"name": "http-metrics", "containerPort": 10902}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 10902}, "periodSeconds": 1},
    });
    Case {
        server: servers::THANOS,
        container,
        port: 10901,
        age: json!({"maxAge": "10s", "knob": {"flags": {"maxAge": "--grpc-server-max-connection-age"}}}),
        knob: "flag `--grpc-server-max-connection-age`",
    }
    .cycles(&world)
    .await
}

async fn jaeger_by_preset_with_grace(world: Arc<World>) -> Result<()> {
    let container = json!({
        "args": ["--collector.grpc-server.host-port=0.0.0.0:14250"],
        "env": [{"name": "SPAN_STORAGE_TYPE", "value": "memory"}],
        "ports": [{"name": "grpc", "containerPort": 14250}, {"name": "metrics", "containerPort": 14269}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 14269}, "periodSeconds": 1},
    });
    Case {
        server: servers::JAEGER,
        container,
        port: 14250,
        age: json!({"maxAge": "10s", "grace": "5s", "knob": {"preset": "JaegerCollector"}}),
        knob: "preset `JaegerCollector`, grace 5 s",
    }
    .cycles(&world)
    .await
}

/// Nothing can be set, so nothing is, which is said: its connections live on.
async fn etcd_has_no_knob(world: Arc<World>) -> Result<()> {
    let container = json!({
        "args": [
            "--data-dir=/data/etcd", "--log-level=error", "--unsafe-no-fsync",
            "--listen-client-urls=http://0.0.0.0:2379", "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
        ],
        "ports": [{"name": "grpc", "containerPort": 2379}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 2379}, "periodSeconds": 1},
    });
    let case = Case {
        server: servers::ETCD,
        container,
        port: 2379,
        age: json!({"maxAge": "10s", "knob": {"preset": "Etcd"}}),
        knob: "none (preset `Etcd`)",
    };
    let bed = case.bed(&world).await?;
    let before = bed.template("etcd").await?;
    bed.apply(&case.backend()).await?;
    bed.reason("etcd", ConnectionAgeApplied, "NoKnob", SOON)
        .await?;
    let said = bed.message("etcd", ConnectionAgeApplied).await?;
    ensure!(said.contains("preset Etcd"), "{said}");
    let (client, counts) = case.watch(&bed).await?;
    let goaways = client.goaways().await?;
    ensure!(goaways.is_empty(), "etcd ended connections: {goaways:?}");
    same(&bed.template("etcd").await?, &before)?;
    case.show(&world, "–", &counts, &goaways)?;
    bed.finish().await
}

/// A server of somebody's, and how it takes the age.
struct Case {
    server: Server,
    /// What its container has beside name and image.
    container: Value,
    port: u16,
    /// `spec.connectionAge`.
    age: Value,
    /// The knob as the page shows it.
    knob: &'static str,
}

impl Case {
    /// Sets the age, watches connections end at it, and takes it back.
    async fn cycles(&self, world: &Arc<World>) -> Result<()> {
        let name = self.server.name;
        let bed = self.bed(world).await?;
        bed.apply(&self.backend()).await?;
        bed.reason(name, ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        bed.rolled_out(name).await?;
        left_of(&bed, name, 2).await?;
        let (client, counts) = self.watch(&bed).await?;
        let goaways = client.goaways().await?;
        check(&counts, &goaways)?;
        // None of them counts its connections in a way that is known.
        let observed = ("/status/servers/0/observed", json!("NotMeasurable"));
        bed.becomes(&format!("gb/{name}"), observed.0, &observed.1)
            .await?;
        self.show(world, "10 s", &counts, &goaways)?;
        bed.finish().await
    }

    /// Two pods of it, without an age.
    async fn bed(&self, world: &Arc<World>) -> Result<Bed> {
        let bed = Bed::new(world, self.server.name).await?;
        deploy(&bed, self.server, &self.container, 2).await?;
        Ok(bed)
    }

    fn backend(&self) -> Value {
        let name = self.server.name;
        let spec = json!({"selector": {"app": name}, "ports": [{"port": self.port}], "connectionAge": self.age});
        json!({"apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend", "metadata": {"name": name}, "spec": spec})
    }

    /// What a client sees that dials what the status says.
    async fn watch(&self, bed: &Bed) -> Result<(Client, Counts)> {
        let backend = bed
            .reason(self.server.name, ServicesReady, "Created", SOON)
            .await?;
        let target = backend.status.context("no status")?.targets.remove(0);
        let target = target.dns.context("no dns target")?;
        let flags = [
            "--method=health",
            "--rate=50",
            "--connections=5",
            "--deadline=10s",
        ];
        let client = bed.client("client", &target, &flags).await?;
        let counts = client.during(SPAN).await?;
        ensure!(
            counts.replies.len() == 2 && counts.ok > 0,
            "answered: {:?}",
            counts.replies
        );
        counts.no_errors()?;
        Ok((client, counts))
    }

    fn show(&self, world: &World, age: &str, counts: &Counts, goaways: &[GoAway]) -> Result<()> {
        let lived = lifetimes(goaways).map_or("to the end".into(), |lives| {
            lives
                .map(|life| format!("{:.1}", life.as_secs_f32()))
                .join(" / ")
                + " s"
        });
        let count = if goaways.is_empty() {
            format!("0 in {} s", SPAN.as_secs())
        } else {
            format!("{} `max_age`", goaways.len())
        };
        world.evidence.server(&[
            self.server.name,
            &self.server.version()?,
            self.knob,
            age,
            &count,
            &lived,
            &counts.ok.to_string(),
            "0",
        ]);
        Ok(())
    }
}

/// That every connection ends at the age, and says so.
fn check(counts: &Counts, goaways: &[GoAway]) -> Result<()> {
    ensure!(
        goaways.iter().all(|goaway| goaway.debug == "max_age"),
        "{goaways:?}"
    );
    end_at(AGE, counts, goaways)
}

/// That each of ten connections ends at the age, give or take the tenth by which gRPC spreads them, and is replaced.
pub fn end_at(age: Duration, counts: &Counts, goaways: &[GoAway]) -> Result<()> {
    aged(age, goaways)?;
    ensure!(cycled(counts.goaways), "GOAWAYs: {counts:?}");
    replaced(counts)
}

/// That new connections were made for those that ended.
pub fn replaced(counts: &Counts) -> Result<()> {
    ensure!(cycled(counts.connections_opened), "connections: {counts:?}");
    Ok(())
}

/// Each of them at least once, and most of them twice.
fn cycled(times: u64) -> bool {
    times >= CONNECTIONS * 3 / 2
}

/// That connections of which a client was told lived for as long as they should.
pub fn aged(age: Duration, goaways: &[GoAway]) -> Result<()> {
    let [shortest, median, longest] = lifetimes(goaways).context("no connection was ended")?;
    // Either may see the connection begin before the other does, and see it end late, by seconds on a busy machine: not most of them.
    let [early, late, busy] = [1, 10, 2].map(Duration::from_secs);
    let (soonest, latest) = (age * 9 / 10, age * 11 / 10);
    ensure!(
        shortest + early >= soonest
            && (soonest..=latest + busy).contains(&median)
            && longest <= latest + late,
        "connections lived {shortest:?} to {longest:?}, in the middle {median:?}"
    );
    Ok(())
}
