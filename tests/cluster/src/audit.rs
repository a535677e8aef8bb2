//! What the API server's audit log says about who did what.

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use crate::cluster::Cluster;

const WRITES: [&str; 5] = ["create", "update", "patch", "delete", "deletecollection"];
/// By how much a line may stand before one that was written earlier.
const DISORDER: SignedDuration = SignedDuration::from_secs(5);
/// Bytes of the log that are not worth another look at its middle.
const NEAR: u64 = 64 << 10;

/// One request, at metadata level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEvent {
    /// When the API server received it.
    pub time: Timestamp,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, …
    pub verb: String,
    /// The API group, empty for the core group.
    pub group: String,
    /// The plural, empty for paths such as `/version`.
    pub resource: String,
    /// `status`, `scale`, …, or empty.
    pub subresource: String,
    /// Empty for cluster-wide objects.
    pub namespace: String,
    /// Empty where the request names none.
    pub name: String,
    /// The answer's HTTP status code; 0 if there was none.
    pub code: u16,
    /// Who asked.
    pub user: String,
    /// With what program.
    pub user_agent: String,
    /// The whole path with its query.
    pub uri: String,
}

impl AuditEvent {
    /// Whether it was one that changes something (dry runs included).
    pub fn is_write(&self) -> bool {
        WRITES.contains(&self.verb.as_str())
    }
}

/// The audit log. A request is in it before its answer has arrived.
#[derive(Clone, Debug)]
pub struct Audit {
    path: PathBuf,
}

impl Cluster {
    /// The audit log of this cluster.
    pub fn audit(&self) -> Audit {
        Audit {
            path: self.logs_dir().join("audit.log"),
        }
    }
}

impl Audit {
    /// Writes that a user asked for since then, also those that were refused.
    pub fn writes_by(&self, user: &str, since: Timestamp) -> Result<Vec<AuditEvent>> {
        let mut events = self.requests_by(user, since)?;
        events.retain(AuditEvent::is_write);
        Ok(events)
    }

    /// Everything that a user asked for since then.
    pub fn requests_by(&self, user: &str, since: Timestamp) -> Result<Vec<AuditEvent>> {
        let mut events = self.containing(&format!("\"{user}\""), since)?;
        events.retain(|event| event.user == user);
        Ok(events)
    }

    /// Every request of anybody since then.
    pub fn requests(&self, since: Timestamp) -> Result<Vec<AuditEvent>> {
        self.containing("", since)
    }

    /// Lines are only parsed when they contain `needle`: most are others'.
    fn containing(&self, needle: &str, since: Timestamp) -> Result<Vec<AuditEvent>> {
        let file = std::fs::File::open(&self.path)
            .with_context(|| format!("open {}", self.path.display()))?;
        let mut log = BufReader::new(file);
        seek_to(&mut log, since)?;
        let (mut events, mut known) = (Vec::new(), HashSet::new());
        for line in log.lines() {
            let line = line?;
            if !line.contains(needle) {
                continue;
            }
            // The last line may be half written.
            let Ok(raw) = serde_json::from_str::<Raw>(&line) else {
                continue;
            };
            // A watch has a line when it starts and one when it ends.
            if raw.request_received_timestamp >= since && known.insert(raw.audit_id.clone()) {
                events.push(raw.into());
            }
        }
        Ok(events)
    }
}

/// Goes to a line at which nothing that was received since then has been written yet. By halves: at the end of all tests the log has
/// hundreds of megabytes, and each asks several times.
fn seek_to(log: &mut (impl BufRead + Seek), since: Timestamp) -> Result<()> {
    // Lines are in the order of the time at which they were written, but for those written at once.
    let before = since.saturating_sub(DISORDER)?;
    let (mut low, mut high) = (0, log.seek(SeekFrom::End(0))?);
    while high - low > NEAR {
        let middle = low + (high - low) / 2;
        log.seek(SeekFrom::Start(middle))?;
        log.skip_until(b'\n')?;
        let mut line = String::new();
        log.read_line(&mut line)?;
        match serde_json::from_str::<Written>(&line) {
            Ok(line) if line.stage_timestamp < before => low = middle,
            _ => high = middle,
        }
    }
    log.seek(SeekFrom::Start(low))?;
    if low > 0 {
        log.skip_until(b'\n')?;
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    stage_timestamp: Timestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    #[serde(rename = "auditID")]
    audit_id: String,
    verb: String,
    #[serde(rename = "requestURI")]
    request_uri: String,
    user: User,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: ObjectRef,
    #[serde(default)]
    response_status: Status,
    request_received_timestamp: Timestamp,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ObjectRef {
    resource: String,
    subresource: String,
    namespace: String,
    name: String,
    api_group: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
}

impl std::convert::From<Raw> for AuditEvent {
    fn from(raw: Raw) -> Self {
        Self {
            time: raw.request_received_timestamp,
            verb: raw.verb,
            group: raw.object_ref.api_group,
            resource: raw.object_ref.resource,
            subresource: raw.object_ref.subresource,
            namespace: raw.object_ref.namespace,
            name: raw.object_ref.name,
            code: raw.response_status.code,
            user: raw.user.username,
            user_agent: raw.user_agent,
            uri: raw.request_uri,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use super::*;

    fn at(second: usize) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + i64::try_from(second).unwrap()).unwrap()
    }

    #[test]
    fn nothing_since_then_is_passed_over_and_little_else_is_read() {
        let padding = "x".repeat(500);
        let lines: Vec<String> = (0..10_000)
            .map(|second| {
                format!(
                    "{{\"padding\":\"{padding}\",\"stageTimestamp\":\"{}\"}}\n",
                    at(second)
                )
            })
            .collect();
        let mut log = Cursor::new(lines.concat());
        for since in [0, 1, 4_999, 5_000, 9_990, 9_999, 20_000] {
            seek_to(&mut log, at(since)).unwrap();
            let first = log.by_ref().lines().next().transpose().unwrap();
            let left = lines.len()
                - 1
                - lines
                    .iter()
                    .position(|line| Some(line.trim_end()) == first.as_deref())
                    .unwrap();
            let wanted = lines.len().saturating_sub(since);
            assert!(
                (wanted.min(9_999)..wanted + 200).contains(&left),
                "{since}: {left} lines"
            );
        }
    }

    #[test]
    fn a_log_that_is_empty_or_half_written_is_read_from_its_begin() {
        for text in ["", "{", "{}\n{\"sta"] {
            let mut log = Cursor::new(text);
            seek_to(&mut log, at(5)).unwrap();
            assert_eq!(log.position(), 0);
        }
    }
}
