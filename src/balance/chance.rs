//! What chance alone does to evenly spread requests, so that it is not called imbalance.
//!
//! Below some hundred requests per pod and window even a perfect balancer looks skewed: at 30 requests
//! on each of 10 pods, one window in a hundred has a pod with 1.57 times the mean. Every threshold here
//! grows with that noise, and the noise of a backend is measured: clients that send in bursts are noisier
//! than a Poisson process, by the *dispersion* φ (variance over mean of a pod's count; 1 for Poisson).

use std::collections::{BTreeMap, VecDeque};

/// Chance may cross a threshold in one window of a thousand; three windows in a row make it 1e-9.
pub const SIGNIFICANCE: f64 = 0.001;

/// Pairs of windows that the dispersion is the median of.
const PAIRS: usize = 21;

/// The standard normal quantile of probability `1 - tail`, for `0 < tail <= 0.5`.
///
/// Abramowitz and Stegun, *Handbook of Mathematical Functions* (1964), formula 26.2.23; error below 4.5e-4.
pub fn normal_quantile(tail: f64) -> f64 {
    let t = (-2.0 * tail.clamp(1e-300, 0.5).ln()).sqrt();
    let above = t.mul_add(t.mul_add(0.010_328, 0.802_853), 2.515_517);
    let below = t.mul_add(t.mul_add(t.mul_add(0.001_308, 0.189_269), 1.432_788), 1.0);
    t - above / below
}

/// The χ² quantile of probability `1 - tail` with `freedom` degrees of freedom (at least 1).
///
/// Wilson and Hilferty, "The distribution of chi-square", *PNAS* 17 (1931) 684–688: the cube root of
/// χ²/k is nearly normal. At the tail used here it is 3 % too high for one degree of freedom (which errs
/// towards silence) and within 1 % from five on.
pub fn chi_square_quantile(tail: f64, freedom: f64) -> f64 {
    let freedom = freedom.max(1.0);
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + normal_quantile(tail) * spread.sqrt()).powi(3)
}

/// The logarithm of a bound on the probability that a pod with `mean` requests expected gets `requests`
/// or fewer, for `requests < mean`: Chernoff's bound for a Poisson count, `-(m - x + x ln(x/m)) / φ`.
/// Exact for none: `ln P(0) = -m`.
pub fn ln_lower_tail(requests: f64, mean: f64, dispersion: f64) -> f64 {
    if mean <= 0.0 || requests >= mean {
        return 0.0;
    }
    let entropy = if requests > 0.0 {
        requests * (requests / mean).ln()
    } else {
        0.0
    };
    -(mean - requests + entropy) / dispersion.max(1.0)
}

/// How far chance takes the busiest and the idlest of `pods` pods from the mean, as fractions of it,
/// crossed by either in one window of a thousand: the normal bound for the extreme of N pods
/// (Bonferroni) with the first Cornish–Fisher term for the skewness of Poisson counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reach {
    /// `max/mean` may reach `1 + above`.
    pub above: f64,
    /// `min/mean` may reach `1 - below`.
    pub below: f64,
}

impl Reach {
    /// The reach of chance for `pods` pods with a mean of `mean` requests.
    pub fn new(pods: f64, mean: f64, dispersion: f64) -> Self {
        let variance = dispersion.max(1.0) / mean.max(f64::MIN_POSITIVE);
        let z = normal_quantile(SIGNIFICANCE / pods.max(1.0));
        let wide = z * (variance * (1.0 - 1.0 / pods.max(1.0))).sqrt();
        let skew = (z * z - 1.0) / 6.0 * variance;
        Self {
            above: wide + skew,
            below: (wide - skew).max(0.0),
        }
    }
}

/// The dispersion φ of one backend's traffic, learnt from how each pod's count changes from one window
/// to the next.
///
/// Differences in time, not between pods: a pod that is always hot does not raise it, so a lasting skew
/// cannot hide itself as noise. For pods with counts x then y, and totals T then U, under a steady spread
/// `d = y - xU/T` has the variance `φ(y + x(U/T)²)`; the sum of `d²` over its variance is φ times a χ² with
/// N - 1 degrees of freedom. The median over the last pairs of windows ignores a scale-up or a client
/// that comes or goes.
#[derive(Clone, Debug, Default)]
pub struct Dispersion {
    last: BTreeMap<String, f64>,
    pairs: VecDeque<f64>,
}

impl Dispersion {
    /// Adds a window; it must not overlap the one before.
    pub fn observe(&mut self, window: BTreeMap<String, f64>) {
        if let Some(pair) = compare(&self.last, &window) {
            if self.pairs.len() == PAIRS {
                self.pairs.pop_front();
            }
            self.pairs.push_back(pair);
        }
        self.last = window;
    }

    /// Forgets the last window, so that the next is not compared with it.
    pub fn interrupt(&mut self) {
        self.last.clear();
    }

