//! A load client as a pod, in a test's namespace.

use std::ops::Deref;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel_cluster::examples::Example;
use evenkeel_cluster::images;
pub use evenkeel_cluster::load::get;
use evenkeel_cluster::load::{Counts, Load};
use evenkeel_cluster::until;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams, PostParams};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::bed::{Bed, SOON};

/// A client that runs until it is stopped.
pub struct Client {
    load: Load,
    pods: kube::Api<Pod>,
}

/// A connection that the server asked to give up.
#[derive(Clone, Debug, Deserialize)]
pub struct GoAway {
    /// Why.
    pub debug: String,
    age_ms: u64,
}

impl GoAway {
    /// How old the connection was.
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.age_ms)
    }
}

/// A call that failed.
#[derive(Clone, Debug, Deserialize)]
pub struct Failure {
    /// The status code.
    pub code: String,
    /// What was said of it.
    pub message: String,
    after_ms: u64,
}

impl Failure {
    /// How long the call had lasted.
    pub fn after(&self) -> Duration {
        Duration::from_millis(self.after_ms)
    }
}

impl Client {
    /// Starts it under a ServiceAccount and waits for its first reply.
    pub async fn start(
        bed: &Bed,
        name: &str,
        target: &str,
        account: &str,
        further: &[&str],
    ) -> Result<Self> {
        let client = Self::launch(bed, name, target, account, further).await?;
        client.serves().await?;
        client.reset().await?;
        Ok(client)
    }

    /// Starts it and waits only for its process.
    pub async fn launch(
        bed: &Bed,
        name: &str,
        target: &str,
        account: &str,
        further: &[&str],
    ) -> Result<Self> {
        // A pod without a request is the first to starve, and one that starves measures itself.
        let program = json!({"image": images::CLIENT, "resources": {"requests": {"cpu": "20m"}}});
        Self::run(bed, name, program, target, account, further).await
    }

    /// Starts the client of an example under a ServiceAccount and waits for its process.
    pub async fn example(
        bed: &Bed,
        example: Example,
        target: &str,
        account: &str,
        further: &[&str],
    ) -> Result<Self> {
        let program = json!({
            "image": example.image(),
            "command": example.client,
            "resources": {"requests": {"cpu": "20m"}},
        });
        let name = format!("client-{}", example.name);
        Self::run(bed, &name, program, target, account, further).await
    }

    /// `program` is what its container has of image, command and resources.
    async fn run(
        bed: &Bed,
        name: &str,
        mut program: Value,
        target: &str,
        account: &str,
        further: &[&str],
    ) -> Result<Self> {
        let mut arguments = vec![
            format!("--target={target}"),
            format!("--http=:{}", Load::PORT),
        ];
        arguments.extend(further.iter().map(|argument| (*argument).to_owned()));
        program["name"] = "client".into();
        program["imagePullPolicy"] = "Never".into();
        program["args"] = arguments.into();
        let pods = bed.namespace.api::<Pod>();
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": {"client": name}},
            "spec": {
                "serviceAccountName": account,
                "terminationGracePeriodSeconds": 1,
                "containers": [program],
            },
        }))?;
        pods.create(&PostParams::default(), &pod).await?;
        let load = Load::find(&bed.world.cluster, &pods, name).await?;
        Ok(Self { load, pods })
    }

    /// What it sees in the next `span`: the measurement is the time itself.
    pub async fn during(&self, span: Duration) -> Result<Counts> {
        self.reset().await?;
        tokio::time::sleep(span).await;
        Ok(self.totals().await?.counts)
    }

    /// Waits until so many pods have answered: a client begins with the first connection that it has, and others come later.
    pub async fn reaches(&self, pods: usize) -> Result<()> {
        let what = format!("client {} reaches {pods} pods", self.name());
        until(&what, SOON, async || {
            let replies = self.totals().await?.counts.replies;
            ensure!(replies.len() == pods, "it reaches {replies:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits for a moment without a call under way, and fails where one has failed: what hangs does so only at its deadline.
    pub async fn none_failed(&self) -> Result<()> {
        let counts = until("no call is under way", SOON, async || {
            let counts = self.totals().await?.counts;
            ensure!(counts.in_flight == 0, "{} are", counts.in_flight);
            Ok(Some(counts))
        })
        .await?;
        counts.no_errors()
    }

    /// Every GOAWAY since it started.
    pub async fn goaways(&self) -> Result<Vec<GoAway>> {
        self.events("goaway").await
    }

    /// The calls that failed since it started: all, unless they were more than 20 in a second.
    pub async fn failures(&self) -> Result<Vec<Failure>> {
        self.events("error").await
    }

    async fn events<T: DeserializeOwned>(&self, event: &str) -> Result<Vec<T>> {
        let log = self.pods.logs(self.name(), &LogParams::default()).await?;
        let mut found = Vec::new();
        for line in log.lines().filter(|line| line.starts_with('{')) {
            let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            if value["event"] == event {
                found.push(serde_json::from_value(value)?);
            }
        }
        Ok(found)
    }

    /// Ends it.
    pub async fn stop(self) -> Result<()> {
        self.pods
            .delete(self.name(), &DeleteParams::default().grace_period(0))
            .await?;
        Ok(())
    }
}

impl Deref for Client {
    type Target = Load;

    fn deref(&self) -> &Load {
        &self.load
    }
}
