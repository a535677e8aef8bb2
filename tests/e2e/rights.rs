//! The chart's rules, given to a test's operator as the chart gives them.

use anyhow::Result;
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::world::{OPERATORS, root};

const GROUP: &str = "rbac.authorization.k8s.io";

/// The rules of some of the chart's lists.
pub fn rules(lists: &[&str]) -> Result<Vec<Value>> {
    let mut rules = Vec::new();
    for list in lists {
        let path = root().join(format!("charts/evenkeel/files/rbac/{list}.yaml"));
        let more: Vec<Value> = serde_yaml_ng::from_str(&std::fs::read_to_string(path)?)?;
        rules.extend(more);
    }
    Ok(rules)
}

/// What is in the Roles of a test's own operator.
const LIMITED: [&str; 2] = ["operator", "leader-election"];

impl Bed {
    /// What the operator of this test needs in a namespace.
    pub async fn grant(&self, namespace: &str) -> Result<()> {
        self.grant_to(self.name(), "the-operator", namespace).await
    }

    /// The same for another ServiceAccount, by a binding of this name.
    pub async fn grant_to(&self, account: &str, binding: &str, namespace: &str) -> Result<()> {
        let role = "the-operator";
        self.bind(account, ["Role", role, binding], Some(namespace), &LIMITED)
            .await
    }

    /// The rules of some lists in the whole cluster, and of others where the operator's Lease is.
    pub async fn grant_everywhere(&self, lists: &[&str], of_lease: &[&str]) -> Result<()> {
        let role = format!("operator-{}", self.name());
        let names = ["ClusterRole", &role, &role];
        self.bind(self.name(), names, None, lists).await?;
        let names = ["Role", &role, &role];
        self.bind(self.name(), names, Some(OPERATORS), of_lease)
            .await
    }

    /// The rules of a list in one namespace: gives the name of its Role and RoleBinding.
    pub async fn grant_list(&self, list: &str, namespace: &str) -> Result<String> {
        let role = format!("{list}-{}", self.name());
        let names = ["Role", &role, &role];
        self.bind(self.name(), names, Some(namespace), &[list])
            .await?;
        Ok(role)
    }

    /// `names`: the kind of the role, its name, and that of the binding.
    async fn bind(
        &self,
        account: &str,
        names: [&str; 3],
        namespace: Option<&str>,
        lists: &[&str],
    ) -> Result<()> {
        let [kind, role, binding] = names;
        let version = format!("{GROUP}/v1");
        let metadata = |name: &str| match namespace {
            Some(namespace) => json!({"name": name, "namespace": namespace}),
            None => json!({ "name": name }),
        };
        let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account, "namespace": OPERATORS}},
            {"apiVersion": version, "kind": kind, "metadata": metadata(role), "rules": rules(lists)?},
            {"apiVersion": version, "kind": format!("{kind}Binding"), "metadata": metadata(binding),
             "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role},
             "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": OPERATORS}]},
        ]});
        self.world.cluster.apply(&objects.to_string()).await?;
        Ok(())
    }
}
