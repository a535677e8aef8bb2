//! What chance alone does to evenly spread requests, so that it is not called imbalance.
//!
//! Below some hundred requests per pod and window even a perfect balancer looks skewed: at 30 requests
//! on each of 10 pods, one window in a hundred has a pod with 1.57 times the mean. Every threshold here
//! grows with that noise, and the noise of a backend is measured: clients that send in bursts are noisier
//! than a Poisson process, by the *dispersion* φ (variance over mean of a pod's count; 1 for Poisson).

/// Chance may do so in one window of a thousand: enough to look again, and to keep what was said.
pub const SIGNIFICANCE: f64 = 0.001;

/// Chance may do so in one look of ten million: enough to say it. A backend that is looked at every 15 s is looked at 2.1 million
/// times a year, for the spread over all and for idle pods, so that chance alone would go so far once in 2.4 years at the most;
/// that it must be large and last as well makes it rarer. How rare is simulated: tests/calibration.
pub const ALARM: f64 = 1e-7;

/// The standard normal quantile of probability `1 - tail`.
///
/// Abramowitz and Stegun, *Handbook of Mathematical Functions* (1964), formula 26.2.23; error below 4.5e-4.
pub fn normal_quantile(tail: f64) -> f64 {
    if tail > 0.5 {
        return -normal_quantile(1.0 - tail);
    }
    let t = (-2.0 * tail.max(1e-300).ln()).sqrt();
    let above = t.mul_add(t.mul_add(0.010_328, 0.802_853), 2.515_517);
    let below = t.mul_add(t.mul_add(t.mul_add(0.001_308, 0.189_269), 1.432_788), 1.0);
    t - above / below
}

/// The χ² quantile of probability `1 - tail` with `freedom` degrees of freedom (at least 1).
///
/// Exact for one and two. Else Wilson and Hilferty, "The distribution of chi-square", *PNAS* 17 (1931) 684–688: the cube
/// root of χ²/k is nearly normal. At the upper tails used here that is at most 8 % too high (which errs towards silence),
/// and within 2 % from ten on; at the lower one it is too low for few, which errs so too.
pub fn chi_square_quantile(tail: f64, freedom: f64) -> f64 {
    let freedom = freedom.max(1.0);
    if freedom < 1.5 {
        return normal_quantile(tail / 2.0).powi(2);
    }
    if freedom < 2.5 {
        return -2.0 * tail.ln();
    }
    let spread = 2.0 / (9.0 * freedom);
    freedom * (1.0 - spread + normal_quantile(tail) * spread.sqrt()).powi(3)
}

/// The logarithm of the probability that a pod with `mean` requests expected gets `requests` or fewer, for
/// `requests < mean`. Requests come in bursts of φ, and bursts as a Poisson process: exact for bursts of one size, and
/// `ln P(0) = -m/φ`. (With the mean estimated over N pods the count is binomial, whose tail is a little lighter.)
///
/// Between whole numbers of bursts it is interpolated, so that more of the same traffic is never less evidence.
pub fn ln_lower_tail(requests: f64, mean: f64, dispersion: f64) -> f64 {
    if mean <= 0.0 || requests >= mean {
        return 0.0;
    }
    let (bursts, expected) = (requests / dispersion.max(1.0), mean / dispersion.max(1.0));
    let (whole, part) = (bursts.floor(), bursts.fract());
    let below = ln_poisson_tail(whole, expected);
    if part <= 0.0 {
        return below;
    }
    below + part * (ln_poisson_tail(whole + 1.0, expected) - below)
}

/// `ln P(X ≤ count)` of a Poisson variable: the last term, times the sum of all as parts of it.
fn ln_poisson_tail(count: f64, mean: f64) -> f64 {
    const TERMS: u32 = 1000;
    let last = count * mean.ln() - mean - ln_factorial(count);
    let (mut term, mut sum) = (1.0, 1.0);
    for step in 0..TERMS {
        term *= (count - f64::from(step)) / mean;
        if term <= sum * f64::EPSILON {
            break;
        }
        sum += term;
    }
    (last + sum.ln()).min(0.0)
}

/// Stirling's series (Abramowitz and Stegun 6.1.41), from 10 on; below by multiplication.
fn ln_factorial(count: f64) -> f64 {
    if count < 10.0 {
        let mut product = 1.0;
        let mut factor = 2.0;
        while factor <= count {
            product *= factor;
            factor += 1.0;
        }
        return product.ln();
    }
    let z = count + 1.0;
    (z - 0.5) * z.ln() - z + 0.5 * std::f64::consts::TAU.ln() + 1.0 / (12.0 * z)
        - 1.0 / (360.0 * z.powi(3))
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
            (0.99, -2.326_5),
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
    fn the_lower_tail_is_exact() {
        near(ln_lower_tail(0.0, 10.0, 1.0), -10.0, 1e-12);
        near(ln_lower_tail(0.0, 10.0, 5.0), -2.0, 1e-12);
        // Sums of e^-m m^k / k!, by hand.
        near(ln_lower_tail(2.0, 30.0, 1.0), (481.0_f64).ln() - 30.0, 1e-9);
        near(
            ln_lower_tail(10.0, 150.0, 5.0),
            (481.0_f64).ln() - 30.0,
            1e-9,
        );
        near(ln_lower_tail(12.0, 30.0, 1.0), 1.677e-4_f64.ln(), 1e-3);
        assert!(ln_lower_tail(7.0, 150.0, 5.0) < ln_lower_tail(8.0, 150.0, 5.0));
        assert!(ln_lower_tail(1e6, 1e7, 1.0) < -1e6);
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
}
