use serde_json::{Value, json};

use super::*;
use crate::api::conditions::State;

fn observed(watch: &Value) -> Observed {
    let backend = json!({
        "apiVersion": "evenkeel.dev/v1alpha1",
        "kind": "GrpcBackend",
        "metadata": {"name": "rng", "namespace": "n", "uid": "backend"},
        "spec": {"selector": {"app": "rng"}, "ports": [{"port": 1}], "endpointWatch": watch},
    });
    Observed {
        backend: serde_json::from_value(backend).unwrap(),
        ..Observed::default()
    }
}

fn created<K>(child: Child<K>) -> K {
    match child {
        Child::Create(object) => *object,
        _ => panic!("not created"),
    }
}

#[test]
fn everything_is_created_and_then_left_alone() {
    let mut world = observed(&json!({"serviceAccount": {"create": true}}));
    let access = plan(&world, &[]);
    world.service_account = Some(created(access.service_account));
    world.role = Some(created(access.role));
    world.role_binding = Some(created(access.role_binding));
    assert!(is_exact(world.role.as_ref().unwrap(), &world.backend));
    world.labelled_service_accounts = world.service_account.clone().into_iter().collect();
    let again = plan(&world, &[]);
    assert_eq!(
        (again.service_account, again.role, again.role_binding),
        (Child::Leave, Child::Leave, Child::Leave)
    );
    assert!(again.given_up.is_empty());
    assert_eq!(again.statement.reason, Reason::Bound);
}

#[test]
fn a_foreign_role_is_neither_bound_nor_touched() {
    let mut world = observed(&json!({}));
    let role = json!({"metadata": {"name": "rng", "uid": "theirs"}, "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]});
    world.role = Some(serde_json::from_value(role).unwrap());
    let access = plan(&world, &[]);
    assert_eq!(
        (access.role, access.role_binding),
        (Child::Leave, Child::Leave)
    );
    assert_eq!(access.statement.reason, Reason::NameConflict);
}

#[test]
fn a_role_that_became_somebody_elses_is_bound_no_more() {
    let mut world = observed(&json!({}));
    let mut binding = created(plan(&world, &[]).role_binding);
    binding.metadata.uid = Some("b".into());
    world.role_binding = Some(binding);
    let role = json!({"metadata": {"name": "rng", "uid": "theirs"}, "rules": []});
    world.role = Some(serde_json::from_value(role).unwrap());
    let access = plan(&world, &[]);
    assert_eq!(access.role, Child::Leave);
    let Child::Delete(target) = access.role_binding else {
        panic!("clients have the rights of a foreign Role")
    };
    assert_eq!(target.uid, "b");
    assert_eq!(access.statement.reason, Reason::NameConflict);
}

#[test]
fn what_only_carries_our_labels_stays() {
    let mut world = observed(&json!({}));
    let access = plan(&world, &[]);
    let (mut role, mut binding) = (created(access.role), created(access.role_binding));
    role.metadata.owner_references = None;
    binding.metadata.owner_references = None;
    world.role = Some(role);
    world.role_binding = Some(binding.clone());
    world.backend.spec.endpoint_watch = None;
    let withdrawn = plan(&world, &[]);
    assert_eq!(
        (withdrawn.role, withdrawn.role_binding),
        (Child::Leave, Child::Leave)
    );
    world.backend.spec.endpoint_watch = Some(EndpointWatch::default());
    let adopted = plan(&world, &[]);
    assert!(matches!(adopted.role, Child::Update(_)), "{adopted:?}");
    binding.role_ref.name = "theirs".into();
    world.role_binding = Some(binding);
    let access = plan(&world, &[]);
    assert_eq!(access.role_binding, Child::Leave);
    assert_eq!(access.statement.reason, Reason::NameConflict);
}

#[test]
fn a_role_of_ours_with_other_rules_is_not_exact() {
    let world = observed(&json!({}));
    let mut role = created(plan(&world, &[]).role);
    role.rules.as_mut().unwrap()[0].verbs.push("delete".into());
    assert!(!is_exact(&role, &world.backend));
}

#[test]
fn rules_that_somebody_narrowed_are_put_right() {
    let mut world = observed(&json!({}));
    let mut role = created(plan(&world, &[]).role);
    role.rules.as_mut().unwrap()[0].resource_names = Some(vec!["one".into()]);
    world.role = Some(role);
    let Child::Update(role) = plan(&world, &[]).role else {
        panic!("clients get 403, and the status says Bound")
    };
    assert_eq!(role.rules, Some(rules()));
}

#[test]
fn a_wrong_role_ref_is_made_anew() {
    let mut world = observed(&json!({}));
    let mut binding = created(plan(&world, &[]).role_binding);
    binding.role_ref.name = "cluster-admin".into();
    binding.metadata.uid = Some("b".into());
    world.role_binding = Some(binding);
    assert!(matches!(plan(&world, &[]).role_binding, Child::Replace(_)));
}

#[test]
fn other_namespaces_only_where_admitted() {
    let world = observed(&json!({"clients": [{"namespace": "m", "serviceAccount": "c"}]}));
    let refused = plan(&world, &[]);
    assert_eq!(refused.statement.reason, Reason::Rejected);
    assert!(
        refused.statement.message.contains("clients[0].namespace m"),
        "{}",
        refused.statement.message
    );
    assert_eq!(refused.role_binding, Child::Leave);
    let subjects = created(plan(&world, &["m".into()]).role_binding)
        .subjects
        .unwrap();
    assert_eq!(subjects.len(), 1);
    assert_eq!(subjects[0].namespace.as_deref(), Some("m"));
}

#[test]
fn a_service_account_in_use_is_kept() {
    let mut world = observed(&json!({"serviceAccount": {"create": true}}));
    let mut account = created(plan(&world, &[]).service_account);
    account.metadata.uid = Some("a".into());
    world.labelled_service_accounts = vec![account];
    world.backend.spec.endpoint_watch = None;
    world.service_accounts_in_use = vec![("rng-client".into(), "pod-1".into())];
    let kept = plan(&world, &[]);
    assert!(kept.given_up.is_empty() && kept.waits);
    assert_eq!(kept.statement.state, State::True);
    assert!(
        kept.statement.message.contains("kept while pod pod-1"),
        "{}",
        kept.statement.message
    );
    world.service_accounts_in_use.clear();
    let free = plan(&world, &[]);
    assert!(free.given_up.len() == 1 && !free.waits);
}

#[test]
fn a_client_that_is_no_longer_admitted_loses_access_and_the_others_keep_it() {
    let mut world = observed(&json!({"clients": [
        {"namespace": "m", "serviceAccount": "c"},
        {"serviceAccount": "own"},
    ]}));
    let both = created(plan(&world, &["m".into()]).role_binding);
    assert_eq!(both.subjects.as_ref().unwrap().len(), 2);
    world.role_binding = Some(both);
    let access = plan(&world, &[]);
    assert_eq!(access.statement.reason, Reason::Rejected);
    let Child::Update(binding) = access.role_binding else {
        panic!("access persists")
    };
    assert_eq!(binding.subjects.unwrap()[0].name, "own");
}
