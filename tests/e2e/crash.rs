//! The operator is killed at each of its writes, and what comes of it is as if it had not been.
//!
//! A scenario is a workload, or two, and two states of its GrpcBackend, between which it goes to and fro: the operator is killed
//! before its first write, after its first (which happens, but whose answer it never sees), before its second, and so on,
//! until it arrives without having been killed. At last it goes there in lives of one write each. Wherever it arrives
//! everything is checked to the letter, and that the workload's spec was written only as often as it takes: once.

mod lane;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use evenkeel::api::ConditionType::ConnectionAgeApplied;
use evenkeel_cluster::{Fault, From, Identity, Rule, Seen, Signal, until};
use serde_json::{Value, json};

use self::lane::{Kill, LABEL, Lane};
use crate::bed::{Bed, ROLLOUT, SOON, start_operator_by};
use crate::manifests::{self, same};
use crate::tests;
use crate::world::{OPERATORS, World};

tests![
    shared created_and_deleted(300),
    shared age_added_and_removed(300),
    shared knob_changed(300),
    shared knobs_of_other_kinds(300),
    shared grace_added_and_removed(300),
    shared workload_named_and_not(300),
    shared relabelled(300),
    shared two_workloads(300),
    shared container_changed(300),
    shared created_and_deleted_while_down(300),
    shared selector_changed_while_down(300),
    shared advised_and_enforced(300),
    shared left_where_it_is(300),
    shared given_up_where_the_server_fails(400),
    shared applied_server_side(300),
    shared taken_out_by_an_apply(300),
    shared of_a_stateful_set(400),
    shared of_a_daemon_set_while_down(300),
    shared rollouts_under_way_count_after_a_restart(240),
];

/// More writes than any way takes: an operator that needs more goes round in circles.
const ENOUGH: usize = 40;

async fn created_and_deleted(world: Arc<World>) -> Result<()> {
    let states = [State::none(), State::env()];
    to_and_fro(&world, "created", &bare(1), states, false).await
}

async fn age_added_and_removed(world: Arc<World>) -> Result<()> {
    let states = [State::no_age(), State::flags()];
    to_and_fro(&world, "added", &full(0), states, false).await
}

async fn knob_changed(world: Arc<World>) -> Result<()> {
    let states = [State::env(), State::flags()];
    to_and_fro(&world, "knob", &full(1), states, false).await
}

async fn knobs_of_other_kinds(world: Arc<World>) -> Result<()> {
    let states = [State::switch(), State::list()];
    to_and_fro(&world, "kinds", &full(0), states, false).await
}

/// The same record holds more, or less, of the same knob.
async fn grace_added_and_removed(world: Arc<World>) -> Result<()> {
    let states = [State::age_alone(), State::env()];
    to_and_fro(&world, "grace", &full(0), states, false).await
}

async fn workload_named_and_not(world: Arc<World>) -> Result<()> {
    let states = [State::another_named(), State::preset()];
    to_and_fro(&world, "named", &full(0), states, false).await
}

/// Its owner gives the pods what the selector asks for, and takes it from them.
async fn relabelled(world: Arc<World>) -> Result<()> {
    let states = [State::unlabelled(), State::labelled()];
    to_and_fro(&world, "relabelled", &full(0), states, false).await
}

/// It ends between the one and the other, too.
async fn two_workloads(world: Arc<World>) -> Result<()> {
    let mut other = full(0);
    other["metadata"]["name"] = json!("other");
    for labels in [
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
    ] {
        let labels = other.pointer_mut(labels).context("no labels")?;
        labels["version"] = json!("v2");
    }
    let mut lane = Lane::new(&world, "two", &[full(0), other]).await?;
    go_to_and_fro(&mut lane, [State::no_age(), State::env()], false).await
}

/// Out of one container and into another, by one write.
async fn container_changed(world: Arc<World>) -> Result<()> {
    let mut server = full(0);
    let containers = &mut server["spec"]["template"]["spec"]["containers"];
    let mut second = containers[0].clone();
    second["name"] = json!("second");
    containers
        .as_array_mut()
        .context("no containers")?
        .push(second);
    let states = [
        State::in_container(0, "server"),
        State::in_container(1, "second"),
    ];
    to_and_fro(&world, "container", &server, states, false).await
}

