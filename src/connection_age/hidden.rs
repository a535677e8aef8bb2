//! Kinds of workloads that the operator may not read: the right that is missing is named, and what is known of them is kept.
//!
//! Such a kind counts as absent: a workload of another kind goes on without it. That is said only where it matters, so that a
//! role of an earlier release does not fail backends which have nothing to do with the kind.

use crate::api::conditions::Statement;
use crate::api::{Reason, Server, SetBy};
use crate::names;
use crate::observed::{Kind, Observed, Unreadable};

/// Which right is missing, where it stands in the way.
pub fn statement(observed: &Observed, asks: bool) -> Option<Statement> {
    let matters = |hidden: &&Unreadable| {
        rows_of(observed, hidden).next().is_some() || asks && may_serve(observed, hidden.kind)
    };
    let hidden = observed.unreadable.iter().find(matters)?;
    Some(Statement::no(
        Reason::Forbidden,
        missing(hidden, &observed.namespace()),
    ))
}

/// The rows of such workloads as they were: they remember what was written, how often it was taken out, and that its rollout
/// failed or that we gave up, which is known from nowhere else where the record is lost.
pub fn rows(observed: &Observed) -> impl Iterator<Item = Server> {
    let forbidden = Reason::Forbidden.to_string();
    let state = move |row: &Server| {
        let lasting = [Reason::RolloutFailed, Reason::Reverted].map(Reason::as_str);
        let kept = row.state.clone();
        let kept = kept.filter(|state| lasting.contains(&state.as_str()));
        kept.unwrap_or_else(|| forbidden.clone())
    };
    observed.unreadable.iter().flat_map(move |hidden| {
        let state = state.clone();
        rows_of(observed, hidden).map(move |row| Server {
            state: Some(state(row)),
            message: Some(missing(hidden, &observed.namespace())),
            ..row.clone()
        })
    })
}

/// Whether one of them may have our record.
///
/// A row tells who set what the spec asks for now; what an earlier spec had us set may wait there still to be taken back. But
/// nothing of ours is anywhere that was written without the finalizer.
pub fn hold(observed: &Observed) -> bool {
    let finalizers = observed.backend.metadata.finalizers.iter().flatten();
    let held = finalizers.into_iter().any(|name| name == names::FINALIZER);
    let mut hidden = observed
        .unreadable
        .iter()
        .flat_map(|hidden| rows_of(observed, hidden));
    hidden.any(|row| held || row.set_by == Some(SetBy::Evenkeel))
}

/// A right may be missing for single workloads of a kind: those that were read speak for themselves.
fn rows_of<'a>(observed: &'a Observed, hidden: &'a Unreadable) -> impl Iterator<Item = &'a Server> {
    let status = observed.backend.status.as_ref();
    let rows = status.map_or(&[][..], |status| &status.servers);
    let is_read = |row: &Server| {
        let mut own = observed.workloads.iter();
        own.any(|own| own.kind == hidden.kind && own.name() == row.name)
    };
    rows.iter()
        .filter(|row| row.kind == hidden.kind.as_str() && row.container.is_some())
        .filter(move |row| !is_read(row))
}

/// Whether the server may be of that kind: a pod's owner is, or no other kind has what is looked for.
fn may_serve(observed: &Observed, kind: Kind) -> bool {
    let owner = match kind {
        Kind::Deployment => "ReplicaSet",
        Kind::StatefulSet | Kind::DaemonSet => kind.as_str(),
    };
    let has_pods = observed.pods.iter().any(|pod| {
        let owners = pod.metadata.owner_references.iter().flatten();
        let unknown = !observed.workloads.iter().any(|workload| workload.owns(pod));
        unknown && owners.into_iter().any(|of| of.kind == owner)
    });
    let age = observed.backend.spec.connection_age.as_ref();
    let known = |name: &String| observed.serving_workloads().any(|own| own.name() == name);
    has_pods
        || observed.serving_workloads().next().is_none()
        || age.is_some_and(|age| !age.workloads.iter().all(known))
}

fn missing(hidden: &Unreadable, namespace: &str) -> String {
    let (kind, verb) = (hidden.kind.as_str(), hidden.verb);
    format!(
        "the operator may not {verb} {kind}s in namespace {namespace}, and leaves those that serve as they are: give its role the verbs get, list, watch and patch on {}s of the API group apps, as the chart and the manifests of this version do",
        hidden.kind.resource()
    )
}
