//! Every version of the GrpcBackends of a namespace, as a watch tells them: what asking now and then would miss.

use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::GrpcBackend;
use evenkeel::balance::Verdict;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::runtime::{WatchStreamExt as _, watcher};

use crate::bed::Bed;

/// Shows each object as it is now, and after each write, until `look` has seen enough. A watch that breaks goes on where it was.
pub async fn each(
    bed: &Bed,
    mut look: impl FnMut(GrpcBackend) -> Result<ControlFlow<()>>,
) -> Result<()> {
    let backends = bed.namespace.api::<GrpcBackend>();
    let watch = watcher(backends, watcher::Config::default());
    let mut watch = pin!(watch.default_backoff().applied_objects());
    loop {
        let next = watch.next().await.context("the watch ended")?;
        if let Ok(backend) = next
            && look(backend)?.is_break()
        {
            return Ok(());
        }
    }
}

/// What the objects look like now, and after each write within the span.
pub async fn versions(bed: &Bed, span: Duration) -> Result<Vec<GrpcBackend>> {
    let mut seen = Vec::new();
    let watch = each(bed, |backend| {
        seen.push(backend);
        Ok(ControlFlow::Continue(()))
    });
    if let Ok(ended) = tokio::time::timeout(span, watch).await {
        ended?;
    }
    ensure!(!seen.is_empty(), "the watch showed nothing");
    Ok(seen)
}

/// The verdicts of trouble that were said at any time: each is told by an event.
pub async fn troubles(bed: &Bed) -> Result<Vec<String>> {
    let ours = "--field-selector=type=Warning,involvedObject.kind=GrpcBackend";
    let each = "jsonpath={range .items[*]}{.reason}: {.message}{\"\\n\"}{end}";
    let warned = bed.kubectl(&["get", "events", ours, "-o", each]).await?;
    let is_of_load = |line: &&str| {
        let reason = line.split(':').next().unwrap_or_default();
        reason.parse().is_ok_and(Verdict::is_trouble)
    };
    Ok(warned
        .lines()
        .filter(is_of_load)
        .map(str::to_owned)
        .collect())
}

/// What a version says: type, status and reason of each condition, and since when.
pub fn conditions(backend: &GrpcBackend) -> Vec<(String, String, String, Timestamp)> {
    let status = backend.status.clone().unwrap_or_default();
    status
        .conditions
        .into_iter()
        .map(|condition| {
            let since = condition.last_transition_time.0;
            (condition.type_, condition.status, condition.reason, since)
        })
        .collect()
}
