//! What rules grant, and what the audit log says was made of it.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;

use crate::audit::AuditEvent;

/// A verb on a resource, in one place: rules taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    /// `group/resource/subresource verb`, without the group for the core group.
    pub what: String,
    /// Everywhere, where there is none.
    namespace: Option<String>,
    /// The only one; any, where there is none.
    name: Option<String>,
}

impl Right {
    /// What rules grant by a Role in a namespace, or by a ClusterRole.
    pub fn of(rules: &[Value], namespace: Option<&str>) -> Vec<Self> {
        let words = |rule: &Value, list: &str| -> Vec<String> {
            let list = rule[list].as_array().into_iter().flatten();
            list.filter_map(|word| word.as_str().map(str::to_owned))
                .collect()
        };
        let mut rights = Vec::new();
        for rule in rules {
            let mut names: Vec<_> = words(rule, "resourceNames").into_iter().map(Some).collect();
            if names.is_empty() {
                names.push(None);
            }
            for group in words(rule, "apiGroups") {
                for resource in words(rule, "resources") {
                    for verb in words(rule, "verbs") {
                        rights.extend(names.iter().map(|name| Self {
                            what: what(&[&group, &resource], &verb),
                            namespace: namespace.map(str::to_owned),
                            name: name.clone(),
                        }));
                    }
                }
            }
        }
        rights
    }

    fn covers(&self, event: &AuditEvent) -> bool {
        let there =
            |only: &Option<String>, asked: &str| only.as_ref().is_none_or(|only| only == asked);
        self.what == asked(event)
            && there(&self.namespace, &event.namespace)
            && there(&self.name, &event.name)
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.namespace.as_deref().unwrap_or("every namespace");
        write!(f, "{} in {place}", self.what)?;
        self.name
            .iter()
            .try_for_each(|name| write!(f, ", {name} only"))
    }
}

fn what(path: &[&str], verb: &str) -> String {
    let path: Vec<_> = path
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect();
    format!("{} {verb}", path.join("/"))
}

fn asked(event: &AuditEvent) -> String {
    what(
        &[&event.group, &event.resource, &event.subresource],
        &event.verb,
    )
}

/// Rights by which nothing was ever done: to be refused is no use of one.
pub fn unused(rights: &[Right], events: &[AuditEvent]) -> BTreeSet<String> {
    let used = |right: &&Right| {
        let mut done = events.iter().filter(|event| event.code != 403);
        done.any(|event| right.covers(event))
    };
    let unused = rights.iter().filter(|right| !used(right));
    unused.map(ToString::to_string).collect()
}

/// What was asked for beyond them, and what was refused though it is within.
pub fn beyond(rights: &[Right], events: &[AuditEvent]) -> BTreeSet<String> {
    let within =
        |event: &&AuditEvent| event.code != 403 && rights.iter().any(|right| right.covers(event));
    let beyond = events.iter().filter(|event| !within(event));
    let said = |event: &AuditEvent| format!("{}: {} {}", event.code, asked(event), event.uri);
    beyond.map(said).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    fn event(verb: &str, resource: &str, namespace: &str, name: &str, code: u16) -> AuditEvent {
        AuditEvent {
            time: Timestamp::UNIX_EPOCH,
            verb: verb.into(),
            group: String::new(),
            resource: resource.into(),
            subresource: String::new(),
            namespace: namespace.into(),
            name: name.into(),
            code,
            user: "operator".into(),
            user_agent: String::new(),
            uri: format!("/api/v1/{namespace}/{resource}/{name}"),
        }
    }

    fn rules() -> Vec<Value> {
        vec![
            json!({"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}),
            json!({"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["dns", "cache"], "verbs": ["get"]}),
        ]
    }

    #[test]
    fn a_right_is_of_a_place_and_a_name() {
        let rights = Right::of(&rules(), Some("shop"));
        for (asked, is_within) in [
            (event("list", "pods", "shop", "", 200), true),
            (event("list", "pods", "warehouse", "", 200), false),
            // Of the whole cluster.
            (event("list", "pods", "", "", 200), false),
            (event("list", "pods", "shop", "", 403), false),
            (event("get", "configmaps", "shop", "dns", 404), true),
            (event("get", "configmaps", "shop", "other", 200), false),
            (event("watch", "pods", "shop", "", 200), false),
        ] {
            let beyond = beyond(&rights, std::slice::from_ref(&asked));
            assert_eq!(beyond.is_empty(), is_within, "{asked:?}: {beyond:?}");
        }
        let everywhere = Right::of(&rules(), None);
        let whole = [
            event("list", "pods", "", "", 200),
            event("list", "pods", "shop", "", 200),
        ];
        assert!(beyond(&everywhere, &whole).is_empty());
    }

    #[test]
    fn a_right_is_used_where_it_is_and_not_by_a_refusal() {
        let rights = Right::of(&rules(), Some("shop"));
        let events = [
            event("list", "pods", "warehouse", "", 200),
            event("list", "pods", "shop", "", 403),
            event("get", "configmaps", "shop", "dns", 404),
        ];
        let left: Vec<_> = unused(&rights, &events).into_iter().collect();
        assert_eq!(
            left,
            ["configmaps get in shop, cache only", "pods list in shop"]
        );
    }

    #[test]
    fn groups_and_subresources_are_told_apart() {
        let rule = json!({"apiGroups": ["evenkeel.dev"], "resources": ["grpcbackends/status"], "verbs": ["patch"]});
        let rights = Right::of(&[rule], None);
        let mut patch = event("patch", "grpcbackends", "shop", "echo", 200);
        patch.group = "evenkeel.dev".into();
        assert!(!beyond(&rights, std::slice::from_ref(&patch)).is_empty());
        patch.subresource = "status".into();
        assert!(beyond(&rights, &[patch]).is_empty());
    }
}
