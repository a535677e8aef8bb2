//! What is said lasts, and what is new has to last before it is said.
//!
//! | said now | the window says | then |
//! |---|---|---|
//! | anything | a circumstance (no pods, a rollout, …) | that, at once |
//! | a finding | the same | it stays; other evidence is forgotten |
//! | nothing yet, a circumstance or no traffic | no trouble | that, at once |
//! | nothing yet, or a circumstance | trouble | `WarmingUp` until it has lasted three windows |
//! | a finding | another one | the old one until the other has lasted three windows |
//! | too few requests | no traffic | the same until that has lasted ten windows: some come now and then |
//! | nothing yet | a suspicion | `WarmingUp`; after ten windows of it, what it says |
//! | a finding | a suspicion | it stays; after ten windows of suspicion, what it says |
//! | restored after a restart | no window is full yet | the restored one, until the first full window |
//!
//! Kinds of trouble add up to each other while none of them is said yet: it is the imbalance that lasts, its shape may vary.

use std::time::Duration;

use jiff::Timestamp;

use super::bar::Held;
use super::time::elapsed;
use super::verdict::Verdict;

/// Windows that a finding must last before it is said, one way and the other.
pub const WINDOWS: u32 = 3;
/// Windows that a suspicion must last. Each is wrong once in a thousand, were φ known. Where it is not, that one pod of
/// two is favoured ten times running has a probability of 2⁻⁹, whatever φ, before it is asked how much.
pub const PATIENCE: u32 = 10;

/// What a round came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A matter of fact: said at once.
    Circumstance(Verdict),
    /// The same, and no two pods cover a window yet: there are no figures to say with it.
    Early(Verdict),
    /// What the numbers say: has to last.
    Finding {
        /// The verdict of these windows alone.
        verdict: Verdict,
        /// How many windows up to now say so together.
        windows: u32,
    },
    /// The last window looks like trouble, and that is not beyond doubt.
    Suspicion(Verdict),
}

/// The verdict that is said, and the evidence against it.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    settled: Option<Verdict>,
    restored: Option<Verdict>,
    pending: Option<(Verdict, Timestamp)>,
    suspected: Option<Timestamp>,
}

impl Evidence {
    /// Begins with what was said before a restart.
    pub fn restored(verdict: Option<Verdict>) -> Self {
        Self {
            settled: verdict.filter(|verdict| is_finding(*verdict)),
            restored: verdict,
            ..Self::default()
        }
    }

    /// What the next window is held against: what is said, not what the last window alone came to, so
    /// that one lucky window does not lower the bar for the next.
    pub fn held(&self) -> Held {
        Held(self.settled)
    }

    /// Whether what is said was only taken over from before a restart.
    pub fn is_restored(&self) -> bool {
        self.restored.is_some()
    }

    /// Forgets evidence, not what was said: the rules have changed.
    pub fn restart(&mut self) {
        self.pending = None;
        self.suspected = None;
    }

    /// Weighs one more round, and says the verdict.
    pub fn weigh(&mut self, observation: Observation, now: Timestamp, window: Duration) -> Verdict {
        match observation {
            Observation::Circumstance(verdict) => self.accept(verdict),
            Observation::Early(verdict) => match self.restored {
                Some(said) if outlives(said, verdict) => said,
                _ => self.accept(verdict),
            },
            Observation::Finding { verdict, windows } => {
                self.restored = None;
                self.suspected = None;
                let since = now.checked_sub(
                    jiff::SignedDuration::try_from(window * windows).unwrap_or_default(),
                );
                self.find(verdict, since.unwrap_or(now), now, window)
            }
            Observation::Suspicion(verdict) => {
                self.restored = None;
                self.pending = None;
                let since = *self.suspected.get_or_insert(now);
                if elapsed(since, now) >= window * (PATIENCE - 1) {
                    self.suspected = None;
                    self.settled = Some(verdict);
                }
                // What is uneven is there: it must not be denied for as long as it is watched. But pods are read one after the
                // other, so that of the first requests only some of them tell at first.
                if since < now {
                    self.settled = self.settled.filter(|said| *said != Verdict::NoTraffic);
                }
                self.settled.unwrap_or(Verdict::WarmingUp)
            }
        }
    }

    fn accept(&mut self, verdict: Verdict) -> Verdict {
        *self = Self::default();
        verdict
    }

