//! A backend whose traffic is drawn from a seeded generator, so that a test that fails fails again.

use std::time::Duration;

use jiff::Timestamp;

use super::publish::{Published, publish};
use super::verdict::Verdict;
use super::{Counters, Judge, MetricsState, Report, Round, Scrape, ScrapeError, Settings, Target};

mod any;
mod dealt;
mod even;
mod rates;
mod uneven;

/// Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (2014).
pub(super) struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to 1, without 0.
    #[allow(clippy::cast_precision_loss)]
    pub fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    }

    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    /// Knuth's method in pieces that do not underflow; exact.
    pub fn poisson(&mut self, mean: f64) -> f64 {
        let (mut left, mut count) = (mean, 0.0);
        while left > 0.0 {
            let floor = (-left.min(30.0)).exp();
            let mut product = self.unit();
            while product > floor {
                count += 1.0;
                product *= self.unit();
            }
            left -= 30.0;
        }
        count
    }
}

/// What the demo uses.
pub(super) fn brisk() -> Settings {
    Settings {
        interval: Duration::from_secs(5),
        window: Duration::from_secs(10),
        ..Settings::default()
    }
}

pub(super) struct SimPod {
    pub target: Target,
    pub count: f64,
    /// Streams that have begun and not ended.
    pub open: f64,
    pub error: Option<ScrapeError>,
    /// Its page has no metric that counts RPCs.
    pub silent: bool,
    /// What came after it was read.
    unread: f64,
}

/// One backend, its judge, and what is published.
pub(super) struct World {
    pub settings: Settings,
    pub now: Timestamp,
    pub pods: Vec<SimPod>,
    pub judge: Judge,
    pub published: Option<Published>,
    /// Publications that were not the refresh of the time.
    pub changes: usize,
    pub rolling_out: bool,
    /// Why pods could not be asked.
    pub obstacle: Option<MetricsState>,
    /// Pods are read one after the other, all through the interval, and not all at its end.
    pub in_turn: bool,
    born: usize,
}

impl World {
    /// Pods that have been there for an hour and have served.
    pub fn new(settings: Settings, pods: usize) -> Self {
        let mut world = Self {
            settings,
            now: Timestamp::from_second(1_800_000_000).unwrap(),
            pods: Vec::new(),
            judge: Judge::new(settings, None),
            published: None,
            changes: 0,
            rolling_out: false,
            obstacle: None,
            in_turn: false,
            born: 0,
        };
        world.now -= jiff::SignedDuration::from_hours(1);
        world.scale(pods);
        for pod in &mut world.pods {
            pod.count = 1000.0;
        }
        world.now += jiff::SignedDuration::from_hours(1);
        world
    }

    /// Adds pods that are ready now, or takes the newest away.
    pub fn scale(&mut self, pods: usize) {
        self.pods.truncate(pods);
        while self.pods.len() < pods {
            self.born += 1;
            let target = Target {
                uid: format!("uid-{}", self.born),
                name: format!("pod-{}", self.born),
                created: self.now,
                ready_since: self.now,
                restarts: 0,
                capacity: None,
            };
            self.pods.push(SimPod {
                target,
                count: 0.0,
                open: 0.0,
                error: None,
                silent: false,
                unread: 0.0,
            });
        }
    }

    /// One interval in which each pod gets what `traffic` says.
    pub fn round(&mut self, mut traffic: impl FnMut(usize) -> f64) -> &Report {
        self.now += jiff::SignedDuration::try_from(self.settings.interval).unwrap();
        let turns: Vec<f64> = (1..=self.pods.len()).map(|pod| self.turn(pod)).collect();
        for (index, pod) in self.pods.iter_mut().enumerate() {
            let came = traffic(index);
            pod.count += pod.unread + came * turns[index];
            pod.unread = came * (1.0 - turns[index]);
        }
        let scrape = |(pod, turn): (&SimPod, &f64)| Scrape {
            uid: pod.target.uid.clone(),
            at: self.now - self.settings.interval.mul_f64(1.0 - turn),
            outcome: match pod.error {
                Some(error) => Err(error),
                None if pod.silent => Ok(Counters::default()),
                None => Ok(Counters {
                    started: Some(pod.count),
                    handled: Some(pod.count - pod.open),
                    ..Counters::default()
                }),
            },
        };
        let round = Round {
            now: self.now,
            targets: self.pods.iter().map(|pod| pod.target.clone()).collect(),
            scrapes: self.pods.iter().zip(&turns).map(scrape).collect(),
            rolling_out: self.rolling_out,
            obstacle: self.obstacle.clone(),
        };
        let report = self.judge.round(&round);
        let next = publish(self.published.as_ref(), report, self.now);
        let last = self.published.replace(next);
        if let (Some(last), Some(next)) = (last, &self.published) {
            let unchanged = Published {
                last_evaluated: next.last_evaluated,
                // A status lacks them, so filling them in writes nothing.
                counts: last.counts.or(next.counts),
                ..last.clone()
            };
            let due = self.now.duration_since(last.last_evaluated).as_secs() >= 600;
            self.changes += usize::from(*next != unchanged && !due);
        }
        self.judge.report()
    }

    /// The part of the interval after which this pod is read.
    #[allow(clippy::cast_precision_loss)]
    fn turn(&self, pod: usize) -> f64 {
        if self.in_turn {
            pod as f64 / self.pods.len() as f64
        } else {
            1.0
        }
    }

    /// The operator is restarted: what is left is what the status says.
    pub fn restart(&mut self) {
        if let Some(published) = &mut self.published {
            published.counts = None;
        }
        self.judge = Judge::new(self.settings, self.published.as_ref());
    }

    /// So many rounds of the same traffic; what was said in the end.
    pub fn rounds(&mut self, rounds: usize, mut traffic: impl FnMut(usize) -> f64) -> Verdict {
        for _ in 0..rounds {
            self.round(&mut traffic);
        }
        self.judge.report().verdict
    }

    /// Rounds until `verdict` is said.
    pub fn rounds_until(
        &mut self,
        verdict: Verdict,
        mut traffic: impl FnMut(usize) -> f64,
    ) -> usize {
        for round in 1..=100 {
            if self.round(&mut traffic).verdict == verdict {
                return round;
            }
        }
        panic!("{verdict} was not said: {:#?}", self.judge.report());
    }
}
