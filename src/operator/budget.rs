//! How many rollouts the operator may have under way at once, over all backends.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, MutexGuard};

/// Places for rollouts, each held by a workload's uid.
#[derive(Debug)]
pub struct Budget {
    places: usize,
    /// Scopes whose rollouts from before the start have no places yet.
    uncounted: AtomicUsize,
    started: Timestamp,
    held: Mutex<HashMap<String, Place>>,
}

#[derive(Debug)]
struct Place {
    /// Whose pass gives it back.
    backend: String,
    since: Timestamp,
    /// When a pass last found that it is needed.
    needed: Timestamp,
}

/// A place that was taken, and what was there before: another rollout of the same workload may be under way.
#[derive(Debug)]
pub struct Taken {
    workload: String,
    backend: String,
    before: Option<Place>,
}

/// Each backend has its pass at least every ten minutes. One whose passes fail before they know what its rollouts do must not
/// keep the places of all others.
const LAPSE: SignedDuration = SignedDuration::from_mins(30);
/// For the first lists of all scopes, also on an API server that has just come back. A namespace that may not be read is waited for no
/// longer.
const COUNTED_WITHIN: SignedDuration = SignedDuration::from_mins(1);

impl Budget {
    /// At least one place, and none to be had before so many scopes are counted.
    pub fn new(places: usize, scopes: usize, now: Timestamp) -> Self {
        Self {
            places: places.max(1),
            uncounted: scopes.into(),
            started: now,
            held: Mutex::default(),
        }
    }

    /// The rollouts that an earlier process began in one more scope have their places.
    pub fn counted(&self) {
        self.uncounted.fetch_sub(1, Ordering::AcqRel);
    }

    /// Whether another rollout may start now.
    pub fn is_free(&self, now: Timestamp) -> bool {
        self.has_room(&self.lock(now), now)
    }

    fn has_room(&self, held: &HashMap<String, Place>, now: Timestamp) -> bool {
        let known = self.uncounted.load(Ordering::Acquire) == 0
            || now.duration_since(self.started) >= COUNTED_WITHIN;
        known && held.len() < self.places
    }

    /// Takes a place for a rollout that is about to begin, if there is one.
    pub fn try_take(&self, workload: &str, backend: &str, now: Timestamp) -> Option<Taken> {
        let mut held = self.lock(now);
        let free = self.has_room(&held, now) || held.contains_key(workload);
        free.then(|| put(&mut held, workload, Place::of(backend, now)))
    }

    /// A rollout that is under way already, or waits for nothing, though there may be no place left for it.
    pub fn hold(&self, workload: &str, backend: &str, now: Timestamp) -> Taken {
        put(&mut self.lock(now), workload, Place::of(backend, now))
    }

    /// A rollout did not begin after all.
    pub fn give_back(&self, taken: Taken, now: Timestamp) {
        let mut held = self.lock(now);
        // Another has taken it since, and holds it for a rollout of its own.
        let theirs = |place: &Place| place.backend != taken.backend;
        if held.get(&taken.workload).is_some_and(theirs) {
            return;
        }
        match taken.before {
            Some(before) => held.insert(taken.workload, before),
            None => held.remove(&taken.workload),
        };
    }

    /// Gives back the places of this backend whose workloads need them no more; asked with when each was taken.
    pub fn settle(&self, backend: &str, now: Timestamp, needs: impl Fn(&str, Timestamp) -> bool) {
        self.lock(now).retain(|workload, place| {
            if place.backend != backend {
                return true;
            }
            place.needed = now;
            needs(workload, place.since)
        });
    }

    /// The backend is gone.
    pub fn release(&self, backend: &str, now: Timestamp) {
        self.settle(backend, now, |_, _| false);
    }

    /// What is held, without what has lapsed.
    fn lock(&self, now: Timestamp) -> MutexGuard<'_, HashMap<String, Place>> {
        let mut held = self.held.lock();
        held.retain(|_, place| now.duration_since(place.needed) < LAPSE);
        held
    }
}

fn put(held: &mut HashMap<String, Place>, workload: &str, place: Place) -> Taken {
    Taken {
        workload: workload.into(),
        backend: place.backend.clone(),
        before: held.insert(workload.into(), place),
    }
}