async fn created_and_deleted_while_down(world: Arc<World>) -> Result<()> {
    let states = [State::none(), State::flags()];
    to_and_fro(&world, "down", &full(0), states, true).await
}

async fn selector_changed_while_down(world: Arc<World>) -> Result<()> {
    let states = [State::elsewhere(), State::flags()];
    to_and_fro(&world, "selector", &full(0), states, true).await
}

async fn advised_and_enforced(world: Arc<World>) -> Result<()> {
    let states = [State::advised(), State::flags()];
    to_and_fro(&world, "advised", &full(0), states, false).await
}

/// Each time the owner takes it out then.
async fn left_where_it_is(world: Arc<World>) -> Result<()> {
    let states = [State::left(), State::to_be_left()];
    to_and_fro(&world, "left", &full(0), states, false).await
}

/// It goes in and comes out again by itself, and is not tried anew by whoever comes next.
async fn given_up_where_the_server_fails(world: Arc<World>) -> Result<()> {
    let mut server = manifests::server("echo", 1);
    manifests::container(&mut server)["args"] = json!(["--crash-on-age"]);
    server["spec"]["progressDeadlineSeconds"] = json!(2);
    server["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
    let states = [State::no_age(), State::failed()];
    to_and_fro(&world, "given-up", &server, states, false).await
}

/// What changes a list has a second write after it, by which whoever applied the list gets it back.
async fn applied_server_side(world: Arc<World>) -> Result<()> {
    let mut lane = Lane::server_side(&world, "server-side", &full(0)).await?;
    go_to_and_fro(&mut lane, [State::no_age(), State::flags()], false).await
}

/// An apply takes the flag out: it is set again, which counts once.
async fn taken_out_by_an_apply(world: Arc<World>) -> Result<()> {
    let mut lane = Lane::server_side(&world, "taken-out", &full(0)).await?;
    let way = "by flag, and taken out";
    // Of each GrpcBackend anew: three times in six hours are all that are answered.
    let again = async |lane: &mut Lane, kill: Kill| {
        lane.travel(&State::flags(), Kill::Never, false).await?;
        let again = State::set_again();
        let kills = lane.travel(&again, kill, false).await;
        let kills = kills.with_context(|| format!("{way}, {}", kill.text()))?;
        lane.travel(&State::none(), Kill::Never, false).await?;
        Ok::<usize, anyhow::Error>(kills)
    };
    let mut points = 0;
    for write in 1..=ENOUGH {
        let before = again(&mut lane, Kill::Before(write)).await?;
        let after = again(&mut lane, Kill::After(write)).await?;
        if before + after == 0 {
            break;
        }
        points += 1;
    }
    let lives = again(&mut lane, Kill::AfterEach).await?;
    println!(
        "    kill matrix: {way}: {points} writes, killed before and after each; {lives} lives of one write"
    );
    // The count, the flag, and what is given up after it.
    ensure!(points >= 3, "{way}: only {points} writes were met");
    Ok(())
}

async fn of_a_stateful_set(world: Arc<World>) -> Result<()> {
    let mut server = bare(1);
    manifests::make_kind(&mut server, "StatefulSet");
    to_and_fro(&world, "set", &server, [State::none(), State::env()], false).await
}

async fn of_a_daemon_set_while_down(world: Arc<World>) -> Result<()> {
    let mut server = full(0);
    manifests::make_kind(&mut server, "DaemonSet");
    let states = [State::no_age(), State::flags()];
    to_and_fro(&world, "daemons", &server, states, true).await
}

/// How many rollouts may be under way is no matter of what one process remembers, nor of which namespace it has read first.
async fn rollouts_under_way_count_after_a_restart(world: Arc<World>) -> Result<()> {
    let bed = Bed::without_operator(&world, "places").await?;
    let mut elsewhere = Bed::without_operator(&world, "elsewhere").await?;
    elsewhere.deploy(&manifests::server("other", 0)).await?;
    // With an age its pods never become ready, and the rollout does not end.
    let mut stuck = manifests::server("stuck", 1);
    manifests::container(&mut stuck)["args"] = json!(["--crash-on-age"]);
    bed.deploy(&stuck).await?;
    for namespace in [bed.name(), elsewhere.name()] {
        elsewhere.grant(namespace).await?;
    }
    let (cluster, account) = (&world.cluster, elsewhere.name());
    let identity = Identity::service_account(OPERATORS, account);
    let proxy = cluster.proxy(&identity).await?;
    let kubeconfig = cluster.kubeconfig_via(&proxy, account, From::Inside)?;
    let (both, one) = ([bed.name(), account], ["--max-concurrent-rollouts=1"]);
    let operator = start_operator_by(&world, account, &both, &one, &kubeconfig).await?;
    elsewhere.operator = Some(operator);
    bed.apply(&manifests::backend_with_age("stuck", "30s"))
        .await?;
    bed.reason("stuck", ConnectionAgeApplied, "RollingOut", SOON)
        .await?;
    let process = &elsewhere.operator.as_ref().context("no operator")?.process;
    process.signal(Signal::Kill)?;
    process.wait(SOON).await?;
    let before = elsewhere.template("other").await?;
    elsewhere
        .apply(&manifests::backend_with_age("other", "30s"))
        .await?;
    let path = format!("/namespaces/{}/deployments?", bed.name());
    let list = {
        let path = path.clone();
        move |seen: &Seen| seen.verb == "list" && seen.uri.contains(&path)
    };
    proxy.add(Rule::new(list, Fault::Delay(Duration::from_secs(10))));
    let watch = |seen: &Seen| seen.verb == "watch" && seen.uri.contains(&path);
    let watched = proxy.count(watch);
    process.start_again()?;
    let waits = "WaitingForRollout";
    elsewhere
        .reason("other", ConnectionAgeApplied, waits, SOON)
        .await?;
    let message = elsewhere.message("other", ConnectionAgeApplied).await?;
    ensure!(message.contains("fewer rollouts"), "{message}");
    until("all is read", SOON, async || {
        Ok((proxy.count(watch) > watched).then_some(()))
    })
    .await?;
    elsewhere.another_pass("other").await?;
    same(&elsewhere.template("other").await?, &before)?;
    bed.kubectl(&["delete", "gb", "stuck"]).await?;
    elsewhere
        .reason("other", ConnectionAgeApplied, "Applied", ROLLOUT)
        .await?;
    bed.finish().await?;
    elsewhere.finish().await
}

/// A backend as it is asked for, and what it comes to.
#[derive(Default)]
struct State {
    name: &'static str,
    /// None: there is no such resource.
    spec: Option<Value>,
    /// Of ConnectionAgeApplied.
    reason: &'static str,
    /// The container's index.
    container: usize,
    /// What is in the container then besides what is there without us.
    adds: &'static [(&'static str, &'static [&'static str])],
    /// Whether our record is there.
    recorded: bool,
    /// Whether the finalizer is there.
    holds: bool,
    /// What the owner does to the pods for it.
    owner: Owner,
}

