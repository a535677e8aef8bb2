//! What was promised against what was seen, over all scale-ups.

use std::fmt::Write as _;

use crate::cell::{Cell, Run, Seen};
use crate::figures::{median, seconds};
use crate::page::Measured;
use crate::plan::{Action, CLIENTS, Client, Event, MODES, Mode, Via};

/// A run that broke a promise, and why that may be.
struct Excuse {
    /// Of its mode and its event.
    cell: &'static str,
    /// When the run began.
    at: &'static str,
    client: &'static str,
    reason: &'static str,
}

/// What a test finds broken in the cells and not here fails it: give the reason, or mend what was wrong and measure anew.
const EXCUSES: [Excuse; 0] = [];

/// What this run saw and should not have: new pods found later than is promised to this kind of client, and calls that
/// failed in spite of the recipe.
pub fn broken(mode: &Mode, event: &Event, run: &Run) -> Vec<String> {
    let seen = |client: Client| Some((client, run.clients.get(client.id)?));
    let broken = |(client, seen)| {
        let what = broken_to(mode, event, client, seen)?;
        Some(format!("{}: {what}", client.id))
    };
    CLIENTS
        .into_iter()
        .filter_map(seen)
        .filter_map(broken)
        .collect()
}

fn broken_to(mode: &Mode, event: &Event, client: Client, seen: &Seen) -> Option<String> {
    let lost = seen.failures();
    if mode.retry && lost > 0 {
        return Some(format!(
            "{lost} calls failed in spite of the recipe: {:?}",
            seen.failed
        ));
    }
    let promise = mode.promise_in(event, client)?;
    let late = |took: &Option<f64>| took.is_none_or(|took| took > promise.as_secs_f64());
    seen.first_reply.iter().any(late).then(|| {
        format!(
            "first replies after {:?} s, {promise:?} are promised",
            seen.first_reply
        )
    })
}

/// An endpoint watch tells of a pod so soon, in the median.
const TOLD: f64 = 0.15;

/// What is too slow in the median of a cell. Where three pods or more each end a client's connection at a time of its own, a look-up
/// comes in a third of the promise: reckoned over all clients that go by the age, since five runs of one are few. A cell
/// that is half measured has no median yet.
pub fn slow(mode: &Mode, event: &Event, cell: &Cell) -> Option<String> {
    if !scales_up(event) || cell.runs.len() < event.runs {
        return None;
    }
    let of = |client: Client| {
        let promise = mode.promise(client)?.as_secs_f64();
        let seen = cell
            .runs
            .iter()
            .filter_map(move |run| run.clients.get(client.id));
        let times = seen.flat_map(|seen| &seen.first_reply);
        Some(times.map(move |time| (time.unwrap_or(f64::INFINITY), promise)))
    };
    let all = || {
        CLIENTS
            .into_iter()
            .filter(Client::goes_by_age)
            .filter_map(of)
            .flatten()
    };
    match mode.via {
        Via::Watch => {
            let middle = median(all().map(|(time, _)| time).collect())?;
            (middle > TOLD)
                .then(|| format!("told after {middle} s in the median, {TOLD} s are expected"))
        }
        Via::Headless if mode.age.is_some() && event.pods >= 3 => {
            let part = median(all().map(|(time, promise)| time / promise).collect())?;
            (part * 3.0 > 1.0).then(|| {
                format!("found after {part:.2} of the promise in the median, a third is expected")
            })
        }
        _ => None,
    }
}

fn scales_up(event: &Event) -> bool {
    matches!(event.action, Action::Scale(to) if to > event.pods)
}

const HEAD: &str = "## Promised and seen\n\n\
    The [promise](discovery.md) is a bound for the worst case, reckoned here with the 5 s that answers of this cluster's DNS server live:\n\
    the status reckons with 30 s, since it cannot know. After an outage of the API server Kubernetes itself may need a minute more. With three pods or more, whose connections end one after the other,\n\
    the median of all clients together should be a third of it; an endpoint watch should take 0.15 s in the median. A test holds both of\n\
    each cell.\n\n\
    | way | client | promised, s | new pods seen | within the promise | median of 2 → 4, s | median of 3 → 5, s |\n\
    |---|---|---|---|---|---|---|\n";

