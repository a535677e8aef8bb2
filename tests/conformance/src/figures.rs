//! A client's figures of all runs of a cell, in words.

use crate::cell::{Cell, Seen};
use crate::plan::{Client, Event, Mode};

/// What one client saw in all runs.
pub(crate) struct Figures {
    client: Client,
    promise: Option<f64>,
    runs: Vec<Seen>,
}

impl Figures {
    /// None where it was not there.
    pub(crate) fn of(cell: &Cell, mode: &Mode, event: &Event, client: Client) -> Option<Self> {
        let runs: Vec<Seen> = cell
            .runs
            .iter()
            .filter_map(|run| run.clients.get(client.id).cloned())
            .collect();
        let promise = mode
            .promise_in(event, client)
            .map(|time| time.as_secs_f64());
        (!runs.is_empty()).then_some(Self {
            client,
            promise,
            runs,
        })
    }

    pub(crate) fn library(&self) -> &'static str {
        self.client.library
    }

    pub(crate) fn first_reply(&self) -> Option<String> {
        self.times(|seen| &seen.first_reply)
    }

    pub(crate) fn fair_share(&self) -> Option<String> {
        self.times(|seen| &seen.fair_share)
    }

    /// Only where there was something to find.
    pub(crate) fn promised(&self) -> Option<String> {
        self.first_reply()?;
        Some(
            self.promise
                .map_or("nothing".into(), |time| format!("{time:.0}")),
        )
    }

    pub(crate) fn failed(&self) -> Option<String> {
        let (failed, calls) = (self.failures(), self.calls());
        if self.runs.iter().all(|seen| seen.untouched) {
            return Some("had no connection to it".into());
        }
        (calls > 0).then(|| match failed {
            0 => format!("0 of {}", grouped(calls)),
            _ => format!("**{}** of {}", grouped(failed), grouped(calls)),
        })
    }

    pub(crate) fn failures(&self) -> u64 {
        self.seen().map(Seen::failures).sum()
    }

    pub(crate) fn calls(&self) -> u64 {
        self.failures() + self.seen().map(|seen| seen.ok).sum::<u64>()
    }

    pub(crate) fn silence(&self) -> Option<String> {
        let longest = self.seen().map(|seen| seen.silence).reduce(f64::max)?;
        (longest > 0.0).then(|| format!("{longest:.1}"))
    }

    pub(crate) fn after_terminating(&self) -> Option<String> {
        let last = self.seen().filter_map(|seen| seen.last_after_terminating);
        last.reduce(f64::max).map(|time| format!("{time:.1}"))
    }

    pub(crate) fn balance(&self) -> Option<String> {
        let worst = self.seen().filter_map(|seen| seen.max_over_mean);
        worst.reduce(f64::max).map(|index| format!("{index:.2}"))
    }

    pub(crate) fn connections(&self) -> Option<String> {
        let open = self.seen().map(|seen| seen.connections_per_pod).collect();
        median(open).map(|open| format!("{open:.2}"))
    }

    pub(crate) fn dns(&self) -> Option<String> {
        let asked = self.seen().map(|seen| seen.dns_per_minute).collect();
        median(asked).map(|asked| format!("{asked:.1}"))
    }

    fn seen(&self) -> impl Iterator<Item = &Seen> {
        self.runs.iter()
    }

    /// Median and worst.
    fn times(&self, of: fn(&Seen) -> &Vec<Option<f64>>) -> Option<String> {
        let all: Vec<f64> = self
            .seen()
            .flat_map(of)
            .map(|time| time.unwrap_or(f64::INFINITY))
            .collect();
        middle_and_worst(all)
    }
}

/// As a table has it; none of no times.
pub(crate) fn middle_and_worst(times: Vec<f64>) -> Option<String> {
    let worst = times.iter().copied().reduce(f64::max)?;
    let middle = median(times)?;
    Some(if middle.is_infinite() {
        seconds(middle)
    } else {
        format!("{} / {}", seconds(middle), seconds(worst))
    })
}

/// As a table has it.
pub(crate) fn seconds(time: f64) -> String {
    if time.is_infinite() {
        "**never**".into()
    } else if time < 1.0 {
        format!("{time:.2}")
    } else {
        format!("{time:.1}")
    }
}

pub(crate) fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    let upper = *all.get(all.len() / 2)?;
    let lower = *all.get(all.len().checked_sub(1)? / 2)?;
    Some(if upper.is_infinite() {
        upper
    } else {
        f64::midpoint(lower, upper)
    })
}

/// 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::Timestamp;

    use super::*;
    use crate::cell::Run;
    use crate::plan::{CLIENTS, EVENTS, MODES};

    fn run(first_reply: Vec<Option<f64>>, failed: u64) -> Run {
        let seen = Seen {
            ok: 1000,
            first_reply,
            failed: BTreeMap::from([("UNAVAILABLE".to_owned(), failed)]),
            max_over_mean: Some(1.01),
            ..Seen::default()
        };
        Run {
            at: Timestamp::UNIX_EPOCH,
            took: 90.0,
            watched: 60.0,
            rate: 50.0,
            load: None,
            dns_per_minute: None,
            versions: BTreeMap::new(),
            sources: BTreeMap::new(),
            clients: BTreeMap::from([(CLIENTS[0].id.to_owned(), seen)]),
        }
    }

    #[test]
    fn the_median_of_all_pods_of_all_runs() {
        let runs = vec![
            run(vec![Some(1.0), Some(13.0)], 0),
            run(vec![Some(28.0), Some(2.0)], 5),
        ];
        let cell = Cell {
            runs,
            ..Cell::default()
        };
        let figures = Figures::of(&cell, &MODES[0], &EVENTS[0], CLIENTS[0]).unwrap();
        assert_eq!(figures.first_reply().as_deref(), Some("7.5 / 28.0"));
        assert_eq!(figures.promised().as_deref(), Some("68"));
        assert_eq!(figures.failed().as_deref(), Some("**5** of 2,005"));
        assert_eq!((figures.fair_share(), figures.silence()), (None, None));
        assert!(Figures::of(&cell, &MODES[0], &EVENTS[0], CLIENTS[1]).is_none());
        let mut cell = cell;
        for seen in cell
            .runs
            .iter_mut()
            .flat_map(|run| run.clients.values_mut())
        {
            seen.untouched = true;
        }
        let figures = Figures::of(&cell, &MODES[0], &EVENTS[0], CLIENTS[0]).unwrap();
        assert_eq!(figures.failed().as_deref(), Some("had no connection to it"));
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn who_never_finds_a_pod_is_not_averaged_away() {
        let one = run(vec![Some(1.0), None, Some(2.0)], 0);
        let none = run(vec![None], 0);
        let says = |runs: Vec<Run>| {
            let cell = Cell {
                runs,
                ..Cell::default()
            };
            let figures = Figures::of(&cell, &MODES[0], &EVENTS[0], CLIENTS[0]).unwrap();
            figures.first_reply().unwrap()
        };
        assert_eq!(says(vec![one]), "2.0 / **never**");
        assert_eq!(says(vec![none]), "**never**");
    }
}