    fn find(
        &mut self,
        verdict: Verdict,
        since: Timestamp,
        now: Timestamp,
        window: Duration,
    ) -> Verdict {
        // Where there was no traffic there is nothing to hold on to.
        let is_open = matches!(self.settled, None | Some(Verdict::NoTraffic));
        if self.settled == Some(verdict) || (is_open && !verdict.is_trouble()) {
            self.pending = None;
            self.settled = Some(verdict);
            return verdict;
        }
        let since = match self.pending {
            Some((pending, began)) if self.adds_up(pending, verdict) => began.min(since),
            _ => since,
        };
        self.pending = Some((verdict, since));
        let lasting = match (self.settled, verdict) {
            (Some(Verdict::InsufficientData), Verdict::NoTraffic) => PATIENCE,
            _ => WINDOWS,
        };
        if elapsed(since, now) >= window * lasting {
            self.pending = None;
            self.settled = Some(verdict);
        }
        self.settled.unwrap_or(Verdict::WarmingUp)
    }

    fn adds_up(&self, pending: Verdict, verdict: Verdict) -> bool {
        let in_trouble = self.settled.is_some_and(Verdict::is_trouble);
        pending == verdict || (!in_trouble && pending.is_trouble() && verdict.is_trouble())
    }
}

/// Whether what was said before a restart of the operator stands while its first window fills.
fn outlives(said: Verdict, now: Verdict) -> bool {
    said == now || (now == Verdict::WarmingUp && (is_finding(said) || said == Verdict::NoMetrics))
}

