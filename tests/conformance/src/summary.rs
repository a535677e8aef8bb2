//! The answer in two tables, before all figures.

use std::fmt::Write as _;

use crate::figures::{Figures, grouped, middle_and_worst};
use crate::page::Measured;
use crate::plan::{Action, CLIENTS, Client, EVENTS, Event, MODES, Mode};
use crate::promises::took;

const FOUND: &str = "## In short\n\n\
    Seconds from a pod's Ready to its first call, median / worst of all scale-ups. *Never*: some pod got none while it was watched.\n\n";

const FAILED: &str = "\nCalls that failed, of the client that lost most, without retries and without the [recipe](#no-failed-call-the-recipe);\n\
    in the last column those of all clients in rolling update and scale-down by the recipe. One run each: 0 is none in that run.\n\n";

const NOT_YET: &str = "not measured yet";
/// Beside what is of some of the clients, or of one of two events.
const IN_PART: &str = " \\*";

/// How soon each client finds a pod by each way, and what fails when pods go.
pub(crate) fn section(all: &[Measured]) -> String {
    let ways = || MODES.iter().filter(|mode| !mode.recipe);
    let mut text = String::from(FOUND);
    let libraries = CLIENTS.iter().map(|client| client.library);
    head(&mut text, libraries);
    for mode in ways() {
        let cells = CLIENTS.iter().map(|client| found(all, mode, *client));
        row(&mut text, mode, cells);
    }
    text += FAILED;
    let events = || EVENTS.iter().filter(|event| makes_calls_fail(event));
    let titles = events().map(|event| event.title);
    head(&mut text, titles.chain(["by the recipe"]));
    for mode in ways() {
        let cells = events().map(|event| failed(all, mode, event));
        row(&mut text, mode, cells.chain([by_recipe(all, mode)]));
    }
    if text.contains(IN_PART) {
        text +=
            "\n\\* Of some of the clients, or of one of the two: the rest is not measured yet.\n";
    }
    text + "\n"
}

fn head<'a>(text: &mut String, titles: impl Iterator<Item = &'a str>) {
    let (mut names, mut line) = ("| way |".to_owned(), "|---|".to_owned());
    for title in titles {
        // Writing to a String cannot fail.
        let _ = write!(names, " {title} |");
        line += "---|";
    }
    let _ = writeln!(text, "{names}\n{line}");
}

fn row(text: &mut String, mode: &Mode, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    let _ = writeln!(text, "| {} | {} |", mode.title, cells.join(" | "));
}

/// Pods that go, or what pods are found by; not those that only come.
fn makes_calls_fail(event: &Event) -> bool {
    match event.action {
        Action::Scale(to) => to < event.pods,
        Action::Idle => false,
        _ => true,
    }
}

fn found(all: &[Measured], mode: &Mode, client: Client) -> String {
    if !mode.clients().any(|known| known == client) {
        return "–".into();
    }
    let times = [2, 3]
        .into_iter()
        .flat_map(|pods| took(all, mode, client, pods));
    middle_and_worst(times.collect()).unwrap_or_else(|| NOT_YET.into())
}

/// What marks a cell that lacks some of what it should have.
fn mark(has: usize, should: usize) -> &'static str {
    if has < should { IN_PART } else { "" }
}

/// The share of the client that lost most.
fn failed(all: &[Measured], mode: &'static Mode, event: &Event) -> String {
    let shares: Vec<(f64, &str)> = figures(all, mode, event)
        .filter(|figures| figures.calls() > 0)
        .map(|figures| (share(&figures), figures.library()))
        .collect();
    let mark = mark(shares.len(), mode.clients().count());
    let worst = shares
        .into_iter()
        .max_by(|one, other| one.0.total_cmp(&other.0));
    match worst {
        None => NOT_YET.into(),
        Some((0.0, _)) => format!("0{mark}"),
        Some((share, library)) => format!("**{}** ({library}){mark}", percent(share)),
    }
}

