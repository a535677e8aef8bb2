//! The page docs/hops.md: what proxies cost, and what becomes of calls through them, from the figures beside it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::docs;
use crate::generate::Generated;

const PAGE: &str = "docs/hops.md";
/// Every way, as the figures and as the page call it.
const WAYS: [(&str, &str); 7] = [
    ("direct", "direct, `round_robin` over a headless Service"),
    ("clusterip", "ClusterIP: one connection, to one pod"),
    (
        "envoy",
        "Envoy {}, [the example](../examples/proxies/envoy)",
    ),
    ("envoy-naive", "Envoy {}, nothing set but what it needs"),
    (
        "nginx",
        "nginx {}, [the example](../examples/proxies/nginx)",
    ),
    (
        "nginx-variable",
        "nginx {}, the name in a variable: a connection for each call",
    ),
    ("nginx-naive", "nginx {}, the name looked up at the start"),
];
/// The longest bar.
const BAR: u32 = 20;
const EVENTS: [&str; 5] = [
    "scale-up",
    "scale-down",
    "rolling update",
    "no pod Ready",
    "update of the proxy",
];

/// The page, with both parts as the figures have them.
pub fn page(root: &Path) -> Result<Generated> {
    let text = std::fs::read_to_string(root.join(PAGE))?;
    let costs = part(root, "cost.json", cost)?;
    let text = docs::replaced(PAGE, &text, "what a hop costs", &costs)?;
    let failed = part(root, "survive.json", lost)?;
    let text = docs::replaced(PAGE, &text, "calls that failed", &failed)?;
    Ok(Generated::new(root.join(PAGE), text))
}

fn part(root: &Path, file: &str, show: fn(&Value) -> Result<String>) -> Result<String> {
    let path = root.join("docs/hops").join(file);
    if !path.exists() {
        return Ok("Not measured yet: `make hops`.\n".to_owned());
    }
    let text = std::fs::read_to_string(&path)?;
    let show = |text: &str| show(&serde_json::from_str(text)?);
    show(&text).with_context(|| path.display().to_string())
}

fn name(way: &str, figures: &Value) -> Option<String> {
    let (_, name) = WAYS.iter().find(|(own, _)| *own == way)?;
    let version = figures["versions"][way].as_str().unwrap_or_default();
    Some(name.replace("{}", version))
}

fn middle(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    f64::midpoint(at(values.len() / 2), at(values.len().saturating_sub(1) / 2))
}

/// What is told of a way's cost in a round.
type Figure = fn(&Value) -> f64;

const P50: Figure = |cost| cost["p50_us"].as_f64().unwrap_or(f64::NAN) / 1000.0;
const P99: Figure = |cost| cost["p99_us"].as_f64().unwrap_or(f64::NAN) / 1000.0;
const CLIENT: Figure = |cost| cost["client"].as_f64().unwrap_or(f64::NAN);
const SERVER: Figure = |cost| cost["server"].as_f64().unwrap_or(f64::NAN);
const PROXY: Figure = |cost| cost["proxy"].as_f64().unwrap_or(f64::NAN);
const CPU: Figure = |cost| CLIENT(cost) + SERVER(cost) + PROXY(cost);

/// A round has for each way its cost.
struct Rounds<'a>(&'a [Value]);

impl Rounds<'_> {
    fn of(&self, way: &str, figure: Figure) -> f64 {
        middle(self.0.iter().map(|round| figure(&round[way])))
    }

    /// Of each round to its own direct calls: what disturbs a round disturbs both.
    fn ratio(&self, way: &str, figure: Figure) -> f64 {
        let ratio = |round: &Value| figure(&round[way]) / figure(&round["direct"]);
        middle(self.0.iter().map(ratio))
    }

    fn ways(&self) -> Vec<&'static str> {
        let measured = |way: &&str| self.0.iter().all(|round| round[*way].is_object());
        WAYS.iter().map(|(way, _)| *way).filter(measured).collect()
    }
}

