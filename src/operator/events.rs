//! Tells people of what changed. A failure here is only logged: the status says it all.

use std::time::Duration;

use kube::Resource as _;
use kube::runtime::events::{Event, EventType};

use super::context::Scope;
use crate::api::GrpcBackend;
use crate::status::Note;

/// The API server's bound on a note, less a little.
const MAX_NOTE: usize = 1000;
const TIMEOUT: Duration = Duration::from_secs(5);

/// One event a note.
pub async fn publish(scope: &Scope, backend: &GrpcBackend, notes: &[Note]) {
    let regarding = backend.object_ref(&());
    for note in notes {
        let text = note.message.chars().scan(0, |bytes, c| {
            *bytes += c.len_utf8();
            (*bytes <= MAX_NOTE).then_some(c)
        });
        let event = Event {
            type_: if note.warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: note.reason.clone(),
            note: Some(text.collect()),
            action: "Reconcile".into(),
            secondary: None,
        };
        tracing::info!(
            namespace = regarding.namespace,
            name = regarding.name,
            reason = note.reason,
            message = note.message,
            "transition"
        );
        let published =
            tokio::time::timeout(TIMEOUT, scope.shared.recorder.publish(&event, &regarding)).await;
        match published {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "could not publish an event"),
            Err(_) => tracing::warn!("could not publish an event in {} s", TIMEOUT.as_secs()),
        }
    }
}
