//! Whether connections end at the age, by the server's own count of them (gRFC A80: `grpc.tcp.connections_created`,
//! `grpc.tcp.connection_count`).
//!
//! Over a long enough time C open connections that end at age A end C × t / A times, and where streams hold them until the grace G
//! is over at least C × t / (A + G) times. Fewer than half of that means that they outlive the age: it is not in force, or nothing
//! ends the streams. More than one and a half times as many says nothing:
//! probes and clients that come and go end connections too.

use std::time::Duration;

use jiff::Timestamp;

use super::time::elapsed;

/// Ends of connections to wait for before anything is said.
const ENOUGH: f64 = 3.0;
/// Ages to wait for: connections that are new at the start end only after one.
const AGES: f64 = 3.3;

/// What is known of one pod's connections.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Turnover {
    /// The server does not count its connections, or the pod has no port where it could say so.
    Unknown,
    /// Not for long enough yet, or without an age to compare with.
    #[default]
    Measuring,
    /// They end as often as the age has it.
    AtAge,
    /// They outlive it.
    Later,
    /// They end more often: probes, or clients that come and go.
    Sooner,
}

/// A pod's connections over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections {
    since: Option<Timestamp>,
    last: Option<(Timestamp, f64, f64)>,
    ended: f64,
    /// The time that open connections have lived, added up, in seconds.
    lived: f64,
    said: Option<Turnover>,
    /// What the last count came to: on a border it is believed only the second time.
    last_count: Option<Turnover>,
}

impl Connections {
    /// Takes what a page said: connections made since the start, and those open now.
    pub fn push(
        &mut self,
        at: Timestamp,
        count: Option<(f64, f64)>,
        age: Option<Duration>,
        grace: Duration,
    ) {
        let Some((created, open)) = count else {
            *self = Self {
                said: Some(Turnover::Unknown),
                ..Self::default()
            };
            return;
        };
        let Some(age) = age else {
            *self = Self::default();
            return;
        };
        if self.said == Some(Turnover::Unknown) {
            self.said = None;
        }
        if let Some((before, made, were)) = self.last
            && created >= made
        {
            self.ended += (created - made - (open - were)).max(0.0);
            self.lived += elapsed(before, at).as_secs_f64() * f64::midpoint(open, were);
        } else {
            self.start(at);
        }
        self.last = Some((at, created, open));
        let since = *self.since.get_or_insert(at);
        let longest = age.saturating_add(grace);
        let most = self.lived / age.as_secs_f64();
        let least = self.lived / longest.as_secs_f64();
        if least >= ENOUGH && elapsed(since, at) >= longest.mul_f64(AGES) {
            let count = if self.ended < 0.5 * least {
                Turnover::Later
            } else if self.ended <= 1.5 * most {
                Turnover::AtAge
            } else {
                Turnover::Sooner
            };
            if self
                .last_count
                .replace(count)
                .is_none_or(|before| before == count)
            {
                self.said = Some(count);
            }
            self.start(at);
        }
    }

    /// The server began anew, and so do its counters, whatever they have got to by the next page. What was said stands until
    /// enough has been seen again.
    pub fn restarted(&mut self) {
        *self = Self {
            said: self.said,
            ..Self::default()
        };
    }

    fn start(&mut self, at: Timestamp) {
        self.since = Some(at);
        (self.ended, self.lived) = (0.0, 0.0);
    }

    /// What is known now.
    pub fn turnover(&self) -> Turnover {
        self.said.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Connections that each live for `life` seconds, seen every 5 s for `seconds`, with an age of 30 s.
    fn seen(connections: u32, life: i64, seconds: i64, probes: f64) -> Turnover {
        held(connections, life, seconds, probes, Duration::ZERO)
    }

    fn held(connections: u32, life: i64, seconds: i64, probes: f64, grace: Duration) -> Turnover {
        let mut state = Connections::default();
        for at in (0..=seconds).step_by(5) {
            let open = f64::from(connections);
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let created = open * (at / life + 1) as f64 + probes * at as f64;
            let now = Timestamp::from_second(at).unwrap();
            state.push(
                now,
                Some((created, open)),
                Some(Duration::from_secs(30)),
                grace,
            );
        }
        state.turnover()
    }

    #[test]
    fn enough_is_waited_for() {
        assert_eq!(seen(1, 30, 95, 0.0), Turnover::Measuring);
        assert_eq!(seen(100, 30, 95, 0.0), Turnover::Measuring);
        assert_eq!(seen(0, 30, 1000, 0.0), Turnover::Measuring);
        assert_eq!(Connections::default().turnover(), Turnover::Measuring);
    }

    #[test]
    fn ends_are_compared_with_the_age() {
        for connections in [1, 3, 100] {
            for (life, verdict) in [
                (10_000, Turnover::Later),
                (90, Turnover::Later),
                (33, Turnover::AtAge),
                (27, Turnover::AtAge),
                (10, Turnover::Sooner),
            ] {
                assert_eq!(
                    seen(connections, life, 600, 0.0),
                    verdict,
                    "{connections} of {life} s"
                );
            }
        }
    }

    #[test]
    fn streams_may_hold_a_connection_until_the_grace_is_over() {
        let grace = Duration::from_secs(90);
        for (life, verdict) in [
            (30, Turnover::AtAge),
            (120, Turnover::AtAge),
            (400, Turnover::Later),
        ] {
            assert_eq!(held(5, life, 2000, 0.0, grace), verdict, "{life} s");
        }
    }

    #[test]
    fn probes_hide_the_age_and_are_not_taken_for_it() {
        assert_eq!(seen(1, 10_000, 600, 0.1), Turnover::Sooner);
    }

    #[test]
    fn what_was_said_stands_over_a_restart_until_there_is_enough_again() {
        let mut state = Connections::default();
        let age = Some(Duration::from_secs(30));
        let mut push = |second: i64, created: f64, restarted: bool| {
            if restarted {
                state.restarted();
            }
            let now = Timestamp::from_second(second).unwrap();
            state.push(now, Some((created, 5.0)), age, Duration::ZERO);
            (state.ended, state.turnover())
        };
        for second in (0..=100).step_by(5) {
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            push(second, 5.0 * (second / 30 + 1) as f64, false);
        }
        let (_, said) = push(105, 20.0, false);
        assert_eq!(said, Turnover::AtAge);
        // It has made more by now than before: the difference would be taken for ends.
        let (ended, said) = push(110, 900.0, true);
        assert!(ended.abs() < 0.1 && said == Turnover::AtAge);
        for second in (115..=205).step_by(5) {
            assert_eq!(push(second, 900.0, false).1, Turnover::AtAge);
        }
        assert_eq!(
            push(210, 900.0, false).1,
            Turnover::Later,
            "it is another now"
        );
    }

    #[test]
    fn a_restart_and_a_lost_metric_begin_anew() {
        let mut state = Connections::default();
        let age = Some(Duration::from_secs(30));
        let at = |second| Timestamp::from_second(second).unwrap();
        let none = Duration::ZERO;
        state.push(at(0), Some((50.0, 5.0)), age, none);
        state.push(at(10), Some((5.0, 5.0)), age, none);
        assert!(state.ended.abs() < 0.1 && state.since == Some(at(10)));
        state.push(at(20), None, age, none);
        assert_eq!(state.turnover(), Turnover::Unknown);
        state.push(at(30), Some((9.0, 5.0)), age, none);
        assert_eq!(state.turnover(), Turnover::Measuring);
    }
}
