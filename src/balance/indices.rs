//! The numbers that say how even a window was.
//!
//! | index | formula | unit, bounds | sees | misses |
//! |---|---|---|---|---|
//! | mean | m = Σx / N | requests per pod and window, ≥ 0 | | |
//! | effective pods | (Σx)² / Σx² = N × Jain's index | pods, 1 … N | how many pods' worth of work is shared | one hot pod of many |
//! | max/mean | max x / m | 1 … N | a hot pod; capacity is wasted by 1 − m/max | an idle pod: 9 → 10 pods with one idle is 1.11 |
//! | min/mean | min x / m | 0 … 1 | an idle pod | a hot pod |
//! | CV | √(Σ(x−m)² / N) / m | 0 … √(N−1) | everything together | |
//! | CV* | √max(0, CV² − φ/m) | 0 … CV | the same, without what chance alone gives | |
//!
//! x is the number of requests that a pod began in the window, φ the dispersion of the backend's traffic
//! ([`chance`](super::chance)). Jain's index: Jain, Chiu, Hawe, "A quantitative measure of fairness and discrimination",
//! DEC-TR-301 (1984); effective pods = N / (1 + CV²) follows from it. CV* subtracts the variance that N independent
//! counts of mean m have, φm, from what was seen; it errs low by φ/(Nm), so it never invents imbalance.
//!
//! Where capacities differ, a pod's fair share is its weight w times m, and x/(wm) takes the place of x/m: with Pearson's
//! Σ(x−wm)²/(wm) for Σ(x−m)²/m, and CV² that over Nm.

/// The indices of one window over at least one pod with at least one request between them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Indices {
    /// Pods.
    pub pods: f64,
    /// Requests per pod and window.
    pub mean: f64,
    /// The fair share of the pod with the least capacity: the mean where all have the same.
    pub least: f64,
    /// Pods' worth of work shared: 1 … `pods`.
    pub effective_pods: f64,
    /// Of the busiest pod over its fair share: 1 … `pods`, where capacities differ more.
    pub max_over_mean: f64,
    /// 0 … 1.
    pub min_over_mean: f64,
    /// Coefficient of variation over the pods, chance included.
    pub cv: f64,
    /// The same with chance taken out.
    pub cv_corrected: f64,
    /// Index of dispersion between the pods, Σ(x−m)²/m: under even traffic φ times a χ² with N − 1 degrees of freedom.
    pub chi_square: f64,
}

impl Indices {
    /// The indices of `requests` per pod; `None` if there is no pod or no request. What is not a
    /// count (negative, infinite, not a number) counts as none.
    pub fn new(requests: &[f64], dispersion: f64) -> Option<Self> {
        Self::weighted(requests, &vec![1.0; requests.len()], dispersion)
    }

    /// The same where the pods' capacities differ: of each its part of the requests is fair that its weight has of the
    /// weights, whose mean is 1.
    pub fn weighted(requests: &[f64], weights: &[f64], dispersion: f64) -> Option<Self> {
        let count = |x: &f64| if x.is_finite() { x.max(0.0) } else { 0.0 };
        let pods = as_f64(requests.len());
        let total: f64 = requests.iter().map(count).sum();
        if total <= 0.0 || !total.is_finite() {
            return None;
        }
        let mean = total / pods;
        let (mut deviation, mut least) = (0.0, 1.0_f64);
        let (mut max_over_mean, mut min_over_mean) = (1.0_f64, 1.0_f64);
        for (x, weight) in requests.iter().zip(weights) {
            // Relative to the mean before squaring: nothing overflows, however large the counts.
            let ratio = count(x) / mean / weight;
            // Pearson's: the variance of a count is its expectation, and with it the weight.
            deviation += weight * (ratio - 1.0).powi(2);
            least = least.min(*weight);
            max_over_mean = max_over_mean.max(ratio);
            min_over_mean = min_over_mean.min(ratio);
        }
        let variance = deviation / pods;
        Some(Self {
            pods,
            mean,
            least: mean * least,
            effective_pods: (pods / (1.0 + variance)).clamp(1.0, pods),
            max_over_mean,
            min_over_mean,
            cv: variance.sqrt(),
            cv_corrected: (variance - dispersion.max(1.0) / mean).max(0.0).sqrt(),
            chi_square: deviation * mean,
        })
    }

    /// Requests of all pods in the window.
    pub fn total(&self) -> f64 {
        self.mean * self.pods
    }
}