#[derive(Default, PartialEq)]
enum Owner {
    #[default]
    Rests,
    /// Takes the age out on the way there.
    TakesItOut,
    /// Has given them another label, for as long as that is so.
    Labels,
}

const BY_VARIABLE: &[(&str, &[&str])] = &[(
    "env",
    &["MAX_CONNECTION_AGE=30s", "MAX_CONNECTION_AGE_GRACE=10s"],
)];
const BY_FLAG: &[(&str, &[&str])] = &[("args", &["--max-connection-age=30s"])];

impl State {
    fn none() -> Self {
        Self {
            name: "deleted",
            ..Self::default()
        }
    }

    fn no_age() -> Self {
        Self {
            name: "without an age",
            spec: Some(spec("echo", &Value::Null)),
            reason: "NotRequested",
            ..Self::default()
        }
    }

    fn env() -> Self {
        Self {
            name: "by variable",
            spec: Some(spec("echo", &env_knob())),
            reason: "Applied",
            adds: BY_VARIABLE,
            recorded: true,
            holds: true,
            ..Self::default()
        }
    }

    fn flags() -> Self {
        Self {
            name: "by flag",
            spec: Some(spec("echo", &flags_knob())),
            reason: "Applied",
            adds: BY_FLAG,
            recorded: true,
            holds: true,
            ..Self::default()
        }
    }

