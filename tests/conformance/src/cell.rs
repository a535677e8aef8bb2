//! What was measured, as it is kept: one JSON file a cell.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::plan::{Client, Event, Mode, name};
use crate::versions::Today;

/// Where the files are, in the repository.
pub(crate) const CELLS: &str = "tests/conformance/cells";

/// A mode and an event, with what each client saw.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Cell {
    /// Of [`Mode`].
    pub mode: String,
    /// Of [`Event`].
    pub event: String,
    /// One after the other.
    pub runs: Vec<Run>,
}

/// Once through the event, all clients beside each other. Times are seconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Run {
    /// When it began.
    pub at: Timestamp,
    /// How long it took, with all that goes before.
    pub took: f64,
    /// How long clients were watched.
    pub watched: f64,
    /// Calls a second of each client.
    pub rate: f64,
    /// How many processes waited for the machine's cores, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<f64>,
    /// Queries a minute of all clients together, as CoreDNS counts them; none where other cells ran beside this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_per_minute: Option<f64>,
    /// Of the libraries, of the cluster, and of the proxy.
    pub versions: BTreeMap<String, String>,
    /// What each client, the server and the proxy were made from, as [`Today`] has it; none of those before that was kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sources: BTreeMap<String, String>,
    /// By client.
    pub clients: BTreeMap<String, Seen>,
}

/// What one client saw. Times are seconds.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Seen {
    /// Calls that ended well.
    pub ok: u64,
    /// Calls that failed, by code.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<String, u64>,
    /// Calls that it began more than a second late, or never: its process stood still.
    #[serde(default, skip_serializing_if = "is_none")]
    pub not_begun: u64,
    /// The longest time without a good reply, as far as it is seen in half seconds.
    pub silence: f64,
    /// For each new pod, from Ready to the first reply; none while it was watched: null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_reply: Vec<Option<f64>>,
    /// For each new pod, from Ready to 80 % of its fair share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fair_share: Vec<Option<f64>>,
    /// Replies of pods that were Terminating.
    #[serde(default)]
    pub after_terminating: u64,
    /// From Terminating to the last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_after_terminating: Option<f64>,
    /// Requests of the busiest pod against the mean of all, at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_over_mean: Option<f64>,
    /// It had no connection to any of the pods that went.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untouched: bool,
    /// Open connections a pod, at the end.
    pub connections_per_pod: f64,
    /// Packets to the DNS server a minute, as the node counts them.
    pub dns_per_minute: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

impl Cell {
    /// How many runs there are of this client that would be the same today.
    pub fn runs_of(&self, today: &Today, mode: &Mode, event: &Event, client: &str) -> usize {
        let runs = self.runs.iter();
        runs.filter(|run| today.holds(mode, event, run, client))
            .count()
    }

    /// How many runs all clients have.
    pub fn done(&self, today: &Today, mode: &Mode, event: &Event) -> usize {
        let runs = |client: Client| self.runs_of(today, mode, event, client.id);
        mode.clients().map(runs).min().unwrap_or(0)
    }

    /// Adds a run, and takes out what another run of today has to stand in for.
    fn push(&mut self, today: &Today, mode: &Mode, event: &Event, run: Run) {
        for known in &mut self.runs {
            let whole = known.clone();
            known.clients.retain(|client, _| {
                today.holds(mode, event, &whole, client) || !run.clients.contains_key(client)
            });
        }
        self.runs.retain(|known| !known.clients.is_empty());
        self.runs.push(run);
    }
}

impl Seen {
    /// Whether it is more the machine that was seen: over a hundredth of the calls were not begun in time.
    pub fn stood_still(&self) -> bool {
        self.not_begun * 100 > self.ok + self.failures()
    }

    /// How many calls failed.
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }
}

/// Where the cell of a mode and an event is kept.
pub fn path(root: &Path, mode: &Mode, event: &Event) -> PathBuf {
    root.join(CELLS).join(name(mode, event) + ".json")
}

/// The cell as far as it was measured; `None` where nothing was.
pub fn read(root: &Path, mode: &Mode, event: &Event) -> Result<Option<Cell>> {
    let path = path(root, mode, event);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let cell = serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))?;
    Ok(Some(cell))
}

