//! How many rollouts the operator may have under way at once, over all backends.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

/// Places for rollouts, each held by a workload's uid.
#[derive(Debug)]
pub struct Budget {
    places: usize,
    held: Mutex<HashMap<String, Place>>,
}

#[derive(Debug)]
struct Place {
    /// Whose pass gives it back.
    backend: String,
    since: Timestamp,
}

impl Budget {
    /// At least one place.
    pub fn new(places: usize) -> Self {
        Self {
            places: places.max(1),
            held: Mutex::default(),
        }
    }

    /// Whether a workload of this backend may start a rollout now.
    pub fn is_free(&self) -> bool {
        self.lock().len() < self.places
    }

    /// Takes a place for a rollout that is about to begin; false where there is none.
    pub fn try_take(&self, workload: &str, backend: &str, now: Timestamp) -> bool {
        let mut held = self.lock();
        let free = held.len() < self.places || held.contains_key(workload);
        if free {
            held.insert(workload.into(), Place::of(backend, now));
        }
        free
    }

    /// A rollout that is under way already, or waits for nothing, though there may be no place left for it.
    pub fn hold(&self, workload: &str, backend: &str, now: Timestamp) {
        self.lock().insert(workload.into(), Place::of(backend, now));
    }

    /// Gives back the places of this backend whose workloads need them no more; asked with when each was taken.
    pub fn settle(&self, backend: &str, needs: impl Fn(&str, Timestamp) -> bool) {
        self.lock()
            .retain(|workload, place| place.backend != backend || needs(workload, place.since));
    }

    /// The backend is gone.
    pub fn release(&self, backend: &str) {
        self.settle(backend, |_, _| false);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Place>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn of(backend: &str, since: Timestamp) -> Self {
        Self {
            backend: backend.into(),
            since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn what_is_under_way_already_leaves_no_place() {
        let budget = Budget::new(1);
        budget.hold("one", "backend", NOW);
        budget.hold("two", "backend", NOW);
        assert!(!budget.is_free());
        assert!(!budget.try_take("three", "backend", NOW));
        budget.release("backend");
        assert!(budget.try_take("three", "backend", NOW));
    }

    #[test]
    fn a_place_is_free_again_when_the_backend_is_done() {
        let budget = Budget::new(1);
        assert!(budget.is_free());
        assert!(budget.try_take("deployment", "backend", NOW));
        assert!(budget.try_take("deployment", "backend", NOW));
        assert!(!budget.is_free());
        assert!(!budget.try_take("another", "other", NOW));
        budget.release("other");
        assert!(!budget.is_free());
        budget.release("backend");
        assert!(budget.is_free());
    }

    #[test]
    fn each_workload_gives_back_its_own() {
        let budget = Budget::new(2);
        let later = NOW + std::time::Duration::from_mins(1);
        budget.hold("stuck", "backend", NOW);
        budget.hold("moves", "backend", later);
        budget.settle("backend", |workload, since| {
            assert_eq!(since == later, workload == "moves");
            workload == "moves"
        });
        assert!(budget.is_free());
        assert!(budget.try_take("next", "other", later));
        assert!(!budget.is_free(), "the other one has its place still");
    }
}
