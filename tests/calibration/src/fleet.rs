//! Pods whose traffic is drawn by chance, and the product's detector that watches them.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::balance::detector::{Detector, SPAN, Seen};
use crate::balance::verdict::{Thresholds, Verdict};
use crate::chance::{Generator, Poisson};

/// Looks in a window: an interval of 15 s in a window of 60 s, as by default. No fleet has more.
pub const LOOKS: usize = 4;
const WINDOW: Duration = Duration::from_mins(1);
/// Moments of an interval at which pods are read: each pod has its own.
const MOMENTS: usize = 8;
/// From one rush to the next, in intervals, on average.
const RUSH: f64 = 8.0;

/// How requests come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Come {
    /// Each by itself.
    Singly,
    /// Five to one pod together.
    InFives,
    /// Twenty to one pod together.
    InTwenties,
    /// None, and then for all pods at once, each by itself: those that are read before and after see another world.
    InRushes,
}

impl Come {
    /// How many requests come to one pod together.
    pub fn together(self) -> f64 {
        match self {
            Self::Singly | Self::InRushes => 1.0,
            Self::InFives => 5.0,
            Self::InTwenties => 20.0,
        }
    }
}

/// Traffic over some pods.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Pods.
    pub pods: usize,
    /// Requests per pod and window, or rush.
    pub mean: f64,
    /// How they come.
    pub come: Come,
    /// Looks in a window.
    pub looks: usize,
    /// Every second pod may have twice the processor, and has twice the requests.
    pub by_capacity: bool,
}

impl Traffic {
    /// What a pod can take.
    fn capacity(self, pod: usize) -> Option<u32> {
        let millis = if pod.is_multiple_of(2) { 1000 } else { 2000 };
        self.by_capacity.then_some(millis)
    }

    /// From one look to the next.
    fn interval(self) -> Duration {
        WINDOW / u32::try_from(self.looks).unwrap_or(1)
    }

    /// How much of what comes with one rush or in one window is for each of two neighbours.
    #[expect(clippy::cast_precision_loss, reason = "a hundred pods")]
    fn parts(self) -> [f64; 2] {
        if !self.by_capacity {
            return [1.0; 2];
        }
        let large = self.pods / 2;
        let mean = (self.pods + large) as f64 / self.pods as f64;
        [1.0 / mean, 2.0 / mean]
    }

    /// What comes to each of two neighbours within so many moments, where each has so many times its part.
    #[expect(clippy::cast_precision_loss, reason = "some")]
    fn of_moments(self, times: f64) -> [[Poisson; MOMENTS + 1]; 2] {
        let mean = times * self.mean / self.come.together() / (self.looks * MOMENTS) as f64;
        let of = |mean: f64| std::array::from_fn(|moments| Poisson::new(mean * moments as f64));
        self.parts().map(|part| of(part * mean))
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: every pod has the same.
    None,
    /// The first pod gets nothing.
    Idle,
    /// The first pod gets twice what each other gets.
    Hot,
}

impl Fault {
    /// Whether what is said is this fault, and not another. All pods have served before, so one that gets nothing is not new. That one
    /// pod alone has too much drowns in what chance gives many others; that the load is uneven does not.
    pub fn is_said(self, said: Option<Verdict>) -> bool {
        match self {
            Self::None => !is_trouble(said),
            Self::Idle => said == Some(Verdict::FewClients),
            Self::Hot => matches!(said, Some(Verdict::HotPod | Verdict::Skewed)),
        }
    }
}

/// What an interval is like.
#[derive(Clone, Copy, Debug)]
struct Interval {
    fault: Fault,
    /// After this moment all comes, if it does.
    rush: Option<usize>,
}

/// How many come, by chance.
#[derive(Debug)]
struct Tables {
    /// To each of two neighbours, and within as many moments.
    usual: [[Poisson; MOMENTS + 1]; 2],
    twice: [[Poisson; MOMENTS + 1]; 2],
    rush: Poisson,
}

/// Some pods, who watches them, and chance.
#[derive(Clone, Debug)]
pub struct Fleet {
    traffic: Traffic,
    tables: Arc<Tables>,
    /// The interval that is past.
    last: Interval,
    generator: Generator,
    names: Vec<String>,
    recent: Vec<Recent>,
    /// Where the newest interval is.
    newest: usize,
    /// Intervals since the operator started.
    seen: usize,
    now: Timestamp,
    detector: Detector,
}

impl Fleet {
    /// Pods that have long been there, watched by an operator that has just started.
    pub fn new(traffic: Traffic, seed: u64) -> Self {
        Self {
            traffic,
            tables: Arc::new(Tables {
                usual: traffic.of_moments(1.0),
                twice: traffic.of_moments(2.0),
                rush: Poisson::new(traffic.mean / traffic.come.together()),
            }),
            last: Interval {
                fault: Fault::None,
                rush: None,
            },
            generator: Generator::new(seed),
            names: (0..traffic.pods).map(|pod| format!("{pod:03}")).collect(),
            recent: vec![Recent::default(); traffic.pods],
            newest: 0,
            seen: 0,
            now: Timestamp::UNIX_EPOCH,
            detector: Detector::default(),
        }
    }

