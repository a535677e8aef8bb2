//! From the requests of one window to what they say: pure, and without memory.
//!
//! # The decision
//!
//! First the circumstances, before any number is looked at:
//!
//! | # | circumstance | verdict |
//! |---|---|---|
//! | 1 | judging is switched off | `Off` |
//! | 2 | only observing (weighted, zonal or sharded backends) | `Observed` |
//! | 3 | no ready pod | `NoPods` |
//! | 4 | a rollout is under way | `RollingOut` |
//! | 5 | no pod could be scraped, or none shows a known metric | `NoMetrics` |
//! | 6 | every pod, or every one but the first of several, is younger than the promise, or covers no whole window yet | `WarmingUp` |
//! | 7 | fewer than half of the grown pods could be scraped, or one of several | `InsufficientData` |
//! | 8 | one grown pod | `SinglePod` |
//!
//! From row 7 on, trouble that is said of a pod which gives no numbers now stays, unless the others are in trouble of their own.
//!
//! Then the requests x of the judged pods, with mean m a window over N pods and dispersion φ. The first row that holds
//! decides:
//!
//! | # | requests | verdict |
//! |---|---|---|
//! | 9 | none, or too few by rows 11 and 14, and long RPCs are open | `StreamsOnly` |
//! | 10 | none | `NoTraffic` |
//! | 11 | m < 10 | `InsufficientData` |
//! | 12 | a pod is idle, and it once served or one pod has ≥ 90 % | `FewClients` |
//! | 13 | a pod is idle, and none of the idle ones ever served | `NewPodsStarved` |
//! | 14 | m < `minRequests` (30) | `InsufficientData` |
//! | 15 | not significant, or not large | `Balanced` |
//! | 16 | one pod has ≥ 90 % | `FewClients` |
//! | 17 | one pod has more than 60 % of the excess over the mean, and stands out more than the idlest does | `HotPod` |
//! | 18 | else | `Skewed` |
//!
//! *Idle*: x < m/10, and chance gives that to one of N pods with a probability below p, by the exact lower tail.
//! *Significant*: Σ(x−m)²/m > φ · χ²(1−p, N−1).
//! What the counts are of, and so p and φ, is the [`Bar`]: a thousandth and φ as it most likely is for a window alone;
//! one of ten million and φ as it may well be for the sum of windows that something new is said of.
//! *More than 60 %*: half as much again as all others above the mean together, and by three standard deviations of the busiest pod; unless
//! it alone is above the mean.
//! *Large*: max/mean > 1.5, or min/mean < 0.5, or CV* > 0.25; the first two move outwards to what chance reaches for small m.
//! *Held*: what is said counts until it is 20 % better ([`Held`]), so that a backend on the border does not flap.
//!
//! *Fair*: where the pods' capacities are known and differ, and explain the requests better, m is for each pod its part of
//! them times N ([`fairness`]). What is trouble by the one kind, and `Balanced` by the other, is `Balanced`.
//!
//! Whether a finding lasts is not decided here but in [`detector`](super::detector) and [`evidence`](super::evidence).

use std::fmt;
use std::str::FromStr;

use super::bar::{Bar, Held};
use super::chance::{Reach, chi_square_quantile, ln_lower_tail};
use super::indices::{Indices, as_f64};

/// Idle pods can be told from this mean on: chance gives a pod none at all once in 22 000 windows.
const FEWEST_FOR_IDLE: f64 = 10.0;
/// A pod below this fraction of the mean is idle.
pub(super) const IDLE: f64 = 0.1;
/// A pod with this share of all requests has nearly all.
pub(super) const NEARLY_ALL: f64 = 0.9;
/// A pod that stands out has its excess over the mean this many times as large as that of all others together.
const MORE_THAN_OTHERS: f64 = 1.5;
/// What is twice as near fits four times as well: by the squares of the distances.
const NEARER: f64 = 4.0;