fn cost(figures: &Value) -> Result<String> {
    let rounds = Rounds(figures["rounds"].as_array().context("no rounds")?);
    let most = rounds
        .ways()
        .iter()
        .map(|way| rounds.ratio(way, CPU))
        .fold(1.0, f64::max);
    let mut text = format!(
        "{};\n{} calls a second, {} s each way in each of {} rounds, the order turned by one in each;\n{}.\n{}\
         Medians of the rounds; ratios are of each round to its own direct calls.\n\n\
         | way | p50 | p99 | CPU for 10,000 calls: client + servers + proxy | together | beside direct: p50 / p99 / CPU | CPU |\n|---|---|---|---|---|---|---|\n",
        about(figures),
        figures["rate"],
        figures["seconds"],
        rounds.0.len(),
        loads(figures),
        interrupted(figures, rounds.0.len()),
    );
    for way in rounds.ways() {
        let ratio = rounds.ratio(way, CPU);
        let bar = (0..BAR).filter(|step| f64::from(*step) + 0.5 < f64::from(BAR) * ratio / most);
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.2} ms | {:.2} ms | {:.1} + {:.1} + {:.1} s | {:.1} s | {:.1} / {:.1} / {:.1} | {} |",
            name(way, figures).unwrap_or_default(),
            rounds.of(way, P50),
            rounds.of(way, P99),
            rounds.of(way, CLIENT),
            rounds.of(way, SERVER),
            rounds.of(way, PROXY),
            rounds.of(way, CPU),
            rounds.ratio(way, P50),
            rounds.ratio(way, P99),
            ratio,
            bar.map(|_| '█').collect::<String>(),
        );
    }
    Ok(text)
}

/// What an interruption has left counts for what it is.
fn interrupted(figures: &Value, rounds: usize) -> String {
    match figures["planned"].as_u64() {
        Some(planned) if usize::try_from(planned) == Ok(rounds) => String::new(),
        planned => format!(
            "**Interrupted**: {} rounds were to be. `make hops` measures anew.\n",
            planned.map_or("more".into(), |planned| planned.to_string())
        ),
    }
}

fn loads(figures: &Value) -> String {
    let loads = figures["loads"].as_array().into_iter().flatten();
    let loads: Vec<f64> = loads.filter_map(Value::as_f64).collect();
    let least = loads.iter().copied().fold(f64::INFINITY, f64::min);
    let most = loads.iter().copied().fold(0.0, f64::max);
    format!("load average of the machine, this and all else on it, {least:.1} to {most:.1}")
}

fn about(figures: &Value) -> String {
    let word = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    format!(
        "Measured on {}: {}, Kubernetes {}, client and servers grpc-go {}",
        word(&figures["date"]),
        word(&figures["machine"]),
        word(&figures["versions"]["kubernetes"]),
        word(&figures["versions"]["grpc-go"]),
    )
}

fn lost(figures: &Value) -> Result<String> {
    let runs = figures["runs"].as_object().context("no runs")?;
    let rows = || runs.values().filter_map(Value::as_object).flatten();
    // A proxy may have been measured again, and the others not.
    let abouts: BTreeSet<String> = rows().map(|(_, row)| about(&row["about"])).collect();
    let abouts: Vec<String> = abouts.into_iter().collect();
    let mut text = format!(
        "{}. Each row is one run of one proxy, so that 0 means: none in that run. At most {} calls a second: the number of\ncalls tells where it was less.\n",
        abouts.join(";\n"),
        figures["rate"]
    );
    let heads = [
        (
            "at-once",
            "Servers that stop as soon as they are asked to, and roll out as fast as they can:",
        ),
        (
            "patient",
            "Servers by the recipe below, which serve on for 15 s and roll out with `minReadySeconds: 15`:",
        ),
    ];
    for (servers, head) in heads {
        let rows = runs.get(servers).unwrap_or(&Value::Null);
        let _ = write!(
            text,
            "\n{head}\n\n| proxy | new pods found after | calls | failed: {} |\n|---|---|---|{}\n",
            EVENTS.join(" | "),
            "---|".repeat(EVENTS.len())
        );
        for (way, _) in WAYS {
            let Some(row) = rows.get(way) else { continue };
            let name = name(way, &row["about"]).unwrap_or_default();
            let date = match abouts.len() {
                1 => String::new(),
                _ => format!(" ({})", row["about"]["date"].as_str().unwrap_or("?")),
            };
            let _ = write!(text, "| {name}{date} | {} | {} |", found(row), row["calls"]);
            for event in EVENTS {
                let _ = write!(text, " {} |", row["failed"][event]);
            }
            text.push('\n');
        }
    }
    Ok(text)
}

