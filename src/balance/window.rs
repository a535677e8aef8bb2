//! One pod's counters over time, and how much they rose within a window.

use std::collections::VecDeque;
use std::time::Duration;

use jiff::Timestamp;

use super::exposition::{Counters, Family};
use super::time::elapsed;

/// Samples that a window is cut into at most: what bounds the memory of a pod, however short the
/// interval and however long the window.
const GRAIN: u32 = 32;
/// Windows that are remembered: those that are added up, and one to reach back to.
const KEPT: u32 = super::evidence::WINDOWS + 1;

/// What [`Series::push`] made of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It continues the series, or begins it.
    Taken,
    /// A counter fell, or another one is read: the process is a new one. The series begins anew with this sample, so the pod
    /// is not judged until it covers a whole window again.
    Reset,
    /// Not newer than the last: ignored.
    Stale,
}

#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Timestamp,
    counters: Counters,
}

/// The samples of one container, oldest first; bounded.
#[derive(Clone, Debug, Default)]
pub struct Series(VecDeque<Sample>);

impl Series {
    /// Adds a sample and drops what no window of this length can need.
    pub fn push(&mut self, at: Timestamp, counters: Counters, window: Duration) -> Pushed {
        let mut pushed = Pushed::Taken;
        if let Some(last) = self.0.back() {
            if at <= last.at {
                return Pushed::Stale;
            }
            if fell(&last.counters, &counters) {
                self.0.clear();
                pushed = Pushed::Reset;
            }
        }
        self.thin(window / GRAIN);
        self.0.push_back(Sample { at, counters });
        while self
            .0
            .get(1)
            .is_some_and(|next| elapsed(next.at, at) > window.saturating_mul(KEPT))
        {
            self.0.pop_front();
        }
        pushed
    }

    /// Gives up the newest sample where it stands closer to its neighbour than `spacing`: another,
    /// newer one is about to take its place.
    fn thin(&mut self, spacing: Duration) {
        let count = self.0.len();
        if count >= 2 && elapsed(self.0[count - 2].at, self.0[count - 1].at) < spacing {
            self.0.pop_back();
        }
    }

    /// Forgets everything: another container runs in the pod.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The newest sample.
    pub fn newest(&self) -> Option<(Timestamp, Counters)> {
        self.0.back().map(|sample| (sample.at, sample.counters))
    }