/// A row for each client that is promised something.
pub(crate) fn section(all: &[Measured]) -> String {
    let mut text = String::from(HEAD);
    for mode in MODES.iter().filter(|mode| !mode.recipe) {
        for client in CLIENTS {
            text += &row(all, mode, client).unwrap_or_default();
        }
    }
    text + "\n" + &excuses(all)
}

/// The runs of which a promise does not speak. One that is not excused fails a test, and is not denied here.
fn excuses(all: &[Measured]) -> String {
    let mut text = String::new();
    for excuse in &EXCUSES {
        let Excuse {
            cell,
            at,
            client,
            reason,
        } = excuse;
        let _ = writeln!(text, "* Not kept in {cell}, {at}, by {client}: {reason}.");
    }
    let runs = |measured: &Measured| measured.cell.clone().unwrap_or_default().runs;
    let kept = |measured: &Measured| {
        let mut runs = runs(measured).into_iter();
        runs.all(|run| broken(measured.mode, measured.event, &run).is_empty())
    };
    if text.is_empty() && all.iter().all(kept) {
        let recipe = all.iter().any(|of| of.mode.retry && !runs(of).is_empty());
        let lost = if recipe {
            " or, by the recipe, lost a call"
        } else {
            ""
        };
        return format!("No run of the figures below broke a promise{lost}.\n\n");
    }
    text + "\n"
}

fn row(all: &[Measured], mode: &Mode, client: Client) -> Option<String> {
    let promise = mode.promise(client)?.as_secs_f64();
    let small = took(all, mode, client, 2);
    let large = took(all, mode, client, 3);
    let seen = small.len() + large.len();
    let kept = small.iter().chain(&large).filter(|time| **time <= promise);
    let kept = kept.count();
    let middle = |times| median(times).map_or("not measured yet".into(), seconds);
    let mut row = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        row,
        "| {} | {} | {promise:.0} | {seen} | {kept} | {} | {} |",
        mode.title,
        client.library,
        middle(small),
        middle(large),
    );
    (seen > 0).then_some(row)
}

