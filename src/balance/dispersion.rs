//! How unevenly requests come in time: the dispersion φ of a backend's traffic, learnt from its own windows.
//!
//! Differences in time, not between pods: a pod that is always hot does not raise it, so a lasting skew cannot hide
//! itself as noise. For pods with counts x then y, and totals T then U, under a steady spread `d = y - xU/T` has the
//! variance `φ(y + x(U/T)²)`; the sum of `d²` over its variance is φ times a χ² with N - 1 degrees of freedom. One such
//! pair of windows tells little where there are few pods, so two values are given:
//!
//! * [`Dispersion::typical`]: the median over the pairs, each over the median of its χ². What was said is kept by it.
//! * [`Dispersion::cautious`]: as large as φ may well be, in one case of twenty larger. What is new is said by it.
//! * [`Dispersion::assured`]: as large as φ is by the last pairs, in one case of twenty smaller. What was said ends by it.
//!
//! Where traffic has just become burstier, all of this comes late: [`within`] says so of the very windows that are judged.
//!
//! Medians ignore a scale-up, a fault, or a client that comes or goes: such windows are few.

use std::collections::{BTreeMap, VecDeque};

use super::chance::chi_square_quantile;
use super::indices::as_f64;

/// Pairs of windows that are remembered: an hour by default.
const PAIRS: usize = 60;
/// Requests below which a window tells nothing.
const FEWEST: f64 = 10.0;
/// What φ may be where nothing is known: clients that send ten requests at a time to one pod.
pub(super) const UNKNOWN: f64 = 10.0;
/// What is never believed to be mere dispersion.
const MOST: f64 = 100.0;
/// Pairs from which on their order says how large φ may be: the sixth of seven is below the median once in sixteen.
const ORDERED: usize = 7;
/// Pairs by which φ is assured: so many are soon there, and soon past.
const LATEST: usize = 10;
/// Fewer assure nothing: the least of five is above the median once in thirty-two.
const FEW: usize = 5;

/// What two windows say together.
#[derive(Clone, Copy, Debug)]
struct Pair {
    statistic: f64,
    freedom: f64,
}

impl Pair {
    /// The estimate that has φ as its median: that of χ² with k degrees of freedom is k(1 - 2/9k)³ (Wilson and Hilferty).
    fn estimate(self) -> f64 {
        self.statistic / (self.freedom * (1.0 - 2.0 / (9.0 * self.freedom)).powi(3))
    }
}

/// The dispersion φ of one backend's traffic.
#[derive(Clone, Debug)]
pub struct Dispersion {
    last: BTreeMap<String, f64>,
    pairs: VecDeque<Pair>,
    typical: f64,
    cautious: f64,
}

impl Default for Dispersion {
    fn default() -> Self {
        Self {
            last: BTreeMap::new(),
            pairs: VecDeque::new(),
            typical: 1.0,
            cautious: UNKNOWN,
        }
    }
}

impl Dispersion {
    /// Adds a window; it must not overlap the one before.
    pub fn observe(&mut self, window: BTreeMap<String, f64>) {
        if let Some(pair) = compare(&self.last, &window) {
            if self.pairs.len() == PAIRS {
                self.pairs.pop_front();
            }
            self.pairs.push_back(pair);
            self.learn();
        }
        self.last = window;
    }

    /// Forgets the last window, so that the next is not compared with it.
    pub fn interrupt(&mut self) {
        self.last.clear();
    }

    /// φ as it most likely is, from 1 to 100.
    pub fn typical(&self) -> f64 {
        self.typical
    }

    /// φ as it may well be, from 1 to 100 and never less than [`typical`](Self::typical).
    pub fn cautious(&self) -> f64 {
        self.cautious
    }

    /// φ as it is at least by the latest pairs, from 1 to 100.
    pub fn assured(&self) -> f64 {
        let sorted = sorted(self.pairs.iter().rev().take(LATEST));
        let count = sorted.len();
        if count < FEW {
            return 1.0;
        }
        believed(sorted.get(count - 1 - rank_above_median(count)))
    }

    /// What the latest pairs say, without those before.
    #[must_use]
    pub fn latest(mut self) -> Self {
        let old = self.pairs.len().saturating_sub(LATEST);
        self.pairs.drain(..old);
        self.learn();
        self
    }