macro_rules! verdicts {
    ($($(#[doc = $doc:literal])+ $name:ident = $status:expr;)+) => {
        /// What is said of a backend's balance. The name is the reason of the condition `Balanced`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Verdict { $($(#[doc = $doc])+ $name,)+ }

        impl Verdict {
            /// Every verdict.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// The reason of the condition.
            pub fn reason(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)+ }
            }

            /// The status of the condition: `None` is Unknown.
            pub fn is_balanced(self) -> Option<bool> {
                match self { $(Self::$name => $status,)+ }
            }
        }
    };
}

verdicts! {
    /// Even, but for what chance gives.
    Balanced = Some(true);
    /// There is nothing to balance.
    SinglePod = Some(true);
    /// Uneven without a single culprit.
    Skewed = Some(false);
    /// One pod has most of the excess.
    HotPod = Some(false);
    /// Pods that became ready past the promise have never served.
    NewPodsStarved = Some(false);
    /// The connections are too few to reach every pod.
    FewClients = Some(false);
    /// Too few requests, or too few pods scraped, to tell.
    InsufficientData = None;
    /// No request at all.
    NoTraffic = None;
    /// No ready pod.
    NoPods = None;
    /// The pods are being replaced.
    RollingOut = None;
    /// Long streams carry the load; too little begins that could be counted.
    StreamsOnly = None;
    /// The first window is not full, or the evidence is not complete.
    WarmingUp = None;
    /// No pod gave a number.
    NoMetrics = None;
    /// Not wanted.
    Off = None;
    /// Numbers without a verdict, as asked for.
    Observed = None;
}

impl Verdict {
    /// Whether it says that the backend is not balanced.
    pub fn is_trouble(self) -> bool {
        self.is_balanced() == Some(false)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reason())
    }
}

/// A reason that is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a verdict")]
pub struct UnknownVerdict;

impl FromStr for Verdict {
    type Err = UnknownVerdict;

    fn from_str(reason: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.iter().copied();
        known
            .into_iter()
            .find(|verdict| verdict.reason() == reason)
            .ok_or(UnknownVerdict)
    }
}

/// From where on an imbalance is large.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Above 1.
    pub max_over_mean: f64,
    /// Between 0 and 1.
    pub min_over_mean: f64,
    /// Of the coefficient of variation with chance taken out.
    pub cv: f64,
    /// Requests per pod and window below which nothing is said of the indices.
    pub min_requests: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            max_over_mean: 1.5,
            min_over_mean: 0.5,
            cv: 0.25,
            min_requests: 30.0,
        }
    }
}

/// What one judged pod did in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Requests begun.
    pub requests: f64,
    /// Whether the pod has served any request since it became ready.
    pub ever_served: bool,
    /// What it can take, in any unit, where that is known.
    pub capacity: Option<u32>,
}

/// What a pod's fair share goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fairness {
    /// To each the same.
    #[default]
    Equal,
    /// To each its part of the capacity.
    ByCapacity,
}

impl Fairness {
    /// What else it may go by.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Equal => Self::ByCapacity,
            Self::ByCapacity => Self::Equal,
        }
    }
}

/// What explains the requests better. Clients that take turns load every pod alike whatever it can take, and that is no skew.
///
/// What was `held` before stays until the other is twice as near: where the requests lie between the two, chance would
/// choose anew each time, and all figures would jump with it.
pub fn fairness(loads: &[Load], held: Option<Fairness>) -> Option<Fairness> {
    use Fairness::{ByCapacity, Equal};
    let Some(parts) = parts(loads) else {
        return held;
    };
    let equal = misfit(loads, &weights(loads, Equal));
    let by_capacity = misfit(loads, &parts);
    match held {
        // Without requests there is nothing to choose by.
        _ if (equal - by_capacity).abs() <= f64::EPSILON * equal => held,
        Some(Equal) if by_capacity * NEARER > equal => held,
        Some(ByCapacity) if equal * NEARER > by_capacity => held,
        _ if by_capacity < equal => Some(ByCapacity),
        _ => Some(Equal),
    }
}

/// Each pod's fair share over the mean.
pub fn weights(loads: &[Load], fairness: Fairness) -> Vec<f64> {
    let parts = match fairness {
        Fairness::Equal => None,
        Fairness::ByCapacity => parts(loads),
    };
    parts.unwrap_or_else(|| vec![1.0; loads.len()])
}

