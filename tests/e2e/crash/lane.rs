//! Workloads on their way from state to state, with an operator that can be killed at its writes.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use evenkeel::api::{ConditionType, GrpcBackend};
use evenkeel_cluster::{Fault, Process, Proxy, Rule, Seen, Signal, Victim, until};
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Service;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::{Api, ResourceExt as _};
use serde_json::{Value, json};

use super::{ENOUGH, Owner, State};
use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests::{self, FINALIZER, RECORDS, none_of_our_fields, same};
use crate::world::World;

/// What controllers count in annotations.
const COUNTED: [&str; 2] = [
    "deployment.kubernetes.io/revision",
    "deprecated.daemonset.template.generation",
];

/// Who applies a workload server-side.
const PIPELINE: &str = "pipeline";

/// Workloads of one kind, and an operator that can be killed at its writes.
pub struct Lane {
    bed: Bed,
    proxy: Proxy,
    kind: String,
    /// The first workload as its owner sends it.
    server: Value,
    /// The workloads before any backend.
    before: Vec<DynamicObject>,
    /// Whether their pods have the label of [`LABEL`].
    labelled: bool,
    /// The backend's name: another after each deletion, so that nothing waits for the garbage collector.
    name: String,
    created: usize,
    asked: usize,
}

/// That a selector may ask for, and that the owner gives to the pods and takes from them.
pub const LABEL: (&str, &str) = ("serves", "grpc");

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
    /// The workloads with their operator, and no backend.
    pub async fn new(world: &Arc<World>, prefix: &str, servers: &[Value]) -> Result<Self> {
        let bed = Bed::without_operator(world, prefix).await?;
        for server in servers {
            bed.apply(server).await?;
        }
        Self::of(bed, servers).await
    }

    /// The same where the owner applies server-side, and has a list of arguments for its own.
    pub async fn server_side(world: &Arc<World>, prefix: &str, server: &Value) -> Result<Self> {
        let bed = Bed::without_operator(world, prefix).await?;
        bed.server_side_apply(PIPELINE, false, server).await?;
        Self::of(bed, std::slice::from_ref(server)).await
    }

    async fn of(mut bed: Bed, servers: &[Value]) -> Result<Self> {
        let server = servers.first().context("no server")?;
        let kind = server["kind"].as_str().context("no kind")?.to_owned();
        let mut before = Vec::new();
        for own in servers {
            let name = own["metadata"]["name"].as_str().context("no name")?;
            let ready = until("it serves", ROLLOUT, async || {
                let live = bed.live_of(&kind, name).await?;
                is_rolled_out(&live).map(|()| Some(live))
            });
            before.push(ready.await?);
        }
        let proxy = bed.start_operator_behind(Vec::new()).await?;
        Ok(Self {
            bed,
            proxy,
            kind,
            server: server.clone(),
            before,
            labelled: false,
            name: "echo-0".into(),
            created: 0,
            asked: 0,
        })
    }

    /// Whether it is a Deployment.
    pub fn is_deployment(&self) -> bool {
        self.kind == "Deployment"
    }

    async fn live(&self) -> Result<Vec<DynamicObject>> {
        let live = self.before.iter().map(|own| self.live_of(own));
        try_join_all(live).await
    }

    async fn live_of(&self, workload: &DynamicObject) -> Result<DynamicObject> {
        self.bed.live_of(&self.kind, &workload.name_any()).await
    }

    /// Goes to a state; tells how often the operator was killed on the way.
    pub async fn travel(&mut self, to: &State, kill: Kill, down: bool) -> Result<usize> {
        let left = self.live().await?;
        let labels = to.owner == Owner::Labels;
        let takes_out = to.owner == Owner::TakesItOut;
        let owners = i64::from(labels != self.labelled) + i64::from(takes_out);
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
        for (left, arrived) in left.iter().zip(&self.live().await?) {
            self.is_written_once(left, arrived, to, owners)?;
        }
        if to.spec.is_none() {
            self.owner_takes_out_what_is_left(to).await?;
        }
        Ok(kills)
    }

    fn is_written_once(
        &self,
        left: &DynamicObject,
        arrived: &DynamicObject,
        to: &State,
        owners: i64,
    ) -> Result<()> {
        let is_set_again = to.owner == Owner::TakesItOut;
        // A Deployment's generation counts changes of its annotations too.
        let records = |of: &DynamicObject| {
            let mut keys = of.annotations().keys();
            self.is_deployment() && keys.any(|key| key.starts_with(RECORDS))
        };
        let differs =
            left.data["spec"] != arrived.data["spec"] || records(left) != records(arrived);
        let ours = differs || is_set_again;
        let needed = i64::from(ours) + i64::from(to.fails()) + owners;
        let generation = |of: &DynamicObject| of.metadata.generation.unwrap_or(0);
        let written = generation(arrived) - generation(left);
        ensure!(
            written == needed,
            "{} {} was written {written} times instead of {needed}",
            self.kind,
            left.name_any()
        );
        Ok(())
    }

    async fn owner_takes_out_what_is_left(&self, at: &State) -> Result<()> {
        if at.adds.is_empty() {
            return Ok(());
        }
        for before in &self.before {
            let template = &before.data["spec"]["template"];
            let patch = json!([{"op": "replace", "path": "/spec/template", "value": template}]);
            self.patch(before, &patch).await?;
        }
        until("the owner's change is out", ROLLOUT, async || {
            self.is_in_place(&State::none()).await.map(Some)
        })
        .await
    }

    async fn patch(&self, workload: &DynamicObject, patch: &Value) -> Result<()> {
        let object = format!("{}/{}", self.kind, workload.name_any());
        let patch = patch.to_string();
        let words = ["patch", &object, "--type=json", "-p", &patch];
        self.bed.kubectl(&words).await.map(drop)
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
        if let Err(error) = process.signal(Signal::Kill) {
            // At a write after the last that mattered it may just have been killed.
            ensure!(!process.is_running(), error);
        }
        process.wait(SOON).await.map(drop)
    }

    /// Creates, changes or deletes the backend, and gives the pods the label or takes it from them.
    async fn ask_for(&mut self, to: &State) -> Result<()> {
        if to.owner == Owner::TakesItOut {
            // As it is sent again, without ours.
            let (bed, server) = (&self.bed, &self.server);
            return bed.server_side_apply(PIPELINE, false, server).await;
        }
        let labels = to.owner == Owner::Labels;
        if labels != self.labelled {
            self.labelled = labels;
            let (key, value) = LABEL;
            let path = format!("/spec/template/metadata/labels/{key}");
            let op = if labels { "add" } else { "remove" };
            for before in &self.before {
                self.patch(before, &json!([{"op": op, "path": path, "value": value}]))
                    .await?;
            }
        }
        let backends: Api<GrpcBackend> = self.bed.namespace.api();
        let exists = backends.get_opt(&self.name).await?.is_some();
        self.asked += 1;
        let mut wanted = to.spec.clone();
        if let Some(spec) = wanted.as_mut().filter(|_| to.fails()) {
            // Of a template that it has had before Kubernetes does not always tell that the rollout makes no progress.
            spec["connectionAge"]["maxAge"] = json!(format!("{}s", 30 + self.asked));
        }
        match &wanted {
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
        let reverts: usize = status.servers.iter().map(|row| row.reverts.len()).sum();
        let waits = status.servers.iter().any(|row| row.gone_since.is_some());
        ensure!(
            reverts == usize::from(to.owner == Owner::TakesItOut) && !waits,
            "{:?}",
            status.servers
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

    /// The workloads: the spec to the letter, no trace of ours but the record, all of theirs, and the rollout is over.
    async fn is_in_place(&self, to: &State) -> Result<()> {
        let live = self.live().await?;
        let mut both = self.before.iter().zip(&live);
        both.try_for_each(|(before, live)| self.is_as_it_should(to, before, live))
    }

    fn is_as_it_should(
        &self,
        to: &State,
        before: &DynamicObject,
        live: &DynamicObject,
    ) -> Result<()> {
        same(&live.data["spec"], &to.workload(&before.data["spec"])?)?;
        let theirs = |of: &DynamicObject| {
            let mut theirs = of.annotations().clone();
            theirs.retain(|key, _| !key.starts_with(RECORDS) && !COUNTED.contains(&key.as_str()));
            (theirs, of.labels().clone())
        };
        ensure!(theirs(live) == theirs(before), "{:?}", theirs(live));
        let records = live
            .annotations()
            .keys()
            .filter(|key| key.starts_with(RECORDS));
        let wanted = format!("{RECORDS}{}", self.name);
        let wanted: Vec<&String> = to.recorded.then_some(&wanted).into_iter().collect();
        ensure!(
            records.collect::<Vec<_>>() == wanted,
            "{:?}",
            live.annotations()
        );
        none_of_our_fields(live)?;
        has_its_fields(to, before, live)?;
        is_rolled_out(live)
    }
}

/// Who applies server-side owns what it has sent, also the list that we have changed; for as long as ours is in it, with our mark.
fn has_its_fields(to: &State, before: &DynamicObject, live: &DynamicObject) -> Result<()> {
    let applied = |of: &DynamicObject| {
        let mut all = of.managed_fields().iter();
        let own = all.find(|own| own.manager.as_deref() == Some(PIPELINE));
        own.and_then(|own| Some(own.fields_v1.as_ref()?.0.clone()))
    };
    let mut wanted = applied(before);
    if let Some(fields) = &mut wanted
        && to.adds.iter().any(|(field, _)| *field == "args")
    {
        fields["f:lent.evenkeel.dev/args.server"] = json!({});
    }
    let found = applied(live);
    ensure!(found == wanted, "{PIPELINE} owns {found:?}");
    Ok(())
}

fn is_rolled_out(live: &DynamicObject) -> Result<()> {
    let (spec, status) = (&live.data["spec"], &live.data["status"]);
    let (wanted, counts) = if spec["replicas"].is_null() {
        let counts = [
            "currentNumberScheduled",
            "updatedNumberScheduled",
            "numberAvailable",
        ];
        (&status["desiredNumberScheduled"], counts)
    } else {
        let counts = ["replicas", "updatedReplicas", "availableReplicas"];
        (&spec["replicas"], counts)
    };
    let number = |value: &Value| value.as_i64().unwrap_or(0);
    ensure!(
        status["observedGeneration"] == json!(live.metadata.generation)
            && counts
                .iter()
                .all(|count| number(&status[*count]) == number(wanted)),
        "it rolls out: {status}"
    );
    Ok(())
}
