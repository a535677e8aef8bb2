//! The state machine of one backend: a round of scrapes in, a [`Report`] out.
//!
//! What is **not** guaranteed: that two rounds at the same time differ from one (a round that is not later
//! than the last is ignored, unless the clock was set), and anything about pods that the caller does not list as targets.

mod compose;
mod pace;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use self::pace::Pace;
use super::arrivals::Arrivals;
use super::departed::{self, Departed};
use super::detector::{Detector, Outlook, SPAN, Seen};
use super::evidence::Observation;
use super::exposition::{Counters, Family};
use super::indices::as_f64;
use super::pod::{Pod, Standing};
use super::publish::{Published, PublishedDiscovery};
use super::report::{
    self, MetricsReason, MetricsState, OpenRpcs, PodLoad, PodStanding, Report, Share,
};
use super::round::{Mode, Round, Scrape, Settings, Target};
use super::time::elapsed;
use super::verdict::{Assessment, Fairness, Verdict};
use super::window::count;

/// Pods that are judged at most; further ones are left out.
pub const MAX_PODS: usize = 5000;
/// Pods that a list of a report names at most.
pub const MAX_NAMED: usize = 10;

/// Judges one backend.
#[derive(Debug)]
pub struct Judge {
    settings: Settings,
    pods: BTreeMap<String, Pod>,
    departed: Departed,
    detector: Detector,
    /// Pods that were hot or idle when they were judged last, by uid. None while no trouble is said.
    accused: BTreeSet<String>,
    arrivals: Arrivals,
    last: Option<Timestamp>,
    /// The round that the report is of.
    reported: Option<Timestamp>,
    /// The first round since pods are followed.
    since: Option<Timestamp>,
    restored: String,
    obstacle: Option<MetricsState>,
    left_out: usize,
    report: Report,
}

/// A pod that counts, and its requests.
struct Judged {
    uid: String,
    window: f64,
    sums: [Option<f64>; SPAN],
}

/// The judged pods of one round.
#[derive(Default)]
struct Census {
    judged: Vec<Judged>,
    warming: u32,
    /// Those of them that became ready a short time ago; the windows of the others are not full.
    young: u32,
    /// Of the warming ones those that give numbers, or have only begun to be asked.
    filling: u32,
    failing: u32,
    /// Of the failing ones those that are accused.
    missing: u32,
    scraped: u32,
}

impl Census {
    fn total(&self) -> f64 {
        self.judged.iter().map(|pod| pod.window).sum()
    }
}

impl Judge {
    /// Begins, with what the status said before a restart of the operator.
    pub fn new(settings: Settings, restored: Option<&Published>) -> Self {
        let discovered = restored
            .and_then(|restored| restored.discovery.as_ref())
            .and_then(PublishedDiscovery::times)
            .map(|(first, fair, histogram)| Arrivals::restored(first, fair, histogram));
        Self {
            settings,
            pods: BTreeMap::new(),
            departed: Departed::default(),
            detector: Detector::restored(restored.map(|restored| restored.verdict)),
            accused: BTreeSet::new(),
            arrivals: discovered.unwrap_or_default(),
            last: None,
            reported: None,
            since: None,
            restored: restored.map_or_else(String::new, |restored| restored.message.clone()),
            obstacle: None,
            left_out: 0,
            report: Report::default(),
        }
    }

    /// Changes the rules from the next round on. Counters that were read stay; evidence under other rules does not, and what the traffic
    /// has taught only where windows stay what they were.
    pub fn configure(&mut self, settings: Settings) {
        let windows = |of: &Settings| (of.window, of.interval, of.mode);
        if windows(&settings) != windows(&self.settings) {
            self.detector.begin_anew();
        } else if settings != self.settings {
            self.detector.restart();
        }
        self.settings = settings;
    }

    /// The pods' counts are of something else from now on: what was counted so far is not to be compared with them.
    pub fn begin_anew(&mut self) {
        for pod in self.pods.values_mut() {
            pod.begin_anew();
        }
        self.accused.clear();
        self.detector.begin_anew();
    }

