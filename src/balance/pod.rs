//! What is remembered of one pod between rounds.

use std::time::Duration;

use jiff::Timestamp;

use super::departed::Left;
use super::detector::SPAN;
use super::evidence::WINDOWS;
use super::exposition::{Counters, Family};
use super::reconnects::{Crowd, Reconnects};
use super::round::{Scrape, ScrapeError, Settings, Target};
use super::time::elapsed;
use super::turnover::Connections;
use super::window::{Pushed, Series, count};

/// Scrapes in a row that must fail before it is said: one is lost now and then.
const FAILURES: u32 = 2;
/// Scrapes in a row that must then come before that is over: a pod that answers now and then goes on failing.
const ANSWERS: u32 = 3;
/// Falls of its counts that must come within as long as trouble must last before it is said: a process is replaced now and then. While there
/// are so many within twice that time it stays said: processes that answer by turns do not do so evenly.
const FALLS: usize = 3;

/// Where a pod stands in a round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Standing {
    /// Requests within the window, and within the last one, two and three.
    Judged(f64, [Option<f64>; SPAN]),
    /// Too young, or its samples do not cover a window yet.
    Warming,
    /// No usable number.
    Failing,
}

/// How far a new pod is on the way to its first request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum FirstRequest {
    /// Not new: it was there before, or there was no traffic that could have come.
    Untold,
    /// None until then.
    Waiting { since: Timestamp },
    /// Between the two times; the next sample tells the rate, and so the moment.
    Seen {
        after: Timestamp,
        by: Timestamp,
        count: f64,
    },
}

/// One pod.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub name: String,
    pub ready_since: Timestamp,
    pub capacity: Option<u32>,
    restarts: u32,
    series: Series,
    /// The count when the pod became ready: not zero where it was ready before, and unknown then until the first scrape since. What came
    /// before that one may have come while it was not ready: clients leave a pod later than the cluster does.
    baseline: Option<f64>,
    /// Since when its counters are those of one process that is ready.
    counted_since: Timestamp,
    first: FirstRequest,
    failures: u32,
    /// Answers that it owes before it counts as scraped again.
    owed: u32,
    /// When its counts fell last, the newest at the end, while the container did not restart.
    fell: [Option<Timestamp>; FALLS],
    keeps_falling: bool,
    pub error: Option<ScrapeError>,
    /// Whether it has ever shown a known family.
    pub known: bool,
    /// Whether it was asked for anything between its last two samples.
    pub rising: bool,
    /// How its connections come and go.
    pub connections: Connections,
    /// How many of them the age ends in a second.
    pub reconnects: Reconnects,
    /// How many there are.
    pub crowd: Crowd,
}

impl Pod {
    /// A pod that appears. `busy`: the backend has traffic, so the time to the first request means something.
    pub fn new(target: &Target, busy: bool) -> Self {
        let waiting = FirstRequest::Waiting {
            since: target.ready_since,
        };
        Self {
            name: target.name.clone(),
            ready_since: target.ready_since,
            capacity: target.capacity,
            restarts: target.restarts,
            series: Series::default(),
            baseline: Some(0.0),
            counted_since: target.ready_since,
            first: if busy { waiting } else { FirstRequest::Untold },
            failures: 0,
            owed: 0,
            fell: [None; FALLS],
            keeps_falling: false,
            error: None,
            known: false,
            rising: false,
            connections: Connections::default(),
            reconnects: Reconnects::default(),
            crowd: Crowd::default(),
        }
    }

    /// A pod that was there before. What it has served by then is learnt from its next scrape, also where containers were restarted: it may
    /// be a sidecar that was. `is_new`: it was not ready meanwhile, and the time to the first request means something.
    pub fn returned(target: &Target, is_new: bool) -> Self {
        Self {
            baseline: None,
            ..Self::new(target, is_new)
        }
    }

    /// What is kept of it while it is away.
    pub fn left(&self, at: Timestamp) -> Left {
        Left {
            at,
            ready_since: self.ready_since,
        }
    }

    /// Takes over what the cluster says of a pod that is known.
    pub fn update(&mut self, target: &Target, busy: bool) {
        self.capacity = target.capacity;
        if target.restarts != self.restarts {
            self.restarts = target.restarts;
            self.forget();
            self.connections.restarted();
        } else if target.ready_since != self.ready_since {
            let newest = self.series.newest();
            let since = newest.filter(|(at, _)| *at >= target.ready_since);
            self.baseline = since.map(|(_, counters)| served(&counters));
        }
        if target.ready_since != self.ready_since {
            self.ready_since = target.ready_since;
            self.counted_since = target.ready_since;
            if busy {
                self.first = FirstRequest::Waiting {
                    since: target.ready_since,
                };
            }
        }
    }