/// From Ready to the first reply, in all scale-ups from so many pods; for ever is infinite.
pub(crate) fn took(all: &[Measured], mode: &Mode, client: Client, pods: u32) -> Vec<f64> {
    let cells = all.iter().filter(|measured| {
        measured.mode == mode && scales_up(measured.event) && measured.event.pods == pods
    });
    cells
        .filter_map(|measured| measured.cell.as_ref())
        .flat_map(|cell| &cell.runs)
        .filter_map(|run| run.clients.get(client.id))
        .flat_map(|seen| &seen.first_reply)
        .map(|time| time.unwrap_or(f64::INFINITY))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::cell;
    use crate::plan::{EVENTS, cells, name};

    fn root() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn what_was_measured_keeps_every_promise() {
        let mut used = 0;
        for (mode, event) in cells() {
            let cell = cell::read(&root(), mode, event).unwrap().unwrap();
            let name = name(mode, event);
            assert_eq!(format!("{}.{}", cell.mode, cell.event), name);
            for run in &cell.runs {
                let at = run.at.to_string();
                let excused = |what: &String| {
                    EXCUSES.iter().any(|excuse| {
                        (excuse.cell, excuse.at) == (&*name, &*at)
                            && what.starts_with(&format!("{}: ", excuse.client))
                    })
                };
                let (known, new): (Vec<_>, Vec<_>) =
                    broken(mode, event, run).into_iter().partition(excused);
                assert!(new.is_empty(), "{name}, {at}: {new:?}");
                let off = (run.rate - mode.rate(event)).abs();
                assert!(off < 1e-9, "{name}, {at}: {} calls a second", run.rate);
                used += known.len();
            }
            assert_eq!(slow(mode, event, &cell), None, "{name}");
        }
        assert_eq!(used, EXCUSES.len(), "an excuse for what is not there");
    }

    /// What is of an earlier state of a client is marked on the page, and may stay until it is measured again.
    #[test]
    fn nothing_is_missing() {
        for (mode, event) in cells() {
            let cell = cell::read(&root(), mode, event).unwrap();
            let runs = cell.unwrap_or_default().runs;
            for client in mode.clients() {
                let seen = runs.iter().filter_map(|run| run.clients.get(client.id));
                let there = seen.filter(|seen| !seen.stood_still()).count();
                let name = name(mode, event);
                assert!(there >= event.runs, "{name}: {there} runs of {}", client.id);
            }
        }
    }

    #[test]
    fn every_file_is_a_cell_of_the_matrix() {
        let known: Vec<String> = cells()
            .map(|(mode, event)| name(mode, event) + ".json")
            .collect();
        for entry in std::fs::read_dir(root().join(cell::CELLS)).unwrap() {
            let file = entry.unwrap().file_name().into_string().unwrap();
            // One that was being written when somebody interrupted is nothing, and not in the repository.
            let half = Path::new(&file).extension() == Some("half".as_ref());
            assert!(half || known.contains(&file), "{file}");
        }
    }

    #[test]
    fn a_broken_promise_is_told() {
        let run = |first_reply, failed| Run {
            watched: 60.0,
            rate: 50.0,
            clients: BTreeMap::from([(
                "go".to_owned(),
                Seen {
                    failed,
                    first_reply,
                    ..Seen::default()
                },
            )]),
            ..Run::default()
        };
        let mode = |id: &str| MODES.iter().find(|mode| mode.id == id).unwrap();
        let lost = || BTreeMap::from([("UNAVAILABLE".to_owned(), 1)]);
        let at = |id: &str| EVENTS.iter().find(|event| event.id == id).unwrap();
        let told = |id: &str, run: &Run| !broken(mode(id), at("scale-up-3-5"), run).is_empty();
        let outage = |time| {
            let run = run(vec![Some(time)], BTreeMap::new());
            !broken(mode("watch"), at("api-down"), &run).is_empty()
        };
        assert!(
            !outage(80.0) && outage(80.1),
            "with a minute for Kubernetes"
        );
        assert!(!told("headless-30s", &run(vec![Some(68.0)], lost())));
        assert!(told(
            "headless-30s",
            &run(vec![Some(1.0), Some(68.1)], BTreeMap::new())
        ));
        assert!(told("headless-30s", &run(vec![None], BTreeMap::new())));
        assert!(
            !told("headless", &run(vec![None], BTreeMap::new())),
            "nothing is promised"
        );
        assert!(told("recipe-headless-30s", &run(vec![], lost())));
        // What that shows is whether clients need the other part.
        assert!(!told("recipe-server-headless-30s", &run(vec![], lost())));
        assert!(!told(
            "recipe-headless-30s",
            &run(vec![Some(1.0)], BTreeMap::new())
        ));
    }

    #[test]
    fn a_median_above_a_third_of_the_promise_is_told() {
        let at = |id: &str| EVENTS.iter().find(|event| event.id == id).unwrap();
        let of = |id: &str| MODES.iter().find(|mode| mode.id == id).unwrap();
        let after = |runs, mode: &str, event: &str, times: [Option<f64>; 3]| {
            let seen = Seen {
                first_reply: times.to_vec(),
                ..Seen::default()
            };
            // A poller is quick and does not count.
            let poller = Seen {
                first_reply: vec![Some(0.1); 9],
                ..Seen::default()
            };
            let run = Run {
                clients: BTreeMap::from([("go".into(), seen), ("rust".into(), poller)]),
                ..Run::default()
            };
            let cell = Cell {
                runs: vec![run; runs],
                ..Cell::default()
            };
            slow(of(mode), at(event), &cell).is_some()
        };
        let too_slow = |mode, event, times| after(5, mode, event, times);
        let three = |time| [Some(time), Some(time), Some(time)];
        assert!(!too_slow("headless-30s", "scale-up-3-5", three(22.0)));
        assert!(too_slow("headless-30s", "scale-up-3-5", three(23.0)));
        assert!(too_slow(
            "headless-30s",
            "scale-up-3-5",
            [None, None, Some(1.0)]
        ));
        assert!(!after(4, "headless-30s", "scale-up-3-5", three(23.0)));
        assert!(!too_slow("headless-60s", "scale-up-3-5", three(33.0)));
        assert!(
            !too_slow("headless-30s", "scale-up-2-4", three(60.0)),
            "two pods"
        );
        assert!(!too_slow("headless-30s", "replaced", three(60.0)));
        assert!(!too_slow("watch", "scale-up-2-4", three(0.15)));
        assert!(too_slow("watch", "scale-up-2-4", three(0.16)));
    }
}
