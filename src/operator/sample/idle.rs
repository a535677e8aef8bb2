//! Connections to pods between scrapes: one a pod at most, and never another pod's.
//!
//! A connection is worth more than half of what a scrape costs. It costs a server little while nobody speaks, but some wait for the end of
//! each before they end themselves: so it is closed as soon as the pod is known not to serve any more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::Connection;

/// Over all backends: the kernel holds some kilobytes for each.
const MOST: usize = 2000;
/// In longer intervals a new connection costs nothing that counts, and servers end those that are idle for so long.
const LONGEST: Duration = Duration::from_mins(1);

/// Room for as many connections as may be kept: the limit is the process's, so one for all of it.
pub fn room() -> Arc<Semaphore> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    Arc::new(Semaphore::new(most(&limits)))
}

/// Half of the files that may be open.
fn most(limits: &str) -> usize {
    let files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let files = files.and_then(|files| files.split_whitespace().next());
    match files {
        Some("unlimited") => MOST,
        Some(files) => files.parse().unwrap_or(0).min(2 * MOST) / 2,
        None => 0,
    }
}

/// Those of one backend.
pub struct Idle {
    room: Arc<Semaphore>,
    by_pod: Mutex<HashMap<String, (Connection, OwnedSemaphorePermit)>>,
}

impl Idle {
    /// None yet; the room is shared with other backends.
    pub fn new(room: Arc<Semaphore>) -> Self {
        Self {
            room,
            by_pod: Mutex::default(),
        }
    }

    /// The pod's connection, if one was kept.
    pub fn take(&self, uid: &str) -> Option<Connection> {
        let (connection, _) = self.by_pod.lock().remove(uid)?;
        Some(connection)
    }

    /// Keeps it until the pod is asked again, as long as there is room.
    pub fn keep(&self, uid: &str, connection: Connection, interval: Duration) {
        if interval > LONGEST {
            return;
        }
        if let Ok(place) = self.room.clone().try_acquire_owned() {
            self.by_pod
                .lock()
                .insert(uid.to_owned(), (connection, place));
        }
    }

    /// Closes those of other pods.
    pub fn only(&self, serves: impl Fn(&str) -> bool) {
        self.by_pod.lock().retain(|uid, _| serves(uid));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_files_at_most() {
        let limits = |files: &str| {
            format!(
                "Max processes  1  1  processes\nMax open files            {files}                 524288               files\n"
            )
        };
        for (files, room) in [
            ("1024", 512),
            ("1048576", MOST),
            ("unlimited", MOST),
            ("?", 0),
        ] {
            assert_eq!(most(&limits(files)), room, "{files}");
        }
        assert_eq!(most(""), 0);
    }
}
