//! From what the pods were asked for over one, two and three windows to what is said: evidence is added up before it is
//! weighed, instead of asking for three alarms in a row. One idle pod of fifty at thirty requests is within what a single
//! window's chance does to the sum over all; over three windows it is not.
//!
//! | said now | what is looked at | how |
//! |---|---|---|
//! | trouble | the last window alone; where it shows no idle pod, the sum too | a thousandth, φ as it most likely is, or has become since; figures 20 % better |
//! | anything else | the sum of three windows; where pods do not cover them, of two or one | one of ten million, φ as it may well be |
//!
//! A sum alone would let one wild window speak for three. So *it lasts* means: the deviation of the sum is to be seen in
//! each of its windows, at least half as large. With relative deviations d of the sum and dᵢ of window i that is
//! `Σ dᵢd ≥ ½ Σ d²`. That is about one wild window, not about noise: whatever the counts, the mean of the left side over the
//! windows is the right side without its ½. Noise is kept out by φ, which is also looked for in how the three windows differ
//! ([`within`]): traffic may have become burstier since φ was learnt.
//!
//! An idle pod that only the sum shows would be taken back by the last window, and said again, for as long as it idles. So the sum is asked
//! before that ends. It delays no end: a pod that has begun to serve is idle no more in the last window, and
//! that is asked too.
//!
//! A sum may be of some pods only. Then it says that something is uneven, and the last window, where it is too, what: with one of two hot
//! pods left out, the other would be hot alone.
//!
//! Where the last window alone looks uneven, but the sum does not say so, that is a *suspicion*: nothing even is said
//! for the first time, and if it goes on for [`PATIENCE`](super::evidence::PATIENCE) windows it is said after all. So a
//! pinned client is found whose traffic teaches nothing of its dispersion.
//!
//! Each look is by the kind of fairness that fits better, and only what the other one does not call `Balanced` either is trouble
//! ([`either`]).

use std::time::Duration;

use jiff::Timestamp;

