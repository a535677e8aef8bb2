//! Beside whatever else writes the Deployment: docs/coexistence.md is the table of these tests.

pub mod apply;
pub mod backends;
pub mod before;
pub mod helm;
pub mod hpa;
pub mod kinds;
pub mod loops;
pub mod rollout;
pub mod undo;

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::{ConnectionAgeApplied, Ready, Stalled};
use evenkeel::api::Server;
use evenkeel_cluster::{AuditEvent, until};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::Deployment;
use kube::ResourceExt as _;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::bed::{Bed, ROLLOUT, SOON};
use crate::manifests;
use crate::world::World;

/// The variable of the knob `env`.
pub const AGE: &str = "MAX_CONNECTION_AGE";
/// Its companion.
pub const GRACE: &str = "MAX_CONNECTION_AGE_GRACE";
/// The flag of the knob `flags`.
pub const FLAG: &str = "--max-connection-age";
/// What the server of the knob `flags` has in its args.
pub const LISTEN: &str = "--listen=:8080";

/// Deployment and GrpcBackend `echo`, and the Deployment's template before the GrpcBackend came.
pub struct Scene {
    pub bed: Bed,
    before: Value,
}

impl Scene {
    /// The owner's Deployment alone.
    pub async fn before(world: &Arc<World>, prefix: &str, manifest: &Value) -> Result<Self> {
        let bed = Bed::new(world, prefix).await?;
        bed.apply(manifest).await?;
        Self::of(bed).await
    }

    /// The same where the Deployment is on its way already.
    pub async fn of(bed: Bed) -> Result<Self> {
        bed.rolled_out("echo").await?;
        let before = bed.template("echo").await?;
        Ok(Self { bed, before })
    }

    /// With an age that is in place.
    pub async fn after(
        world: &Arc<World>,
        prefix: &str,
        manifest: &Value,
        backend: &Value,
    ) -> Result<Self> {
        Self::before(world, prefix, manifest)
            .await?
            .with(backend)
            .await
    }

    /// With an age that is in place.
    pub async fn with(self, backend: &Value) -> Result<Self> {
        self.bed.apply(backend).await?;
        self.applied().await?;
        Ok(self)
    }

    /// Waits until all pods have the age.
    pub async fn applied(&self) -> Result<()> {
        self.bed
            .reason("echo", ConnectionAgeApplied, "Applied", ROLLOUT)
            .await?;
        self.bed.rolled_out("echo").await
    }

    /// The template before the GrpcBackend came.
    pub fn template_before(&self) -> Value {
        self.before.clone()
    }

    /// Deletes the GrpcBackend: the template is to the letter what it was before.
    pub async fn ends(self) -> Result<()> {
        let before = self.template_before();
        self.ends_as(&before).await
    }

    /// The same where the owner changed the template himself.
    pub async fn ends_as(self, expected: &Value) -> Result<()> {
        self.bed.finish_as("echo", expected).await
    }
}

/// Which template it is; the generation counts changed annotations too.
pub async fn revision(bed: &Bed) -> Result<Option<String>> {
    let deployment = bed.deployment("echo").await?;
    let revision = deployment
        .annotations()
        .get("deployment.kubernetes.io/revision");
    Ok(revision.cloned())
}

/// Whether managedFields name us.
pub fn is_owned_by_us(deployment: &Deployment) -> bool {
    let managers = deployment.metadata.managed_fields.iter().flatten();
    managers
        .filter_map(|entry| entry.manager.as_deref())
        .any(|manager| manager.starts_with("evenkeel"))
}

impl Bed {
    /// As Argo CD and Flux do it. Not with kubectl, which would first move its own ownership to the new manager.
    pub async fn server_side_apply(
        &self,
        manager: &str,
        force: bool,
        manifest: &Value,
    ) -> Result<()> {
        let params = PatchParams {
            force,
            ..PatchParams::apply(manager)
        };
        let name = manifest["metadata"]["name"].as_str().context("no name")?;
        let kind = manifest["kind"].as_str().context("no kind")?;
        self.of_kind(kind)?
            .patch(name, &params, &Patch::Apply(manifest))
            .await
            .with_context(|| format!("server-side apply by {manager}, force: {force}"))?;
        Ok(())
    }

    /// `kubectl edit` of a Deployment by a script of sed.
    pub async fn edit(&self, deployment: &str, script: &str) -> Result<()> {
        let arguments = ["-n", self.name(), "deployment", deployment];
        let editor = format!("sed -E -i '{script}'");
        let said = self.world.cluster.kubectl_edit(&editor, &arguments).await?;
        ensure!(said.contains("edited"), "{said}");
        Ok(())
    }