fn found(row: &Value) -> String {
    let times = row["found"].as_array().into_iter().flatten();
    let times: Vec<String> = times
        .filter_map(Value::as_f64)
        .map(|seconds| format!("{seconds:.1} s"))
        .collect();
    if times.is_empty() {
        return "never".into();
    }
    times.join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hop_is_shown_beside_direct_calls_of_its_round() {
        let round = |of: f64| {
            let direct = json!({"p50_us": 1000.0 * of, "p99_us": 2000.0 * of, "client": of, "server": of, "proxy": 0});
            let envoy = json!({"p50_us": 2000.0 * of, "p99_us": 6000.0 * of, "client": of, "server": of, "proxy": of});
            json!({"direct": direct, "envoy": envoy})
        };
        let mut figures = json!({"rounds": [round(1.0), round(4.0), round(2.0)], "planned": 3, "versions": {"envoy": "1.2.3"}});
        let text = cost(&figures).unwrap();
        let row = "| Envoy 1.2.3, [the example](../examples/proxies/envoy) | 4.00 ms | 12.00 ms | 2.0 + 2.0 + 2.0 s | 6.0 s | 2.0 / 3.0 / 1.5 | ████████████████████ |\n";
        assert!(text.ends_with(row), "{text}");
        assert!(
            text.contains("| 1.0 / 1.0 / 1.0 | █████████████ |"),
            "{text}"
        );
        assert!(!text.contains("nginx"), "{text}");

        assert!(!text.contains("Interrupted"), "{text}");
        figures["planned"] = 4.into();
        let text = cost(&figures).unwrap();
        assert!(text.contains("Interrupted**: 4 rounds"), "{text}");
    }

    #[test]
    fn what_never_found_a_pod_says_so() {
        let events = json!({
            "scale-up": 0, "scale-down": 1, "rolling update": 2, "no pod Ready": 3, "update of the proxy": 4,
        });
        let about = json!({"date": "2026-11-21", "versions": {"nginx-naive": "1.22.1"}});
        let naive = json!({"about": about, "found": [], "calls": 7, "failed": events});
        let mut figures = json!({"runs": {"patient": {"nginx-naive": naive}}});
        let text = lost(&figures).unwrap();
        let row = "the name looked up at the start | never | 7 | 0 | 1 | 2 | 3 | 4 |\n";
        assert!(text.ends_with(row), "{text}");
        let table = text.lines().filter(|line| line.starts_with('|'));
        let columns: BTreeSet<usize> = table.map(|line| line.matches('|').count()).collect();
        assert_eq!(columns.len(), 1, "{text}");

        // Another was measured on another day: that changes nothing of this one.
        let runs = &mut figures["runs"]["patient"];
        runs["envoy"] = runs["nginx-naive"].clone();
        runs["envoy"]["about"] = json!({"date": "2026-11-24", "versions": {"envoy": "1.2.3"}});
        let text = lost(&figures).unwrap();
        let row = "nginx 1.22.1, the name looked up at the start (2026-11-21) | never | 7 | 0 | 1 | 2 | 3 | 4 |\n";
        assert!(text.ends_with(row), "{text}");
        assert!(
            text.contains("Envoy 1.2.3, [the example](../examples/proxies/envoy) (2026-11-24)"),
            "{text}"
        );
        let days = ["2026-11-21", "2026-11-24"].map(|day| format!("Measured on {day}: "));
        assert!(days.iter().all(|day| text.contains(day)), "{text}");
    }
}