use super::bar::Bar;
use super::dispersion::{Dispersion, within};
use super::evidence::{Evidence, Observation, WINDOWS};
use super::indices::as_f64;
use super::time::elapsed;
use super::verdict::{
    Assessment, Fairness, IDLE, Load, Thresholds, Verdict, assess, fairness, weights,
};

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
    /// The same from the windows since trouble is said: kept apart, since a pod whose load comes and goes is no noise.
    troubled: Option<Dispersion>,
    /// When the last window ended that the dispersion was learnt from.
    learnt: Option<Timestamp>,
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

    /// What a pod's fair share went by in the last look.
    pub fn fairness(&self) -> Fairness {
        self.fairness.unwrap_or_default()
    }

    /// Variance over mean of a pod's count, as it most likely is. Where trouble is said: or as it has become since at least, so
    /// that what is only burstier than before is not held to be trouble for ever.
    pub fn dispersion(&self) -> f64 {
        let since = self.troubled.as_ref().map_or(1.0, Dispersion::assured);
        self.dispersion.typical().max(since)
    }

    /// Goes on with what is said as after a restart, but for what the traffic has taught.
    pub fn resume(&mut self, said: Verdict) {
        self.evidence = Evidence::restored(Some(said));
        self.interrupt();
    }

    /// Forgets evidence, not what was said, nor what the traffic has taught: the rules have changed.
    pub fn restart(&mut self) {
        self.evidence.restart();
    }

    /// The same, and what the traffic has taught: from now on it is counted otherwise.
    pub fn begin_anew(&mut self) {
        self.restart();
        self.dispersion = Dispersion::default();
        self.troubled = None;
        self.learnt = None;
    }

    /// Learns the dispersion from windows that do not overlap; `slack`: by how much a window may be short. What is learnt in
    /// trouble counts after it only where the traffic has become burstier beyond doubt.
    pub fn learn(&mut self, pods: &[Seen<'_>], now: Timestamp, window: Duration, slack: Duration) {
        if self.evidence.held().is_trouble() != self.troubled.is_some() {
            self.interrupt();
            self.troubled = match self.troubled.take() {
                None => Some(Dispersion::default()),
                Some(since) => {
                    if since.assured() > self.dispersion.cautious() {
                        self.dispersion = since.latest();
                    }
                    None
                }
            };
        }
        let needed = window.saturating_sub(slack);
        if self
            .learnt
            .is_none_or(|learnt| elapsed(learnt, now) >= needed)
        {
            self.learnt = Some(now);
            let window = pods.iter().map(|pod| (pod.uid.to_owned(), pod.window));
            let learns = self.troubled.as_mut().unwrap_or(&mut self.dispersion);
            learns.observe(window.collect());
        }
    }

    /// What comes now is not to be compared with what was.
    pub fn interrupt(&mut self) {
        self.dispersion.interrupt();
        if let Some(troubled) = &mut self.troubled {
            troubled.interrupt();
        }
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
        let look = |chosen, dispersion| {
            let bar = Bar::of_a_window(dispersion);
            either(chosen, |by| {
                assess(&loads, by, bar, open_rpcs, thresholds, held)
            })
        };
        let (by, mut assessment) = look(self.fairness(), self.dispersion());
        self.adopt(by);
        let verdict = assessment.verdict;
        if let Some(said) = held.0.filter(|said| said.is_trouble()) {
            let idle = if verdict.is_trouble() {
                None
            } else {
                self.still_idle(pods, said, &assessment.ratios, thresholds)
            };
            if let Some(sum) = &idle {
                sum.name(&mut assessment);
            }
            let verdict = idle.map_or(verdict, |_| said);
            let observation = Observation::Finding {
                verdict,
                windows: 1,
            };
            return Outlook {
                assessment,
                observation,
            };
        }
        let covered = Covered::new(pods);
        let changing = covered.as_ref().map_or(1.0, Covered::dispersion);
        let dispersion = self.dispersion.cautious().max(changing);
        let alarm = |covered: &Covered<'_>| {
            let bar = Bar::of_windows(covered.windows, dispersion);
            self.sum(covered, bar, thresholds)
        };
        let observation = if let Some(sum) = covered.as_ref().and_then(alarm) {
            let windows = sum.windows;
            // While the sum still holds windows from before, only the last one shows a pod as idle.
            let idle = matches!(verdict, Verdict::FewClients | Verdict::NewPodsStarved);
            // That it is uneven is beyond doubt, of whatever pods. What is uneven about it only all of them show.
            let of_some = sum.pods.len() < pods.len() && verdict.is_trouble();
            let verdict = if idle || of_some {
                verdict
            } else {
                sum.name(&mut assessment);
                sum.assessment.verdict
            };
            Observation::Finding { verdict, windows }
        } else {
            // What these windows' own noise explains is not suspicious.
            let verdict = if verdict.is_trouble() && changing > self.dispersion() {
                let (by, explained) = look(self.fairness(), changing);
                let verdict = explained.verdict;
                if self.adopt(by) {
                    assessment = explained;
                }
                verdict
            } else {
                verdict
            };
            if verdict.is_trouble() {
                Observation::Suspicion(verdict)
            } else {
                Observation::Finding {
                    verdict,
                    windows: 1,
                }
            }
        };
        Outlook {
            assessment,
            observation,
        }
    }

    /// Goes by this from now on; answers whether that is another one.
    fn adopt(&mut self, by: Fairness) -> bool {
        let is_other = by != self.fairness();
        if is_other {
            self.fairness = Some(by);
        }
        is_other
    }

    /// What the most windows say together, where they still show an idle pod that is `said`.
    fn still_idle(
        &self,
        pods: &[Seen<'_>],
        said: Verdict,
        ratios: &[f64],
        thresholds: &Thresholds,
    ) -> Option<Sum> {
        let covered = Covered::new(pods)?;
        let held = self.evidence.held();
        let bar = Bar::to_keep(covered.windows, self.dispersion());
        let sum = self.sum(&covered, bar, thresholds)?;
        let idle = sum.which(&sum.assessment.idle);
        // One that has begun to serve is not held to what the sum has from before.
        let idles = idle.iter().any(|index| ratios[*index] < IDLE / held.idle());
        (sum.assessment.verdict == said && idles).then_some(sum)
    }

    /// Trouble that the most windows say which enough pods cover, if they say so.
    fn sum(&self, covered: &Covered<'_>, bar: Bar, thresholds: &Thresholds) -> Option<Sum> {
        let loads: Vec<Load> = covered
            .pods
            .iter()
            .map(|(_, pod, counts)| Load {
                requests: counts.iter().sum(),
                ever_served: pod.ever_served,
                capacity: pod.capacity,
            })
            .collect();
        let held = self.evidence.held();
        let (by, assessment) = either(self.fairness(), |by| {
            assess(&loads, by, bar, false, thresholds, held)
        });
        let is_trouble = assessment.verdict.is_trouble();
        (is_trouble && lasts(covered, &weights(&loads, by))).then(|| Sum {
            windows: u32::try_from(covered.windows).unwrap_or(WINDOWS),
            assessment,
            pods: covered.pods.iter().map(|(index, ..)| *index).collect(),
        })
    }
}

