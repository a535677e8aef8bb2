//! One Deployment on its way from state to state, with an operator that can be killed at its writes.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::{ConditionType, GrpcBackend};
use evenkeel_cluster::{Fault, Process, Proxy, Rule, Seen, Signal, Victim, until};
use k8s_openapi::api::core::v1::Service;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::{ENOUGH, State};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests::{self, FINALIZER, RECORDS, none_of_our_fields, same};
use crate::world::World;

const REVISION: &str = "deployment.kubernetes.io/revision";

/// One Deployment, and an operator that can be killed at its writes.
pub struct Lane {
    bed: Bed,
    proxy: Proxy,
    /// The Deployment before any backend.
    before: DynamicObject,
    /// The backend's name: another after each deletion, so that nothing waits for the garbage collector.
    name: String,
    created: usize,
}

/// Where the operator is killed.
#[derive(Clone, Copy, PartialEq)]
pub enum Kill {
    /// Nowhere.
    Never,
    /// It has seen the answers to all writes before this one.
    Before(usize),
    /// The write is done, and it has not seen the answer.
    After(usize),
    /// In lives of one write each.
    AfterEach,
}

impl Kill {
    /// In words.
    pub fn text(self) -> String {
        match self {
            Self::Never => "not killed".into(),
            Self::Before(write) => format!("killed before write {write}"),
            Self::After(write) => format!("killed after write {write}"),
            Self::AfterEach => "killed after each write".into(),
        }
    }

    fn rule(self, victim: Victim) -> Option<Rule> {
        // Events tell what was done, and nothing comes of them.
        let counts = |seen: &Seen| seen.is_write() && seen.resource != "events";
        match self {
            Self::Never => None,
            Self::Before(n) => Some(Rule::new(counts, Fault::KillBefore(victim)).skip(n - 1)),
            Self::After(n) => {
                let rule = Rule::new(counts, Fault::KillAfter(victim));
                Some(rule.skip(n - 1).times(1))
            }
            Self::AfterEach => Some(Rule::new(counts, Fault::KillAfter(victim))),
        }
    }
}

impl Lane {
    /// The Deployment with its operator, and no backend.
    pub async fn new(world: &Arc<World>, prefix: &str, server: &Value) -> Result<Self> {
        let mut bed = Bed::without_operator(world, prefix).await?;
        bed.deploy(server).await?;
        let proxy = bed.start_operator_behind(Vec::new()).await?;
        let before = bed.live("echo").await?;
        Ok(Self {
            bed,
            proxy,
            before,
            name: "echo-0".into(),
            created: 0,
        })
    }

    /// Goes to a state; tells how often the operator was killed on the way.
    pub async fn travel(&mut self, to: &State, kill: Kill, down: bool) -> Result<usize> {
        let left = self.bed.live("echo").await?;
        if down {
            self.end_operator().await?;
        }
        self.at_writes(kill)?;
        self.ask_for(to).await?;
        if down {
            self.process()?.start_again()?;
        }
        let mut kills = 0;
        while !self.arrives_or_ends(to).await? {
            kills += 1;
            ensure!(kills <= ENOUGH, "it goes round in circles");
            if kill != Kill::AfterEach {
                self.proxy.clear();
            }
            self.process()?.start_again()?;
        }
        self.proxy.clear();
        if !self.process()?.is_running() {
            // At a write after the last that matters.
            kills += 1;
            self.process()?.start_again()?;
        }
        let arrived = self.bed.live("echo").await?;
        let needed = i64::from(left.data["spec"] != arrived.data["spec"]);
        let generation = |of: DynamicObject| of.metadata.generation.unwrap_or(0);
        let written = generation(arrived) - generation(left);
        ensure!(
            written == needed,
            "the Deployment's spec was written {written} times instead of {needed}"
        );
        Ok(kills)
    }

    fn process(&self) -> Result<&Process> {
        let operator = self.bed.operator.as_ref().context("no operator")?;
        Ok(&operator.process)
    }

    fn at_writes(&self, kill: Kill) -> Result<()> {
        if let Some(rule) = kill.rule(self.process()?.into()) {
            self.proxy.add(rule);
        }
        Ok(())
    }

    async fn end_operator(&self) -> Result<()> {
        let process = self.process()?;
        process.signal(Signal::Kill)?;
        process.wait(SOON).await.map(drop)
    }

