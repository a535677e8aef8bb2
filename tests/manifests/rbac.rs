//! Who may do what.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{RULES, document, documents, strings, text, yaml_files};

#[test]
fn every_rule_says_why() {
    for file in yaml_files(RULES) {
        let text = text(&file);
        let lines: Vec<&str> = text.lines().collect();
        for (above, rule) in lines.iter().zip(&lines[1..]) {
            if rule.starts_with("- ") {
                assert!(
                    above.starts_with("# "),
                    "{file}: the rule {rule:?} has no reason above it"
                );
            }
        }
    }
}

#[test]
fn nothing_is_granted_wholesale() {
    for file in yaml_files(RULES) {
        for rule in document(&file).as_array().unwrap() {
            for list in ["apiGroups", "resources", "verbs"] {
                let given = strings(&rule[list]);
                assert!(!given.is_empty(), "{file}: {rule} has no {list}");
                for word in ["*", "escalate", "bind", "impersonate", "secrets"] {
                    assert!(!given.contains(&word), "{file}: {word} is granted");
                }
            }
        }
    }
}

/// Of the lists for people SECURITY.md has nothing to say.
#[test]
fn every_list_is_told_of() {
    let [chart, security] = ["charts/evenkeel/README.md", "SECURITY.md"].map(text);
    for file in yaml_files(RULES) {
        let list = file.strip_prefix("charts/evenkeel/").unwrap();
        assert!(chart.contains(&format!("]({list})")), "the chart: {file}");
        let for_people = ["edit.yaml", "view.yaml"].map(|name| format!("{RULES}/{name}"));
        let told = security.contains(&format!("]({file})"));
        assert!(told || for_people.contains(&file), "SECURITY.md: {file}");
    }
}

/// What the product promises never to do, it must not be able to do.
#[test]
fn workloads_are_never_created_replaced_or_deleted() {
    let rules = document(&format!("{RULES}/operator.yaml"));
    let on = |resource: &str| -> BTreeSet<String> {
        rules
            .as_array()
            .unwrap()
            .iter()
            .filter(|rule| strings(&rule["resources"]).contains(&resource))
            .flat_map(|rule| strings(&rule["verbs"]))
            .map(str::to_owned)
            .collect()
    };
    let set = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<BTreeSet<_>>()
    };
    for kind in ["deployments", "statefulsets", "daemonsets"] {
        assert_eq!(on(kind), set(&["get", "list", "watch", "patch"]));
    }
    assert_eq!(on("grpcbackends"), set(&["get", "list", "watch", "patch"]));
    assert_eq!(on("pods"), set(&["list", "watch"]));
    // Otherwise the API server would refuse to let the operator hand them on.
    assert_eq!(on("endpoints"), set(&["get", "list", "watch"]));
    assert_eq!(on("endpointslices"), set(&["get", "list", "watch"]));
}

#[test]
fn chart_and_kustomize_have_the_same_rules() {
    let roles = documents("config/rbac/roles.yaml");
    let lists: [(&str, &[&str]); 4] = [
        ("evenkeel-operator", &["operator"]),
        ("evenkeel-leader-election", &["leader-election"]),
        ("evenkeel-grpcbackends-edit", &["edit"]),
        ("evenkeel-grpcbackends-view", &["view"]),
    ];
    let templates = text("charts/evenkeel/templates/rbac.yaml")
        + &text("charts/evenkeel/templates/user-roles.yaml");
    for (role, files) in lists {
        let role = roles
            .iter()
            .find(|found| found["metadata"]["name"] == role)
            .unwrap();
        let mut expected = Vec::new();
        for file in files {
            expected.extend(
                document(&format!("{RULES}/{file}.yaml"))
                    .as_array()
                    .unwrap()
                    .clone(),
            );
            // The chart has no rules of its own: it takes in each list as it stands.
            let include = format!(".Files.Get \"files/rbac/{file}.yaml\"");
            assert!(templates.contains(&include), "no template has {include}");
        }
        assert_eq!(role["rules"], Value::Array(expected));
    }
    // Only where it is asked for, in the Role of a namespace and in the ClusterRole.
    let optional = ".Values.findings.readAutoscalers }}\n{{ ";
    assert_eq!(templates.matches(optional).count(), 2, "{templates}");
    assert_eq!(templates.matches("files/rbac/autoscalers.yaml").count(), 2);
    assert_eq!(templates.matches("files/rbac/cluster-dns.yaml").count(), 1);
    assert!(
        !templates.contains("apiGroups:"),
        "a rule stands in a template, not in {RULES}"
    );
}
