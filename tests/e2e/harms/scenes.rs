//! The scenes, by rule.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use evenkeel_cluster::load::{Counts, ready_since};
use evenkeel_cluster::until;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use serde_json::Value;

use super::{Are, Scene, UP};
use crate::bed::{Bed, ROLLOUT};
use crate::client::Client;
use crate::discovery::PATIENT;
use crate::pods::left;
use crate::tests;
use crate::world::World;

tests![
    shared only_a_cluster_ip(120),
    shared a_port_that_nobody_translates(120),
    shared pods_that_are_not_ready(120),
    proof no_readiness_probe(420),
    proof no_age(300),
    proof an_age_below_the_look_up(300),
    proof a_grace_below_the_calls(360),
    proof killed_while_stopping(240),
    proof a_rollout_faster_than_look_ups(300),
    proof one_pod(240),
    proof two_slices(420),
];

/// For one look at steady traffic.
const LOOK: Duration = Duration::from_secs(4);

async fn only_a_cluster_ip(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB001",
        done: "One client, 50 calls a second; mended, it dials the headless twin that the GrpcBackend brings.",
        figure: "{} % of the calls at one of 2 pods",
        harm: 100,
        mended: 60,
    }
    .play(&world, async |bed, are| {
        let service = match are {
            Are::AsFound => "echo",
            Are::Mended => "echo-headless",
        };
        let target = dns(bed, service, 8080);
        let client = Client::start(bed, name(are), &target, "default", &[PATIENT]).await?;
        if let Are::Mended = are {
            client.reaches(2).await?;
        }
        let counts = client.during(LOOK).await?;
        let most = counts.replies.values().max().copied().unwrap_or(0);
        percent(most, counts.replies.values().sum())
    })
    .await
}

async fn a_port_that_nobody_translates(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB003",
        done: "One client dials the headless Service at the port that it declares, 50 calls a second.",
        figure: "{} % of the calls fail",
        harm: 100,
        mended: 0,
    }
    .play(&world, async |bed, are| {
        let port = match are {
            Are::AsFound => 80,
            Are::Mended => 8080,
        };
        let target = dns(bed, "echo-headless", port);
        let client = Client::launch(bed, name(are), &target, "default", &[]).await?;
        answered(&client).await?;
        let counts = client.during(LOOK).await?;
        percent(failed(&counts), failed(&counts) + counts.ok)
    })
    .await
}

async fn pods_that_are_not_ready(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB005",
        done: "Beside two pods that serve there are two of a next version that is not ready, and says so; one client, 50 calls a second.",
        figure: "{} % of the calls answered by pods that are not ready",
        harm: 30,
        mended: 0,
    }
    .play(&world, async |bed, are| {
        until("the next version runs", ROLLOUT, async || {
            let pods = bed.pods("track=next").await?;
            let runs = |pod: &Pod| pod.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Running"));
            Ok((pods.len() == 2 && pods.iter().all(runs)).then_some(()))
        })
        .await?;
        let client = start(bed, are, &[]).await?;
        client
            .reaches(match are {
                Are::AsFound => 4,
                Are::Mended => 2,
            })
            .await?;
        let counts = client.during(LOOK).await?;
        let unready = counts.replies.iter().filter(|(pod, _)| pod.starts_with("echo-next"));
        percent(unready.map(|(_, replies)| replies).sum(), counts.replies.values().sum())
    })
    .await
}

async fn no_readiness_probe(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB010",
        done: "The servers take 25 s to start; a rollout that makes both new ones at once while one client, set to look names up whenever it wants to, makes 50 calls a second.",
        figure: "{} calls fail in a rollout",
        harm: 100,
        mended: 0,
    }
    .play(&world, async |bed, are| {
        // That a client may look again only after 30 s is another rule's harm.
        let client = start(bed, are, &["--dns-min-interval=1s"]).await?;
        replaced(bed, &client).await
    })
    .await
}

