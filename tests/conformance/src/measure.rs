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

/// A pod as it is now.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// Whether it is going.
    pub terminating: bool,
    /// Whether it is Ready.
    pub ready: bool,
    /// How often its containers were started again.
    pub restarts: i32,
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
    /// What is known of it from now on.
    pub fn note(&mut self, now: f64, state: State) {
        if state.restarts > self.restarts {
            // It came anew, and whoever looks on may see that only when it is Ready again. One that only misses a probe, on a
            // machine that stands still, is no new pod when it is Ready again.
            self.ready = None;
            self.restarts = state.restarts;
        }
        if state.terminating {
            self.terminating.get_or_insert(now);
        } else if state.ready {
            self.ready.get_or_insert(now);
        }
    }

    fn serves(&self, at: f64) -> bool {
        self.ready.is_some_and(|ready| ready <= at)
            && self.terminating.is_none_or(|going| going > at)
    }

    /// Since when it is there for good, if it came during the run.
    pub fn came(&self) -> Option<f64> {
        self.ready
            .filter(|ready| *ready > 0.0 && self.terminating.is_none())
    }

    /// When it had to be done without, if it was there before: since it was to end, or at the latest until it came anew.
    fn missed(&self) -> Option<f64> {
        let again = self.came().filter(|_| self.restarts > 0);
        self.terminating.or(again)
    }
}

/// Failed calls by what became of them: also those that could not be begun because others hung, and those that hang at the end:
/// more than may be under way then.
pub fn failed(
    mut by_code: BTreeMap<String, u64>,
    dropped: u64,
    in_flight: u64,
    under_way: f64,
) -> BTreeMap<String, u64> {
    if dropped > 0 {
        by_code.insert("not begun, too many hung".into(), dropped);
    }
    if count(in_flight) > under_way.max(1.0) {
        by_code.insert("hung at the end".into(), in_flight);
    }
    by_code
}

/// What clients saw together: whoever deals out the calls of all of them, as a proxy does, gives none of them its even share.
pub fn together(all: &[Watched]) -> Watched {
    let mut times: Vec<f64> = all
        .iter()
        .flat_map(|watched| watched.snapshots.iter().map(|snapshot| snapshot.at))
        .collect();
    times.sort_by(f64::total_cmp);
    // From when on each has one.
    let firsts = all.iter().filter_map(|watched| watched.snapshots.first());
    let begin = firsts.map(|first| first.at).fold(0.0, f64::max);
    times.retain(|at| *at >= begin);
    Watched {
        snapshots: times.into_iter().map(|at| sum_at(all, at)).collect(),
        first_replies: BTreeMap::new(),
        failed: BTreeMap::new(),
        not_begun: 0,
    }
}

/// The newest snapshots of that time, added up.
fn sum_at(all: &[Watched], at: f64) -> Snapshot {
    let newest = |watched: &Watched| {
        let mut known = watched.snapshots.iter();
        known.rfind(|snapshot| snapshot.at <= at).cloned()
    };
    let mut sum = Snapshot {
        at,
        ..Snapshot::default()
    };
    for snapshot in all.iter().filter_map(newest) {
        sum.ok += snapshot.ok;
        for (pod, replies) in snapshot.replies {
            *sum.replies.entry(pod).or_default() += replies;
        }
    }
    sum
}

/// Whether none of the pods that were to go is left, and so many others are there, all Ready; `all` has names and who is Ready.
pub fn replaced(all: &[(String, bool)], gone: &[String], pods: usize) -> bool {
    all.len() == pods
        && all
            .iter()
            .all(|(name, ready)| *ready && !gone.contains(name))
}

/// The pod that most clients have replies from, of which most by their number; each client's replies by pod.
pub fn busiest(replies: &[BTreeMap<String, u64>]) -> Option<String> {
    let mut pods: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for (pod, replies) in replies.iter().flatten() {
        let (clients, sum) = pods.entry(pod).or_default();
        *clients += usize::from(*replies > 0);
        *sum += replies;
    }
    let busiest = pods.into_iter().max_by_key(|(_, weight)| *weight);
    busiest.map(|(pod, _)| pod.to_owned())
}