/// Whether it rests on the numbers of a window.
fn is_finding(verdict: Verdict) -> bool {
    use Verdict::{InsufficientData, NoTraffic, SinglePod, StreamsOnly};
    verdict == Verdict::Balanced
        || verdict.is_trouble()
        || matches!(
            verdict,
            InsufficientData | NoTraffic | SinglePod | StreamsOnly
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{
        Balanced, FewClients, HotPod, InsufficientData, NoPods, RollingOut, SinglePod, Skewed,
        WarmingUp,
    };

    const WINDOW: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    /// Weighs a finding every 5 s and returns what was said each time.
    fn say(evidence: &mut Evidence, begin: i64, verdicts: &[Verdict]) -> Vec<Verdict> {
        let rounds = verdicts.iter().zip((begin..).step_by(5));
        rounds
            .map(|(verdict, second)| {
                let finding = Observation::Finding {
                    verdict: *verdict,
                    windows: 1,
                };
                evidence.weigh(finding, at(second), WINDOW)
            })
            .collect()
    }

    #[test]
    fn a_first_finding_without_trouble_is_said_at_once() {
        for verdict in [
            Balanced,
            InsufficientData,
            Verdict::NoTraffic,
            Verdict::StreamsOnly,
        ] {
            assert_eq!(say(&mut Evidence::default(), 0, &[verdict]), [verdict]);
        }
    }

    #[test]
    fn trouble_has_to_last_three_windows() {
        let mut evidence = Evidence::default();
        assert_eq!(
            say(&mut evidence, 0, &[Skewed; 5]),
            [WarmingUp, WarmingUp, WarmingUp, WarmingUp, Skewed]
        );
        assert_eq!(
            say(&mut evidence, 25, &[Balanced; 5]),
            [Skewed, Skewed, Skewed, Skewed, Balanced]
        );
        let interrupted = [
            Skewed, Skewed, Skewed, Skewed, Balanced, Skewed, Skewed, Skewed, Skewed,
        ];
        assert_eq!(say(&mut evidence, 50, &interrupted), [Balanced; 9]);
    }

    #[test]
    fn even_traffic_after_none_is_said_at_once_and_silence_has_to_last() {
        let mut evidence = Evidence::default();
        let silence = Verdict::NoTraffic;
        assert_eq!(
            say(&mut evidence, 0, &[silence, Balanced]),
            [silence, Balanced]
        );
        assert_eq!(
            say(&mut evidence, 10, &[silence; 5]),
            [Balanced, Balanced, Balanced, Balanced, silence]
        );
    }

    #[test]
    fn silence_between_few_requests_has_to_last_ten_windows() {
        let silence = Verdict::NoTraffic;
        let mut evidence = Evidence::default();
        say(&mut evidence, 0, &[silence, InsufficientData]);
        let said = say(&mut evidence, 10, &[silence; 19]);
        assert_eq!(said[..18], [InsufficientData; 18]);
        assert_eq!(said[18], silence);
    }

    #[test]
    fn kinds_of_trouble_add_up_until_one_is_said() {
        let mut evidence = Evidence::default();
        assert_eq!(
            say(&mut evidence, 0, &[Skewed, HotPod, Skewed, HotPod, HotPod]).last(),
            Some(&HotPod)
        );
        assert_eq!(
            say(
                &mut evidence,
                25,
                &[Skewed, FewClients, Skewed, FewClients, Skewed]
            ),
            [HotPod; 5]
        );
    }

    #[test]
    fn what_several_windows_say_together_need_not_last_so_long() {
        for (windows, rounds) in [(1, 5), (2, 3), (3, 1)] {
            let mut evidence = Evidence::default();
            let skewed = Observation::Finding {
                verdict: Skewed,
                windows,
            };
            let said: Vec<Verdict> = (0..rounds)
                .map(|round| evidence.weigh(skewed, at(5 * round), WINDOW))
                .collect();
            assert_eq!(said.last(), Some(&Skewed), "{windows}");
            assert!(
                said[1..]
                    .iter()
                    .rev()
                    .skip(1)
                    .all(|said| *said == WarmingUp)
            );
        }
    }

    #[test]
    fn silence_is_not_said_of_what_is_watched() {
        let mut evidence = Evidence::default();
        say(&mut evidence, 0, &[Verdict::NoTraffic]);
        let mut said = |second| evidence.weigh(Observation::Suspicion(Skewed), at(second), WINDOW);
        // It may be that not all pods have been read since the first request.
        assert_eq!(said(5), Verdict::NoTraffic);
        assert_eq!(said(10), WarmingUp);
    }

    #[test]
    fn a_suspicion_says_nothing_until_it_has_lasted() {
        let mut evidence = Evidence::default();
        let suspect = |evidence: &mut Evidence, second| {
            evidence.weigh(Observation::Suspicion(Skewed), at(second), WINDOW)
        };
        for second in (0..90).step_by(5) {
            assert_eq!(suspect(&mut evidence, second), WarmingUp);
        }
        assert_eq!(suspect(&mut evidence, 90), Skewed);

        let mut evidence = Evidence::default();
        assert_eq!(say(&mut evidence, 0, &[Balanced]), [Balanced]);
        assert_eq!(suspect(&mut evidence, 5), Balanced);
        assert_eq!(say(&mut evidence, 50, &[Balanced]), [Balanced]);
        assert_eq!(suspect(&mut evidence, 100), Balanced);
        assert_eq!(suspect(&mut evidence, 185), Balanced);
        assert_eq!(suspect(&mut evidence, 190), Skewed);
    }

    #[test]
    fn circumstances_are_said_at_once_and_end_what_was_known() {
        let mut evidence = Evidence::default();
        say(&mut evidence, 0, &[Skewed; 5]);
        for verdict in [RollingOut, WarmingUp, SinglePod, NoPods] {
            assert_eq!(
                evidence.weigh(Observation::Circumstance(verdict), at(30), WINDOW),
                verdict
            );
        }
        assert_eq!(say(&mut evidence, 40, &[Skewed]), [WarmingUp]);
    }

    #[test]
    fn a_restart_keeps_what_was_said_until_the_first_full_window() {
        let warming = Observation::Early(WarmingUp);
        let mut evidence = Evidence::restored(Some(HotPod));
        assert_eq!(evidence.weigh(warming, at(0), WINDOW), HotPod);
        assert!(evidence.is_restored());
        assert_eq!(
            say(&mut evidence, 10, &[Balanced; 5]),
            [HotPod, HotPod, HotPod, HotPod, Balanced]
        );
        assert!(!evidence.is_restored());
        assert_eq!(evidence.weigh(warming, at(60), WINDOW), WarmingUp);

        assert_eq!(
            Evidence::restored(Some(RollingOut)).weigh(warming, at(0), WINDOW),
            WarmingUp
        );
        for (said, kept) in [(HotPod, false), (RollingOut, true)] {
            let mut evidence = Evidence::restored(Some(said));
            let rolling = Observation::Early(RollingOut);
            assert_eq!(evidence.weigh(rolling, at(0), WINDOW), RollingOut);
            assert_eq!(evidence.is_restored(), kept);
        }
    }
}