/// What requests come to by the kind of fairness that was `chosen`, or by the other where only that explains them.
fn either(chosen: Fairness, look: impl Fn(Fairness) -> Assessment) -> (Fairness, Assessment) {
    let assessment = look(chosen);
    if assessment.verdict.is_trouble() {
        let explained = look(chosen.other());
        // That they are too few to tell explains nothing.
        if explained.verdict == Verdict::Balanced {
            return (chosen.other(), explained);
        }
    }
    (chosen, assessment)
}

/// The most windows that enough pods cover.
struct Covered<'a> {
    windows: usize,
    /// The pods that do: their place among all, and their requests in each window, the newest first.
    pods: Vec<(usize, &'a Seen<'a>, [f64; SPAN])>,
}

impl<'a> Covered<'a> {
    fn new(pods: &'a [Seen<'a>]) -> Option<Self> {
        let covering = |windows: usize| {
            let each = pods.iter().enumerate();
            each.filter(move |(_, pod)| pod.sums[windows - 1].is_some())
        };
        let windows = (1..=SPAN).rev().find(|windows| {
            let count = covering(*windows).count();
            count >= 2 && 2 * count >= pods.len()
        })?;
        let counts = |pod: &Seen<'_>| {
            let mut counts = [0.0; SPAN];
            let mut before = 0.0;
            for (count, sum) in counts.iter_mut().zip(pod.sums).take(windows) {
                let sum = sum.unwrap_or_default();
                *count = (sum - before).max(0.0);
                before = sum;
            }
            counts
        };
        let pods = covering(windows).map(|(index, pod)| (index, pod, counts(pod)));
        Some(Self {
            windows,
            pods: pods.collect(),
        })
    }

    /// φ as it is at least by how these windows differ.
    fn dispersion(&self) -> f64 {
        let counts = self.pods.iter().map(|(_, _, counts)| counts);
        within(counts.map(|counts| &counts[..self.windows]))
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
    /// Has the pods named that it shows.
    fn name(&self, of_window: &mut Assessment) {
        of_window.idle = self.which(&self.assessment.idle);
        of_window.hot = self.which(&self.assessment.hot);
        of_window.culprit = self.assessment.culprit.map(|index| self.pods[index]);
    }

    fn which(&self, some: &[usize]) -> Vec<usize> {
        some.iter().map(|index| self.pods[*index]).collect()
    }
}

/// Whether the deviation of the sum is to be seen in each of its windows, at least half as large.
fn lasts(covered: &Covered<'_>, weights: &[f64]) -> bool {
    let deviation = |of: &dyn Fn(&[f64]) -> f64| -> Option<Vec<f64>> {
        let counts: Vec<f64> = covered
            .pods
            .iter()
            .map(|(_, _, counts)| of(counts))
            .collect();
        let mean = counts.iter().sum::<f64>() / as_f64(counts.len());
        let each = counts.iter().zip(weights);
        (mean > 0.0).then(|| each.map(|(count, weight)| count / mean - weight).collect())
    };
    let Some(whole) = deviation(&|counts| counts.iter().sum()) else {
        return false;
    };
    let product = |part: &[f64]| part.iter().zip(&whole).map(|(a, b)| a * b).sum::<f64>();
    let enough = product(&whole) / 2.0;
    (0..covered.windows).all(|window| {
        deviation(&|counts| counts[window]).is_some_and(|part| product(&part) >= enough)
    })
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
