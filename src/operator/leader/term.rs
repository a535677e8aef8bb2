//! Until when the Lease is surely ours, and with it the right to write.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::decide::{DEADLINE, UNACKNOWLEDGED};

/// Shared by the one that renews the Lease and by everything that writes. Nothing has to be told to whoever writes: a process
/// that was stopped, and goes on when its Lease is long gone, finds by its own clock that it may not write.
#[derive(Clone, Debug, Default)]
pub struct Term {
    state: Arc<Mutex<State>>,
    /// For good, whatever a renewal says that was under way.
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    until: Option<Instant>,
    /// How many writes have no answer yet.
    open: usize,
    /// When one was given up last that may have been sent.
    left_behind: Option<Instant>,
}

/// A write under way. Whoever drops it without an answer does not know whether it arrives, or when.
#[derive(Debug)]
pub struct Write {
    term: Term,
    answered: bool,
}

impl Write {
    /// The API server has said what became of it.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        let mut state = self.term.lock();
        state.open = state.open.saturating_sub(1);
        if !self.answered {
            state.left_behind = Some(Instant::now());
        }
    }
}

impl Term {
    /// The Lease was renewed by a request that began then: its answer may have been long on its way.
    pub fn renewed(&self, begun: Instant) {
        self.lock().until = begun.checked_add(DEADLINE);
    }

    /// From now on nothing may be written.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Whether something may be written now.
    pub fn holds(&self) -> bool {
        self.end_ahead().is_some()
    }

    /// Ends with the term.
    pub async fn over(&self) {
        while let Some(end) = self.end_ahead() {
            let ended = self.ended.cancelled();
            let _ = tokio::time::timeout_at(end, ended).await;
        }
    }

    /// Something is about to be written, if it may be.
    pub fn write(&self) -> Option<Write> {
        self.holds().then(|| {
            self.lock().open += 1;
            Write {
                term: self.clone(),
                answered: false,
            }
        })
    }

    /// From when on nothing can arrive any more that has no answer; none: all has been answered. Asked when the term has ended: what
    /// is still open then is given up now, though whoever waits for it may not have run yet.
    pub fn silent_from(&self) -> Option<Instant> {
        let state = self.lock();
        let last = match state.open {
            0 => state.left_behind,
            _ => Some(Instant::now()),
        };
        last?.checked_add(UNACKNOWLEDGED)
    }

    fn end_ahead(&self) -> Option<Instant> {
        let until = self.lock().until.filter(|end| Instant::now() < *end);
        until.filter(|_| !self.ended.is_cancelled())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