    fn learn(&mut self) {
        let sorted = sorted(&self.pairs);
        let count = sorted.len();
        self.typical = if count < 3 {
            // There is no median of two.
            believed(sorted.last()).min(UNKNOWN)
        } else {
            believed(sorted.get(count / 2))
        };
        let bound = if count >= ORDERED {
            believed(sorted.get(rank_above_median(count)))
        } else {
            pooled_bound(&self.pairs).min(UNKNOWN)
        };
        self.cautious = bound.max(self.typical);
    }
}

fn sorted<'a>(pairs: impl IntoIterator<Item = &'a Pair>) -> Vec<f64> {
    let mut estimates: Vec<f64> = pairs.into_iter().map(|pair| pair.estimate()).collect();
    estimates.sort_unstable_by(f64::total_cmp);
    estimates
}

fn believed(estimate: Option<&f64>) -> f64 {
    estimate.copied().unwrap_or(1.0).clamp(1.0, MOST)
}

/// The place, from the smallest and from 0, that is above the median in all but one of twenty cases: how many of n values
/// lie below their median is binomial, with mean n/2 and standard deviation √n/2, whatever their distribution; 1.645 of
/// those.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "60 at the most"
)]
fn rank_above_median(count: usize) -> usize {
    let count = as_f64(count);
    ((count / 2.0 + 0.823 * count.sqrt()).ceil().min(count) - 1.0) as usize
}

/// Of few pairs all are taken together: φ is above `S / χ²(0.01)` once in a hundred.
fn pooled_bound(pairs: &VecDeque<Pair>) -> f64 {
    let sum = |of: fn(&Pair) -> f64| pairs.iter().map(of).sum::<f64>();
    let freedom = sum(|pair| pair.freedom);
    let quantile = chi_square_quantile(0.99, freedom);
    if quantile > 0.0 {
        (sum(|pair| pair.statistic) / quantile).max(1.0)
    } else {
        UNKNOWN
    }
}

/// φ as it is at least within some windows, from each pod's counts in them: Pearson's statistic of pods and windows for
/// independence is φ times a χ², and φ below `S / χ²(0.01)` once in a hundred. A lasting skew does not raise it either: then the
/// pods' parts are the same in each window.
pub fn within<'a>(pods: impl Iterator<Item = &'a [f64]>) -> f64 {
    let pods: Vec<(&[f64], f64)> = pods.map(|counts| (counts, counts.iter().sum())).collect();
    let windows = pods.first().map_or(0, |(counts, _)| counts.len());
    let of_windows: Vec<f64> = (0..windows)
        .map(|window| pods.iter().map(|(counts, _)| counts[window]).sum())
        .collect();
    let more = |busy: usize| as_f64(busy.saturating_sub(1));
    let busy_pods = pods.iter().filter(|(_, sum)| *sum > 0.0).count();
    let busy_windows = of_windows.iter().filter(|sum| **sum > 0.0).count();
    let freedom = more(busy_pods) * more(busy_windows);
    let total: f64 = of_windows.iter().sum();
    if freedom < 1.0 || total < FEWEST {
        return 1.0;
    }
    let mut statistic = 0.0;
    for (counts, of_pod) in &pods {
        for (count, of_window) in counts.iter().zip(&of_windows) {
            let expected = of_pod * of_window / total;
            if expected > 0.0 {
                statistic += (count - expected).powi(2) / expected;
            }
        }
    }
    believed(Some(&(statistic / chi_square_quantile(0.01, freedom))))
}

