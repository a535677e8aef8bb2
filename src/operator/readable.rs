//! What this version can read of a watch.

use futures::{Stream, TryStreamExt as _};
use kube::core::{DeserializeGuard, error_boundary::InvalidObject};
use kube::runtime::watcher;

use crate::api::{GrpcBackend, GrpcBackendSpec};

/// One that another version of the operator wrote, in words that this one does not know, must not hold up all others. It is
/// left as it is: for this version there is none.
pub fn readable(
    events: impl Stream<Item = watcher::Result<watcher::Event<DeserializeGuard<GrpcBackend>>>> + Send,
) -> impl Stream<Item = watcher::Result<watcher::Event<GrpcBackend>>> + Send {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    events.try_filter_map(|event| {
        let readable = match event {
            Init => Some(Init),
            InitDone => Some(InitDone),
            InitApply(guard) => guard.0.map(InitApply).map_err(unreadable).ok(),
            Apply(guard) => Some(guard.0.map_or_else(|it| Delete(unreadable(it)), Apply)),
            Delete(guard) => Some(Delete(guard.0.unwrap_or_else(unreadable))),
        };
        std::future::ready(Ok(readable))
    })
}

/// Its name is all that is known of it.
fn unreadable(invalid: InvalidObject) -> GrpcBackend {
    tracing::warn!(
        namespace = invalid.metadata.namespace,
        name = invalid.metadata.name,
        error = invalid.error,
        "this version of the operator cannot read a GrpcBackend, and leaves it as it is"
    );
    GrpcBackend {
        metadata: invalid.metadata,
        ..GrpcBackend::new("", GrpcBackendSpec::default())
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, stream};
    use kube::ResourceExt as _;
    use serde_json::json;
    use watcher::Event::{self, Apply, Delete, Init, InitApply, InitDone};

    use super::*;

    fn guarded(name: &str, policy: &str) -> DeserializeGuard<GrpcBackend> {
        serde_json::from_value(json!({
            "apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend",
            "metadata": {"name": name, "namespace": "n"},
            "spec": {"selector": {"app": "a"}, "ports": [{"port": 1}], "services": {"clusterIP": {"policy": policy}}},
        }))
        .unwrap()
    }

    #[tokio::test]
    async fn one_that_cannot_be_read_holds_up_no_other() {
        let (known, unknown) = ("Manage", "OfALaterVersion");
        let events = [
            Init,
            InitApply(guarded("a", known)),
            InitApply(guarded("b", unknown)),
            InitDone,
            Apply(guarded("c", unknown)),
            Apply(guarded("d", known)),
            Delete(guarded("e", unknown)),
        ];
        let read = readable(stream::iter(events).map(Ok)).try_collect();
        let events: Vec<Event<GrpcBackend>> = Box::pin(read).await.unwrap();
        let told: Vec<String> = events
            .iter()
            .map(|event| match event {
                Init => "Init".into(),
                InitDone => "InitDone".into(),
                InitApply(backend) => format!("InitApply {}", backend.name_any()),
                Apply(backend) => format!("Apply {}", backend.name_any()),
                Delete(backend) => format!("Delete {}", backend.name_any()),
            })
            .collect();
        let expected = [
            "Init",
            "InitApply a",
            "InitDone",
            "Delete c",
            "Apply d",
            "Delete e",
        ];
        assert_eq!(told, expected);
    }
}