    /// RPCs within the window that ends with the newest sample, scaled to exactly that long because
    /// samples never lie exactly so far apart. `None` until the samples cover the window but for
    /// `slack`, where nothing is known of more than a whole window before them (the pod was not read for long, and what it had
    /// then says nothing of now), or where the family is not comparable (the pod shows another one).
    pub fn increase(&self, family: Family, window: Duration, slack: Duration) -> Option<f64> {
        let newest = self.0.back()?;
        let needed = window.saturating_sub(slack);
        let reaches = |sample: &Sample| elapsed(sample.at, newest.at) >= needed;
        let index = self.0.iter().rposition(reaches)?;
        let oldest = &self.0[index];
        let next = self.0.get(index + 1)?;
        if elapsed(oldest.at, next.at) > window + slack * 2 {
            return None;
        }
        let seconds = elapsed(oldest.at, newest.at).as_secs_f64();
        if seconds <= 0.0 {
            return None;
        }
        let rise = count(&newest.counters, family)? - count(&oldest.counters, family)?;
        Some(rise.max(0.0) * window.as_secs_f64() / seconds)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The count of a family. Many servers show a family only after the first RPC, so a page with none of
/// them is a count of zero; a page that has only another family is not comparable.
pub(super) fn count(counters: &Counters, family: Family) -> Option<f64> {
    match counters.preferred() {
        None => Some(0.0),
        Some(_) => counters.get(family),
    }
}

fn fell(before: &Counters, after: &Counters) -> bool {
    let lower =
        |before: Option<f64>, after: Option<f64>| before.unwrap_or(0.0) > after.unwrap_or(0.0);
    let shown = |counters: &Counters| counters.preferred().is_some();
    let is_other = before.meter != after.meter && shown(before) && shown(after);
    is_other || lower(before.started, after.started) || lower(before.handled, after.handled)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);
    const SLACK: Duration = Duration::from_millis(2500);

    fn at(seconds: f64) -> Timestamp {
        #[allow(clippy::cast_possible_truncation)]
        let millis = (seconds * 1e3) as i64;
        Timestamp::from_millisecond(1_800_000_000_000 + millis).unwrap()
    }

    fn started(count: f64) -> Counters {
        Counters {
            started: Some(count),
            ..Counters::default()
        }
    }

    fn series(samples: &[(f64, f64)]) -> Series {
        let mut series = Series::default();
        for (seconds, count) in samples {
            series.push(at(*seconds), started(*count), WINDOW);
        }
        series
    }

    fn increase(series: &Series) -> Option<f64> {
        series.increase(Family::Started, WINDOW, SLACK)
    }

    #[test]
    fn needs_samples_that_cover_the_window() {
        assert_eq!(increase(&series(&[])), None);
        assert_eq!(increase(&series(&[(0.0, 5.0)])), None);
        assert_eq!(increase(&series(&[(0.0, 5.0), (5.0, 10.0)])), None);
        assert_eq!(
            increase(&series(&[(0.0, 5.0), (5.0, 10.0), (10.0, 25.0)])),
            Some(20.0)
        );
    }

    #[test]
    fn scales_to_one_window_when_scrapes_jitter() {
        assert_eq!(increase(&series(&[(0.0, 0.0), (8.0, 80.0)])), Some(100.0));
        assert_eq!(increase(&series(&[(0.0, 0.0), (15.0, 150.0)])), Some(100.0));
    }

    #[test]
    fn a_time_of_which_nothing_is_known_is_not_spread_over_the_window() {
        let mut series = series(&[(0.0, 0.0), (5.0, 50.0), (605.0, 60.0)]);
        assert_eq!(increase(&series), None);
        series.push(at(610.0), started(110.0), WINDOW);
        assert_eq!(increase(&series), None);
        series.push(at(615.0), started(160.0), WINDOW);
        assert_eq!(increase(&series), Some(100.0));
    }

    #[test]
    fn a_counter_that_falls_begins_the_series_anew() {
        let mut fallen = series(&[(0.0, 50.0), (5.0, 60.0), (10.0, 70.0)]);
        assert_eq!(fallen.push(at(15.0), started(3.0), WINDOW), Pushed::Reset);
        assert_eq!(increase(&fallen), None);
        fallen.push(at(20.0), started(8.0), WINDOW);
        assert_eq!(increase(&fallen), None);
        fallen.push(at(25.0), started(13.0), WINDOW);
        assert_eq!(increase(&fallen), Some(10.0));
    }

    #[test]
    fn the_past_is_ignored() {
        let mut series = series(&[(5.0, 50.0)]);
        assert_eq!(series.push(at(5.0), started(60.0), WINDOW), Pushed::Stale);
        assert_eq!(series.push(at(4.0), started(0.0), WINDOW), Pushed::Stale);
        assert_eq!(series.newest().unwrap().1, started(50.0));
    }

    #[test]
    fn a_family_that_appears_with_the_first_request_began_at_zero() {
        let mut series = Series::default();
        series.push(at(0.0), Counters::default(), WINDOW);
        series.push(at(10.0), started(7.0), WINDOW);
        assert_eq!(increase(&series), Some(7.0));
    }

    #[test]
    fn a_pod_that_shows_only_another_family_is_not_comparable() {
        let mut series = Series::default();
        let handled = |count| Counters {
            handled: Some(count),
            ..Counters::default()
        };
        series.push(at(0.0), handled(1.0), WINDOW);
        series.push(at(10.0), handled(9.0), WINDOW);
        assert_eq!(increase(&series), None);
        assert_eq!(series.increase(Family::Handled, WINDOW, SLACK), Some(8.0));
    }

    #[test]
    fn memory_is_bounded_however_often_a_pod_is_scraped() {
        let mut series = Series::default();
        for tick in 0..100_000_u32 {
            let seconds = f64::from(tick) * 0.01;
            series.push(at(seconds), started(f64::from(tick)), WINDOW);
        }
        assert!(
            series.len() <= (KEPT * (GRAIN + 2)) as usize,
            "{}",
            series.len()
        );
        let requests = increase(&series).unwrap();
        assert!((requests - 1000.0).abs() < 1.0, "{requests}");
    }
}
