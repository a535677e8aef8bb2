//! The recipe by which no call fails, and what it was tried with.

use std::fmt::Write as _;

use evenkeel::connection_age::timing::LOOK_UP;
use evenkeel::findings::{PRE_STOP, STOP};
use serde_json::{Value, json};

use crate::cell::Cell;
use crate::figures::{Figures, grouped, median};
use crate::page::Measured;
use crate::plan::Client;

const TEXT: &str = "\
    `minReadySeconds` is for clients that may look again only 30 s after the last time: without it all pods that they know can be gone\n\
    before. `preStop` is for those that look by the clock and are not told by the server; its 35 s are the longest usual time to live of an\n\
    answer and 5 s for every node to hear, of which such clients need less here, where answers live 5 s (tonic's *after Terminating*\n\
    below). The rest of terminationGracePeriodSeconds is for the server's own graceful stop. The server here has nothing else: it does not serve on\n\
    at SIGTERM by itself. Clients that watch endpoints were tried with all of it; whether they need less was not.\n\n\
    Clients have the [retry policy](calls.md#what-to-do) for the methods that may be repeated. *Rate* is the calls a second of each client,\n\
    all clients of a way beside each other; *load* the machine's, which has two cores, at the end of the runs of the next three columns. *By the server alone*: its settings without the policy, which shows whether a client needs that\n\
    too. *Without*: the same events with the usual server above, at 50 calls a second of each client and with no retry. One run each.\n\
    [Envoy and nginx](hops.md) have a recipe of their own with shorter times, tried with grpc-go alone; below all clients go through them.\n\n";

/// What the servers that are tried give calls at the end of a connection.
const GRACE: &str = "10s";

/// What the server's Deployment has so that no call fails: what the findings ask for, each with its own words.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    min_ready: u64,
    pre_stop: u64,
    termination: u64,
}

impl Recipe {
    /// For so many pods.
    pub fn of(pods: u32) -> Self {
        Self {
            min_ready: LOOK_UP.as_secs().div_ceil(u64::from(pods)),
            pre_stop: PRE_STOP.as_secs(),
            termination: (PRE_STOP + STOP).as_secs(),
        }
    }

    /// Sets it in a Deployment whose first container is the server.
    pub fn set(&self, deployment: &mut Value) {
        let spec = &mut deployment["spec"];
        spec["minReadySeconds"] = self.min_ready.into();
        spec["strategy"] = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
        let pod = &mut spec["template"]["spec"];
        pod["terminationGracePeriodSeconds"] = self.termination.into();
        pod["containers"][0]["lifecycle"] =
            json!({"preStop": {"sleep": {"seconds": self.pre_stop}}});
    }

    /// As people write it.
    fn yaml(&self) -> String {
        let Self {
            min_ready,
            pre_stop,
            termination,
        } = self;
        format!(
            "kind: Deployment\n\
             spec:\n\
             \x20 minReadySeconds: {min_ready}            # times the pods: {} s, in which every client can have looked up once\n\
             \x20 strategy: {{rollingUpdate: {{maxSurge: 1, maxUnavailable: 0}}}}\n\
             \x20 template:\n\
             \x20   spec:\n\
             \x20     terminationGracePeriodSeconds: {termination}\n\
             \x20     containers:\n\
             \x20       - name: server          # that ends gracefully at SIGTERM\n\
             \x20         lifecycle: {{preStop: {{sleep: {{seconds: {pre_stop}}}}}}}\n\
             ---\n\
             kind: GrpcBackend\n\
             spec:\n\
             \x20 connectionAge:        # none for clients that watch endpoints or look by the clock\n\
             \x20   maxAge: 30s\n\
             \x20   grace: {GRACE}          # no shorter than the longest call; none for servers in tonic, which then send no GOAWAY\n",
            LOOK_UP.as_secs(),
        )
    }
}

/// What failed with it, and without.
pub(crate) fn section(all: &[Measured]) -> String {
    let mut text = format!(
        "## No failed call: the recipe\n\n\
         What the findings [GB030](findings/GB030.md), [GB031](findings/GB031.md) and [GB032](findings/GB032.md) ask for, for three pods:\n\n\
         ```yaml\n{}```\n\n{TEXT}",
        Recipe::of(3).yaml(),
    );
    text += "| event | way | client | rate | load | failed by the recipe | by the server alone | without |\n|---|---|---|---|---|---|---|---|\n";
    for with in all.iter().filter(|measured| measured.mode.retry) {
        let other = |recipe| {
            all.iter().find(|other| {
                let (mode, same) = (other.mode, with.mode);
                (mode.recipe, mode.retry) == (recipe, false)
                    && (mode.via, mode.age) == (same.via, same.age)
                    && other.event == with.event
            })
        };
        let [alone, without] = [true, false].map(other);
        let loads: Vec<String> = [Some(with), alone, without]
            .into_iter()
            .filter_map(|measured| Some(load(measured?.cell.as_ref()?)))
            .collect();
        for client in with.mode.clients() {
            let says = |measured: Option<&Measured>| failures(measured?, client);
            let columns = [says(Some(with)), says(alone), says(without)];
            if columns.iter().all(Option::is_none) {
                continue;
            }
            let tried = alone.is_some();
            let [by_recipe, alone, without] =
                columns.map(|column| column.unwrap_or_else(|| "not measured yet".into()));
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {by_recipe} | {} | {without} |",
                with.event.title,
                with.mode.title,
                client.library,
                with.cell.as_ref().map_or(String::new(), rates),
                loads.join(", "),
                if tried { alone.as_str() } else { "–" },
            );
        }
    }
    let missing = all
        .iter()
        .filter(|measured| measured.mode.recipe && measured.cell.is_none());
    let missing: Vec<String> = missing
        .map(|measured| format!("{} ({})", measured.mode.title, measured.event.title))
        .collect();
    if !missing.is_empty() {
        let _ = writeln!(text, "\nNot measured yet: {}.", missing.join("; "));
    }
    text + "\n"
}

