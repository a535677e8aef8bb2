//! From what the pods were asked for over one, two and three windows to what is said: evidence is added up before it is
//! weighed, instead of asking for three alarms in a row. One idle pod of fifty at thirty requests is within what a single
//! window's chance does to the sum over all; over three windows it is not.
//!
//! | said now | what is looked at | how |
//! |---|---|---|
//! | trouble | the last window alone | a thousandth, φ as it most likely is, figures 20 % better |
//! | anything else | the sum of three windows; where pods do not cover them, of two or one | one of ten million, φ as it may well be |
//!
//! A sum alone would let one wild window speak for three. So *it lasts* means: the deviation of the sum is to be seen in
//! each of its windows, at least half as large. With relative deviations d of the sum and dᵢ of window i that is
//! `Σ dᵢd ≥ ½ Σ d²`; of noise alone the left side has a mean of a third of the right.
//!
//! Where the last window alone looks uneven, but the sum does not say so, that is a *suspicion*: nothing even is said
//! for the first time, and if it goes on for [`PATIENCE`](super::evidence::PATIENCE) windows it is said after all. So a
//! pinned client is found whose traffic teaches nothing of its dispersion.

use std::time::Duration;

use jiff::Timestamp;

use super::bar::Bar;
use super::dispersion::Dispersion;
use super::evidence::{Evidence, Observation, WINDOWS};
use super::indices::as_f64;
use super::time::elapsed;
use super::verdict::{Assessment, Fairness, Load, Thresholds, Verdict, assess, fairness, weights};

/// Windows that are added up at most.
pub const SPAN: usize = WINDOWS as usize;

/// What one judged pod was asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen<'a> {
    /// Which pod.
    pub uid: &'a str,
    /// Requests within the last window.
    pub window: f64,
    /// Requests within the last one, two and three windows, as far as the pod was to be counted on then.
    pub sums: [Option<f64>; SPAN],
    /// Whether it has served any request since it became ready.
    pub ever_served: bool,
    /// What it can take, in any unit, where that is known.
    pub capacity: Option<u32>,
}

/// What a round's numbers come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    /// The figures of the last window. Where trouble was found in a sum, the pods named are those of the sum.
    pub assessment: Assessment,
    /// What it means for what is said.
    pub observation: Observation,
}

/// What was said of one backend, what speaks against it, and how noisy its traffic is.
#[derive(Clone, Debug, Default)]
pub struct Detector {
    evidence: Evidence,
    /// What a pod's fair share went by: the same in one window and in the sum of three.
    fairness: Option<Fairness>,
    dispersion: Dispersion,
    /// When the last window ended that the dispersion was learnt from.
    learnt: Option<Timestamp>,
    learnt_in_trouble: bool,
}

impl Detector {
    /// Begins with what was said before a restart.
    pub fn restored(verdict: Option<Verdict>) -> Self {
        Self {
            evidence: Evidence::restored(verdict),
            ..Self::default()
        }
    }

    /// Whether what is said was only taken over from before a restart.
    pub fn is_restored(&self) -> bool {
        self.evidence.is_restored()
    }

    /// Variance over mean of a pod's count, as it most likely is.
    pub fn dispersion(&self) -> f64 {
        self.dispersion.typical()
    }

    /// Forgets evidence, not what was said: the rules have changed.
    pub fn restart(&mut self) {
        self.evidence.restart();
        self.dispersion = Dispersion::default();
        self.learnt = None;
    }

