//! The recipe by which no call fails, and what it was tried with.

use std::fmt::Write as _;

use crate::figures::{Figures, grouped};
use crate::page::Measured;
use crate::plan::CLIENTS;

const RECIPE: &str = "## No failed call: the recipe\n\n\
    What the findings [GB030](findings/GB030.md), [GB031](findings/GB031.md) and [GB032](findings/GB032.md) ask for, for three pods:\n\n\
    ```yaml\n\
    kind: Deployment\n\
    spec:\n\
    \x20 minReadySeconds: 20            # times the pods: 60 s, in which every client can have looked up once\n\
    \x20 strategy: {rollingUpdate: {maxSurge: 1, maxUnavailable: 0}}\n\
    \x20 template:\n\
    \x20   spec:\n\
    \x20     terminationGracePeriodSeconds: 65\n\
    \x20     containers:\n\
    \x20       - name: server          # that ends gracefully at SIGTERM\n\
    \x20         lifecycle: {preStop: {sleep: {seconds: 35}}}\n\
    ```\n\n\
    `minReadySeconds` is for clients that may look again only 30 s after the last time: without it all pods that they know can be gone\n\
    before. `preStop` is for those that look by the clock and are not told by the server; its 35 s are the longest usual time to live of an\n\
    answer and 5 s for every node to hear, of which such clients need less here, where answers live 5 s (tonic's *after Terminating*\n\
    below). The rest of terminationGracePeriodSeconds is for the server's own graceful stop. Clients that watch endpoints need only that.\n\n\
    Clients have the [retry policy](calls.md#what-to-do) for the methods that may be repeated. Tried at 200 calls a second, all clients of a way\n\
    together; without it are the same events with the usual server above, at 50 calls a second of each client and with no retry.\n\
    One run each. Only in the rolling update, and there for three clients, did anything fail without it; whether it takes both the\n\
    server's settings and the policy was not tried.\n\n";

/// What failed with it, and without.
pub(crate) fn section(all: &[Measured]) -> String {
    let mut text = String::from(RECIPE);
    text += "| event | way | client | failed by the recipe | without |\n|---|---|---|---|---|\n";
    for with in all.iter().filter(|measured| measured.mode.recipe) {
        let Some(cell) = &with.cell else {
            let _ = writeln!(
                text,
                "| {} | {} | all | not measured yet | |",
                with.event.title, with.mode.title
            );
            continue;
        };
        let plain = all.iter().find(|plain| {
            let (mode, other) = (plain.mode, with.mode);
            !mode.recipe
                && (mode.via, mode.age) == (other.via, other.age)
                && plain.event == with.event
        });
        for client in CLIENTS {
            let says = |figures: Figures| {
                format!(
                    "{} of {}",
                    grouped(figures.failures()),
                    grouped(figures.calls())
                )
            };
            let Some(by_recipe) = Figures::of(cell, with.mode, client) else {
                continue;
            };
            let without = plain
                .and_then(|plain| Figures::of(plain.cell.as_ref()?, plain.mode, client))
                .map_or("not measured yet".into(), says);
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {without} |",
                with.event.title,
                with.mode.title,
                client.library,
                says(by_recipe),
            );
        }
    }
    text + "\n"
}