    fn set_again() -> Self {
        Self {
            name: "set again by flag",
            owner: Owner::TakesItOut,
            ..Self::flags()
        }
    }

    fn labelled() -> Self {
        let mut spec = spec("echo", &flags_knob());
        let (key, value) = LABEL;
        spec["selector"][key] = json!(value);
        Self {
            name: "labelled",
            spec: Some(spec),
            owner: Owner::Labels,
            ..Self::flags()
        }
    }

    fn unlabelled() -> Self {
        Self {
            name: "without the label",
            spec: Self::labelled().spec,
            ..Self::elsewhere()
        }
    }

    fn age_alone() -> Self {
        let mut age = env_knob();
        if let Some(age) = age.as_object_mut() {
            age.remove("grace");
        }
        Self {
            name: "without a grace",
            spec: Some(spec("echo", &age)),
            adds: &[("env", &["MAX_CONNECTION_AGE=30s"])],
            ..Self::env()
        }
    }

    fn switch() -> Self {
        let age = json!({"maxAge": "30s", "knob": {"switch": {"flag": "-age", "implies": "30s"}}});
        Self {
            name: "by switch",
            spec: Some(spec("echo", &age)),
            adds: &[("args", &["-age"])],
            ..Self::flags()
        }
    }

    fn list() -> Self {
        let knob = json!({"listFlag": {"flag": "--options", "maxAge": "age_ms", "format": "Milliseconds"}});
        Self {
            name: "by a list in a flag",
            spec: Some(spec("echo", &json!({"maxAge": "30s", "knob": knob}))),
            adds: &[("args", &["--options=age_ms=30000"])],
            ..Self::flags()
        }
    }

    fn preset() -> Self {
        let age = json!({"maxAge": "30s", "knob": {"preset": "Thanos"}});
        Self {
            name: "by preset",
            spec: Some(spec("echo", &age)),
            adds: &[("args", &["--grpc-server-max-connection-age=30s"])],
            ..Self::flags()
        }
    }

    fn another_named() -> Self {
        let age = json!({"maxAge": "30s", "workloads": ["another"], "knob": {"preset": "Thanos"}});
        Self {
            name: "for another workload",
            spec: Some(spec("echo", &age)),
            ..Self::elsewhere()
        }
    }

    fn in_container(container: usize, name: &'static str) -> Self {
        let mut age = flags_knob();
        age["container"] = json!(name);
        Self {
            name,
            spec: Some(spec("echo", &age)),
            container,
            ..Self::flags()
        }
    }

    fn advised() -> Self {
        let mut age = flags_knob();
        age["mode"] = json!("Advise");
        Self {
            name: "advised",
            spec: Some(spec("echo", &age)),
            reason: "NotApplied",
            ..Self::default()
        }
    }

    fn to_be_left() -> Self {
        let mut age = env_knob();
        age["onRemove"] = json!("Leave");
        Self {
            name: "by variable, to be left",
            spec: Some(spec("echo", &age)),
            ..Self::env()
        }
    }

    fn left() -> Self {
        Self {
            name: "deleted and left",
            adds: BY_VARIABLE,
            ..Self::default()
        }
    }

    fn failed() -> Self {
        Self {
            name: "failed",
            reason: "RolloutFailed",
            adds: &[],
            ..Self::env()
        }
    }

    fn elsewhere() -> Self {
        Self {
            name: "selecting others",
            spec: Some(spec("others", &flags_knob())),
            reason: "NoServer",
            holds: true,
            ..Self::default()
        }
    }

    /// Whether the age went in and out again on the way: that takes one write more than the difference, which is the record.
    fn fails(&self) -> bool {
        self.recorded && self.adds.is_empty()
    }