/// Keeps a run at once, so that whoever interrupts loses no more than the next one.
pub fn add(root: &Path, today: &Today, mode: &Mode, event: &Event, run: Run) -> Result<()> {
    let mut cell = read(root, mode, event)?.unwrap_or_default();
    cell.mode = mode.id.into();
    cell.event = event.id.into();
    cell.push(today, mode, event, run);
    let path = path(root, mode, event);
    let text = serde_json::to_string_pretty(&cell)? + "\n";
    // In one step, or an interruption could leave half a file.
    let half = path.with_extension("half");
    fs::write(&half, text).with_context(|| format!("write {}", half.display()))?;
    fs::rename(&half, &path).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{EVENTS, MODES};

    const GO: &str = "go";
    const JAVA: &str = "java";

    /// A run of today, of these clients.
    fn run(today: &Today, clients: &[&str]) -> Run {
        Run {
            rate: MODES[0].rate(&EVENTS[0]),
            versions: today.versions.clone(),
            sources: today.sources.clone(),
            clients: clients
                .iter()
                .map(|client| ((*client).to_owned(), Seen::default()))
                .collect(),
            ..Run::default()
        }
    }

    fn today() -> Today {
        let word = |key: &str| (key.to_owned(), "1".to_owned());
        Today {
            versions: BTreeMap::from(["Kubernetes", "CoreDNS", "grpc-go"].map(word)),
            sources: BTreeMap::from([GO, JAVA, "server", "envoy"].map(word)),
        }
    }

    #[test]
    fn only_runs_of_today_count() {
        let today = today();
        let count = |change: fn(&mut Run)| {
            let mut run = run(&today, &[GO]);
            change(&mut run);
            let cell = Cell {
                runs: vec![run],
                ..Cell::default()
            };
            cell.runs_of(&today, &MODES[0], &EVENTS[0], GO)
        };
        assert_eq!(count(|_| ()), 1);
        assert_eq!(count(|run| run.rate = 40.0), 0);
        assert_eq!(count(|run| run.sources.clear()), 0);
        assert_eq!(
            count(|run| drop(run.sources.insert(GO.into(), "2".into()))),
            0
        );
        assert_eq!(
            count(|run| drop(run.sources.insert(JAVA.into(), "2".into()))),
            1
        );
        assert_eq!(
            count(|run| drop(run.sources.insert("server".into(), "2".into()))),
            0
        );
        assert_eq!(
            count(|run| drop(run.sources.insert("envoy".into(), "2".into()))),
            1
        );
        assert_eq!(
            count(|run| drop(run.versions.insert("CoreDNS".into(), "2".into()))),
            0
        );
        // Another version of its library is another source.
        assert_eq!(
            count(|run| drop(run.versions.insert("grpc-go".into(), "2".into()))),
            1
        );
    }

    #[test]
    fn the_configuration_of_a_proxy_is_part_of_what_goes_through_it() {
        let today = today();
        let holds = |mode: &str, change: fn(&mut Run)| {
            let mode = MODES.iter().find(|known| known.id == mode).unwrap();
            let mut run = run(&today, &[GO]);
            run.sources = today.sources_of(mode, &run);
            change(&mut run);
            today.holds(mode, &EVENTS[0], &run, GO)
        };
        let another = |run: &mut Run| drop(run.sources.insert("envoy".into(), "2".into()));
        assert!(holds("envoy", |_| ()) && !holds("envoy", another));
        assert!(!holds("envoy", |run| drop(run.sources.remove("envoy"))));
        assert!(holds("headless", another));
    }

    #[test]
    fn a_cell_is_done_when_each_client_has_its_runs() {
        let today = today();
        let (mode, event) = (&MODES[0], &EVENTS[0]);
        let all: Vec<&str> = mode.clients().map(|client| client.id).collect();
        let mut today = Today {
            sources: all
                .iter()
                .chain(&["server"])
                .map(|id| ((*id).into(), "1".into()))
                .collect(),
            ..today
        };
        let mut cell = Cell::default();
        cell.push(&today, mode, event, run(&today, &all));
        cell.push(&today, mode, event, run(&today, &all[1..]));
        assert_eq!(cell.done(&today, mode, event), 1);
        cell.push(&today, mode, event, run(&today, &all[..1]));
        assert_eq!((cell.done(&today, mode, event), cell.runs.len()), (2, 3));

        // What was built from something else is kept until there is better, and then it goes.
        today.sources.insert(all[0].into(), "2".into());
        assert_eq!(cell.done(&today, mode, event), 0);
        assert_eq!(cell.runs_of(&today, mode, event, all[1]), 2);
        cell.push(&today, mode, event, run(&today, &all[..1]));
        assert_eq!((cell.done(&today, mode, event), cell.runs.len()), (1, 3));
    }
}
