//! An earlier measurement, beside what the cells say today.

use std::fmt::Write as _;

use crate::figures::{median, seconds};
use crate::page::Measured;
use crate::plan::{CLIENTS, MODES};
use crate::promises::took;

const HEAD: &str = "## Beside an earlier measurement\n\n\
    The ways were measured once before, with another harness: grpc-go 1.85.0 and kuberesolver 6.0.1 alone, one client at 50\n\
    calls a second with a deadline of 2 s and no retries, scale 2 → 4 → 2, the same versions of Kubernetes, CoreDNS, Envoy and nginx on\n\
    two cores. From Ready to the first reply, median / least / most; today of grpc-go in the scale-up 2 → 4 above. Differences of some 100 ms\n\
    mean nothing: the machine was busy both times.\n\n\
    | way | earlier, s | today, s | to bear in mind |\n|---|---|---|---|\n";

/// One way of the earlier measurement.
struct Earlier {
    way: &'static str,
    said: &'static str,
    /// The mode of today that is the same; none: it was not measured again.
    mode: Option<&'static str>,
    differs: &'static str,
}

const EARLIER: [Earlier; 9] = [
    Earlier {
        way: "dns and `round_robin`, no age",
        said: "never in 120 s",
        mode: Some("headless"),
        differs: "watched for 40 s only",
    },
    Earlier {
        way: "the same, age 30 s",
        said: "13.0 / 1.1 / 28.8",
        mode: Some("headless-30s"),
        differs: "the most is the client's own wait of 30 s after a look-up; where in that wait a run begins decides the rest, and runs of \
            today begin at different parts of the age",
    },
    Earlier {
        way: "the same, age 10 s",
        said: "12.7 / 1.5 / 30.3",
        mode: None,
        differs: "no better than 30 s, and why GB022 speaks of such ages",
    },
    Earlier {
        way: "the same, the client's least time between look-ups lowered to 5 s",
        said: "3.5 / 1.0 / 4.9",
        mode: None,
        differs: "",
    },
    Earlier {
        way: "kuberesolver, no age",
        said: "0.08 / 0.015 / 0.14",
        mode: Some("watch"),
        differs: "",
    },
    Earlier {
        way: "ClusterIP, age 30 s",
        said: "52.6 / 1.2 / 144, and 2 of 10 pods never in 300 s",
        mode: Some("cluster-ip-30s"),
        differs: "watched for 180 s only, so that *never* comes sooner; which pod a new connection gets is chance both times",
    },
    Earlier {
        way: "Envoy, nothing set but what it needs",
        said: "2.5 / 0.35 / 5.0; 101 to 112 calls failed in each scale-down",
        mode: None,
        differs: "[hops.md](hops.md) has how many fail today",
    },
    Earlier {
        way: "Envoy with retries",
        said: "2.7 / 0.2 / 4.8; none failed",
        mode: Some("envoy"),
        differs: "at most the refresh of 5 s",
    },
    Earlier {
        way: "nginx 1.30 with `resolve`",
        said: "2.4 / 0.13 / 6.0; none failed",
        mode: Some("nginx"),
        differs: "at most the refresh of 5 s and the time to live. Today it is two nginx, and clients have one connection to either",
    },
];

pub(crate) fn section(all: &[Measured]) -> String {
    let mut text = String::from(HEAD);
    for earlier in &EARLIER {
        let said = match earlier.mode.map(|mode| today(all, mode)) {
            None => format!("not measured again | {}", earlier.differs),
            Some(None) => "not measured yet |".into(),
            Some(Some(today)) => format!("{today} | {}", earlier.differs),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| {} | {} | {said} |", earlier.way, earlier.said);
    }
    text + "\nnginx before 1.27.3 found no new pod then, and finds none now ([hops.md](hops.md)). The other languages were not measured then.\n\n"
}

/// Median, least and most of grpc-go.
fn today(all: &[Measured], mode: &str) -> Option<String> {
    let mode = MODES.iter().find(|known| known.id == mode)?;
    let mut times = took(all, mode, CLIENTS[0], 2);
    times.sort_by(f64::total_cmp);
    let [least, most] = [*times.first()?, *times.last()?].map(seconds);
    let middle = seconds(median(times)?);
    Some(if least == most {
        least
    } else {
        format!("{middle} / {least} / {most}")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cell::{Cell, Run, Seen};
    use crate::plan::{EVENTS, MODES};

    #[test]
    fn ways_are_those_of_today() {
        for mode in EARLIER.iter().filter_map(|earlier| earlier.mode) {
            assert!(MODES.iter().any(|known| known.id == mode), "{mode}");
        }
    }

    #[test]
    fn today_is_of_all_runs() {
        let run = |first_reply| Run {
            watched: 60.0,
            rate: 50.0,
            clients: BTreeMap::from([(
                "go".to_owned(),
                Seen {
                    first_reply,
                    ..Seen::default()
                },
            )]),
            ..Run::default()
        };
        let says = |times: Vec<Vec<Option<f64>>>| {
            let cell = Cell {
                runs: times.into_iter().map(run).collect(),
                ..Cell::default()
            };
            let all = [Measured {
                mode: &MODES[0],
                event: &EVENTS[0],
                cell: Some(cell),
            }];
            today(&all, MODES[0].id)
        };
        assert_eq!(says(vec![]), None);
        assert_eq!(says(vec![vec![None], vec![None]]).unwrap(), "**never**");
        assert_eq!(
            says(vec![vec![Some(1.0), Some(3.0)], vec![Some(2.0)]]).unwrap(),
            "2.0 / 1.0 / 3.0"
        );
    }
}