async fn no_age(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB021",
        done: "Two pods become four while one client makes 50 calls a second; mended with the shortest age that is worth having, so that it shows soon.",
        figure: "{} of 4 pods without a call 75 s later",
        harm: 2,
        mended: 0,
    }
    .play(&world, async |bed, are| {
        let client = start(bed, are, &[]).await?;
        bed.scale("echo", 4).await?;
        bed.rolled_out("echo").await?;
        let begun = Instant::now();
        let pods = bed.pods("app=echo").await?;
        until(
            "every pod serves, or the time is over",
            Duration::from_secs(90),
            async || {
                let serving = client.totals().await?.first_replies;
                let idle = pods
                    .iter()
                    .filter(|pod| !serving.contains_key(&pod.name_any()))
                    .count();
                let over = begun.elapsed() > Duration::from_secs(75);
                Ok((idle == 0 || over).then_some(idle as u64))
            },
        )
        .await
    })
    .await
}

async fn an_age_below_the_look_up(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB022",
        done: "One client holds ten connections for half a minute, 50 calls a second.",
        figure: "{} connections given up and made anew in 30 s",
        harm: 40,
        mended: 20,
    }
    .play(&world, async |bed, are| {
        let client = start(bed, are, &["--connections=5"]).await?;
        let counts = client.during(Duration::from_secs(30)).await?;
        counts.no_errors()?;
        Ok(counts.goaways)
    })
    .await
}

async fn a_grace_below_the_calls(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB024",
        done: "One client makes 10 calls a second that take 3 s each, for 45 s.",
        figure: "{} calls cut",
        harm: 5,
        mended: 0,
    }
    .play(&world, async |bed, are| {
        let client = start(bed, are, &LONG_CALLS).await?;
        Ok(failed(&client.during(Duration::from_secs(45)).await?))
    })
    .await
}

async fn killed_while_stopping(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB031",
        done: "One of two pods goes while one client makes 10 calls a second that take 3 s each.",
        figure: "{} calls cut in a scale-down",
        harm: 3,
        mended: 0,
    }
    .play(&world, async |bed, are| {
        let client = start(bed, are, &LONG_CALLS).await?;
        bed.scale("echo", 1).await?;
        left(bed, 1).await?;
        goes_on(&client).await?;
        Ok(failed(&client.totals().await?.counts))
    })
    .await
}

async fn a_rollout_faster_than_look_ups(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB032",
        done: "A rollout just after the client, which makes 50 calls a second, has looked the name up.",
        figure: "{} calls fail in a rollout",
        harm: 100,
        mended: 0,
    }
    .play(&world, async |bed, are| {
        let client = start(bed, are, &[]).await?;
        replaced(bed, &client).await
    })
    .await
}

async fn one_pod(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB033",
        done: "A pod is deleted, as when its node is drained, while one client makes 50 calls a second.",
        figure: "{} calls fail when a pod goes",
        harm: 50,
        mended: 0,
    }
    .play(&world, async |bed, are| {
        let client = start(bed, are, &[]).await?;
        let pod = bed.pods("app=echo").await?.pop().context("no pod")?;
        bed.kubectl(&["delete", "pod", &pod.name_any()]).await?;
        bed.rolled_out("echo").await?;
        goes_on(&client).await?;
        Ok(failed(&client.totals().await?.counts))
    })
    .await
}

async fn two_slices(world: Arc<World>) -> Result<()> {
    Scene {
        id: "GB050",
        done: "One of 104 pods is replaced while one client with kuberesolver 6.0.1 makes 100 calls a second; mended, it balances by DNS.",
        figure: "{} of 104 pods without a call",
        harm: 50,
        mended: 0,
    }
    .play(&world, async |bed, are| {
        let (target, account) = match are {
            Are::AsFound => (format!("kubernetes:///echo-headless.{}:grpc", bed.name()), "echo-client"),
            Are::Mended => (dns(bed, "echo-headless", 8080), "default"),
        };
        let client = Client::start(bed, name(are), &target, account, &["--rate=100"]).await?;
        let pod = pod_of_the_smaller_slice(bed).await?;
        bed.kubectl(&["delete", "pod", &pod]).await?;
        bed.rolled_out("echo").await?;
        let begun = Instant::now();
        until("every pod serves, or the time is over", ROLLOUT, async || {
            let idle = 104 - client.during(LOOK).await?.replies.len() as u64;
            // DNS clients look again after 30 s.
            let over = begun.elapsed() > Duration::from_secs(45);
            Ok((idle == 0 || over).then_some(idle))
        })
        .await
    })
    .await
}

