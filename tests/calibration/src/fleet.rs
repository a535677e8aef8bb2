//! Pods whose traffic is drawn by chance, and the product's detector that watches them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::balance::detector::{Detector, SPAN, Seen};
use crate::balance::verdict::{Thresholds, Verdict};
use crate::chance::{Generator, Poisson};

/// Looks in a window: an interval of 15 s in a window of 60 s, as by default.
pub const LOOKS: usize = 4;
/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(15);
const WINDOW: Duration = Duration::from_mins(1);

/// How requests come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Traffic {
    /// Pods.
    pub pods: usize,
    /// Requests per pod and window.
    pub mean: f64,
    /// Requests that go to one pod together.
    pub burst: f64,
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

/// Some pods, who watches them, and chance.
#[derive(Clone, Debug)]
pub struct Fleet {
    traffic: Traffic,
    usual: Poisson,
    twice: Poisson,
    generator: Generator,
    names: Vec<String>,
    /// Requests in the last intervals, the newest at `newest`.
    recent: Vec<[f64; LOOKS * SPAN]>,
    newest: usize,
    /// Intervals since the operator started.
    seen: usize,
    now: Timestamp,
    detector: Detector,
}

impl Fleet {
    /// Pods that have long been there, watched by an operator that has just started.
    pub fn new(traffic: Traffic, seed: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "four")]
        let mean = traffic.mean / traffic.burst / LOOKS as f64;
        Self {
            traffic,
            usual: Poisson::new(mean),
            twice: Poisson::new(2.0 * mean),
            generator: Generator::new(seed),
            names: (0..traffic.pods).map(|pod| format!("{pod:03}")).collect(),
            recent: vec![[0.0; LOOKS * SPAN]; traffic.pods],
            newest: 0,
            seen: 0,
            now: Timestamp::UNIX_EPOCH,
            detector: Detector::default(),
        }
    }

    /// The operator starts anew: nothing is known.
    pub fn forget(&mut self) {
        self.detector = Detector::default();
        self.seen = 0;
    }

    /// One interval, and what is said after it; nothing is while no window is full.
    pub fn step(&mut self, fault: Fault) -> Option<Verdict> {
        self.newest = (self.newest + 1) % (LOOKS * SPAN);
        self.seen += 1;
        self.now += SignedDuration::try_from(INTERVAL).unwrap_or_default();
        for (pod, recent) in self.recent.iter_mut().enumerate() {
            let bursts = match fault {
                Fault::Idle if pod == 0 => 0.0,
                Fault::Hot if pod == 0 => self.twice.draw(&mut self.generator),
                _ => self.usual.draw(&mut self.generator),
            };
            recent[self.newest] = bursts * self.traffic.burst;
        }
        if self.seen < LOOKS {
            return None;
        }
        let seen: Vec<Seen<'_>> = self
            .names
            .iter()
            .zip(&self.recent)
            .map(|(name, recent)| self.look(name, recent))
            .collect();
        self.detector.learn(&seen, self.now, WINDOW, INTERVAL / 2);
        let outlook = self.detector.look(&seen, false, &Thresholds::default());
        Some(self.detector.weigh(outlook.observation, self.now, WINDOW))
    }

    fn look<'a>(&self, name: &'a str, recent: &[f64; LOOKS * SPAN]) -> Seen<'a> {
        let mut sum = 0.0;
        let sums = std::array::from_fn(|window| {
            for look in window * LOOKS..(window + 1) * LOOKS {
                sum += recent[(self.newest + LOOKS * SPAN - look) % (LOOKS * SPAN)];
            }
            (self.seen >= (window + 1) * LOOKS).then_some(sum)
        });
        Seen {
            uid: name,
            window: sums[0].unwrap_or_default(),
            sums,
            ever_served: true,
            capacity: None,
        }
    }

    /// What the pods got in the last window, for other rules.
    pub fn window(&self) -> Vec<f64> {
        let of = |recent: &[f64; LOOKS * SPAN]| self.look("", recent).window;
        self.recent.iter().map(of).collect()
    }
}

/// Whether the backend is said not to be balanced.
pub fn is_trouble(said: Option<Verdict>) -> bool {
    said.is_some_and(Verdict::is_trouble)
}