    /// φ, from 1 to 100. Until three pairs are known it is the largest: there is no median of two.
    pub fn value(&self) -> f64 {
        let mut sorted: Vec<f64> = self.pairs.iter().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let chosen = if sorted.len() < 3 {
            sorted.last()
        } else {
            sorted.get(sorted.len() / 2)
        };
        chosen.copied().unwrap_or(1.0).clamp(1.0, 100.0)
    }
}

fn compare(before: &BTreeMap<String, f64>, after: &BTreeMap<String, f64>) -> Option<f64> {
    const FEWEST: f64 = 10.0;
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
    let freedom = super::indices::as_f64(both.len() - 1);
    // The median of χ² with k degrees of freedom is k(1 - 2/9k)³ by the same approximation as above.
    Some(statistic / (freedom * (1.0 - 2.0 / (9.0 * freedom)).powi(3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64, tolerance: f64) {
        assert!(
            (value - expected).abs() <= tolerance,
            "{value} is not {expected} ± {tolerance}"
        );
    }

    #[test]
    fn normal_quantiles_as_tabled() {
        for (tail, expected) in [
            (0.5, 0.0),
            (0.05, 1.6449),
            (0.001, 3.0902),
            (1e-4, 3.7190),
            (1e-6, 4.7534),
        ] {
            near(normal_quantile(tail), expected, 4.5e-4);
        }
    }

    #[test]
    fn chi_square_quantiles_as_tabled() {
        for (freedom, expected) in [
            (1.0, 10.828),
            (2.0, 13.816),
            (5.0, 20.515),
            (9.0, 27.877),
            (49.0, 85.351),
        ] {
            near(
                chi_square_quantile(0.001, freedom),
                expected,
                expected * 0.035,
            );
        }
        near(chi_square_quantile(0.001, 9.0), 27.877, 0.2);
    }

    #[test]
    fn the_lower_tail_is_exact_at_none_and_a_bound_elsewhere() {
        near(ln_lower_tail(0.0, 10.0, 1.0), -10.0, 1e-12);
        near(ln_lower_tail(0.0, 10.0, 5.0), -2.0, 1e-12);
        // P(X ≤ 2 | 30) = 4.5e-11
        assert!(ln_lower_tail(2.0, 30.0, 1.0) >= 4.5e-11_f64.ln());
        near(ln_lower_tail(30.0, 30.0, 1.0), 0.0, 0.0);
        near(ln_lower_tail(0.0, 0.0, 1.0), 0.0, 0.0);
    }

    #[test]
    fn reach_follows_the_simulated_table() {
        // 99th percentile of max/mean by simulation; the 99.9th lies above it, by less than half as much again.
        for (pods, mean, p99) in [
            (2.0, 30.0, 1.33),
            (10.0, 30.0, 1.57),
            (10.0, 100.0, 1.31),
            (50.0, 1000.0, 1.11),
        ] {
            let above = Reach::new(pods, mean, 1.0).above;
            assert!(
                above >= p99 - 1.0 && above <= (p99 - 1.0) * 1.5,
                "{pods} {mean}: {above}"
            );
        }
        assert!(Reach::new(10.0, 30.0, 4.0).above > Reach::new(10.0, 30.0, 1.0).above);
    }

    fn window(counts: &[f64]) -> BTreeMap<String, f64> {
        counts
            .iter()
            .enumerate()
            .map(|(index, count)| (format!("pod-{index}"), *count))
            .collect()
    }

    #[test]
    fn a_lasting_skew_is_not_dispersion() {
        let mut dispersion = Dispersion::default();
        for factor in [1.0, 2.0, 0.5, 1.0] {
            dispersion.observe(window(&[900.0 * factor, 50.0 * factor, 50.0 * factor]));
        }
        near(dispersion.value(), 1.0, 0.0);
    }

    #[test]
    fn a_single_shift_is_ignored_once_there_is_a_median() {
        let mut dispersion = Dispersion::default();
        for counts in [[100.0, 0.0], [50.0, 50.0], [50.0, 50.0], [50.0, 50.0]] {
            dispersion.observe(window(&counts));
        }
        near(dispersion.value(), 1.0, 0.0);
    }

    #[test]
    fn bursts_raise_it_and_interrupted_windows_are_not_compared() {
        let mut dispersion = Dispersion::default();
        dispersion.observe(window(&[140.0, 60.0]));
        dispersion.interrupt();
        dispersion.observe(window(&[60.0, 140.0]));
        near(dispersion.value(), 1.0, 0.0);
        dispersion.observe(window(&[140.0, 60.0]));
        assert!(dispersion.value() > 10.0);
        dispersion.observe(window(&[0.0, 0.0]));
        dispersion.observe(BTreeMap::new());
        assert!(dispersion.value() > 10.0);
    }
}
