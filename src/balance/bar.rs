//! How much it takes to say something: of new things much, of what is said already less.

use super::chance::{ALARM, SIGNIFICANCE};
use super::indices::as_f64;
use super::verdict::Verdict;

/// What was said holds until the figures are better by this factor.
const HYSTERESIS: f64 = 0.8;

/// What is counted together, and what chance may do to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bar {
    /// Windows.
    pub windows: f64,
    /// Variance over mean of a pod's count.
    pub dispersion: f64,
    /// How rarely chance may go so far.
    pub tail: f64,
}

impl Bar {
    /// For one window alone: enough to keep what was said, and to doubt what was not.
    pub fn of_a_window(dispersion: f64) -> Self {
        Self {
            windows: 1.0,
            dispersion,
            tail: SIGNIFICANCE,
        }
    }

    /// For keeping what was said of so many windows together.
    pub fn to_keep(windows: usize, dispersion: f64) -> Self {
        Self {
            tail: SIGNIFICANCE,
            ..Self::of_windows(windows, dispersion)
        }
    }

    /// For saying something new of so many windows together.
    pub fn of_windows(windows: usize, dispersion: f64) -> Self {
        Self {
            windows: as_f64(windows),
            dispersion,
            tail: ALARM,
        }
    }
}

/// What is said already, which holds until the figures are 20 % better. Default: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held(pub Option<Verdict>);

impl Held {
    /// Whether trouble is said.
    pub fn is_trouble(self) -> bool {
        self.0.is_some_and(Verdict::is_trouble)
    }

    /// The factor for a figure that made one of `verdicts` be said.
    pub(super) fn factor(self, verdicts: &[Verdict]) -> f64 {
        match self.0 {
            Some(verdict) if verdicts.contains(&verdict) => HYSTERESIS,
            _ => 1.0,
        }
    }

    pub(super) fn trouble(self) -> f64 {
        self.factor(&[Verdict::Skewed, Verdict::HotPod])
    }

    pub(super) fn idle(self) -> f64 {
        self.factor(&[Verdict::NewPodsStarved, Verdict::FewClients])
    }

    pub(super) fn judged(self) -> f64 {
        use Verdict::{Balanced, FewClients, HotPod, NewPodsStarved, Skewed};
        self.factor(&[Balanced, FewClients, HotPod, NewPodsStarved, Skewed])
    }
}
