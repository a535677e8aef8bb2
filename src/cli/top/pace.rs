//! How often an opened backend's pods are read, and over what time their requests are counted. Pure.
//!
//! All pages come through the API server, which has others to serve: many pods are read less often, and so are those that it takes long
//! to read. The window grows with the time between two rounds, since within less than that there is nothing to compare.

use std::time::Duration;

/// Pages that are asked for in a second, over a round and the time until the next.
const PAGES_PER_SECOND: u32 = 50;
/// Rounds in a window, where there is time for them.
const ROUNDS: u32 = 5;
/// Between two rounds there is more only where nobody could be asked: what was read before is forgotten.
const LONGEST: Duration = Duration::from_mins(1);

/// The pace of one backend's rounds.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    asked: Duration,
    /// From one round to the next, as it was lately.
    pub interval: Duration,
    /// From the beginning of the last round to the next.
    pub next: Duration,
}

impl Pace {
    /// Where this window is asked for; before the first round.
    pub fn new(asked: Duration) -> Self {
        let interval = asked / ROUNDS;
        Self {
            asked,
            interval,
            next: interval,
        }
    }

    /// A round begins, so long after the last one that came to something. Slower at once and faster by and by: what was read at a slower
    /// pace is still to be compared with.
    pub fn begin(&mut self, after: Duration) {
        let least = (self.asked / ROUNDS).max(self.interval / 2);
        self.interval = after.min(LONGEST).max(least);
    }

    /// It has ended, after so many pages and so long.
    pub fn end(&mut self, pages: usize, took: Duration) {
        let pages = u32::try_from(pages).unwrap_or(u32::MAX);
        let at_most = Duration::from_secs(1) * pages / PAGES_PER_SECOND;
        self.next = (self.asked / ROUNDS).max(at_most).max(took * 2);
    }

    /// How far back is counted: two intervals at least.
    pub fn window(&self) -> Duration {
        self.asked.max(self.interval * 2)
    }

    /// How long after the first round's end there are figures, as far as can be told by now.
    pub fn settles_in(&self) -> Duration {
        let interval = self.interval.max(self.next);
        self.asked.max(interval * 2) + interval
    }
}

#[cfg(test)]
mod tests {
    use jiff::{SignedDuration, Timestamp};

    use super::*;
    use crate::balance::exposition::Counters;
    use crate::balance::{Judge, Mode, Round, Scrape, Settings, Target};

    /// From one look to the next.
    const LOOK: Duration = Duration::from_secs(2);

    /// Seconds from the beginning of the first of these rounds to that of each that has the pod's figure. The pod serves ten requests a
    /// second, and is read at the end of each round.
    fn figures(window: u64, pages: usize, rounds: &[u64]) -> Vec<i64> {
        let mut pace = Pace::new(Duration::from_secs(window));
        let settings = |pace: &Pace| Settings {
            interval: pace.interval,
            window: pace.window(),
            mode: Mode::Observe,
            ..Settings::default()
        };
        let mut judge = Judge::new(settings(&pace), None);
        let begin = Timestamp::from_second(1_800_000_000).unwrap();
        let long_ago = begin - SignedDuration::from_hours(1);
        let (mut now, mut after, mut figures) = (begin, None, Vec::new());
        for took in rounds {
            let took = Duration::from_secs(*took);
            if let Some(after) = after {
                pace.begin(after);
            }
            judge.configure(settings(&pace));
            let at = now + took;
            let report = judge.round(&Round {
                now,
                targets: vec![Target {
                    uid: "a".into(),
                    name: "a".into(),
                    created: long_ago,
                    ready_since: long_ago,
                    restarts: 0,
                    capacity: None,
                }],
                scrapes: vec![Scrape {
                    uid: "a".into(),
                    at,
                    outcome: Ok(Counters {
                        started: Some(at.duration_since(long_ago).as_secs_f64() * 10.0),
                        ..Counters::default()
                    }),
                }],
                rolling_out: false,
                obstacle: None,
            });
            if let Some(rate) = report.loads[0].requests_per_second {
                assert!((rate - 10.0).abs() < 0.1, "{rate}");
                figures.push(now.duration_since(begin).as_secs());
            }
            pace.end(pages, took);
            let next = pace.next.max(took) + LOOK;
            now += next;
            after = Some(next);
        }
        figures
    }

    #[test]
    fn figures_come_however_long_a_round_takes() {
        for (window, pages, took, soon) in [
            (10, 3, 0, 12),
            (10, 500, 2, 24),
            (5, 500, 9, 40),
            (10, 100, 12, 52),
            (10, 500, 20, 84),
            (60, 500, 9, 60),
        ] {
            let figures = figures(window, pages, &[took; 20]);
            assert!(figures[0] <= soon, "{window} {pages} {took}: {figures:?}");
            // With each round from then on.
            assert!(figures.len() >= 15, "{window} {pages} {took}: {figures:?}");
        }
    }

    /// And they stay where it becomes faster or slower.
    #[test]
    fn figures_stay_at_another_pace() {
        for rounds in [
            &[1, 1, 1, 1, 1, 1, 1, 1, 15, 1, 1, 1, 1, 1, 1][..],
            &[15, 15, 15, 15, 1, 1, 1, 1, 1, 1, 15, 15, 1, 1],
        ] {
            let figures = figures(10, 500, rounds);
            assert!(figures.len() + 4 >= rounds.len(), "{figures:?}");
        }
    }

    #[test]
    fn the_api_server_is_asked_for_so_many_pages_a_second_and_has_as_long_without() {
        let mut pace = Pace::new(Duration::from_secs(10));
        for (pages, took, next) in [
            (0, 0, 2),
            (100, 1, 2),
            (500, 1, 10),
            (500, 9, 18),
            (3, 4, 8),
        ] {
            pace.end(pages, Duration::from_secs(took));
            assert_eq!(pace.next, Duration::from_secs(next), "{pages} {took}");
        }
    }
}
