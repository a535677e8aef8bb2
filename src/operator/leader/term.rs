//! Until when the Lease is surely ours, and with it the right to write.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::decide::{DEADLINE, LOOK, UNACKNOWLEDGED};

/// A moment by two clocks. The steady one is set by nobody, but stands still while the machine is suspended. The wall clock is put right
/// then, but may be set at any time.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub(super) steady: Instant,
    wall: Timestamp,
}

impl Moment {
    pub fn now() -> Self {
        Self {
            steady: Instant::now(),
            wall: Timestamp::now(),
        }
    }

    pub fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// By the clock that says more: one that was set back makes nothing younger, and one that was set ahead older at worst.
    fn since(self, earlier: Self) -> Duration {
        let wall = self.wall.duration_since(earlier.wall);
        let wall = Duration::try_from(wall).unwrap_or_default();
        wall.max(self.steady.saturating_duration_since(earlier.steady))
    }
}

/// Shared by the one that renews the Lease and by everything that writes. Nothing has to be told to whoever writes: a process
/// that was stopped, or whose machine was suspended, and goes on when its Lease is long gone, finds by its own clocks that it may not
/// write.
#[derive(Clone, Debug, Default)]
pub struct Term {
    state: Arc<Mutex<State>>,
    /// For good, whatever a renewal says that was under way.
    ended: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    renewed: Option<Moment>,
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
        let mut state = self.term.state.lock();
        state.open = state.open.saturating_sub(1);
        if !self.answered {
            state.left_behind = Some(Instant::now());
        }
    }
}

impl Term {
    /// The Lease was renewed by a request that began then: its answer may have been long on its way.
    pub fn renewed(&self, begun: Moment) {
        self.state.lock().renewed = Some(begun);
    }

    /// From now on nothing may be written.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Whether something may be written now.
    pub fn holds(&self) -> bool {
        self.rest(Moment::now()).is_some()
    }

    /// Ends with the term, or soon after it where that was over by the wall clock alone.
    pub async fn over(&self) {
        while let Some(rest) = self.rest(Moment::now()) {
            let ended = self.ended.cancelled();
            let _ = tokio::time::timeout(rest.min(LOOK), ended).await;
        }
    }

    /// Something is about to be written, if it may be.
    pub fn write(&self) -> Option<Write> {
        self.holds().then(|| {
            self.state.lock().open += 1;
            Write {
                term: self.clone(),
                answered: false,
            }
        })
    }

    /// From when on nothing can arrive any more that has no answer; none: all has been answered. Asked when the term has ended: what
    /// is still open then is given up now, though whoever waits for it may not have run yet.
    pub fn silent_from(&self) -> Option<Instant> {
        let state = self.state.lock();
        let last = match state.open {
            0 => state.left_behind,
            _ => Some(Instant::now()),
        };
        last?.checked_add(UNACKNOWLEDGED)
    }

    /// What is left of it, if anything is.
    fn rest(&self, now: Moment) -> Option<Duration> {
        let renewed = self.state.lock().renewed?;
        let rest = DEADLINE.checked_sub(now.since(renewed))?;
        (!rest.is_zero() && !self.ended.is_cancelled()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    /// What is left of a term that was renewed so many seconds ago by the one clock and by the other.
    fn left(steady: u64, wall: i64) -> Option<u64> {
        let begun = Moment::now();
        let now = Moment {
            steady: begun.steady + Duration::from_secs(steady),
            wall: begun.wall + SignedDuration::from_secs(wall),
        };
        let term = Term::default();
        term.renewed(begun);
        term.rest(now).map(|rest| rest.as_secs())
    }

    #[test]
    fn over_by_either_clock() {
        let term = DEADLINE.as_secs();
        for (what, steady, wall, expected) in [
            ("both go", 3, 3, Some(term - 3)),
            ("both have gone", term, 8, None),
            ("the machine was suspended", 1, 20, None),
            ("the wall clock was set ahead", 1, 5, Some(term - 5)),
            ("the wall clock was set back", 3, -3600, Some(term - 3)),
            ("set back, it prolongs nothing", term, -3600, None),
        ] {
            assert_eq!(left(steady, wall), expected, "{what}");
        }
    }

    /// What waits for the end does not sleep through it: the steady clock goes on where it stood still.
    #[tokio::test(start_paused = true)]
    async fn a_wall_clock_that_has_leapt_ends_it_at_the_next_look() {
        let begun = Moment::now();
        let term = Term::default();
        term.renewed(begun);
        let leaps = async {
            // Seen from the clock, the term began that much sooner.
            tokio::task::yield_now().await;
            let wall = begun.wall - SignedDuration::from_hours(1);
            term.renewed(Moment { wall, ..begun });
        };
        tokio::join!(term.over(), leaps);
        assert!(begun.steady.elapsed() < LOOK * 2);
    }
}