    /// From now on requests come as to the other, which has as many.
    pub fn turn(&mut self, other: &Self) {
        self.traffic = other.traffic;
        self.tables = Arc::clone(&other.tables);
    }

    /// The operator starts anew: nothing is known.
    pub fn forget(&mut self) {
        self.detector = Detector::default();
        self.seen = 0;
    }

    /// One interval, and what is said after it; nothing is while no window is full.
    pub fn step(&mut self, fault: Fault) -> Option<Verdict> {
        let interval = self.traffic.interval();
        self.newest = (self.newest + 1) % (LOOKS * SPAN);
        self.seen += 1;
        self.now += SignedDuration::try_from(interval).unwrap_or_default();
        let now = Interval {
            fault,
            rush: self.rush(),
        };
        let last = std::mem::replace(&mut self.last, now);
        for pod in 0..self.recent.len() {
            let moment = moment(pod);
            let requests = if self.traffic.come == Come::InRushes {
                let is_late = last.rush.is_some_and(|rush| rush >= moment);
                let is_early = now.rush.is_some_and(|rush| rush < moment);
                let mut times = 0.0;
                for _ in 0..usize::from(is_late) + usize::from(is_early) {
                    times += self.tables.rush.draw(&mut self.generator);
                }
                times
            } else {
                self.draw(last.fault, pod, MOMENTS - moment) + self.draw(fault, pod, moment)
            };
            let requests = requests * self.traffic.come.together();
            self.recent[pod].push(requests, self.newest, self.traffic.looks);
        }
        if self.seen < self.traffic.looks {
            return None;
        }
        let seen: Vec<Seen<'_>> = self
            .names
            .iter()
            .enumerate()
            .map(|(pod, name)| self.look(name, pod))
            .collect();
        self.detector.learn(&seen, self.now, WINDOW, interval / 2);
        let outlook = self.detector.look(&seen, false, &Thresholds::default());
        Some(self.detector.weigh(outlook.observation, self.now, WINDOW))
    }

    /// What comes to a pod within so many moments.
    fn draw(&mut self, fault: Fault, pod: usize, moments: usize) -> f64 {
        let poisson = match fault {
            _ if moments == 0 => return 0.0,
            Fault::Idle if pod == 0 => return 0.0,
            Fault::Hot if pod == 0 => &self.tables.twice[0][moments],
            _ => &self.tables.usual[pod % 2][moments],
        };
        poisson.draw(&mut self.generator)
    }

    /// Whether there is one in the next interval, and after which moment.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "some"
    )]
    fn rush(&mut self) -> Option<usize> {
        if self.traffic.come != Come::InRushes {
            return None;
        }
        let is_now = self.generator.unit() * RUSH < 1.0;
        is_now.then(|| (self.generator.unit() * MOMENTS as f64) as usize)
    }

    fn look<'a>(&self, name: &'a str, pod: usize) -> Seen<'a> {
        let recent = &self.recent[pod];
        let is_full = |windows: usize| self.seen >= windows * self.traffic.looks;
        Seen {
            uid: name,
            window: if is_full(1) { recent.sums[0] } else { 0.0 },
            sums: std::array::from_fn(|index| is_full(index + 1).then_some(recent.sums[index])),
            ever_served: true,
            capacity: self.traffic.capacity(pod),
        }
    }

    /// What the pods got in the last window, for other rules.
    pub fn window(&self) -> Vec<f64> {
        let pods = 0..self.recent.len();
        pods.map(|pod| self.look("", pod).window).collect()
    }
}

/// What a pod got.
#[derive(Clone, Debug, Default)]
struct Recent {
    /// In each of the last intervals.
    intervals: [f64; LOOKS * SPAN],
    /// In the last one, two and three windows. Whole numbers: it makes no difference in which order they are added up.
    sums: [f64; SPAN],
}

impl Recent {
    fn push(&mut self, requests: f64, newest: usize, looks: usize) {
        for (index, sum) in self.sums.iter_mut().enumerate() {
            let past = (index + 1) * looks;
            *sum += requests - self.intervals[(newest + LOOKS * SPAN - past) % (LOOKS * SPAN)];
        }
        self.intervals[newest] = requests;
    }
}

/// When in the interval a pod is read. Of neighbours one comes long after the other, and the first pod, which faults are brought to,
/// at its beginning: of what begins with the interval it then shows nothing yet.
fn moment(pod: usize) -> usize {
    pod * 5 % MOMENTS
}

/// Whether the backend is said not to be balanced.
pub fn is_trouble(said: Option<Verdict>) -> bool {
    said.is_some_and(Verdict::is_trouble)
}
