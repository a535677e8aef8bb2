//! From the state of the judge to its report.

use super::{
    Assessment, Census, Counters, Family, Judge, MAX_NAMED, MetricsReason, MetricsState, Pod,
    PodLoad, PodStanding, Report, Share, Standing, Verdict, report,
};
use crate::balance::round::ScrapeError;

impl Judge {
    /// The report of a round.
    pub(super) fn compose(
        &self,
        verdict: Verdict,
        family: Option<Family>,
        census: &Census,
        assessment: &Assessment,
    ) -> Report {
        let indices = assessment.indices;
        let seconds = self.settings.window.as_secs_f64();
        let total = census.total();
        let trouble = verdict.is_trouble() && total > 0.0;
        let idle: &[usize] = if trouble { &assessment.idle } else { &[] };
        let hot: &[usize] = if trouble { &assessment.hot } else { &[] };
        let culprit = assessment
            .culprit
            .filter(|_| trouble && verdict == Verdict::HotPod);
        let mut hottest = self.shares(census, hot, true);
        if let Some(culprit) = culprit.map(|index| self.share_of(census, index)) {
            hottest.retain(|share| share.pod != culprit.pod);
            hottest.insert(0, culprit);
            hottest.truncate(MAX_NAMED);
        }
        let mut report = Report {
            verdict,
            last_window: assessment.verdict,
            message: String::new(),
            restored: self.detector.is_restored(),
            pods: u32::try_from(self.pods.len()).unwrap_or(u32::MAX),
            left_out: self.left_out,
            judged: u32::try_from(census.judged.len()).unwrap_or(u32::MAX),
            warming: census.warming,
            young: census.young,
            scraped: census.scraped,
            effective_pods: indices.map(|indices| indices.effective_pods),
            max_over_mean: indices.map(|indices| indices.max_over_mean),
            min_over_mean: indices.map(|indices| indices.min_over_mean),
            cv: indices.map(|indices| indices.cv_corrected),
            dispersion: self.detector.dispersion(),
            requests_per_second: (!census.judged.is_empty()).then_some(total / seconds),
            by_capacity: indices.is_some_and(|indices| indices.least < indices.mean),
            window: self.settings.window,
            metric: family.and_then(|family| Some(self.counted_by(family)?.name(family))),
            hottest,
            culprit: culprit.map(|index| assessment.ratios[index]),
            starved: self.shares(census, idle, false),
            starved_pods: u32::try_from(idle.len()).unwrap_or(u32::MAX),
            uncounted: self.uncounted(census, idle),
            missing: census.missing,
            loads: self.pod_loads(family),
            discovery: self
                .arrivals
                .last(self.settings.promised, self.settings.interval),
            metrics: self.metrics_state(census, family),
            turnover: self
                .pods
                .values()
                .map(|pod| (pod.name.clone(), pod.connections.turnover()))
                .collect(),
            reconnects: self
                .pods
                .values()
                .filter_map(|pod| pod.reconnects.said())
                .max(),
            crowd: self.pods.values().filter_map(|pod| pod.crowd.said()).max(),
            streams: self
                .pods
                .values()
                .any(|pod| pod.newest().is_some_and(|counters| counters.streams)),
            open_rpcs: self.open_rpcs(census),
        };
        report.message = if report.restored && !self.restored.is_empty() {
            self.restored.clone()
        } else {
            report::message(&report, &self.settings)
        };
        report
    }

    fn pod_loads(&self, family: Option<Family>) -> Vec<PodLoad> {
        let now = self.last.unwrap_or_default();
        let seconds = self.settings.window.as_secs_f64();
        let mut loads: Vec<PodLoad> = self
            .pods
            .values()
            .map(|pod| {
                let standing = match pod.standing(now, &self.settings, family) {
                    Standing::Judged(..) => PodStanding::Judged,
                    Standing::Warming => PodStanding::Warming,
                    Standing::Failing => PodStanding::Failing,
                };
                // What it had when it was read last is no figure of now.
                let requests = pod.requests(&self.settings, family);
                let requests = requests.filter(|_| standing != PodStanding::Failing);
                PodLoad {
                    pod: pod.name.clone(),
                    standing,
                    requests_per_second: requests.map(|requests| requests / seconds),
                }
            })
            .collect();
        loads.sort_by(|a, b| a.pod.cmp(&b.pod));
        loads
    }

    /// How many of these have never shown a metric that is known.
    fn uncounted(&self, census: &Census, which: &[usize]) -> u32 {
        let pods = which
            .iter()
            .map(|index| &self.pods[&census.judged[*index].uid]);
        u32::try_from(pods.filter(|pod| !pod.known).count()).unwrap_or(u32::MAX)
    }