fn compare(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Option<Pair> {
    let both: Vec<(f64, f64)> = after
        .iter()
        .filter_map(|(uid, y)| Some((*before.get(uid)?, *y)))
        .filter(|(x, y)| x + y > 0.0)
        .collect();
    let (total, next) = both
        .iter()
        .fold((0.0, 0.0), |(t, u), (x, y)| (t + x, u + y));
    if both.len() < 2 || total < FEWEST || next < FEWEST {
        return None;
    }
    let ratio = next / total;
    let statistic: f64 = both
        .iter()
        .map(|(x, y)| (y - x * ratio).powi(2) / (y + x * ratio * ratio))
        .sum();
    Some(Pair {
        statistic,
        freedom: as_f64(both.len() - 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(counts: &[&[f64]]) -> Dispersion {
        let mut dispersion = Dispersion::default();
        for counts in counts {
            dispersion.observe(window(counts));
        }
        dispersion
    }

    fn window(counts: &[f64]) -> BTreeMap<String, f64> {
        counts
            .iter()
            .enumerate()
            .map(|(index, count)| (format!("pod-{index}"), *count))
            .collect()
    }

    fn both(dispersion: &Dispersion) -> (f64, f64) {
        (dispersion.typical(), dispersion.cautious())
    }

    #[test]
    fn a_lasting_skew_is_not_dispersion() {
        let skewed = [
            [900.0, 50.0, 50.0],
            [1800.0, 100.0, 100.0],
            [450.0, 25.0, 25.0],
        ];
        let dispersion = known(&skewed.each_ref().map(|counts| &counts[..]));
        assert_eq!(both(&dispersion), (1.0, 1.0));
    }

    #[test]
    fn a_single_shift_is_ignored_once_there_is_a_median() {
        let mut counts = vec![[100.0, 0.0]];
        counts.extend([[50.0, 50.0]; 9]);
        let counts: Vec<&[f64]> = counts.iter().map(|counts| &counts[..]).collect();
        assert_eq!(both(&known(&counts[..3])), (UNKNOWN, UNKNOWN));
        assert_eq!(both(&known(&counts[..7])), (1.0, UNKNOWN));
        assert_eq!(both(&known(&counts)), (1.0, 1.0));
    }

    #[test]
    fn bursts_raise_it_and_interrupted_windows_are_not_compared() {
        let mut dispersion = Dispersion::default();
        dispersion.observe(window(&[140.0, 60.0]));
        dispersion.interrupt();
        dispersion.observe(window(&[60.0, 140.0]));
        assert_eq!(both(&dispersion), (1.0, UNKNOWN));
        dispersion.observe(window(&[140.0, 60.0]));
        assert_eq!(both(&dispersion), (UNKNOWN, UNKNOWN));
        dispersion.observe(window(&[0.0, 0.0]));
        dispersion.observe(BTreeMap::new());
        assert_eq!(both(&dispersion), (UNKNOWN, UNKNOWN));
    }

    #[test]
    fn what_is_not_known_is_feared() {
        let even: [&[f64]; 5] = [
            &[100.0, 110.0],
            &[110.0, 100.0],
            &[100.0, 90.0],
            &[90.0, 110.0],
            &[95.0, 105.0],
        ];
        assert_eq!(both(&known(&even[..1])), (1.0, UNKNOWN));
        let dispersion = known(&even);
        assert!(
            dispersion.cautious() > 2.0 * dispersion.typical(),
            "{dispersion:?}"
        );
        // Twenty pods say in one pair what two pods say in nineteen.
        let many: Vec<f64> = (0..20)
            .map(|pod| 100.0 + 10.0 * f64::from(pod % 3))
            .collect();
        let mut turned = many.clone();
        turned.rotate_left(1);
        assert!(known(&[&many, &turned]).cautious() < 3.0);
    }

    #[test]
    fn windows_tell_their_own_dispersion() {
        let of = |pods: &[[f64; 3]]| within(pods.iter().map(|counts| &counts[..]));
        assert!(of(&[[900.0, 1800.0, 450.0], [50.0, 100.0, 25.0]]) <= 1.0);
        assert!(of(&[[100.0; 3], [0.0; 3]]) <= 1.0);
        assert!(of(&[[0.0; 3]; 2]) <= 1.0);
        assert!(of(&[]) <= 1.0);
        let bursts = of(&[
            [200.0, 20.0, 80.0],
            [100.0, 180.0, 20.0],
            [0.0, 100.0, 200.0],
        ]);
        assert!(bursts > 20.0, "{bursts}");
    }

    #[test]
    fn what_is_assured_is_less_than_what_is_likely_and_comes_sooner() {
        let even: &[f64] = &[100.0; 2];
        let bursts: [&[f64]; 2] = [&[140.0, 60.0], &[60.0, 140.0]];
        let mut counts = vec![even; 30];
        counts.extend([bursts, bursts, bursts].concat());
        let dispersion = known(&counts);
        assert!(dispersion.assured() <= 1.0);
        counts.extend(bursts);
        let dispersion = known(&counts);
        assert_eq!(both(&dispersion), (1.0, 1.0));
        assert!(dispersion.assured() > 10.0);
        assert!(dispersion.latest().typical() > 10.0);
    }
}
