//! Figures from what was watched. Times are seconds since the run began.

use std::collections::BTreeMap;

use crate::cell::Seen;

/// A share is looked at over so long: shorter ones are noise at 50 calls a second.
const WINDOW: f64 = 2.0;
/// From which part of a pod's fair share on it has arrived.
const ARRIVED: f64 = 0.8;
/// The balance at the end is that of so many seconds.
const SETTLED: f64 = 6.0;

/// Fewer calls say nothing about balance, or about silence.
const ENOUGH: f64 = 100.0;

/// A client's sums at some time.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// When.
    pub at: f64,
    /// Calls that ended well so far.
    pub ok: u64,
    /// The same by pod.
    pub replies: BTreeMap<String, u64>,
}

/// A pod's life.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pod {
    /// Its name.
    pub name: String,
    /// Since when it is Ready; not above zero: before the run.
    pub ready: Option<f64>,
    /// Since when it is going.
    pub terminating: Option<f64>,
    /// How often its containers were started again.
    pub restarts: i32,
}

/// All that was watched of a client.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    /// In the order of time.
    pub snapshots: Vec<Snapshot>,
    /// First replies ever.
    pub first_replies: BTreeMap<String, f64>,
    /// Failed calls by code.
    pub failed: BTreeMap<String, u64>,
    /// Calls that were not begun in time.
    pub not_begun: u64,
}

impl Pod {
    fn serves(&self, at: f64) -> bool {
        self.ready.is_some_and(|ready| ready <= at)
            && self.terminating.is_none_or(|going| going > at)
    }

    /// Since when it is there for good, if it came during the run.
    pub fn came(&self) -> Option<f64> {
        self.ready
            .filter(|ready| *ready > 0.0 && self.terminating.is_none())
    }
}

impl Watched {
    /// Everything but what the node counts.
    pub fn seen(&self, pods: &[Pod]) -> Seen {
        let came = || pods.iter().filter_map(|pod| Some((pod, pod.came()?)));
        let going = pods.iter().filter_map(|pod| {
            let since = pod.terminating?;
            Some(self.after(&pod.name, since))
        });
        let going: Vec<_> = going.filter(|(replies, _)| *replies > 0).collect();
        Seen {
            ok: self.snapshots.last().map_or(0, |last| last.ok),
            failed: self.failed.clone(),
            not_begun: self.not_begun,
            silence: hundredths(self.silence()),
            first_reply: came()
                .map(|(pod, ready)| self.first_reply(&pod.name, ready).map(hundredths))
                .collect(),
            fair_share: came()
                .map(|(pod, ready)| self.fair_share(pods, &pod.name, ready).map(hundredths))
                .collect(),
            after_terminating: going.iter().map(|(replies, _)| replies).sum(),
            last_after_terminating: going
                .iter()
                .map(|(_, last)| hundredths(*last))
                .reduce(f64::max),
            max_over_mean: self.max_over_mean(pods).map(hundredths),
            ..Seen::default()
        }
    }

    /// Whether all pods that came have all that they will get.
    pub fn found_all(&self, pods: &[Pod]) -> bool {
        let seen = self.seen(pods);
        seen.first_reply
            .iter()
            .chain(&seen.fair_share)
            .all(Option::is_some)
    }

    /// From Ready to the first reply.
    fn first_reply(&self, pod: &str, ready: f64) -> Option<f64> {
        // A pod that was there before and started again has its first reply ever behind it.
        let ever = self.first_replies.get(pod).filter(|at| **at > 0.0);
        let again = || {
            let mut pairs = self.snapshots.windows(2).filter(|pair| pair[1].at > ready);
            pairs
                .find(|pair| replies(&pair[1], pod) > replies(&pair[0], pod))
                .map(|pair| pair[1].at)
        };
        let at = ever.copied().or_else(again)?;
        Some((at - ready).max(0.0))
    }

    /// From Ready to the begin of the first stretch in which it has its share.
    fn fair_share(&self, pods: &[Pod], pod: &str, ready: f64) -> Option<f64> {
        let first = self.first_reply(pod, ready)?;
        self.stretches().find_map(|(begin, end)| {
            if end.at < ready {
                return None;
            }
            let all = end.ok.saturating_sub(begin.ok);
            let its = replies(end, pod).saturating_sub(replies(begin, pod));
            let serving = pods
                .iter()
                .filter(|pod| pod.serves(begin.at))
                .count()
                .max(1);
            let fair = count(all) / f64::from(u32::try_from(serving).unwrap_or(u32::MAX));
            (all > 0 && count(its) >= ARRIVED * fair).then(|| (begin.at - ready).max(first))
        })
    }

    /// All stretches of [`WINDOW`].
    fn stretches(&self) -> impl Iterator<Item = (&Snapshot, &Snapshot)> {
        self.snapshots.iter().filter_map(|begin| {
            let mut later = self.snapshots.iter();
            let end = later.find(|end| end.at - begin.at >= WINDOW)?;
            Some((begin, end))
        })
    }

    /// How often a pod replied after it was to end, and until when.
    fn after(&self, pod: &str, since: f64) -> (u64, f64) {
        let later = || {
            self.snapshots
                .windows(2)
                .filter(move |pair| pair[0].at >= since)
                .map(|pair| {
                    (
                        pair,
                        replies(&pair[1], pod).saturating_sub(replies(&pair[0], pod)),
                    )
                })
        };
        let sum = later().map(|(_, more)| more).sum();
        let last = later().rfind(|(_, more)| *more > 0);
        (sum, last.map_or(0.0, |(pair, _)| pair[1].at - since))
    }