    /// Learns the dispersion from windows that do not overlap; `slack`: by how much a window may be short. Once enough is
    /// known, only from healthy ones; what was learnt from others, for want of better, is forgotten when they come.
    pub fn learn(&mut self, pods: &[Seen<'_>], now: Timestamp, window: Duration, slack: Duration) {
        let trouble = self.evidence.held().is_trouble();
        if trouble && self.dispersion.is_known() {
            self.interrupt();
            return;
        }
        if !trouble && self.learnt_in_trouble {
            self.dispersion = Dispersion::default();
        }
        self.learnt_in_trouble = trouble;
        let needed = window.saturating_sub(slack);
        if self
            .learnt
            .is_none_or(|learnt| elapsed(learnt, now) >= needed)
        {
            self.learnt = Some(now);
            let window = pods.iter().map(|pod| (pod.uid.to_owned(), pod.window));
            self.dispersion.observe(window.collect());
        }
    }

    /// What comes now is not to be compared with what was.
    pub fn interrupt(&mut self) {
        self.dispersion.interrupt();
        self.learnt = None;
    }

    /// Weighs one more round, and says the verdict.
    pub fn weigh(&mut self, observation: Observation, now: Timestamp, window: Duration) -> Verdict {
        self.evidence.weigh(observation, now, window)
    }

    /// What the numbers of a round come to.
    pub fn look(&mut self, pods: &[Seen<'_>], open_rpcs: bool, thresholds: &Thresholds) -> Outlook {
        let held = self.evidence.held();
        let loads: Vec<Load> = pods
            .iter()
            .map(|pod| Load {
                requests: pod.window,
                ever_served: pod.ever_served,
                capacity: pod.capacity,
            })
            .collect();
        self.fairness = fairness(&loads, self.fairness);
        let by = self.fairness.unwrap_or_default();
        let bar = Bar::of_a_window(&self.dispersion);
        let mut assessment = assess(&loads, by, bar, open_rpcs, thresholds, held);
        let verdict = assessment.verdict;
        if held.is_trouble() {
            let observation = Observation::Finding {
                verdict,
                windows: 1,
            };
            return Outlook {
                assessment,
                observation,
            };
        }
        let observation = if let Some(sum) = self.sum(pods, thresholds) {
            let windows = sum.windows;
            // While the sum still holds windows from before, only the last one shows a pod as idle.
            let idle = matches!(verdict, Verdict::FewClients | Verdict::NewPodsStarved);
            let verdict = if idle {
                verdict
            } else {
                (assessment.idle, assessment.hot) = (
                    sum.which(&sum.assessment.idle),
                    sum.which(&sum.assessment.hot),
                );
                sum.assessment.verdict
            };
            Observation::Finding { verdict, windows }
        } else if verdict.is_trouble() {
            Observation::Suspicion(verdict)
        } else {
            Observation::Finding {
                verdict,
                windows: 1,
            }
        };
        Outlook {
            assessment,
            observation,
        }
    }

    /// Trouble that the most windows say which enough pods cover, if they say so.
    fn sum(&self, pods: &[Seen<'_>], thresholds: &Thresholds) -> Option<Sum> {
        let held = self.evidence.held();
        let windows = (1..=SPAN).rev().find(|windows| {
            let covering = pods.iter().filter(|pod| pod.sums[windows - 1].is_some());
            let covering = covering.count();
            covering >= 2 && 2 * covering >= pods.len()
        })?;
        let covering = || {
            let each = pods.iter().enumerate();
            each.filter_map(move |(index, pod)| Some((index, pod, pod.sums[windows - 1]?)))
        };
        let loads: Vec<Load> = covering()
            .map(|(_, pod, requests)| Load {
                requests,
                ever_served: pod.ever_served,
                capacity: pod.capacity,
            })
            .collect();
        let by = self.fairness.unwrap_or_default();
        let bar = Bar::of_windows(windows, &self.dispersion);
        let assessment = assess(&loads, by, bar, false, thresholds, held);
        if !assessment.verdict.is_trouble() {
            return None;
        }
        let sums: Vec<[f64; SPAN]> = covering()
            .map(|(_, pod, _)| pod.sums.map(Option::unwrap_or_default))
            .collect();
        lasts(&sums, &weights(&loads, by), windows).then(|| Sum {
            windows: u32::try_from(windows).unwrap_or(WINDOWS),
            assessment,
            pods: covering().map(|(index, ..)| index).collect(),
        })
    }
}

/// What several windows say together, of some of the pods.
struct Sum {
    windows: u32,
    assessment: Assessment,
    /// Their places among all.
    pods: Vec<usize>,
}

impl Sum {
    fn which(&self, some: &[usize]) -> Vec<usize> {
        some.iter().map(|index| self.pods[*index]).collect()
    }
}

/// Whether the deviation of the sum over so many windows is to be seen in each of them, at least half as large.
fn lasts(sums: &[[f64; SPAN]], weights: &[f64], windows: usize) -> bool {
    let deviation = |of: &dyn Fn(&[f64; SPAN]) -> f64| -> Option<Vec<f64>> {
        let mean = sums.iter().map(of).sum::<f64>() / as_f64(sums.len());
        let each = || sums.iter().zip(weights);
        (mean > 0.0).then(|| {
            each()
                .map(|(pod, weight)| of(pod) / mean - weight)
                .collect()
        })
    };
    let Some(whole) = deviation(&|pod| pod[windows - 1]) else {
        return false;
    };
    let product = |part: &[f64]| part.iter().zip(&whole).map(|(a, b)| a * b).sum::<f64>();
    let enough = product(&whole) / 2.0;
    (0..windows).all(|window| {
        let before = |pod: &[f64; SPAN]| if window == 0 { 0.0 } else { pod[window - 1] };
        deviation(&|pod| (pod[window] - before(pod)).max(0.0))
            .is_some_and(|part| product(&part) >= enough)
    })
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