/// A count as a float; exact for every number of pods that fits in memory.
#[allow(clippy::cast_precision_loss)]
pub(super) fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(value: f64, expected: f64) {
        assert!(
            (value - expected).abs() < 1e-9 * expected.abs().max(1.0),
            "{value} is not {expected}"
        );
    }

    fn indices(requests: &[f64]) -> Indices {
        Indices::new(requests, 1.0).unwrap()
    }

    #[test]
    fn even_traffic() {
        let even = indices(&[100.0; 3]);
        near(even.effective_pods, 3.0);
        near(even.max_over_mean, 1.0);
        near(even.min_over_mean, 1.0);
        near(even.cv, 0.0);
        near(even.cv_corrected, 0.0);
    }

    #[test]
    fn one_pod_has_all() {
        let one = indices(&[300.0, 0.0, 0.0]);
        near(one.effective_pods, 1.0);
        near(one.max_over_mean, 3.0);
        near(one.min_over_mean, 0.0);
        near(one.cv, 2.0_f64.sqrt());
        near(one.chi_square, 600.0);
    }

    #[test]
    fn nine_busy_pods_and_an_idle_one() {
        let mut requests = vec![100.0; 9];
        requests.push(0.0);
        let idle = indices(&requests);
        near(idle.effective_pods, 9.0);
        near(idle.max_over_mean, 10.0 / 9.0);
        near(idle.min_over_mean, 0.0);
        near(idle.cv, 1.0 / 3.0);
    }

    #[test]
    fn shares_are_fair_by_capacity() {
        let weighted =
            |requests: &[f64]| Indices::weighted(requests, &[1.5, 0.75, 0.75], 1.0).unwrap();
        let fair = weighted(&[200.0, 100.0, 100.0]);
        near(fair.effective_pods, 3.0);
        near(fair.max_over_mean, 1.0);
        near(fair.chi_square, 0.0);
        near(fair.least, 100.0);
        let even = weighted(&[100.0; 3]);
        near(even.max_over_mean, 4.0 / 3.0);
        near(even.min_over_mean, 2.0 / 3.0);
        // (100-150)²/150 + 2 (100-75)²/75
        near(even.chi_square, 100.0 / 3.0);
        near(even.cv * even.cv, 1.0 / 9.0);
    }

    #[test]
    fn chance_is_taken_out_of_the_variation() {
        // 16 and 4: CV² = 0.36, of which 1/10 is what chance gives.
        near(indices(&[16.0, 4.0]).cv_corrected, 0.26_f64.sqrt());
        near(Indices::new(&[16.0, 4.0], 4.0).unwrap().cv_corrected, 0.0);
    }

    #[test]
    fn nothing_to_measure() {
        assert_eq!(Indices::new(&[], 1.0), None);
        assert_eq!(Indices::new(&[0.0, 0.0], 1.0), None);
        assert_eq!(Indices::new(&[f64::NAN, -1.0], 1.0), None);
    }

    proptest! {
        #[test]
        fn bounds_permutation_and_scale(
            requests in prop::collection::vec(0.0..1e9_f64, 1..40), turn in 0_usize..40, scale in 1e-3..1e3_f64
        ) {
            prop_assume!(requests.iter().sum::<f64>() > 1.0);
            let plain = indices(&requests);
            prop_assert!((1.0..=plain.pods).contains(&plain.effective_pods));
            prop_assert!(plain.max_over_mean >= 1.0 && plain.max_over_mean <= plain.pods * (1.0 + 1e-12));
            prop_assert!((0.0..=1.0).contains(&plain.min_over_mean));
            prop_assert!(plain.cv <= (plain.pods - 1.0).sqrt() + 1e-9 && plain.cv_corrected <= plain.cv);
            near(plain.effective_pods, plain.pods / (1.0 + plain.cv * plain.cv));

            let mut turned = requests.clone();
            turned.rotate_left(turn % requests.len());
            let turned = indices(&turned);
            near(turned.effective_pods, plain.effective_pods);
            near(turned.cv, plain.cv);

            let scaled = indices(&requests.iter().map(|x| x * scale).collect::<Vec<_>>());
            near(scaled.effective_pods, plain.effective_pods);
            near(scaled.max_over_mean, plain.max_over_mean);
            near(scaled.min_over_mean, plain.min_over_mean);
            near(scaled.cv, plain.cv);
        }
    }
}