impl Place {
    fn of(backend: &str, since: Timestamp) -> Self {
        Self {
            backend: backend.into(),
            since,
            needed: since,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn budget(places: usize) -> Budget {
        Budget::new(places, 0, NOW)
    }

    #[test]
    fn no_place_is_free_before_every_scope_is_counted() {
        let budget = Budget::new(1, 2, NOW);
        budget.counted();
        assert!(!budget.is_free(NOW), "the other may hold it");
        assert!(budget.try_take("new", "quick", NOW).is_none());
        budget.hold("under way", "slow", NOW);
        assert!(budget.try_take("under way", "slow", NOW).is_some());
        budget.counted();
        assert!(!budget.is_free(NOW), "the other holds it");
        budget.release("slow", NOW);
        assert!(budget.try_take("new", "quick", NOW).is_some());
    }

    #[test]
    fn a_scope_that_is_never_counted_is_not_waited_for() {
        let budget = Budget::new(1, 2, NOW);
        budget.counted();
        let at = |seconds| NOW + SignedDuration::from_secs(seconds);
        assert!(!budget.is_free(at(59)));
        assert!(budget.is_free(at(60)));
    }

    #[test]
    fn what_is_under_way_already_leaves_no_place() {
        let budget = budget(1);
        budget.hold("one", "backend", NOW);
        budget.hold("two", "backend", NOW);
        assert!(!budget.is_free(NOW));
        assert!(budget.try_take("three", "backend", NOW).is_none());
        budget.release("backend", NOW);
        assert!(budget.try_take("three", "backend", NOW).is_some());
    }

    #[test]
    fn a_place_is_free_again_when_the_backend_is_done() {
        let budget = budget(1);
        assert!(budget.is_free(NOW));
        assert!(budget.try_take("deployment", "backend", NOW).is_some());
        assert!(budget.try_take("deployment", "backend", NOW).is_some());
        assert!(!budget.is_free(NOW));
        assert!(budget.try_take("another", "other", NOW).is_none());
        budget.release("other", NOW);
        assert!(!budget.is_free(NOW));
        budget.release("backend", NOW);
        assert!(budget.is_free(NOW));
    }

    #[test]
    fn each_workload_gives_back_its_own() {
        let budget = budget(2);
        let later = NOW + std::time::Duration::from_mins(1);
        budget.hold("stuck", "backend", NOW);
        budget.hold("moves", "backend", later);
        budget.settle("backend", later, |workload, since| {
            assert_eq!(since == later, workload == "moves");
            workload == "moves"
        });
        assert!(budget.is_free(NOW));
        assert!(budget.try_take("next", "other", later).is_some());
        assert!(!budget.is_free(NOW), "the other one has its place still");
    }

    #[test]
    fn what_is_not_looked_at_any_more_lapses() {
        let budget = budget(2);
        let at = |minutes| NOW + SignedDuration::from_mins(minutes);
        budget.hold("seen", "backend", NOW);
        budget.hold("unseen", "fails", NOW);
        budget.settle("backend", at(20), |_, _| true);
        assert!(!budget.is_free(at(29)));
        assert!(budget.is_free(at(30)));
        budget.hold("another", "other", at(30));
        assert!(
            !budget.is_free(at(30)),
            "the one that is seen has its place still"
        );
    }

    #[test]
    fn what_was_refused_leaves_its_place() {
        let budget = budget(1);
        let taken = budget.try_take("refused", "backend", NOW).unwrap();
        budget.give_back(taken, NOW);
        assert!(budget.try_take("another", "other", NOW).is_some());
    }

    #[test]
    fn what_was_refused_leaves_the_place_of_a_rollout_before() {
        let budget = budget(1);
        let later = NOW + std::time::Duration::from_mins(1);
        budget.hold("deployment", "first", NOW);
        for urgent in [false, true] {
            let taken = if urgent {
                budget.hold("deployment", "second", later)
            } else {
                budget.try_take("deployment", "second", later).unwrap()
            };
            budget.give_back(taken, later);
            assert!(!budget.is_free(later), "the first one's is under way");
        }
        // Who comes later and is taken holds it; who was refused before gives nothing back.
        let refused = budget.hold("deployment", "second", later);
        budget.hold("deployment", "first", NOW);
        budget.give_back(refused, later);
        assert!(!budget.is_free(later));
        budget.settle("second", later, |_, _| false);
        budget.settle("first", later, |_, since| {
            assert_eq!(since, NOW);
            true
        });
        assert!(!budget.is_free(later));
    }
}
