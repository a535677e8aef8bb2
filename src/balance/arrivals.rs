//! How long new pods wait: from Ready to the first request, and to 80 % of a fair share.
//!
//! The *first request* is reckoned back from the first count that is not zero by the rate that follows, so it is known to
//! an interval between two scrapes at worst. The *fair share* is reached when a whole window brought 80 % of what the grown
//! pods had on average, or where CPU requests explain the load, of its part by them; what holds for a window held on its average since it began, so the window is taken off again, but
//! never past the first request. Where traffic comes at once that is the first request itself, to a window at worst.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::report::Discovery;
use super::time::elapsed;

/// New pods that are remembered one by one.
const RECENT: usize = 100;
/// Pods come together that become ready within this time of the next.
const TOGETHER: Duration = Duration::from_mins(1);
/// What counts as a fair share.
const FAIR: f64 = 0.8;
/// Requests a window that grown pods must have for a share of it to mean something: at ten, 8 is within what chance does
/// to a half share in one window of fifty.
const FEWEST: f64 = 10.0;

/// Upper bounds of the histogram's buckets in seconds; one more has all above. Fixed, so that what was counted before a
/// restart, or with another age, adds up.
pub const BOUNDS: [u64; 7] = [5, 15, 30, 60, 120, 300, 900];

/// Pods by how long something took, each in one bucket.
pub type Counts = [u32; BOUNDS.len() + 1];

/// All new pods since the backend is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By the time from Ready to the first request.
    pub first_request: Counts,
    /// By the time from Ready to a fair share.
    pub fair_share: Counts,
}

fn count(counts: &mut Counts, took: Duration) {
    let bucket = BOUNDS
        .iter()
        .position(|bound| took <= Duration::from_secs(*bound));
    let bucket = &mut counts[bucket.unwrap_or(BOUNDS.len())];
    *bucket = bucket.saturating_add(1);
}

#[derive(Clone, Debug)]
struct Arrival {
    uid: String,
    ready: Timestamp,
    first_request: Duration,
    fair_share: Option<Duration>,
}

/// The new pods that were found.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrivals {
    recent: VecDeque<Arrival>,
    histogram: Histogram,
}

impl Arrivals {
    /// Begins with what the status said.
    pub fn restored(
        first_request: Duration,
        fair_share: Option<Duration>,
        histogram: Histogram,
    ) -> Self {
        let last = Arrival {
            uid: String::new(),
            // Long ago, so that no pod of now came together with it.
            ready: Timestamp::MIN,
            first_request,
            fair_share,
        };
        Self {
            recent: VecDeque::from([last]),
            histogram,
        }
    }

