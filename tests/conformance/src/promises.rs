//! What was promised against what was seen, over all scale-ups.

use std::fmt::Write as _;

use crate::figures::{median, seconds};
use crate::page::Measured;
use crate::plan::{Action, CLIENTS, Client, MODES, Mode};

const HEAD: &str = "## Promised and seen\n\n\
    The [promise](discovery.md) is a bound for the worst case. With three pods or more, whose connections end one after the other,\n\
    the median should be a third of it; an endpoint watch should take 0.15 s in the median.\n\n\
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
fn took(all: &[Measured], mode: &Mode, client: Client, pods: u32) -> Vec<f64> {
    let cells = all.iter().filter(|measured| {
        let up = matches!(measured.event.action, Action::Scale(to) if to > measured.event.pods);
        measured.mode == mode && up && measured.event.pods == pods
    });
    cells
        .filter_map(|measured| measured.cell.as_ref())
        .flat_map(|cell| &cell.runs)
        .filter_map(|run| run.clients.get(client.id))
        .flat_map(|seen| &seen.first_reply)
        .map(|time| time.unwrap_or(f64::INFINITY))
        .collect()
}