    fn share_of(&self, census: &Census, index: usize) -> Share {
        let pod = &census.judged[index];
        Share {
            pod: self.pods[&pod.uid].name.clone(),
            share: pod.window / census.total(),
        }
    }

    fn shares(&self, census: &Census, which: &[usize], busiest_first: bool) -> Vec<Share> {
        let mut shares: Vec<Share> = which
            .iter()
            .map(|index| self.share_of(census, *index))
            .collect();
        shares.sort_by(|a, b| a.share.total_cmp(&b.share));
        if busiest_first {
            shares.reverse();
        }
        shares.truncate(MAX_NAMED);
        shares
    }

    /// Counters of any pod that shows the family: what they are called is the same for all.
    fn counted_by(&self, family: Family) -> Option<Counters> {
        self.pods
            .values()
            .filter_map(Pod::newest)
            .find(|counters| counters.get(family).is_some())
    }

    fn metrics_state(&self, census: &Census, family: Option<Family>) -> MetricsState {
        let now = self.last.unwrap_or_default();
        let why = |pod: &Pod| match family {
            _ if pod.gives_none(now, self.settings.interval) => {
                Some(pod.error.unwrap_or(ScrapeError::Unreachable))
            }
            Some(family) if pod.is_unlike(family) => Some(ScrapeError::OtherFamily),
            _ => None,
        };
        let pods = self.pods.values();
        let failing: Vec<(&Pod, ScrapeError)> =
            pods.filter_map(|pod| Some((pod, why(pod)?))).collect();
        let without = || {
            self.pods
                .values()
                .filter(|pod| pod.error.is_none() && !pod.known && pod.newest().is_some())
                .count()
        };
        if let Some(obstacle) = self.obstacle.as_ref().filter(|_| census.scraped == 0) {
            return obstacle.clone();
        }
        if census.scraped == 0 && failing.is_empty() {
            return MetricsState::new(
                MetricsReason::WarmingUp,
                "no pod has been scraped yet".to_owned(),
            );
        }
        if census.scraped > 0 && family.is_none() {
            return MetricsState::new(
                MetricsReason::NoKnownMetric,
                report::no_known_metric(census.scraped),
            );
        }
        let obstacle = self.obstacle.as_ref();
        // What is in the way of many is told before what one of them lacks.
        let is_behind_it = |one: &&(&Pod, ScrapeError)| one.1 == ScrapeError::NotAsked;
        let behind_it = obstacle.and_then(|_| failing.iter().find(is_behind_it));
        match behind_it.or(failing.first()) {
            None => MetricsState::new(
                MetricsReason::Scraped,
                report::scraped(
                    census.scraped,
                    family.and_then(|family| Some((family, self.counted_by(family)?))),
                    without(),
                ),
            ),
            Some((pod, error)) => {
                let pods = (census.scraped, self.pods.len());
                let mut state = MetricsState::failing(pods, failing.len(), &pod.name, *error);
                // The pod is not to blame.
                if let Some(why) = obstacle.filter(|_| *error == ScrapeError::NotAsked) {
                    state.message = format!("{}: {}", state.message, why.message);
                }
                state
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::simulation::{World, brisk};

    #[test]
    fn where_some_pods_were_not_asked_it_is_said_why() {
        let mut world = World::new(brisk(), 3);
        world.rounds(4, |_| 100.0);
        let why = MetricsState::new(MetricsReason::ScrapeFailed, "it broke off".into());
        world.obstacle = Some(why);
        world.pods[0].error = Some(ScrapeError::NotAsked);
        world.rounds(2, |_| 100.0);
        let metrics = &world.judge.report().metrics;
        assert_eq!(metrics.reason, MetricsReason::PartlyScraped);
        let said = "2/3 pods scraped: pod pod-1 was not asked: it broke off";
        assert_eq!(metrics.message, said);
        // Also where one that comes before it was.
        world.pods[0].error = Some(ScrapeError::NotInPrometheus);
        world.pods[1].error = Some(ScrapeError::NotAsked);
        world.rounds(2, |_| 100.0);
        let said = "1/3 pods scraped: pod pod-2 (and 1 more) was not asked: it broke off";
        assert_eq!(world.judge.report().metrics.message, said);
        world.pods[1].error = None;
        world.pods[0].error = Some(ScrapeError::Refused);
        world.rounds(2, |_| 100.0);
        let message = &world.judge.report().metrics.message;
        assert!(!message.contains("it broke off"), "{message}");
    }
}