    /// Creates, changes or deletes the backend.
    async fn ask_for(&mut self, to: &State) -> Result<()> {
        let backends: Api<GrpcBackend> = self.bed.namespace.api();
        let exists = backends.get_opt(&self.name).await?.is_some();
        match &to.spec {
            Some(spec) if exists => {
                let patch = json!([{"op": "replace", "path": "/spec", "value": spec}]);
                let patch = Patch::<()>::Json(serde_json::from_value(patch)?);
                backends
                    .patch(&self.name, &PatchParams::default(), &patch)
                    .await?;
            }
            Some(spec) => {
                self.created += 1;
                self.name = format!("echo-{}", self.created);
                let mut backend = manifests::backend(&self.name);
                backend["spec"] = spec.clone();
                let backend = serde_json::from_value::<DynamicObject>(backend)?;
                let kind = ApiResource::erase::<GrpcBackend>(&());
                let client = self.bed.namespace.client();
                let backends =
                    Api::<DynamicObject>::namespaced_with(client, self.bed.name(), &kind);
                backends.create(&PostParams::default(), &backend).await?;
            }
            None if exists => {
                backends
                    .delete(&self.name, &DeleteParams::background())
                    .await?;
            }
            None => {}
        }
        Ok(())
    }

    /// Waits until all is as it should be (true), or until the operator has been killed.
    async fn arrives_or_ends(&self, to: &State) -> Result<bool> {
        until(to.name, ROLLOUT, async || {
            let state = self.process()?.state()?;
            if state.pid.is_some() {
                return self.arrived(to).await.map(|()| Some(true));
            }
            let exit = state.exit.unwrap_or_default();
            ensure!(
                exit.contains("SIGKILL"),
                "the operator ended by itself: {exit}"
            );
            Ok(Some(false))
        })
        .await
    }

    /// Fails with what is not as it should be.
    async fn arrived(&self, to: &State) -> Result<()> {
        let backends: Api<GrpcBackend> = self.bed.namespace.api();
        match (backends.get_opt(&self.name).await?, &to.spec) {
            (None, None) => {}
            (Some(backend), Some(_)) => self.is_told(to, &backend).await?,
            (Some(backend), None) => bail!("it has the finalizers {:?}", backend.finalizers()),
            (None, Some(_)) => bail!("it is gone"),
        }
        self.is_in_place(to).await
    }

    /// The backend's status, finalizers and Services.
    async fn is_told(&self, to: &State, backend: &GrpcBackend) -> Result<()> {
        let status = backend.status.clone().unwrap_or_default();
        ensure!(
            status.observed_generation == backend.metadata.generation,
            "the spec was not looked at"
        );
        let condition = status
            .conditions
            .iter()
            .find(|condition| condition.type_ == ConditionType::ConnectionAgeApplied.as_str())
            .context("no condition")?;
        ensure!(
            condition.reason == to.reason,
            "{}: {}",
            condition.reason,
            condition.message
        );
        let held = backend.finalizers().iter().any(|name| name == FINALIZER);
        ensure!(held == to.holds, "finalizers {:?}", backend.finalizers());
        let services: Api<Service> = self.bed.namespace.api();
        let label = format!("evenkeel.dev/backend={}", self.name);
        let services = services
            .list(&ListParams::default().labels(&label))
            .await?
            .items;
        let ours = |service: &&Service| {
            let owners = service.owner_references();
            owners
                .iter()
                .any(|owner| Some(&owner.uid) == backend.metadata.uid.as_ref())
        };
        ensure!(
            services.len() == 2 && services.iter().filter(ours).count() == 2,
            "{services:#?}"
        );
        Ok(())
    }

    /// The Deployment: the spec to the letter, no trace of ours but the record, all of theirs, and the rollout is over.
    async fn is_in_place(&self, to: &State) -> Result<()> {
        let live = self.bed.live("echo").await?;
        same(
            &live.data["spec"],
            &to.deployment(&self.before.data["spec"])?,
        )?;
        let theirs = |of: &DynamicObject| {
            let mut theirs = of.annotations().clone();
            theirs.retain(|key, _| !key.starts_with(RECORDS) && key != REVISION);
            (theirs, of.labels().clone())
        };
        ensure!(theirs(&live) == theirs(&self.before), "{:?}", theirs(&live));
        let records = live
            .annotations()
            .keys()
            .filter(|key| key.starts_with(RECORDS));
        let wanted = format!("{RECORDS}{}", self.name);
        let wanted: Vec<&String> = (!to.adds.is_empty())
            .then_some(&wanted)
            .into_iter()
            .collect();
        ensure!(
            records.collect::<Vec<_>>() == wanted,
            "{:?}",
            live.annotations()
        );
        none_of_our_fields(&live)?;
        let status = &live.data["status"];
        let wanted = live.data["spec"]["replicas"].as_i64().unwrap_or(1);
        ensure!(
            status["observedGeneration"] == json!(live.metadata.generation)
                && ["replicas", "updatedReplicas", "availableReplicas"]
                    .iter()
                    .all(|count| status[*count].as_i64().unwrap_or(0) == wanted),
            "it rolls out: {status}"
        );
        Ok(())
    }
}