    /// The row of the Deployment `echo` in a GrpcBackend's status.
    pub async fn server(&self, backend: &str) -> Result<Server> {
        let status = self.backend(backend).await?.status.unwrap_or_default();
        let mut servers = status.servers.into_iter();
        servers
            .find(|server| server.name == "echo")
            .context("no row for echo")
    }

    /// How often what somebody took out was set again, of a backend with one workload.
    pub async fn reverts(&self, backend: &str) -> Result<usize> {
        let status = self.backend(backend).await?.status.unwrap_or_default();
        let server = status.servers.first();
        Ok(server.map_or(0, |server| server.reverts.len()))
    }

    /// Whether a workload, `kind/name`, has this age in the variable of a container.
    pub async fn has_age(&self, object: &str, container: &str, age: Option<&str>) -> Result<()> {
        let template = self.template_of(object).await?;
        let found = age_of(&template, container);
        ensure!(
            found.as_deref() == age,
            "{object} has {found:?}: {template:#}"
        );
        Ok(())
    }

    /// Waits until it was so often.
    pub async fn set_again(&self, backend: &str, times: usize) -> Result<()> {
        until(
            &format!("{backend}: it is set again"),
            ROLLOUT,
            async || {
                let reverts = self.reverts(backend).await?;
                ensure!(reverts == times, "{reverts} times");
                Ok(Some(()))
            },
        )
        .await
    }

    /// As if the age had been taken out eleven minutes ago: noted in the status, and seen by a pass that begins after that. One
    /// that was under way may write its own time over ours.
    pub async fn eleven_minutes_pass(&self) -> Result<()> {
        let now = Timestamp::now();
        let then = (now - SignedDuration::from_mins(11)).strftime("%Y-%m-%dT%H:%M:%SZ");
        let patch = json!([
            {"op": "test", "path": "/status/servers/0/name", "value": "echo"},
            {"op": "replace", "path": "/status/servers/0/goneSince", "value": then.to_string()},
        ]);
        let patch = patch.to_string();
        let status = ["--subresource=status", "--type=json", "-p", &patch];
        until("the time has passed", ROLLOUT, async || {
            let since = self.server("echo").await?.gone_since;
            if since.is_some_and(|since| now.duration_since(since.0).as_mins() < 10) {
                self.kubectl(&[&["patch", "gb", "echo"][..], &status].concat())
                    .await?;
                self.another_pass("echo").await?;
                return Ok(None);
            }
            Ok(Some(()))
        })
        .await
    }

    /// Waits until the operator gives up, and says so everywhere; with the advice that it gives.
    pub async fn gives_up(&self) -> Result<String> {
        self.reason("echo", ConnectionAgeApplied, "Reverted", ROLLOUT)
            .await?;
        self.reason("echo", Ready, "Reverted", SOON).await?;
        self.reason("echo", Stalled, "Reverted", SOON).await?;
        self.message("echo", ConnectionAgeApplied).await
    }

    /// How often the operator wrote, or tried to write, workloads since then.
    pub fn writes_to_workloads(&self, since: Timestamp) -> Result<usize> {
        Ok(self.workloads_written(since)?.len())
    }

    /// These requests.
    pub fn workloads_written(&self, since: Timestamp) -> Result<Vec<AuditEvent>> {
        const KINDS: [&str; 3] = ["deployments", "statefulsets", "daemonsets"];
        let mut writes = self.writes_since(since)?;
        writes.retain(|write| KINDS.contains(&write.resource.as_str()));
        Ok(writes)
    }
}

/// [`manifests::backend_with_age`] by flag.
pub fn backend_by_flag(name: &str, age: &str) -> Value {
    let mut backend = manifests::backend(name);
    backend["spec"]["connectionAge"] = json!({"maxAge": age, "knob": {"flags": {"maxAge": FLAG}}});
    backend
}

/// The usual server with arguments to extend.
pub fn server_with_arguments() -> Value {
    let mut server = manifests::server("echo", 1);
    manifests::container(&mut server)["args"] = json!([LISTEN]);
    server
}

/// The usual server with one more variable.
pub fn server_with(variable: &Value) -> Value {
    let mut server = manifests::server("echo", 1);
    add_variable(manifests::container(&mut server), variable);
    server
}

/// To the end of a container's env.
pub fn add_variable(container: &mut Value, variable: &Value) {
    if let Some(env) = container["env"].as_array_mut() {
        env.push(variable.clone());
    }
}

/// The age variable of a container.
pub fn age_of(template: &Value, container: &str) -> Option<String> {
    let containers = template["spec"]["containers"].as_array()?;
    let container = containers.iter().find(|own| own["name"] == container)?;
    let variable = container["env"]
        .as_array()?
        .iter()
        .find(|variable| variable["name"] == AGE)?;
    variable["value"].as_str().map(str::to_owned)
}
