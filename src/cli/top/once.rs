//! For scripts, and for whoever wants no live view.

use std::fmt::Write as _;

use tokio::time::{Instant, sleep_until};

use super::model::{Backend, From, Key, Pods, Snapshot, State};
use super::source::Source;
use crate::columns::table;

/// Cells of a bar.
const BAR: usize = 20;

/// Looks once; at a backend's pods until they have figures, or a window and a little more has passed.
pub async fn take(mut source: Source, open: Option<&Key>) -> anyhow::Result<Snapshot> {
    let begun = Instant::now();
    loop {
        let snapshot = source.look(open).await?;
        let end = begun + source.settles_in();
        let unsettled = |pods: &Pods| pods.source == From::Pods && pods.note.is_some();
        let next = source.due().filter(|due| *due < end);
        let Some(next) = next.filter(|_| snapshot.pods.as_ref().is_some_and(unsettled)) else {
            return Ok(snapshot);
        };
        sleep_until(next).await;
    }
}

/// As tables.
pub fn text(snapshot: &Snapshot) -> String {
    let cut = snapshot.cut.iter().map(|cut| format!("{cut}\n"));
    let cut: String = cut.collect();
    let Some(pods) = &snapshot.pods else {
        let rows: Vec<_> = snapshot.backends.iter().map(cells).collect();
        return cut + &table(HEAD, &rows);
    };
    let of: Vec<&Backend> = snapshot
        .backends
        .iter()
        .filter(|backend| backend.key == pods.of)
        .collect();
    let mut text = cut;
    for backend in of {
        let _ = writeln!(text, "{}: {}", backend.verdict, backend.message);
    }
    if let Some(note) = &pods.note {
        let _ = writeln!(text, "{note}");
    }
    if pods.rows.is_empty() && pods.source == From::Status {
        return text;
    }
    text + &table(["POD", "SHARE", "RPS", "", "STATE"], &pod_cells(pods))
}

const HEAD: [&str; 9] = [
    "NAMESPACE",
    "NAME",
    "BALANCE",
    "PODS",
    "EFFECTIVE",
    "MAX/MEAN",
    "RPS",
    "STARVED",
    "MAXAGE",
];

fn cells(backend: &Backend) -> [String; 9] {
    [
        backend.key.namespace.clone(),
        backend.key.name.clone(),
        backend.verdict.clone(),
        backend.pods.clone(),
        decimals(backend.effective_pods),
        decimals(backend.max_over_mean),
        rate(backend.requests_per_second),
        backend.starved_pods.to_string(),
        backend.max_age.clone().unwrap_or_else(|| "-".into()),
    ]
}

fn pod_cells(pods: &Pods) -> Vec<[String; 5]> {
    pods.rows
        .iter()
        .map(|pod| {
            [
                pod.name.clone(),
                percent(pod.share),
                rate(pod.requests_per_second),
                bar(pods.part(pod).unwrap_or(0.0), BAR),
                word(pod.state).to_owned(),
            ]
        })
        .collect()
}

/// A bar of full and half cells, as wide as `cells`.
pub fn bar(part: f64, cells: usize) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let halves = (part.clamp(0.0, 1.0) * 2.0 * cells as f64).round() as usize;
    let drawn = "█".repeat(halves / 2) + if halves % 2 == 1 { "▌" } else { "" };
    format!("{drawn:<cells$}")
}

/// A state as people read it.
pub fn word(state: State) -> &'static str {
    match state {
        State::Serving => "",
        State::Hot => "hot",
        State::Starved => "starved",
        State::WarmingUp => "warming up",
        State::NoMetrics => "no metrics",
    }
}

/// Two decimals.
pub fn decimals(figure: Option<f64>) -> String {
    figure.map_or_else(|| "-".into(), |figure| format!("{figure:.2}"))
}

/// One decimal below 100.
pub fn rate(figure: Option<f64>) -> String {
    match figure {
        None => "-".into(),
        Some(figure) if figure < 99.95 => format!("{figure:.1}"),
        Some(figure) => format!("{figure:.0}"),
    }
}

/// Whole percents.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".into(), |share| format!("{:.0}%", share * 100.0))
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{backend, pods};
    use super::*;

    #[test]
    fn backends_are_a_table() {
        let snapshot = Snapshot {
            backends: vec![backend("cart", Some(true), 2.0, 50.0)],
            cut: Some("only some are shown".into()),
            pods: None,
        };
        assert_eq!(
            text(&snapshot),
            "only some are shown\n\
             NAMESPACE   NAME   BALANCE    PODS   EFFECTIVE   MAX/MEAN   RPS    STARVED   MAXAGE\n\
             shop        cart   Balanced   2/2    2.00        1.00       50.0   0         1m\n"
        );
    }

    #[test]
    fn pods_have_bars() {
        let snapshot = Snapshot {
            backends: vec![backend("cart", Some(false), 1.6, 40.0)],
            pods: Some(pods("cart", &[32.0, 8.0])),
            ..Snapshot::default()
        };
        assert_eq!(
            text(&snapshot),
            "HotPod: a sentence\n\
             POD      SHARE   RPS                           STATE\n\
             cart-0   80%     32.0   ████████████████████   hot\n\
             cart-1   20%     8.0    █████\n"
        );
    }

    #[test]
    fn where_the_status_names_no_pod_there_is_no_table() {
        let mut none = pods("cart", &[]);
        (none.source, none.note) = (From::Status, Some("only the status".into()));
        let snapshot = Snapshot {
            backends: vec![backend("cart", Some(true), 2.0, 40.0)],
            pods: Some(none),
            ..Snapshot::default()
        };
        assert_eq!(text(&snapshot), "Balanced: a sentence\nonly the status\n");
    }

    #[test]
    fn bars_stay_within_their_cells() {
        for (part, drawn) in [
            (-1.0, "    "),
            (0.0, "    "),
            (0.125, "▌   "),
            (0.5, "██  "),
            (1.0, "████"),
            (7.0, "████"),
        ] {
            assert_eq!(bar(part, 4), drawn);
        }
        assert_eq!(bar(f64::NAN, 4), "    ");
    }
}