/// Of one client, as the table has it.
fn failures(measured: &Measured, client: Client) -> Option<String> {
    let figures = Figures::of(
        measured.cell.as_ref()?,
        measured.mode,
        measured.event,
        client,
    )?;
    let [failed, calls] = [figures.failures(), figures.calls()].map(grouped);
    Some(format!("{failed} of {calls}"))
}

/// Calls a second of each client, in all runs.
fn rates(cell: &Cell) -> String {
    let mut rates: Vec<String> = cell.runs.iter().map(|run| run.rate.to_string()).collect();
    rates.dedup();
    rates.join(" and ")
}

/// Of the machine, at the end of its runs.
fn load(cell: &Cell) -> String {
    let loads = cell.runs.iter().filter_map(|run| run.load).collect();
    median(loads).map_or_else(|| "?".into(), |load| format!("{load:.0}"))
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use evenkeel::findings::ask;
    use evenkeel::manifests::{Node, Objects, backends};
    use serde::Deserialize as _;

    use super::*;

    /// Not divided by the default strategy into one after the other, as three are.
    const PODS: u32 = 4;

    fn by_the_recipe() -> Value {
        let mut server = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "echo"},
            "spec": {
                "replicas": PODS,
                "selector": {"matchLabels": {"app": "echo"}},
                "template": {"metadata": {"labels": {"app": "echo"}}, "spec": {"containers": [{
                    "name": "server",
                    "image": "registry.example.com/echo:1.4.2",
                    "ports": [{"name": "grpc", "containerPort": 8080}],
                    "readinessProbe": {"grpc": {"port": 8080}},
                }]}},
            },
        });
        Recipe::of(PODS).set(&mut server);
        server
    }

    /// The ids of what `evenkeel check` says of it.
    fn said(server: &Value) -> Vec<&'static str> {
        let backend = json!({
            "apiVersion": "evenkeel.dev/v1alpha1", "kind": "GrpcBackend", "metadata": {"name": "echo"},
            "spec": {
                "selector": {"app": "echo"}, "ports": [{"port": 8080}],
                "connectionAge": {"maxAge": "30s", "grace": "10s", "knob": {"env": {"maxAge": "MAX_CONNECTION_AGE", "grace": "MAX_CONNECTION_AGE_GRACE"}}},
            },
        });
        let mut objects = Objects::default();
        for object in [&backend, server] {
            objects.add(&Rc::from("recipe.yaml"), Node::of(object), "shop");
        }
        let backends = backends(&objects);
        assert_eq!(backends.len(), 1);
        let found = ask(&backends[0].observed).found;
        found.into_iter().map(|(rule, _)| rule.id).collect()
    }

    #[test]
    fn the_findings_ask_for_the_recipe_and_nothing_else() {
        let whole = by_the_recipe();
        assert!(said(&whole).is_empty(), "{:?}", said(&whole));
        let cases: [(&str, &str, &[&str]); 4] = [
            ("/spec", "minReadySeconds", &["GB032"]),
            // Two at once go twice as fast.
            ("/spec", "strategy", &["GB032"]),
            (
                "/spec/template/spec",
                "terminationGracePeriodSeconds",
                &["GB031"],
            ),
            ("/spec/template/spec/containers/0", "lifecycle", &["GB030"]),
        ];
        for (parent, field, asks) in cases {
            let mut server = whole.clone();
            let parent = server.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            parent.remove(field).unwrap();
            assert_eq!(said(&server), asks, "without {field}");
        }
    }

    #[test]
    fn the_page_shows_what_is_tried() {
        let documents = serde_yaml_ng::Deserializer::from_str(&Recipe::of(3).yaml())
            .map(|document| Value::deserialize(document).unwrap())
            .collect::<Vec<_>>();
        let [shown, backend] = &*documents else {
            panic!("{documents:?}");
        };
        assert_eq!(backend["spec"]["connectionAge"]["grace"], GRACE);
        let mut tried = shown.clone();
        Recipe::of(3).set(&mut tried);
        assert_eq!(*shown, tried);
    }
}
