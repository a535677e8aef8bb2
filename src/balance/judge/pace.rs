//! Whether a round comes when it should.

use jiff::Timestamp;

use crate::balance::pod;
use crate::balance::round::Settings;
use crate::balance::time::elapsed;

/// When a round comes, beside the last one.
#[derive(Clone, Copy, PartialEq)]
pub enum Pace {
    /// It does not come later.
    Again,
    /// As usual.
    InTime,
    /// So late that a pod may not have been asked in time that answers: the process stood still, which says nothing of the pods.
    Late,
    /// What was read before is too long ago to be compared with what comes.
    Apart,
    /// The clock was set back.
    Back,
}

impl Pace {
    /// Of the round at `now`.
    pub fn new(last: Timestamp, now: Timestamp, settings: &Settings) -> Self {
        let ahead = elapsed(last, now);
        if elapsed(now, last) > settings.interval {
            Self::Back
        } else if now <= last {
            Self::Again
        } else if ahead > settings.window {
            // From one sample of a pod to the next it may be an interval more, and more than that covers no window.
            Self::Apart
        } else if ahead + settings.interval > pod::recent(settings.interval) {
            // A pod may have been read at the beginning of the last interval.
            Self::Late
        } else {
            Self::InTime
        }
    }
}