    /// The clock was set, or nobody looked for longer than a window: what was read before is not to be compared with what comes. As after a
    /// restart of the operator, what was said stands until there is a whole window again.
    fn resume(&mut self) {
        self.pods.clear();
        self.departed = Departed::default();
        self.since = None;
        self.detector.resume(self.report.verdict);
        self.restored.clone_from(&self.report.message);
    }

    /// Whether a pod that answers was not asked in time because nobody was: what was said stands. In a process that is always late it
    /// does so for a window.
    fn is_held_up(&self, pace: Pace, now: Timestamp) -> bool {
        let interval = self.settings.interval;
        let stands = |reported| elapsed(reported, now) <= self.settings.window;
        let stands = self.reported.is_some_and(stands);
        let is_unread = |pod: &Pod| match pace {
            Pace::Late => stands && pod.is_late(now, interval),
            // What they were read before is forgotten.
            Pace::Apart => !pod.is_scraped(now, interval),
            Pace::Again | Pace::InTime | Pace::Back => false,
        };
        let mut pods = self.pods.values();
        self.report.pods > 0 && pods.any(|pod| is_unread(pod) && !pod.is_failing())
    }

    /// What the last round came to.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Takes one more look.
    pub fn round(&mut self, round: &Round) -> &Report {
        let pace = self.last.map_or(Pace::InTime, |last| {
            Pace::new(last, round.now, &self.settings)
        });
        match pace {
            Pace::Again => return &self.report,
            Pace::Back | Pace::Apart => self.resume(),
            Pace::InTime | Pace::Late => {}
        }
        let scrapes = match pace {
            // They have times of the clock as it was.
            Pace::Back => &[],
            _ => round.scrapes.as_slice(),
        };
        self.last = Some(round.now);
        if self.settings.mode == Mode::Off {
            self.pods.clear();
            self.departed = Departed::default();
            self.since = None;
            self.detector.weigh(
                Observation::Circumstance(Verdict::Off),
                round.now,
                self.settings.window,
            );
            self.report = Report::off();
            return &self.report;
        }
        self.obstacle.clone_from(&round.obstacle);
        self.left_out = round.targets.len().saturating_sub(MAX_PODS);
        self.follow(round, scrapes);
        if self.is_held_up(pace, round.now) {
            return &self.report;
        }
        self.reported = Some(round.now);
        let family = self.family();
        self.acquit(family);
        let census = self.census(round.now, family);
        self.share(&census, family);
        let outlook = self.outlook(round, &census);
        let observation = self.circumstance(round, &census, outlook.observation);
        let verdict = self
            .detector
            .weigh(observation, round.now, self.settings.window);
        let assessment = outlook.assessment;
        self.accuse(verdict, &census, &assessment);
        self.report = self.compose(verdict, family, &census, &assessment);
        &self.report
    }

    /// Follows the pods: new ones, changed ones, gone ones, and what they said.
    fn follow(&mut self, round: &Round, scrapes: &[Scrape]) {
        // Of all pods, the warming ones included: the report's rate is only of those that were judged.
        let busy = self.pods.values().any(|pod| pod.rising);
        let targets: BTreeMap<&str, &Target> = round
            .targets
            .iter()
            .take(MAX_PODS)
            .map(|target| (target.uid.as_str(), target))
            .collect();
        let is_gone = |uid: &String, _: &mut Pod| !targets.contains_key(uid.as_str());
        let gone = self.pods.extract_if(.., is_gone);
        let left = gone.map(|(uid, pod)| (uid, pod.left(round.now)));
        self.departed.remember(left, round.now);
        let since = *self.since.get_or_insert(round.now);
        for (uid, target) in targets {
            if let Some(pod) = self.pods.get_mut(uid) {
                pod.update(target, busy);
                continue;
            }
            let pod = match self.departed.come_back(uid) {
                Some(left) => Pod::returned(target, busy && target.ready_since != left.ready_since),
                None if departed::may_have_left(target.created, since, round.now) => {
                    Pod::returned(target, false)
                }
                None => Pod::new(target, busy),
            };
            self.pods.insert(uid.to_owned(), pod);
        }
        for scrape in scrapes {
            let Some(pod) = self.pods.get_mut(&scrape.uid) else {
                continue;
            };
            if let Some(took) = pod.scraped(scrape, &self.settings) {
                self.arrivals.found(&scrape.uid, pod.ready_since, took);
            }
        }
    }