/// Each pod's part of the capacity over the mean, where all are known and differ by more than a hundredth.
fn parts(loads: &[Load]) -> Option<Vec<f64>> {
    let known = |load: &Load| load.capacity.filter(|capacity| *capacity > 0);
    let known: Vec<f64> = loads
        .iter()
        .map(|load| known(load).map(f64::from))
        .collect::<Option<_>>()?;
    let largest = known.iter().copied().fold(0.0, f64::max);
    let mean = known.iter().sum::<f64>() / as_f64(known.len());
    let differ = known.iter().any(|capacity| capacity * 1.01 < largest);
    differ.then(|| known.iter().map(|capacity| capacity / mean).collect())
}

/// Pearson's statistic of the requests against these shares, but for a factor.
fn misfit(loads: &[Load], weights: &[f64]) -> f64 {
    let total: f64 = loads.iter().map(|load| load.requests).sum();
    let mean = total / as_f64(loads.len());
    let each = loads.iter().zip(weights);
    each.map(|(load, weight)| (load.requests - mean * weight).powi(2) / weight)
        .sum()
}

/// What the counts say.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The verdict, were there only these counts.
    pub verdict: Verdict,
    /// The indices, if there was a request.
    pub indices: Option<Indices>,
    /// Which of the loads are idle, in their order.
    pub idle: Vec<usize>,
    /// Which of the loads exceed the threshold of max/mean, or are the culprit.
    pub hot: Vec<usize>,
    /// Which of them one pod's trouble is about: the one with the largest excess, which need not be the one with the most beside its share.
    pub culprit: Option<usize>,
    /// What each load has, beside its fair share.
    pub ratios: Vec<f64>,
}

/// Decides rows 9 to 18 of the [table](self) for the judged pods.
pub fn assess(
    loads: &[Load],
    fairness: Fairness,
    bar: Bar,
    open_rpcs: bool,
    thresholds: &Thresholds,
    held: Held,
) -> Assessment {
    let requests: Vec<f64> = loads.iter().map(|load| load.requests).collect();
    let weights = weights(loads, fairness);
    let Some(indices) = Indices::weighted(&requests, &weights, bar.dispersion) else {
        let verdict = if open_rpcs {
            Verdict::StreamsOnly
        } else {
            Verdict::NoTraffic
        };
        return Assessment {
            verdict,
            indices: None,
            idle: Vec::new(),
            hot: Vec::new(),
            culprit: None,
            ratios: Vec::new(),
        };
    };
    let trips = Trips::new(&indices, bar, thresholds, held);
    let pods: Vec<(f64, f64)> = requests
        .iter()
        .zip(&weights)
        .map(|(x, weight)| (*x, weight * indices.mean))
        .collect();
    let which = |wanted: &dyn Fn(f64, f64) -> bool| -> Vec<usize> {
        let matching = pods
            .iter()
            .enumerate()
            .filter(|(_, (x, fair))| wanted(*x, *fair));
        matching.map(|(index, _)| index).collect()
    };
    let idle = which(&|x, fair| is_idle(x, fair, loads.len(), bar, held));
    let verdict = match decide(loads, &pods, &indices, &idle, &trips, held) {
        // Those that began are streams that were begun anew.
        Verdict::InsufficientData if open_rpcs => Verdict::StreamsOnly,
        verdict => verdict,
    };
    let most = |of: &dyn Fn(f64, f64) -> f64| {
        let each = pods.iter().map(|(x, fair)| of(*x, *fair)).enumerate();
        each.max_by(|(_, a), (_, b)| a.total_cmp(b))
            .map(|(index, _)| index)
    };
    let culprit = match verdict {
        Verdict::HotPod => most(&|x, fair| x - fair),
        // The one with nearly all of two, where that is held.
        Verdict::FewClients if idle.is_empty() => most(&|x, _| x),
        _ => None,
    };
    let mut hot = which(&|x, fair| x / fair >= trips.max_over_mean);
    // It may be so by the variation alone, below the threshold of max/mean.
    hot.extend(culprit.filter(|culprit| !hot.contains(culprit)));
    Assessment {
        verdict,
        indices: Some(indices),
        idle,
        hot,
        culprit,
        ratios: pods.iter().map(|(x, fair)| x / fair).collect(),
    }
}