    fn max_over_mean(&self, pods: &[Pod]) -> Option<f64> {
        let end = self.snapshots.last()?;
        let mut earlier = self.snapshots.iter().rev();
        let begin = earlier.find(|begin| end.at - begin.at >= SETTLED)?;
        let shares: Vec<f64> = pods
            .iter()
            .filter(|pod| pod.serves(begin.at) && pod.serves(end.at))
            .map(|pod| count(replies(end, &pod.name).saturating_sub(replies(begin, &pod.name))))
            .collect();
        let sum: f64 = shares.iter().sum();
        let most = shares.iter().copied().reduce(f64::max)?;
        let pods = f64::from(u32::try_from(shares.len()).ok()?);
        (sum >= ENOUGH).then(|| most * pods / sum)
    }

    /// The longest time in which no call ended well, from one second on.
    fn silence(&self) -> f64 {
        let (mut longest, mut since) = (0.0_f64, None);
        for pair in self.snapshots.windows(2) {
            if pair[1].ok > pair[0].ok {
                since = None;
            } else {
                let begun = *since.get_or_insert(pair[0].at);
                longest = longest.max(pair[1].at - begun);
            }
        }
        let calls = self.snapshots.last().map_or(0, |last| last.ok);
        let steady = count(calls) >= ENOUGH;
        if longest < 1.0 || !steady {
            0.0
        } else {
            longest
        }
    }
}

fn replies(snapshot: &Snapshot, pod: &str) -> u64 {
    snapshot.replies.get(pod).copied().unwrap_or(0)
}

#[expect(clippy::cast_precision_loss, reason = "calls of some minutes")]
fn count(calls: u64) -> f64 {
    calls as f64
}

/// No machine measures closer.
pub fn hundredths(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, ready: f64, terminating: Option<f64>) -> Pod {
        Pod {
            name: name.into(),
            ready: Some(ready),
            terminating,
            restarts: 0,
        }
    }

    /// Two snapshots a second; `rates` says how many replies a second a pod gives at that time.
    fn watched(until: f64, rates: impl Fn(f64) -> Vec<(&'static str, f64)>) -> Watched {
        let mut watched = Watched::default();
        let mut sums: BTreeMap<String, f64> = BTreeMap::new();
        let mut at = 0.0;
        while at <= until {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let replies: BTreeMap<String, u64> = sums
                .iter()
                .map(|(name, sum)| (name.clone(), *sum as u64))
                .collect();
            watched.snapshots.push(Snapshot {
                at,
                ok: replies.values().sum(),
                replies,
            });
            for (name, rate) in rates(at) {
                if rate > 0.0 {
                    *sums.entry(name.into()).or_default() += rate / 2.0;
                    watched.first_replies.entry(name.into()).or_insert(at);
                }
            }
            at += 0.5;
        }
        watched
    }

    #[test]
    fn a_new_pod_arrives_and_gets_its_share_later() {
        let watched = watched(30.0, |at| match at {
            ..10.0 => vec![("a", 50.0)],
            10.0..15.0 => vec![("a", 45.0), ("b", 5.0)],
            _ => vec![("a", 25.0), ("b", 25.0)],
        });
        let pods = [pod("a", -5.0, None), pod("b", 4.0, None)];
        let seen = watched.seen(&pods);
        assert_eq!(seen.first_reply, [Some(6.0)]);
        // Of a stretch of two seconds most is in the time of its full share.
        assert_eq!(seen.fair_share, [Some(10.5)]);
        assert_eq!(seen.max_over_mean, Some(1.0));
        assert!(watched.found_all(&pods));
        assert!(seen.silence < 0.1 && seen.after_terminating == 0);
    }

    #[test]
    fn a_pod_that_is_never_found_shows() {
        let watched = watched(30.0, |_| vec![("a", 50.0)]);
        let pods = [pod("a", -5.0, None), pod("b", 4.0, None)];
        let seen = watched.seen(&pods);
        assert_eq!(
            (seen.first_reply, seen.fair_share),
            (vec![None], vec![None])
        );
        assert_eq!(seen.max_over_mean, Some(2.0));
        assert!(!watched.found_all(&pods));
    }

    #[test]
    fn replies_of_a_pod_that_goes_are_counted() {
        let watched = watched(30.0, |at| match at {
            ..14.0 => vec![("a", 20.0), ("b", 20.0)],
            _ => vec![("b", 40.0)],
        });
        let pods = [pod("a", -5.0, Some(10.0)), pod("b", -5.0, None)];
        let seen = watched.seen(&pods);
        assert_eq!(
            (seen.after_terminating, seen.last_after_terminating),
            (80, Some(4.0))
        );
        assert_eq!(seen.max_over_mean, Some(1.0));
    }

    #[test]
    fn a_server_that_starts_again_is_found_again_and_silence_is_seen() {
        let watched = watched(30.0, |at| match at {
            5.0..8.0 => vec![],
            8.0..12.0 => vec![("b", 40.0)],
            _ => vec![("a", 20.0), ("b", 20.0)],
        });
        let mut watched = watched;
        watched.first_replies.clear();
        let pods = [pod("a", 9.0, None), pod("b", -5.0, None)];
        let seen = watched.seen(&pods);
        assert_eq!(seen.first_reply, [Some(3.5)]);
        assert!((seen.silence - 3.0).abs() < 0.1, "{}", seen.silence);
    }
}