    /// The workload's spec as it is in this state.
    fn workload(&self, before: &Value) -> Result<Value> {
        let mut spec = before.clone();
        if self.owner == Owner::Labels {
            let (key, value) = LABEL;
            spec["template"]["metadata"]["labels"][key] = json!(value);
        }
        let container = &mut spec["template"]["spec"]["containers"][self.container];
        for (field, entries) in self.adds {
            let list = &mut container[*field];
            if list.is_null() {
                *list = json!([]);
            }
            let list = list.as_array_mut().context("no list")?;
            for entry in *entries {
                list.push(match (*field, entry.split_once('=')) {
                    ("env", Some((name, value))) => json!({"name": name, "value": value}),
                    _ => json!(entry),
                });
            }
        }
        Ok(spec)
    }
}

fn env_knob() -> Value {
    manifests::backend_with_age("echo", "30s")["spec"]["connectionAge"].take()
}

fn flags_knob() -> Value {
    json!({"maxAge": "30s", "knob": {"flags": {"maxAge": "--max-connection-age"}}})
}

/// Without figures, which would be written whenever they change.
fn spec(app: &str, age: &Value) -> Value {
    let mut spec = manifests::backend(app)["spec"].take();
    spec["balance"] = json!({"mode": "Disabled"});
    if !age.is_null() {
        spec["connectionAge"] = age.clone();
    }
    spec
}

/// A server without any list in its container, quick to come and to go. Without pods all that the operator does is the same,
/// but that it never waits for one.
fn bare(replicas: u32) -> Value {
    let mut server = manifests::server("echo", replicas);
    server["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = json!(1);
    if let Some(container) = manifests::container(&mut server).as_object_mut() {
        container.remove("readinessProbe");
        container.remove("env");
    }
    server
}

/// The same with variables and arguments of its owner, and things of theirs that look like ours.
fn full(replicas: u32) -> Value {
    let mut server = bare(replicas);
    server["metadata"]["annotations"] = json!({"connection-age.example.com/echo": "theirs"});
    let container = manifests::container(&mut server);
    container["env"] = json!([
        {"name": "VERSION", "value": "theirs"},
        {"name": "MAX_CONNECTION_AGE_SECONDS", "value": ""},
    ]);
    container["args"] = json!(["--drain=0s"]);
    server
}

async fn to_and_fro(
    world: &Arc<World>,
    prefix: &str,
    server: &Value,
    states: [State; 2],
    down: bool,
) -> Result<()> {
    let mut lane = Lane::new(world, prefix, std::slice::from_ref(server)).await?;
    go_to_and_fro(&mut lane, states, down).await
}

async fn go_to_and_fro(lane: &mut Lane, states: [State; 2], down: bool) -> Result<()> {
    // What is the same in all kinds is killed twice at each write of a Deployment.
    let (skipped, each) = if lane.is_deployment() {
        (0, "before and after")
    } else {
        (1, "after")
    };
    let way = |from: &State, to: &State| format!("from {} to {}", from.name, to.name);
    if states[0].spec.is_some() {
        lane.travel(&states[0], Kill::Never, down).await?;
    }
    let mut covered = [0, 0];
    for write in 1..=ENOUGH {
        let mut killed = [false, false];
        for kill in &[Kill::Before(write), Kill::After(write)][skipped..] {
            for (at, to) in [(0, &states[1]), (1, &states[0])] {
                let kills = lane
                    .travel(to, *kill, down)
                    .await
                    .with_context(|| format!("{}, {}", way(&states[at], to), kill.text()))?;
                killed[at] |= kills > 0;
            }
        }
        for at in [0, 1] {
            covered[at] += usize::from(killed[at]);
        }
        if killed == [false, false] {
            break;
        }
    }
    for (at, to) in [(0, &states[1]), (1, &states[0])] {
        let lives = lane
            .travel(to, Kill::AfterEach, down)
            .await
            .with_context(|| format!("{}, one write a life", way(&states[at], to)))?;
        let (way, points) = (way(&states[at], to), covered[at]);
        println!(
            "    kill matrix: {way}: {points} writes, killed {each} each; {lives} lives of one write"
        );
        // What was written and the finalizer, or the status.
        ensure!(points >= 2, "{way}: only {points} writes were met");
    }
    if states[0].spec.is_some() {
        // After all of it the workload is what it was before any backend.
        lane.travel(&State::none(), Kill::Never, false).await?;
    }
    Ok(())
}
