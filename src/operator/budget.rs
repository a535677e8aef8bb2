//! How many rollouts the operator may have under way at once, over all backends.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Places for rollouts, each held by a workload's uid.
#[derive(Debug)]
pub struct Budget {
    places: usize,
    held: Mutex<HashMap<String, String>>,
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
    pub fn try_take(&self, workload: &str, backend: &str) -> bool {
        let mut held = self.lock();
        let free = held.len() < self.places || held.contains_key(workload);
        if free {
            held.insert(workload.into(), backend.into());
        }
        free
    }

    /// A rollout that is under way already, though there may be no place left for it.
    pub fn hold(&self, workload: &str, backend: &str) {
        self.lock().insert(workload.into(), backend.into());
    }

    /// No workload of this backend is rolling any more.
    pub fn release(&self, backend: &str) {
        self.lock().retain(|_, holder| holder != backend);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_under_way_already_leaves_no_place() {
        let budget = Budget::new(1);
        budget.hold("one", "backend");
        budget.hold("two", "backend");
        assert!(!budget.is_free());
        assert!(!budget.try_take("three", "backend"));
        budget.release("backend");
        assert!(budget.try_take("three", "backend"));
    }

    #[test]
    fn a_place_is_free_again_when_the_backend_is_done() {
        let budget = Budget::new(1);
        assert!(budget.is_free());
        assert!(budget.try_take("deployment", "backend"));
        assert!(budget.try_take("deployment", "backend"));
        assert!(!budget.is_free());
        assert!(!budget.try_take("another", "other"));
        budget.release("other");
        assert!(!budget.is_free());
        budget.release("backend");
        assert!(budget.is_free());
    }
}