/// A pod whose slice is then the one that changed last.
async fn pod_of_the_smaller_slice(bed: &Bed) -> Result<String> {
    let of = "kubernetes.io/service-name=echo-headless";
    let slices = bed
        .kubectl(&["get", "endpointslices", "-o", "json", "-l", of])
        .await?;
    let slices: Value = serde_json::from_str(&slices)?;
    let all = slices["items"].as_array().context("no slices")?;
    let endpoints = all.iter().filter_map(|slice| slice["endpoints"].as_array());
    let smaller = endpoints.min_by_key(|endpoints| endpoints.len());
    let pod = smaller
        .and_then(|endpoints| endpoints.first())
        .context("no endpoint")?;
    Ok(pod["targetRef"]["name"]
        .as_str()
        .context("not of a pod")?
        .to_owned())
}

/// Calls of 3 s.
const LONG_CALLS: [&str; 5] = [
    "--method=watch",
    "--stream-messages=30",
    "--stream-interval=100ms",
    "--rate=10",
    "--deadline=20s",
];

/// A client on the headless Service, with grpc-go's own settings.
async fn start(bed: &Bed, are: Are, further: &[&str]) -> Result<Client> {
    // Longer than a busy machine stands still; what finds no pod fails at once all the same.
    let further = if further == LONG_CALLS {
        further.to_vec()
    } else {
        [&[PATIENT], further].concat()
    };
    Client::start(
        bed,
        name(are),
        &dns(bed, "echo-headless", 8080),
        "default",
        &further,
    )
    .await
}

fn name(are: Are) -> &'static str {
    match are {
        Are::AsFound => "before",
        Are::Mended => "after",
    }
}

fn dns(bed: &Bed, service: &str, port: u16) -> String {
    format!("dns:///{service}.{}.svc.cluster.local:{port}", bed.name())
}

/// How many calls fail while all pods are replaced.
async fn replaced(bed: &Bed, client: &Client) -> Result<u64> {
    let old: Vec<String> = bed
        .pods("app=echo")
        .await?
        .iter()
        .map(Pod::name_any)
        .collect();
    bed.kubectl(&["rollout", "restart", "deployment/echo"])
        .await?;
    until("all pods are new", UP, async || {
        bed.rolled_out("echo").await.map(Some)
    })
    .await?;
    let pods = bed.namespace.api::<Pod>();
    until("the old pods are gone", UP, async || {
        let all = pods
            .list(&kube::api::ListParams::default().labels("app=echo"))
            .await?;
        Ok(all
            .items
            .iter()
            .all(|pod| !old.contains(&pod.name_any()) && ready_since(pod).is_some())
            .then_some(()))
    })
    .await?;
    goes_on(client).await?;
    Ok(failed(&client.totals().await?.counts))
}

/// Waits for good calls after whatever happened: two seconds' worth.
async fn goes_on(client: &Client) -> Result<()> {
    let seen = client.totals().await?.counts.ok;
    until("the client's calls are answered", ROLLOUT, async || {
        Ok((client.totals().await?.counts.ok >= seen + 20).then_some(()))
    })
    .await
}

/// Waits until its first calls have ended, well or not.
async fn answered(client: &Client) -> Result<()> {
    until("its first calls end", ROLLOUT, async || {
        let counts = client.totals().await?.counts;
        Ok((counts.ok + failed(&counts) > 0).then_some(()))
    })
    .await
}

fn failed(counts: &Counts) -> u64 {
    counts.errors.values().sum::<u64>() + counts.dropped
}

fn percent(part: u64, whole: u64) -> Result<u64> {
    (100 * part).checked_div(whole).context("no call at all")
}
