//! Tells people of what changed. A failure here is only logged: the status says it all.

use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType};

use super::context::Scope;
use crate::api::GrpcBackend;
use crate::status::Note;

/// The API server's bound on a note, less a little.
const MAX_NOTE: usize = 1000;
/// For all of a pass, which has better things to do than to wait.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One event a note; `related` is the other object that they are about.
pub async fn publish(
    scope: &Scope,
    backend: &GrpcBackend,
    related: Option<ObjectReference>,
    notes: &[Note],
) {
    let regarding = backend.object_ref(&());
    for note in notes {
        log(&regarding, note);
    }
    let recorder = &scope.shared.recorder;
    let published = async {
        for note in notes {
            if let Err(error) = recorder
                .publish(&event(note, related.clone()), &regarding)
                .await
            {
                tracing::warn!(%error, "could not publish an event");
            }
        }
    };
    if tokio::time::timeout(TIMEOUT, published).await.is_err() {
        tracing::warn!("could not publish all events in {} s", TIMEOUT.as_secs());
    }
}

fn event(note: &Note, related: Option<ObjectReference>) -> Event {
    let text = note.message.chars().scan(0, |bytes, c| {
        *bytes += c.len_utf8();
        (*bytes <= MAX_NOTE).then_some(c)
    });
    Event {
        type_: if note.warning {
            EventType::Warning
        } else {
            EventType::Normal
        },
        reason: note.reason.clone(),
        note: Some(text.collect()),
        action: "Reconcile".into(),
        secondary: related,
    }
}

/// One line a note. Its text is no `message`: that is what the line itself says, and a key stands once in a line of JSON.
fn log(regarding: &ObjectReference, note: &Note) {
    tracing::info!(
        namespace = regarding.namespace,
        name = regarding.name,
        reason = note.reason,
        note = note.message,
        "transition"
    );
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use parking_lot::Mutex;
    use serde_json::Value;

    use super::*;
    use crate::cli::log::{LogFormat, subscriber};

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the log has of one transition.
    fn logged(filter: &str, format: LogFormat) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let filter = filter.parse().unwrap();
        let subscriber = subscriber(filter, format, move || writer.clone(), None);
        let regarding = ObjectReference {
            namespace: Some("shop".into()),
            name: Some("rng".into()),
            ..ObjectReference::default()
        };
        let note = Note {
            warning: true,
            reason: "HotPod".into(),
            message: "rng-1 has \"all\"\n".into(),
        };
        tracing::subscriber::with_default(subscriber, || log(&regarding, &note));
        let written = buffer.0.lock().clone();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn a_transition_is_one_line_with_each_key_once() {
        let text = logged("info", LogFormat::Json);
        let line = text.strip_suffix('\n').unwrap();
        assert!(!line.contains('\n'), "{line}");
        let read: Value = serde_json::from_str(line).unwrap();
        // Written again it is as long, unless a key that stood twice was read once.
        assert_eq!(read.to_string().len(), line.len(), "{line}");
        for (key, value) in [
            ("level", "INFO"),
            ("message", "transition"),
            ("namespace", "shop"),
            ("name", "rng"),
            ("reason", "HotPod"),
            ("note", "rng-1 has \"all\"\n"),
        ] {
            assert_eq!(read[key], value, "{line}");
        }
        let text = logged("info", LogFormat::Text);
        assert_eq!(text.lines().count(), 1);
        let line = text.trim_end();
        assert!(!line.contains(char::is_control), "{line:?}");
    }

    #[test]
    fn the_filter_says_what_is_logged() {
        for (filter, is_logged) in [
            ("info", true),
            ("warn", false),
            ("error,evenkeel::operator=info", true),
            ("info,evenkeel=off", false),
        ] {
            for format in [LogFormat::Json, LogFormat::Text] {
                assert_eq!(!logged(filter, format).is_empty(), is_logged, "{filter}");
            }
        }
    }
}