/// Of all clients and both events.
fn by_recipe(all: &[Measured], way: &Mode) -> String {
    let with = MODES
        .iter()
        .find(|mode| mode.retry && (mode.via, mode.age) == (way.via, way.age));
    let Some(with) = with else {
        return "–".into();
    };
    let events = || EVENTS.iter().filter(|event| event.in_recipe());
    let figures: Vec<Figures> = events()
        .flat_map(|event| figures(all, with, event))
        .collect();
    if figures.is_empty() {
        return NOT_YET.into();
    }
    let [failed, calls] =
        [Figures::failures, Figures::calls].map(|of| grouped(figures.iter().map(of).sum()));
    let mark = mark(figures.len(), with.clients().count() * events().count());
    format!("{failed} of {calls}{mark}")
}

fn figures(all: &[Measured], mode: &'static Mode, event: &Event) -> impl Iterator<Item = Figures> {
    let cells = all
        .iter()
        .filter(move |measured| measured.mode == mode && measured.event == event);
    cells
        .filter_map(|measured| measured.cell.as_ref())
        .flat_map(move |cell| {
            let of = move |client| Figures::of(cell, mode, event, client);
            mode.clients().filter_map(of)
        })
}

#[expect(clippy::cast_precision_loss, reason = "some thousand calls")]
fn share(figures: &Figures) -> f64 {
    figures.failures() as f64 / figures.calls() as f64
}

fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 1.0 {
        format!("{percent:.2} %")
    } else {
        format!("{percent:.0} %")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cell::{Cell, Run, Seen};

    fn measured(mode: &str, event: &str, clients: &[(&str, Seen)]) -> Measured {
        let run = Run {
            clients: clients
                .iter()
                .map(|(id, seen)| ((*id).to_owned(), seen.clone()))
                .collect(),
            ..Run::default()
        };
        Measured {
            mode: MODES.iter().find(|known| known.id == mode).unwrap(),
            event: EVENTS.iter().find(|known| known.id == event).unwrap(),
            cell: Some(Cell {
                runs: vec![run],
                ..Cell::default()
            }),
        }
    }

    fn lost(failed: u64) -> Seen {
        Seen {
            ok: 1000 - failed,
            failed: BTreeMap::from([("UNAVAILABLE".to_owned(), failed)]),
            ..Seen::default()
        }
    }

    fn row<'a>(text: &'a str, begins: &str, number: usize) -> Vec<&'a str> {
        let mut rows = text.lines().filter(|line| line.starts_with(begins));
        let row = rows.nth(number).unwrap();
        row.trim_matches('|').split('|').map(str::trim).collect()
    }

    #[test]
    fn the_worst_is_what_is_told() {
        let times = |all: &[Option<f64>]| Seen {
            first_reply: all.to_vec(),
            ..Seen::default()
        };
        let all = [
            measured(
                "headless-30s",
                "scale-up-2-4",
                &[
                    ("go", times(&[Some(1.0), Some(3.0)])),
                    ("java", times(&[Some(1.0), Some(2.0), None])),
                    ("node", times(&[None, None])),
                ],
            ),
            measured(
                "headless-30s",
                "scale-up-3-5",
                &[("go", times(&[Some(12.0)]))],
            ),
            measured(
                "headless-30s",
                "rolling-update",
                &[("go", lost(0)), ("node", lost(260)), ("python", lost(4))],
            ),
            measured("headless-30s", "killed", &[("go", lost(4))]),
            measured(
                "headless-30s",
                "evicted",
                &CLIENTS.map(|client| (client.id, lost(0))),
            ),
            measured(
                "recipe-headless-30s",
                "rolling-update",
                &[("go", lost(0)), ("java", lost(1))],
            ),
            measured("recipe-headless-30s", "scale-down-4-2", &[("go", lost(0))]),
        ];
        let text = section(&all);
        let way = "| headless Service, age 30 s |";
        let found = row(&text, way, 0);
        assert_eq!(found[1..4], ["3.0 / 12.0", "2.0 / **never**", "**never**"]);
        assert_eq!(found[4], NOT_YET);
        let failed = row(&text, way, 1);
        assert_eq!(failed[1], "**26 %** (@grpc/grpc-js) \\*");
        assert!(failed.contains(&"**0.40 %** (grpc-go) \\*"), "{failed:?}");
        assert!(failed.contains(&"0"), "of all: {failed:?}");
        assert_eq!(failed.last(), Some(&"1 of 3,000 \\*"));
        assert!(text.contains("\n\\* Of some"));
        assert_eq!(row(&text, "| endpoint watch", 0)[2], "–");
        assert_eq!(row(&text, "| ClusterIP, no age", 1).last(), Some(&"–"));
    }
}