    /// A new pod has had its first request.
    pub fn found(&mut self, uid: &str, ready: Timestamp, took: Duration) {
        count(&mut self.histogram.first_request, took);
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Arrival {
            uid: uid.to_owned(),
            ready,
            first_request: took,
            fair_share: None,
        });
    }

    /// Looks which of them have a fair share now. `window_of`: when a pod's last window ended, its requests in it, and what would be
    /// fair.
    pub fn share(
        &mut self,
        window: Duration,
        window_of: impl Fn(&str) -> Option<(Timestamp, f64, f64)>,
    ) {
        let waiting =
            |arrival: &&mut Arrival| arrival.fair_share.is_none() && !arrival.uid.is_empty();
        for arrival in self.recent.iter_mut().filter(waiting) {
            let Some((end, requests, fair)) = window_of(&arrival.uid) else {
                continue;
            };
            if fair >= FEWEST && requests >= FAIR * fair {
                let took = elapsed(arrival.ready, end).saturating_sub(window);
                let took = took.max(arrival.first_request);
                arrival.fair_share = Some(took);
                count(&mut self.histogram.fair_share, took);
            }
        }
    }

    /// The last pods that came together: those that became ready within a minute of the next.
    pub fn last(&self, promise: Option<Duration>, resolution: Duration) -> Option<Discovery> {
        let mut arrivals: Vec<&Arrival> = self.recent.iter().collect();
        arrivals.sort_by_key(|arrival| std::cmp::Reverse(arrival.ready));
        let mut previous = arrivals.first()?.ready;
        let together = arrivals.into_iter().take_while(|arrival| {
            let near = elapsed(arrival.ready, previous) <= TOGETHER;
            previous = arrival.ready;
            near
        });
        let together: Vec<&Arrival> = together.collect();
        let mut took: Vec<Duration> = together
            .iter()
            .map(|arrival| arrival.first_request)
            .collect();
        took.sort();
        let fair_share: Option<Vec<Duration>> =
            together.iter().map(|arrival| arrival.fair_share).collect();
        Some(Discovery {
            pods: u32::try_from(took.len()).unwrap_or(u32::MAX),
            median: took[took.len() / 2],
            max: took[took.len() - 1],
            fair_share: fair_share.and_then(|took| took.into_iter().max()),
            promise,
            resolution,
            histogram: self.histogram,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn last(arrivals: &Arrivals) -> Discovery {
        arrivals.last(None, seconds(5)).unwrap()
    }

    #[test]
    fn a_fair_share_is_four_fifths_of_what_the_grown_pods_have() {
        let mut arrivals = Arrivals::default();
        arrivals.found("a", at(100), seconds(12));
        arrivals.share(WINDOW, |_| Some((at(125), 79.0, 100.0)));
        assert_eq!(last(&arrivals).fair_share, None);
        arrivals.share(WINDOW, |_| Some((at(127), 9.0, 9.0)));
        arrivals.share(WINDOW, |_| None);
        assert_eq!(last(&arrivals).fair_share, None);
        arrivals.share(WINDOW, |_| Some((at(130), 80.0, 100.0)));
        assert_eq!(last(&arrivals).fair_share, Some(seconds(20)));
        // It is told once.
        arrivals.share(WINDOW, |_| Some((at(190), 100.0, 100.0)));
        assert_eq!(last(&arrivals).fair_share, Some(seconds(20)));
        assert_eq!(last(&arrivals).histogram.fair_share.iter().sum::<u32>(), 1);
    }

    #[test]
    fn it_is_never_before_the_first_request_and_of_all_that_came_together() {
        let mut arrivals = Arrivals::default();
        arrivals.found("a", at(0), seconds(3));
        arrivals.found("b", at(100), seconds(12));
        arrivals.found("c", at(130), seconds(14));
        arrivals.share(WINDOW, |pod| (pod == "b").then_some((at(115), 90.0, 100.0)));
        let both = last(&arrivals);
        assert_eq!(
            (both.pods, both.max, both.fair_share),
            (2, seconds(14), None)
        );
        arrivals.share(WINDOW, |pod| (pod == "c").then_some((at(170), 90.0, 100.0)));
        assert_eq!(last(&arrivals).fair_share, Some(seconds(30)));
    }

    #[test]
    fn the_histogram_outlives_the_pods_and_the_operator() {
        let mut arrivals = Arrivals::default();
        for (pod, took) in [5, 6, 30, 31, 900, 901, 100_000].into_iter().enumerate() {
            arrivals.found(&pod.to_string(), at(0), seconds(took));
        }
        let counted = [1, 1, 1, 1, 0, 0, 1, 2];
        assert_eq!(last(&arrivals).histogram.first_request, counted);
        let mut restored = Arrivals::restored(seconds(9), None, last(&arrivals).histogram);
        assert_eq!((last(&restored).pods, last(&restored).max), (1, seconds(9)));
        restored.found("new", at(1000), seconds(1));
        assert_eq!((last(&restored).pods, last(&restored).max), (1, seconds(1)));
        assert_eq!(last(&restored).histogram.first_request[0], 2);
        for pod in 0..1000 {
            restored.found(&pod.to_string(), at(2000), seconds(1));
        }
        assert_eq!(restored.recent.len(), RECENT);
    }
}