    /// Something else is read from now on, which may have counted long before and may answer where this did not.
    pub fn begin_anew(&mut self) {
        let has_served = self.ever_served();
        self.forget();
        if has_served {
            // Whatever it counts, that stays so.
            self.baseline = Some(-1.0);
        }
        if matches!(self.first, FirstRequest::Seen { .. }) {
            self.first = FirstRequest::Untold;
        }
        self.connections.restarted();
        self.known = false;
        self.owed = 0;
    }

    /// Another process may serve in the pod, or a sidecar was restarted and the count goes on.
    fn forget(&mut self) {
        self.counted_since = self
            .series
            .newest()
            .map_or(self.counted_since, |(at, _)| at.max(self.counted_since));
        self.series.clear();
        self.fell = [None; FALLS];
        self.keeps_falling = false;
        self.baseline = None;
    }

    /// Takes a scrape; answers how long the first request took to come after Ready, once that is known.
    pub fn scraped(&mut self, scrape: &Scrape, settings: &Settings) -> Option<Duration> {
        let counters = match scrape.outcome {
            Ok(counters) => counters,
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                // Where nobody could be asked the pod is not to blame.
                if self.is_failing() && error != ScrapeError::NotAsked {
                    self.owed = ANSWERS;
                }
                self.error = Some(error);
                if error.is_of_the_pod() {
                    let (age, grace) = (settings.age, settings.grace);
                    self.connections.push(scrape.at, None, age, grace);
                }
                return None;
            }
        };
        self.failures = 0;
        self.owed = self.owed.saturating_sub(1);
        self.known |= counters.preferred().is_some();
        let newest = self.series.newest();
        let before = newest.map(|(_, counters)| served(&counters));
        match self.series.push(scrape.at, counters, settings.window) {
            Pushed::Stale => return None,
            Pushed::Reset => {
                self.baseline = Some(0.0);
                self.counted_since = newest.map_or(self.counted_since, |(at, _)| at);
                let is_same = newest.is_some_and(|(_, before)| before.meter == counters.meter);
                if is_same {
                    self.fell.rotate_left(1);
                    self.fell[FALLS - 1] = Some(scrape.at);
                }
            }
            Pushed::Taken => {}
        }
        let within = settings.window * WINDOWS * if self.keeps_falling { 2 } else { 1 };
        self.keeps_falling = self.fell[0].is_some_and(|fell| elapsed(fell, scrape.at) <= within);
        if self.keeps_falling {
            self.error = Some(ScrapeError::KeepsFalling);
        } else if self.owed == 0 {
            self.error = None;
        }
        self.connections.push(
            scrape.at,
            counters.connections(),
            settings.age,
            settings.grace,
        );
        let open = counters.connections().map_or(0.0, |(_, open)| open);
        self.reconnects.push(open, settings.age);
        self.crowd.push(open);
        self.rising = before.is_some_and(|before| served(&counters) > before);
        let since_ready = self.since_ready(scrape.at, served(&counters))?;
        self.first_request(scrape.at, since_ready)
    }

    /// What of the count came since the pod is ready, as far as it can be told.
    fn since_ready(&mut self, at: Timestamp, count: f64) -> Option<f64> {
        if self.baseline.is_none() && at >= self.ready_since {
            self.baseline = Some(count);
            self.counted_since = at;
        }
        self.baseline.map(|baseline| count - baseline)
    }

    fn first_request(&mut self, at: Timestamp, count: f64) -> Option<Duration> {
        match self.first {
            FirstRequest::Waiting { since } if count > 0.0 => {
                self.first = FirstRequest::Seen {
                    after: since,
                    by: at.max(since),
                    count,
                };
                None
            }
            FirstRequest::Waiting { .. } => {
                self.first = FirstRequest::Waiting {
                    since: at.max(self.ready_since),
                };
                None
            }
            FirstRequest::Seen {
                after,
                by,
                count: first,
            } => {
                self.first = FirstRequest::Untold;
                let rate = (count - first) / elapsed(by, at).as_secs_f64();
                let before = if rate > 0.0 { first / rate } else { 0.0 };
                let latest = elapsed(self.ready_since, by);
                let earliest = elapsed(self.ready_since, after);
                let back = Duration::try_from_secs_f64(before).unwrap_or(Duration::MAX);
                Some(latest.saturating_sub(back).max(earliest))
            }
            FirstRequest::Untold => None,
        }
    }

    /// Whether it has served since it became ready.
    pub fn ever_served(&self) -> bool {
        let newest = self.series.newest().zip(self.baseline);
        newest.is_some_and(|((_, counters), baseline)| served(&counters) > baseline)
    }

    /// RPCs that are open now, where the pod tells; a page that has no family yet has had none.
    pub fn in_flight(&self) -> Option<f64> {
        let counters = self.newest()?;
        match counters.preferred() {
            None => Some(0.0),
            Some(_) => counters.in_flight(),
        }
    }

    /// The newest counters, if recent.
    pub fn newest(&self) -> Option<Counters> {
        self.series.newest().map(|(_, counters)| counters)
    }

    /// Requests of the last window, and when it ended.
    pub fn last_window(&self, settings: &Settings, family: Family) -> Option<(Timestamp, f64)> {
        let (end, _) = self.series.newest()?;
        let slack = settings.interval / 2;
        Some((end, self.series.increase(family, settings.window, slack)?))
    }

    /// Whether its newest number is recent.
    pub fn is_scraped(&self, now: Timestamp, interval: Duration) -> bool {
        !self.is_failing() && self.newest().is_some() && !self.is_late(now, interval)
    }

    /// Whether its newest number is no more recent.
    pub fn is_late(&self, now: Timestamp, interval: Duration) -> bool {
        let newest = self.series.newest();
        newest.is_some_and(|(at, _)| elapsed(at, now) > recent(interval))
    }

    /// Whether it is known to give no number, as opposed to not having been asked yet.
    pub fn is_failing(&self) -> bool {
        self.failures >= FAILURES || self.owed > 0 || self.keeps_falling
    }

    /// The same, or it did not answer when it was asked last, and that is long ago: where many hang, they are asked seldom.
    pub fn gives_none(&self, now: Timestamp, interval: Duration) -> bool {
        self.is_failing() || (self.failures > 0 && self.is_late(now, interval))
    }

    /// Whether it became ready too short a time ago to be judged by what it was read last.
    pub fn is_young(&self, now: Timestamp, settings: &Settings) -> bool {
        // What came since it was read last is not known.
        let read = self.series.newest().map_or(now, |(at, _)| at);
        let known = if self.is_scraped(now, settings.interval) {
            read
        } else {
            now
        };
        elapsed(self.ready_since, known) < settings.promise()
    }

    /// Whether it counts only the other end of its RPCs, so that it cannot be compared.
    pub fn is_unlike(&self, family: Family) -> bool {
        let newest = self.newest();
        newest.is_some_and(|counters| count(&counters, family).is_none())
    }

    /// The same, or it counts by another metric than the others.
    pub fn counts_otherwise(&self, family: Option<Family>) -> bool {
        self.error == Some(ScrapeError::OtherFamily)
            || family.is_some_and(|family| self.is_unlike(family))
    }

    /// Requests within the window, once there is one.
    pub fn requests(&self, settings: &Settings, family: Option<Family>) -> Option<f64> {
        self.series
            .increase(family?, settings.window, settings.interval / 2)
    }

    /// Where it stands.
    pub fn standing(
        &self,
        now: Timestamp,
        settings: &Settings,
        family: Option<Family>,
    ) -> Standing {
        let young = self.is_young(now, settings);
        if !self.is_scraped(now, settings.interval) {
            // One that is only to be asked is not known to give none.
            return if young || !self.gives_none(now, settings.interval) {
                Standing::Warming
            } else {
                Standing::Failing
            };
        }
        let Some(family) = family else {
            return Standing::Failing;
        };
        match self.requests(settings, Some(family)) {
            _ if young => Standing::Warming,
            Some(requests) => Standing::Judged(requests, self.sums(settings, family)),
            None if self.is_unlike(family) => Standing::Failing,
            None => Standing::Warming,
        }
    }
}

impl Pod {
    /// Requests within the last one, two and three windows, as far as the pod was to be counted on: not while clients
    /// were still to find it. One that has served nothing at all is known to have had none since it became ready, and
    /// once the promise is broken that counts.
    fn sums(&self, settings: &Settings, family: Family) -> [Option<f64>; SPAN] {
        let Some((known, _)) = self.series.newest() else {
            return [None; SPAN];
        };
        let counted = elapsed(self.counted_since, known);
        let found = elapsed(self.ready_since, known).saturating_sub(settings.promise());
        let slack = settings.interval / 2;
        std::array::from_fn(|index| {
            let span = settings.window * u32::try_from(index + 1).unwrap_or(u32::MAX);
            if !self.ever_served() {
                (counted >= span).then_some(0.0)
            } else if found >= span {
                self.series.increase(family, span, slack)
            } else {
                None
            }
        })
    }
}

/// How old a number may be. At the end of an interval it may be from its beginning, and one scrape may have been missed.
pub(super) fn recent(interval: Duration) -> Duration {
    interval * 9 / 4
}

fn served(counters: &Counters) -> f64 {
    counters.started.or(counters.handled).unwrap_or(0.0)
}