    /// The family that most pods can be compared by, if any pod has shown one.
    fn family(&self) -> Option<Family> {
        let known: Vec<Counters> = self
            .pods
            .values()
            .filter(|pod| pod.known)
            .filter_map(Pod::newest)
            .collect();
        let comparable = |family| {
            known
                .iter()
                .filter(|counters| count(counters, family).is_some())
                .count()
        };
        let (started, handled) = (comparable(Family::Started), comparable(Family::Handled));
        match (started, handled) {
            (0, 0) => None,
            _ if handled > started => Some(Family::Handled),
            _ => Some(Family::Started),
        }
    }

    fn census(&self, now: Timestamp, family: Option<Family>) -> Census {
        let mut census = Census::default();
        for (uid, pod) in &self.pods {
            let is_unlike = family.is_some_and(|family| pod.is_unlike(family));
            let is_scraped = pod.is_scraped(now, self.settings.interval);
            census.scraped += u32::from(is_scraped && !is_unlike);
            match pod.standing(now, &self.settings, family) {
                Standing::Judged(window, sums) => census.judged.push(Judged {
                    uid: uid.clone(),
                    window,
                    sums,
                }),
                Standing::Warming => {
                    census.warming += 1;
                    census.young += u32::from(pod.is_young(now, &self.settings));
                    census.filling += u32::from(!pod.gives_none(now, self.settings.interval));
                }
                Standing::Failing => {
                    census.failing += 1;
                    census.missing += u32::from(self.accused.contains(uid));
                }
            }
        }
        census
    }

    /// Nothing is said any more of pods that are gone, nor of those that were read and cannot be compared.
    fn acquit(&mut self, family: Option<Family>) {
        let pods = &self.pods;
        let can_be_compared = |pod: &Pod| !pod.counts_otherwise(family);
        self.accused
            .retain(|uid| pods.get(uid).is_some_and(can_be_compared));
    }

    /// Keeps in mind which pods trouble is said of, for when they cannot be judged.
    fn accuse(&mut self, verdict: Verdict, census: &Census, assessment: &Assessment) {
        if !verdict.is_trouble() {
            self.accused.clear();
            return;
        }
        for pod in &census.judged {
            self.accused.remove(&pod.uid);
        }
        let named = assessment.idle.iter().chain(&assessment.hot);
        let named = named.filter_map(|index| census.judged.get(*index));
        self.accused.extend(named.map(|pod| pod.uid.clone()));
    }

    /// Looks which new pods have their share of what the grown ones have; right after a rollout, where all are young, of what
    /// all have.
    fn share(&mut self, census: &Census, family: Option<Family>) {
        let Some(family) = family else { return };
        let (pods, settings) = (&self.pods, &self.settings);
        let window_of = |uid: &str| pods.get(uid)?.last_window(settings, family);
        let capacity_of = |uid: &str| pods.get(uid)?.capacity.map(f64::from);
        let grown: Vec<(&str, f64)> = if census.judged.is_empty() {
            let all = pods.keys().map(String::as_str);
            all.filter_map(|uid| Some((uid, window_of(uid)?.1)))
                .collect()
        } else {
            let judged = census.judged.iter();
            judged.map(|pod| (pod.uid.as_str(), pod.window)).collect()
        };
        let total: f64 = grown.iter().map(|(_, requests)| requests).sum();
        let mean = total / as_f64(grown.len().max(1));
        let by_capacity = self.detector.fairness() == Fairness::ByCapacity;
        let capacities = grown.iter().map(|(uid, _)| capacity_of(uid));
        let capacities: Option<f64> = capacities.sum::<Option<f64>>().filter(|_| by_capacity);
        self.arrivals.share(settings.window, |uid| {
            let (end, requests) = window_of(uid)?;
            let by_capacity = capacities.zip(capacity_of(uid));
            let fair = by_capacity.map_or(mean, |(all, own)| total * own / all);
            Some((end, requests, fair))
        });
    }