/// `pods`: requests, and the fair share.
fn decide(
    loads: &[Load],
    pods: &[(f64, f64)],
    indices: &Indices,
    idle: &[usize],
    trips: &Trips,
    held: Held,
) -> Verdict {
    if indices.mean < FEWEST_FOR_IDLE * trips.bar.windows * held.judged() {
        return Verdict::InsufficientData;
    }
    let nearly_all = NEARLY_ALL * held.factor(&[Verdict::FewClients]);
    let concentrated = pods.iter().any(|(x, _)| *x >= nearly_all * indices.total());
    if !idle.is_empty() {
        let once_served = idle.iter().any(|index| loads[*index].ever_served);
        return if once_served || concentrated {
            Verdict::FewClients
        } else {
            Verdict::NewPodsStarved
        };
    }
    if indices.mean < trips.min_requests {
        return Verdict::InsufficientData;
    }
    if !trips.exceeded(indices) {
        Verdict::Balanced
    } else if concentrated {
        Verdict::FewClients
    } else if one_stands_out(pods, trips.bar.dispersion, held) {
        Verdict::HotPod
    } else {
        Verdict::Skewed
    }
}

fn is_idle(requests: f64, fair: f64, pods: usize, bar: Bar, held: Held) -> bool {
    requests < IDLE / held.idle() * fair
        && ln_lower_tail(requests, fair, bar.dispersion) < (bar.tail / as_f64(pods)).ln()
}

fn one_stands_out(pods: &[(f64, f64)], dispersion: f64, held: Held) -> bool {
    let excesses = || pods.iter().map(|(x, fair)| x - fair);
    let above: f64 = excesses().map(|excess| excess.max(0.0)).sum();
    let excess = excesses().fold(0.0, f64::max);
    let idlest = excesses().fold(0.0, f64::min).abs();
    let hottest = pods.iter().filter(|(x, fair)| x - fair >= excess);
    let busiest = hottest.map(|(x, _)| *x).fold(0.0, f64::max);
    let others = (above - excess).max(0.0);
    // Of two equally hot pods one always has a little more. That is not standing out, however many requests there are to tell them apart,
    // and no less so where one was hot alone until now.
    let more = MORE_THAN_OTHERS * held.factor(&[Verdict::HotPod]);
    let margin = if others <= 1e-9 * above || held.0 == Some(Verdict::HotPod) {
        0.0
    } else {
        3.0 * (dispersion.max(1.0) * busiest).sqrt()
    };
    // The tolerance is for two pods, which always deviate by the same.
    excess > (others + margin).max(more * others) && excess >= idlest * (1.0 - 1e-9)
}

/// The thresholds for this window: what was asked for, moved outwards to what chance reaches.
struct Trips {
    max_over_mean: f64,
    min_over_mean: f64,
    cv: f64,
    min_requests: f64,
    chi_square: f64,
    bar: Bar,
}

impl Trips {
    fn new(indices: &Indices, bar: Bar, thresholds: &Thresholds, held: Held) -> Self {
        let reach = Reach::new(indices.pods, indices.least, bar.dispersion);
        let ease = held.trouble();
        Self {
            max_over_mean: thresholds.max_over_mean.max(1.0 + reach.above) * ease,
            min_over_mean: thresholds.min_over_mean.min((1.0 - reach.below).max(0.0)) / ease,
            cv: thresholds.cv * ease,
            min_requests: thresholds.min_requests * bar.windows * held.judged(),
            bar,
            chi_square: bar.dispersion.max(1.0) * chi_square_quantile(bar.tail, indices.pods - 1.0),
        }
    }

    /// Significant and large. The noise in CV* needs no threshold of its own: it is the χ² test.
    fn exceeded(&self, indices: &Indices) -> bool {
        indices.chi_square > self.chi_square
            && (indices.max_over_mean > self.max_over_mean
                || indices.min_over_mean < self.min_over_mean
                || indices.cv_corrected > self.cv)
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