impl Watched {
    /// Everything but what the node counts; `shares` is what pods' shares are taken of: this, or what all clients saw together.
    pub fn seen(&self, pods: &[Pod], shares: &Self) -> Seen {
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
                .map(|(pod, ready)| self.first_reply(pod, ready).map(hundredths))
                .collect(),
            fair_share: came()
                .map(|(pod, ready)| {
                    let first = self.first_reply(pod, ready)?;
                    let share = shares.fair_share(pods, &pod.name, ready)?;
                    Some(hundredths(share.max(first)))
                })
                .collect(),
            after_terminating: going.iter().map(|(replies, _)| replies).sum(),
            last_after_terminating: going
                .iter()
                .map(|(_, last)| hundredths(*last))
                .reduce(f64::max),
            max_over_mean: shares.max_over_mean(pods).map(hundredths),
            untouched: self.untouched(pods),
            ..Seen::default()
        }
    }

    /// Whether all pods that came have all that they will get.
    pub fn found_all(&self, pods: &[Pod], shares: &Self) -> bool {
        let seen = self.seen(pods, shares);
        seen.first_reply
            .iter()
            .chain(&seen.fair_share)
            .all(Option::is_some)
    }

    /// Whether pods went of which none had given it a reply.
    fn untouched(&self, pods: &[Pod]) -> bool {
        let mut lost = pods.iter().filter_map(|pod| Some((pod, pod.missed()?)));
        let served = |(pod, at): (&Pod, f64)| {
            let mut before = self.snapshots.iter().take_while(|known| known.at <= at);
            before.any(|known| replies(known, &pod.name) > 0)
        };
        lost.clone().next().is_some() && !lost.any(served)
    }

    /// From Ready to the first reply.
    fn first_reply(&self, pod: &Pod, ready: f64) -> Option<f64> {
        // A pod that was there before and started again has its first reply ever behind it.
        let ever = self.first_replies.get(&pod.name);
        let ever = ever.filter(|at| **at > 0.0 && pod.restarts == 0);
        let again = || {
            let mut pairs = self.snapshots.windows(2).filter(|pair| pair[1].at > ready);
            pairs
                .find(|pair| replies(&pair[1], &pod.name) > replies(&pair[0], &pod.name))
                .map(|pair| pair[1].at)
        };
        let at = ever.copied().or_else(again)?;
        Some((at - ready).max(0.0))
    }

    /// From Ready to the begin of the first stretch in which it has its share.
    fn fair_share(&self, pods: &[Pod], pod: &str, ready: f64) -> Option<f64> {
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
            (all > 0 && count(its) >= ARRIVED * fair).then(|| (begin.at - ready).max(0.0))
        })
    }

    /// All stretches of [`WINDOW`].
    fn stretches(&self) -> impl Iterator<Item = (&Snapshot, &Snapshot)> {
        self.snapshots.iter().enumerate().filter_map(|(at, begin)| {
            let mut later = self.snapshots.iter().skip(at);
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
        let seen = watched.seen(&pods, &watched);
        assert_eq!(seen.first_reply, [Some(6.0)]);
        // Of a stretch of two seconds most is in the time of its full share.
        assert_eq!(seen.fair_share, [Some(10.5)]);
        assert_eq!(seen.max_over_mean, Some(1.0));
        assert!(watched.found_all(&pods, &watched));
        assert!(seen.silence < 0.1 && seen.after_terminating == 0);
    }

    #[test]
    fn a_pod_that_is_never_found_shows() {
        let watched = watched(30.0, |_| vec![("a", 50.0)]);
        let pods = [pod("a", -5.0, None), pod("b", 4.0, None)];
        let seen = watched.seen(&pods, &watched);
        assert_eq!(
            (seen.first_reply, seen.fair_share),
            (vec![None], vec![None])
        );
        assert_eq!(seen.max_over_mean, Some(2.0));
        assert!(!watched.found_all(&pods, &watched));
    }

    #[test]
    fn replies_of_a_pod_that_goes_are_counted() {
        let watched = watched(30.0, |at| match at {
            ..14.0 => vec![("a", 20.0), ("b", 20.0)],
            _ => vec![("b", 40.0)],
        });
        let pods = [pod("a", -5.0, Some(10.0)), pod("b", -5.0, None)];
        let seen = watched.seen(&pods, &watched);
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
        let seen = watched.seen(&pods, &watched);
        assert_eq!(seen.first_reply, [Some(3.5)]);
        assert!((seen.silence - 3.0).abs() < 0.1, "{}", seen.silence);
    }

    #[test]
    fn what_hangs_has_failed() {
        let codes = BTreeMap::from([("UNAVAILABLE".to_owned(), 2)]);
        let sum = |dropped, in_flight, rate| -> u64 {
            failed(codes.clone(), dropped, in_flight, rate)
                .values()
                .sum()
        };
        assert_eq!(sum(0, 0, 200.0), 2);
        // What is under way at any time.
        assert_eq!(sum(0, 50, 50.0), 2);
        assert_eq!(sum(0, 51, 50.0), 53);
        assert_eq!(sum(7, 51, 50.0), 60);
        // Idle channels.
        assert_eq!(sum(0, 1, 0.2), 2);
    }

    #[test]
    fn a_proxy_deals_out_the_calls_of_all_clients() {
        // Two clients in step: each always meets the same pod.
        let one = watched(30.0, |at| match at {
            ..5.0 => vec![("a", 50.0)],
            _ => vec![("a", 48.0), ("b", 2.0)],
        });
        let other = watched(30.0, |at| match at {
            ..5.0 => vec![("a", 50.0)],
            _ => vec![("b", 50.0)],
        });
        let pods = [pod("a", -5.0, None), pod("b", 4.0, None)];
        let alone = one.seen(&pods, &one);
        assert_eq!(alone.fair_share, [None]);
        let both = together(&[one.clone(), other]);
        let seen = one.seen(&pods, &both);
        assert_eq!(seen.first_reply, [Some(1.0)]);
        assert_eq!(seen.fair_share, [Some(1.0)]);
        assert!(seen.max_over_mean.unwrap() < 1.05 && alone.max_over_mean.unwrap() > 1.9);
        assert_eq!(seen.ok, one.snapshots.last().unwrap().ok);
        assert!(one.found_all(&pods, &both) && !one.found_all(&pods, &one));
    }

    #[test]
    fn who_had_no_connection_to_what_went_says_so() {
        let watched = watched(30.0, |_| vec![("a", 50.0)]);
        let seen = |pods: &[Pod]| watched.seen(pods, &watched).untouched;
        let again = |name| Pod {
            restarts: 1,
            ..pod(name, 9.0, None)
        };
        assert!(!seen(&[pod("a", -5.0, None), pod("b", -5.0, None)]));
        assert!(seen(&[pod("a", -5.0, None), pod("b", -5.0, Some(9.0))]));
        assert!(!seen(&[pod("a", -5.0, Some(9.0)), pod("b", -5.0, None)]));
        assert!(seen(&[pod("a", -5.0, None), again("b")]));
        assert!(!seen(&[again("a"), pod("b", -5.0, None)]));
    }

    #[test]
    fn pods_are_replaced_when_those_that_were_there_have_gone() {
        let pods = |all: &[(&str, bool)]| -> Vec<(String, bool)> {
            all.iter()
                .map(|(name, ready)| ((*name).to_owned(), *ready))
                .collect()
        };
        let gone = ["a".to_owned()];
        // As it is an instant after the eviction.
        assert!(!replaced(
            &pods(&[("a", true), ("b", true), ("c", true)]),
            &gone,
            3
        ));
        assert!(!replaced(&pods(&[("b", true), ("c", true)]), &gone, 3));
        assert!(!replaced(
            &pods(&[("b", true), ("c", true), ("d", false)]),
            &gone,
            3
        ));
        assert!(replaced(
            &pods(&[("b", true), ("c", true), ("d", true)]),
            &gone,
            3
        ));
    }

    #[test]
    fn the_busiest_has_most_clients() {
        let client = |all: &[(&str, u64)]| -> BTreeMap<String, u64> {
            all.iter()
                .map(|(pod, replies)| ((*pod).to_owned(), *replies))
                .collect()
        };
        let all = [
            client(&[("a", 900)]),
            client(&[("b", 10)]),
            client(&[("b", 20), ("a", 0)]),
        ];
        assert_eq!(busiest(&all).as_deref(), Some("b"));
        assert_eq!(
            busiest(&[client(&[("a", 900), ("b", 10)])]).as_deref(),
            Some("a")
        );
        assert_eq!(busiest(&[]), None);
    }

    #[test]
    fn a_restart_is_seen_even_where_the_pod_is_ready_again_at_once() {
        let state = |ready, restarts| State {
            terminating: false,
            ready,
            restarts,
        };
        let mut pod = pod("a", 0.0, None);
        pod.note(3.0, state(false, 0));
        assert_eq!(pod.came(), None, "a probe that failed");
        pod.note(4.0, state(true, 0));
        assert_eq!(pod.came(), None);
        pod.note(9.0, state(true, 1));
        assert_eq!(pod.came(), Some(9.0));
        pod.note(
            12.0,
            State {
                terminating: true,
                ..state(true, 1)
            },
        );
        assert_eq!((pod.came(), pod.terminating), (None, Some(12.0)));
    }
}
