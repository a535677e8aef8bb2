//! A right that is missing: what can be read goes on, and what cannot is not taken for absent where that would lose something.

use super::*;
use crate::api::Server;
use crate::observed::{Kind, Unreadable};

/// The plan where StatefulSets cannot be read.
fn plan_without(world: &World) -> Plan {
    plan_where(world, Kind::StatefulSet, "list")
}

fn plan_where(world: &World, kind: Kind, verb: &'static str) -> Plan {
    let observed = Observed {
        unreadable: vec![Unreadable { kind, verb }],
        ..world.observed()
    };
    plan(&observed, FREE, now())
}

fn pod_of(kind: &str) -> Value {
    json!({"metadata": {
        "name": "store-0", "labels": {"app": "echo"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": kind, "name": "store", "uid": "s", "controller": true}],
    }})
}

#[test]
fn a_deployment_goes_on_and_the_right_is_named() {
    let mut world = World::with(env_age(), &json!({}));
    world.pods.push(pod_of("StatefulSet"));
    let plan = plan_without(&world);
    assert_eq!(plan.steps.len(), 1, "{:?}", plan.steps);
    let words = [
        "may not list StatefulSets in namespace ns",
        "verbs get, list, watch and patch on statefulsets of the API group apps",
    ];
    says(&plan, State::False, "Forbidden", &words);
}

#[test]
fn who_has_nothing_of_the_kind_is_not_told() {
    let mut world = World::with(env_age(), &json!({}));
    world.settle();
    says(&plan_without(&world), State::True, "Applied", &[]);
    world.age(None);
    world.settle();
    world.pods.push(pod_of("StatefulSet"));
    says(&plan_without(&world), State::True, "NotRequested", &[]);
}

#[test]
fn what_is_not_found_may_be_of_the_kind() {
    let world = World::new(Some(env_age()), vec![]);
    says(&plan_without(&world), State::False, "Forbidden", &[]);
    let mut age = env_age();
    age["workloads"] = json!(["a", "store"]);
    let world = World::with(age, &json!({}));
    says(&plan_without(&world), State::False, "Forbidden", &[]);
}

#[test]
fn what_was_written_there_is_not_forgotten() {
    let mut world = World::with(env_age(), &json!({}));
    world.settle();
    let row = Server {
        kind: "StatefulSet".into(),
        name: "store".into(),
        container: Some("srv".into()),
        set_by: Some(crate::api::SetBy::Evenkeel),
        reverts: vec![k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now())],
        ..Server::default()
    };
    let status = world.backend.status.as_mut().unwrap();
    status.servers.push(row.clone());
    let plan = plan_without(&world);
    let kept = plan.servers.iter().find(|row| row.name == "store").unwrap();
    assert_eq!(
        (&kept.name, &kept.reverts, kept.state.as_deref()),
        (&row.name, &row.reverts, Some("Forbidden"))
    );
    world.delete();
    assert_eq!(world.settle(), [Change::TakeBack]);
    world.backend.status.as_mut().unwrap().servers = vec![row];
    world.backend.metadata.finalizers = Some(vec![names::FINALIZER.into()]);
    let plan = plan_without(&world);
    assert!(
        plan.holds && plan.steps.is_empty(),
        "what it has would stay for ever"
    );
    says(&plan, State::False, "Forbidden", &[]);
    world.backend.status.as_mut().unwrap().servers.clear();
    assert!(!plan_without(&world).holds, "nothing of ours is known of");
}

/// Between a change of the backend and the patch that takes back what the former spec had us set, the row does not say that
/// anything is ours.
#[test]
fn what_waits_to_be_taken_back_is_not_forgotten() {
    let changed: fn(&mut World) -> &mut World = |world| world.age(Some(flag_age()));
    for change in [changed, |world| world.age(None), World::delete] {
        let mut world = World::with(env_age(), &json!({"args": ["a"]}));
        world.settle();
        change(&mut world);
        // The API server is busy, and then the right goes.
        let told = world.tell_at(now());
        assert_eq!((told.servers[0].set_by, told.holds), (None, true));
        world.delete();
        let hidden = std::mem::take(&mut world.deployments);
        for _pass in 1..=2 {
            let plan = plan_where(&world, Kind::Deployment, "list");
            assert!(plan.holds, "the age would stay for ever: {plan:?}");
            says(
                &plan,
                State::False,
                "Forbidden",
                &["may not list Deployments"],
            );
            world.backend.status.as_mut().unwrap().servers = plan.servers;
        }
        world.deployments = hidden;
        assert_eq!(world.settle(), [Change::TakeBack]);
        assert!(world.record().is_none() && !world.plan().holds);
    }
}

#[test]
fn where_nothing_was_ever_written_nothing_holds() {
    let mut age = env_age();
    age["mode"] = json!("Advise");
    let mut world = World::with(age, &json!({}));
    world.settle();
    world.deployments.clear();
    world.delete();
    assert!(!plan_where(&world, Kind::Deployment, "list").holds);
}

#[test]
fn where_single_ones_cannot_be_read_each_has_one_row() {
    let mut world = World::new(
        Some(env_age()),
        vec![deployment("a", &json!({})), deployment("b", &json!({}))],
    );
    world.settle();
    world.settle();
    world.deployments.pop();
    let plan = plan_where(&world, Kind::Deployment, "get");
    let state = |row: &Server| (row.name.clone(), row.state.clone().unwrap());
    let rows: Vec<_> = plan.servers.iter().map(state).collect();
    let expected = [("a", "Applied"), ("b", "Forbidden")];
    assert_eq!(
        rows,
        expected.map(|(name, state)| (name.into(), state.into()))
    );
    let words = ["may not get Deployments in namespace ns"];
    says(&plan, State::False, "Forbidden", &words);
}

#[test]
fn that_a_rollout_failed_is_not_forgotten() {
    let mut world = World::with(env_age(), &json!({}));
    world.settle();
    let row = &mut world.backend.status.as_mut().unwrap().servers[0];
    row.state = Some("RolloutFailed".into());
    // Somebody has put the former Deployment back: no record is left of it.
    world.deployments[0] = deployment("a", &json!({}));
    for _ in 0..3 {
        bump(&mut world.deployments[0]);
    }
    world.roll();
    let hidden = std::mem::take(&mut world.deployments);
    for _pass in 1..=2 {
        let plan = plan_where(&world, Kind::Deployment, "get");
        says(
            &plan,
            State::False,
            "Forbidden",
            &["may not get Deployments"],
        );
        let row = &plan.servers[0];
        assert_eq!(row.state.as_deref(), Some("RolloutFailed"));
        let text = row.message.as_deref().unwrap();
        assert!(text.contains("may not get Deployments"), "{text}");
        world.backend.status.as_mut().unwrap().servers = plan.servers;
    }
    world.deployments = hidden;
    let plan = world.plan();
    assert!(plan.steps.is_empty(), "{:?}", plan.steps);
    says(&plan, State::False, "RolloutFailed", &["Deployment a"]);
}
