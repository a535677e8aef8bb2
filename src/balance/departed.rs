//! Pods that are targets no more, in case they come back: one that was not ready for a while is mostly the same process, whose counters
//! go on from where they were.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::judge::MAX_PODS;
use super::time::elapsed;

/// How long a pod is remembered. Those that are deleted never come back, and nothing here can tell them.
const REMEMBERED: Duration = Duration::from_hours(1);

/// What is kept of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// When it was missed.
    pub at: Timestamp,
    /// Since when it was ready.
    pub ready_since: Timestamp,
}

/// Pods by their uid.
#[derive(Clone, Debug, Default)]
pub struct Departed(BTreeMap<String, Left>);

impl Departed {
    /// Adds pods, and forgets those that are away for long or are too many. Those of one round stay or go together.
    pub fn remember(&mut self, left: impl Iterator<Item = (String, Left)>, now: Timestamp) {
        self.0.extend(left);
        self.0.retain(|_, left| elapsed(left.at, now) <= REMEMBERED);
        if let Some(surplus) = self.0.len().checked_sub(MAX_PODS + 1) {
            let mut times: Vec<Timestamp> = self.0.values().map(|left| left.at).collect();
            times.sort_unstable();
            let last_to_go = times[surplus];
            self.0.retain(|_, left| left.at > last_to_go);
        }
    }

    /// What is known of the pod, if it was here before.
    pub fn come_back(&mut self, uid: &str) -> Option<Left> {
        self.0.remove(uid)
    }
}

/// Whether a pod that nothing is known of may have been ready and left: it was there before pods were followed, `since` then, or for longer
/// than one that left is remembered. Of those that are there when it begins nothing is told in any case.
pub fn may_have_left(created: Timestamp, since: Timestamp, now: Timestamp) -> bool {
    now > since && (created < since || elapsed(created, now) > REMEMBERED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn leave(departed: &mut Departed, second: i64, pods: usize) {
        let left = Left {
            at: at(second),
            ready_since: at(0),
        };
        let pods = (0..pods).map(|pod| (format!("{second}-{pod}"), left));
        departed.remember(pods, at(second));
    }

    #[test]
    fn a_pod_comes_back_once() {
        let mut departed = Departed::default();
        leave(&mut departed, 10, 2);
        assert_eq!(departed.come_back("10-1").map(|left| left.at), Some(at(10)));
        assert_eq!(departed.come_back("10-1"), None);
        leave(&mut departed, 10 + 3600, 0);
        assert!(departed.come_back("10-0").is_some());
    }

    #[test]
    fn neither_for_ever_nor_without_bound() {
        let mut departed = Departed::default();
        leave(&mut departed, 10, 1);
        leave(&mut departed, 10 + 3601, 0);
        assert_eq!(departed.come_back("10-0"), None);
        leave(&mut departed, 4000, 10);
        leave(&mut departed, 4001, MAX_PODS - 10);
        assert_eq!(departed.0.len(), MAX_PODS);
        leave(&mut departed, 4002, MAX_PODS);
        assert_eq!(departed.0.len(), MAX_PODS);
        assert!(departed.come_back("4002-0").is_some());
    }
}