    /// What the numbers of the judged pods come to.
    fn outlook(&mut self, round: &Round, census: &Census) -> Outlook {
        let seen: Vec<Seen<'_>> = census
            .judged
            .iter()
            .map(|pod| Seen {
                uid: &pod.uid,
                window: pod.window,
                sums: pod.sums,
                ever_served: self.pods.get(&pod.uid).is_some_and(Pod::ever_served),
                capacity: self.pods.get(&pod.uid).and_then(|pod| pod.capacity),
            })
            .collect();
        let (window, interval) = (self.settings.window, self.settings.interval);
        if round.rolling_out || seen.is_empty() {
            self.detector.interrupt();
        } else {
            self.detector.learn(&seen, round.now, window, interval / 2);
        }
        let open = OpenRpcs::are_long(self.open_rpcs(census), census.total());
        self.detector.look(&seen, open, &self.settings.thresholds)
    }

    /// What is open on the judged pods, as far as it can be seen.
    fn open_rpcs(&self, census: &Census) -> Option<OpenRpcs> {
        let pods = || {
            census
                .judged
                .iter()
                .filter_map(|pod| self.pods.get(&pod.uid))
        };
        let open: Option<Vec<f64>> = pods().map(Pod::in_flight).collect();
        let served_streams = |pod: &Pod| pod.newest().is_some_and(|counters| counters.streams);
        match open {
            Some(open) => Some(OpenRpcs::Seen {
                total: open.iter().sum(),
                fewest: open.iter().copied().reduce(f64::min)?,
                most: open.iter().copied().reduce(f64::max)?,
            }),
            None => pods().any(served_streams).then_some(OpenRpcs::Unseen),
        }
    }

    /// Rows 1 to 8 of the table in [`verdict`](super::verdict) come before what the numbers say; what is said of a pod that gives
    /// none comes before row 7.
    fn circumstance(&self, round: &Round, census: &Census, numbers: Observation) -> Observation {
        let judged = census.judged.len();
        let failing = usize::try_from(census.failing).unwrap_or(usize::MAX);
        let too_few = failing > 0 && (judged < 2 || judged < failing);
        let said = self.report.verdict;
        let is_held = census.missing > 0 && said.is_trouble();
        // Where one pod becomes more it is still the only one that serves.
        let is_single = said == Verdict::SinglePod;
        let circumstance = if self.settings.mode == Mode::Observe {
            Verdict::Observed
        } else if self.pods.is_empty() {
            Verdict::NoPods
        } else if round.rolling_out {
            Verdict::RollingOut
        } else if judged == 0 && failing > 0 && census.filling == 0 {
            Verdict::NoMetrics
        } else if judged == 0 {
            Verdict::WarmingUp
        } else if is_held && (too_few || !is_trouble(numbers)) {
            // What the others have, or have not, says nothing of the pod that it is about.
            return Observation::Finding {
                verdict: said,
                windows: 1,
            };
        } else if too_few {
            return Observation::Finding {
                verdict: Verdict::InsufficientData,
                windows: 1,
            };
        } else if judged == 1 && (census.warming == 0 || is_single) {
            Verdict::SinglePod
        } else if judged == 1 {
            Verdict::WarmingUp
        } else {
            return numbers;
        };
        if census.warming > 0 && (judged == 0 || circumstance == Verdict::WarmingUp) {
            Observation::Early(circumstance)
        } else {
            Observation::Circumstance(circumstance)
        }
    }
}

fn is_trouble(numbers: Observation) -> bool {
    matches!(
        numbers,
        Observation::Finding { verdict, .. } | Observation::Suspicion(verdict) if verdict.is_trouble()
    )
}

#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod restart_tests;
#[cfg(test)]
mod return_tests;
#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
#[cfg(test)]
mod unknown_tests;
