//! Until when the Lease is surely ours, and with it the right to write.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::time::Instant;

use super::decide::{DEADLINE, UNACKNOWLEDGED};

/// Shared by the one that renews the Lease and by everything that writes. Nothing has to be told to whoever writes: a process
/// that was stopped, and goes on when its Lease is long gone, finds by its own clock that it may not write.
#[derive(Clone, Debug, Default)]
pub struct Term(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
    /// For good, whatever a renewal says that was under way.
    ended: bool,
    left_behind: Option<Instant>,
}

impl Term {
    /// The Lease was renewed by a request that began then: its answer may have been long on its way.
    pub fn renewed(&self, begun: Instant) {
        let mut state = self.lock();
        if !state.ended {
            state.until = begun.checked_add(DEADLINE);
        }
    }

    /// From now on nothing may be written.
    pub fn end(&self) {
        let mut state = self.lock();
        state.until = None;
        state.ended = true;
    }

    /// Whether something may be written now.
    pub fn holds(&self) -> bool {
        self.end_ahead().is_some()
    }

    /// Ends with the term.
    pub async fn over(&self) {
        while let Some(end) = self.end_ahead() {
            tokio::time::sleep_until(end).await;
        }
    }

    /// A write was given up that may have been sent.
    pub fn leave_behind(&self) {
        self.lock().left_behind = Some(Instant::now());
    }

    /// When all that was left behind has arrived, or never will.
    pub fn silent(&self) -> Option<Instant> {
        self.lock().left_behind?.checked_add(UNACKNOWLEDGED)
    }

    fn end_ahead(&self) -> Option<Instant> {
        self.lock().until.filter(|end| Instant::now() < *end)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
