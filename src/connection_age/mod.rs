//! Where the age goes into somebody else's workload, and how it comes out again.
//!
//! Pure: from what was observed to the patches that should be sent. The owner of a workload must never notice us and always
//! wins, hence (each tried on a real API server):
//!
//! * a write is one JSON patch, guarded by `test` of what was seen (`draft`), with a record of it in an annotation (`record`);
//! * after it our managedFields entry is removed ([`release`]), so that every later apply of the owner succeeds;
//! * what is taken back is only what the record says, is still so, and nobody else has claimed since (`owner`).
//!
//! | the workload | without a record | with our record |
//! |---|---|---|
//! | is asked for, has nothing | inject | set again, at most 3 times in six hours |
//! | is asked for, has it already | nothing (the owner's) | nothing (ours), update if the spec changed |
//! | has another value | nothing: `FieldConflict` | nothing: the owner's override wins |
//! | is not asked for (any more) | nothing | take back, or forget where `onRemove: Leave` or where it is the owner's now |

mod advice;
mod arguments;
mod ask;
mod assess;
mod claims;
mod confirm;
mod draft;
mod hidden;
mod injection;
mod keep;
mod knob;
mod owner;
mod pairs;
mod patch;
mod record;
mod report;
mod reverts;
mod rollout;
mod schedule;
mod target;
pub mod timing;
mod trial;
mod turns;
mod workload;

#[cfg(test)]
mod tests;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::conditions::Statement;
use crate::api::{Reason, Server};
use crate::names;
use crate::observed::Kind;

pub use ask::{arguments, asked};
pub use confirm::confirmed;
pub use owner::{owns_fields, release};
pub use reverts::remembers;
pub use rollout::{is_rolling_out, needs_place, started_by};
pub use schedule::plan;

/// What `running` says where pods differ.
const MIXED: &str = "mixed";

/// What the operator as a whole allows.
#[derive(Clone, Copy, Debug)]
pub struct Permit {
    /// Whether the budget of concurrent rollouts allows to start one now.
    pub rollout: bool,
    /// How long a pod may take to be ready in a rollout of ours, where the workload's kind has no such limit itself.
    pub deadline: Duration,
}

/// What a step does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Change {
    /// The age goes in, or in again.
    Inject,
    /// What we wrote, or our record of it, is changed.
    Update,
    /// What we wrote goes out.
    TakeBack,
    /// Our record goes, the values stay.
    Forget,
    /// Our managedFields entry goes, left over from a write that was not followed up.
    Release,
}

impl Change {
    /// Each of them.
    pub const ALL: [Self; 5] = [
        Self::Inject,
        Self::Update,
        Self::TakeBack,
        Self::Forget,
        Self::Release,
    ];

    /// The reason of the event that tells of it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Inject => "ConnectionAgeSet",
            Self::Update => "ConnectionAgeChanged",
            Self::TakeBack => "ConnectionAgeTakenBack",
            Self::Forget => "ConnectionAgeForgotten",
            Self::Release => "FieldsReleased",
        }
    }
}

/// One patch of one workload.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The workload's kind.
    pub kind: Kind,
    /// The workload's name.
    pub name: String,
    /// Which one of that name: the patch tests it too.
    pub uid: String,
    /// What the patch does.
    pub change: Change,
    /// The patch. A failed `test` (422) means that the world has moved on: look again.
    pub patch: json_patch::Patch,
    /// Whether the pods will be replaced.
    pub starts_rollout: bool,
    /// Whether it sets again what somebody took out, which the status counts, and is counted for it alone.
    pub again: bool,
    /// It waits for nothing, not for a place among the rollouts either.
    pub urgent: bool,
    /// What is done, as a sentence for an event.
    pub note: String,
}

/// What should be done about the age, and what is to be said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// At most one for each workload.
    pub steps: Vec<Step>,
    /// The condition ConnectionAgeApplied.
    pub statement: Statement,
    /// A row for each workload with the labels, at most 32.
    pub servers: Vec<Server>,
    /// The age that the ready pods run with; `mixed` where they differ.
    pub running_max_age: Option<String>,
    /// The longest age that any of them run with, where any do.
    pub longest_max_age: Option<Duration>,
    /// Records remain or may be written: the finalizer must be there, before any step is taken.
    pub holds: bool,
    /// A step waits for a rollout to end, here or elsewhere.
    pub blocked_by_rollout: bool,
    /// When to look again though nothing has changed: somebody took the age out, and it is to be set again then.
    pub look_again: Option<Duration>,
    /// The status counts a step: it is written before the step is taken, so that the count survives the end of the operator
    /// between the two.
    pub status_first: bool,
}

impl Plan {
    /// A step was surely not taken, and why: its attempt does not count, and nothing rolls out.
    pub fn not_taken(&mut self, step: &Step, reason: Reason, why: &str) {
        if let Some(row) = self.row_of(step) {
            if step.again {
                row.reverts.pop();
                row.attempted_generation = None;
            }
            if step.starts_rollout && row.state.as_deref() == Some(Reason::RollingOut.as_str()) {
                row.state = Some(reason.to_string());
                row.message = Some(why.into());
            }
        }
        if step.starts_rollout && self.statement.reason == Reason::RollingOut {
            self.statement = Statement::no(reason, why);
        }
    }

    /// The API server took a step: its attempt is over, even where admission took the age out of it again and the generation
    /// stays.
    pub fn arrived(&mut self, step: &Step) {
        if let Some(row) = self.row_of(step).filter(|_| step.starts_rollout) {
            row.attempted_generation = None;
        }
    }

    fn row_of(&mut self, step: &Step) -> Option<&mut Server> {
        let mut rows = self.servers.iter_mut();
        rows.find(|row| row.kind == step.kind.as_str() && row.name == step.name)
    }
}

/// When the plan should be made anew, seen from `now`.
fn until(now: Timestamp, due: Timestamp) -> Duration {
    let wait = due.duration_since(now).max(SignedDuration::from_secs(1));
    wait.unsigned_abs()
}

/// `wait` after `at`, which may be any time that a pod, a status or a record says: no sum of it may end the operator.
fn later(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// Somebody else's text, cut so that a status stays readable.
fn short(text: &str) -> String {
    let mut cut: String = text.chars().take(64).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}
