//! ServiceAccount, Role and RoleBinding for clients that watch endpoints. No client here.

use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::{Resource, ResourceExt as _};

use crate::api::conditions::Statement;
use crate::api::{EndpointWatch, GrpcBackend, Reason};
use crate::child::{self, Child, Target};
use crate::names;
use crate::observed::Observed;

/// The three objects and ServiceAccounts that are no longer asked for.
#[derive(Clone, Debug)]
pub struct Access {
    /// The clients' ServiceAccount.
    pub service_account: Child<ServiceAccount>,
    /// ServiceAccounts of ours under names that the spec gave up, and that no pod uses.
    pub given_up: Vec<Target>,
    /// Whether others are kept only until pods are gone: nothing calls for a pass then.
    pub waits: bool,
    /// The Role with the fixed rules.
    pub role: Child<Role>,
    /// The RoleBinding. Written only once the Role is known to be ours with exactly the fixed rules ([`is_exact`]).
    pub role_binding: Child<RoleBinding>,
    /// What EndpointWatchReady says if all of this succeeds.
    pub statement: Statement,
}

/// Decides on all three. `client_namespaces` are those other namespaces whose clients the operator's settings admit.
pub fn plan(observed: &Observed, client_namespaces: &[String]) -> Access {
    let backend = &observed.backend;
    let Some(watch) = &backend.spec.endpoint_watch else {
        return withdrawn(observed);
    };
    let role = observed.role.as_ref();
    let role_binding = observed.role_binding.as_ref();
    if let Some(statement) = obstacle(observed) {
        return Access {
            service_account: Child::Leave,
            given_up: Vec::new(),
            waits: false,
            role: Child::Leave,
            // The Role that it names may have become somebody else's, with other rights.
            role_binding: drop_controlled(role_binding, backend),
            statement,
        };
    }
    let clients = clients(backend, watch, client_namespaces);
    let role_binding = match role_binding {
        live if clients.is_empty() => drop_controlled(live, backend),
        // A roleRef cannot be changed.
        Some(live) if live.role_ref != role_ref(backend) => Child::Replace(Target::of(live)),
        live => child::ensure(live, desired_binding(backend, &clients)),
    };
    let (service_account, given_up, in_use) = service_accounts(observed, watch);
    let mut message = format!(
        "Role and RoleBinding {} give {} access to endpoints",
        names::watch_role(backend),
        in_words(&clients),
    );
    message.push_str(&in_use);
    Access {
        service_account,
        given_up,
        waits: !in_use.is_empty(),
        role: child::ensure(role, desired_role(backend)),
        role_binding,
        statement: refused(backend, watch, client_namespaces)
            .unwrap_or_else(|| Statement::yes(Reason::Bound, message)),
    }
}

/// Nothing is asked for: what is ours goes.
fn withdrawn(observed: &Observed) -> Access {
    let backend = &observed.backend;
    let (given_up, in_use) = unused(observed, |_| true);
    Access {
        service_account: Child::Leave,
        given_up,
        waits: !in_use.is_empty(),
        role: drop_controlled(observed.role.as_ref(), backend),
        role_binding: drop_controlled(observed.role_binding.as_ref(), backend),
        statement: Statement::yes(
            Reason::NotRequested,
            in_use.trim_start_matches("; ").to_owned(),
        ),
    }
}

/// It goes, unless it only carries our labels.
fn drop_controlled<K: Resource>(live: Option<&K>, backend: &GrpcBackend) -> Child<K> {
    live.filter(|live| child::is_controlled(*live, backend))
        .map_or(Child::Leave, |live| Child::Delete(Target::of(live)))
}

/// What forbids to write anything at all.
fn obstacle(observed: &Observed) -> Option<Statement> {
    let backend = &observed.backend;
    let name = names::watch_role(backend);
    let foreign = |kind: &str| {
        Statement::no(
            Reason::NameConflict,
            format!(
                "{kind} {name} exists and is not ours. It is left alone and nobody is bound: rename it, or give the GrpcBackend another name"
            ),
        )
    };
    if observed
        .role
        .as_ref()
        .is_some_and(|role| !child::is_ours(role, backend))
    {
        return Some(foreign("Role"));
    }
    if observed.role_binding.as_ref().is_some_and(|binding| {
        // One that refers elsewhere has to go, which needs more than labels.
        let fits = binding.role_ref == role_ref(backend);
        !child::is_ours(binding, backend) || !fits && !child::is_controlled(binding, backend)
    }) {
        return Some(foreign("RoleBinding"));
    }
    None
}

/// A client that the operator's settings do not admit: it is not bound, the others are.
fn refused(
    backend: &GrpcBackend,
    watch: &EndpointWatch,
    client_namespaces: &[String],
) -> Option<Statement> {
    let own = backend.namespace().unwrap_or_default();
    watch.clients.iter().enumerate().find_map(|(index, client)| {
        let namespace = client.namespace.as_ref()?;
        (*namespace != own && !client_namespaces.contains(namespace)).then(|| {
            Statement::no(
                Reason::Rejected,
                format!("spec.endpointWatch.clients[{index}].namespace {namespace} is not admitted: ask whoever runs the operator to add it to the chart's clientNamespaces, or remove the client"),
            )
        })
    })
}

fn service_accounts(
    observed: &Observed,
    watch: &EndpointWatch,
) -> (Child<ServiceAccount>, Vec<Target>, String) {
    let backend = &observed.backend;
    let name = names::watch_service_account(backend);
    let create = watch
        .service_account
        .as_ref()
        .is_some_and(|options| options.create);
    let live = observed.service_account.as_ref();
    let child = match live {
        // Somebody else's is bound as it is: a ServiceAccount has no content that could be wrong.
        Some(live) if !child::is_ours(live, backend) => Child::Leave,
        live if create => child::ensure(
            live,
            ServiceAccount {
                metadata: child::metadata(backend, name.clone()),
                ..ServiceAccount::default()
            },
        ),
        _ => Child::Leave,
    };
    let (given_up, in_use) = unused(observed, |service_account| {
        !create || *service_account != name
    });
    (child, given_up, in_use)
}

/// ServiceAccounts of ours that are given up: those to delete, and a sentence on those that pods still use.
fn unused(observed: &Observed, given_up: impl Fn(&String) -> bool) -> (Vec<Target>, String) {
    let mut sentence = String::new();
    let targets = observed
        .labelled_service_accounts
        .iter()
        .filter(|account| {
            child::is_controlled(*account, &observed.backend) && given_up(&account.name_any())
        })
        .filter(|account| {
            let user = observed
                .service_accounts_in_use
                .iter()
                .find(|(name, _)| *name == account.name_any());
            if let Some((name, pod)) = user {
                use std::fmt::Write as _;
                let _ = write!(
                    sentence,
                    "; ServiceAccount {name} is kept while pod {pod} runs under it"
                );
            }
            user.is_none()
        })
        .map(Target::of)
        .collect();
    (targets, sentence)
}

/// The only rules that are ever handed out: what kuberesolver and its kin read, in both its old and its new form.
pub fn rules() -> Vec<PolicyRule> {
    let read = |group: &str, resource: &str| PolicyRule {
        api_groups: Some(vec![group.into()]),
        resources: Some(vec![resource.into()]),
        verbs: ["get", "list", "watch"].map(str::to_owned).to_vec(),
        ..PolicyRule::default()
    };
    vec![
        read("", "endpoints"),
        read("discovery.k8s.io", "endpointslices"),
    ]
}

/// Whether this Role may be bound: ours, with the fixed rules and no others. A Role of somebody else would hand out
/// whatever it holds.
pub fn is_exact(role: &Role, backend: &GrpcBackend) -> bool {
    child::is_ours(role, backend) && role.rules.as_deref() == Some(&rules())
}

fn desired_role(backend: &GrpcBackend) -> Role {
    Role {
        metadata: child::metadata(backend, names::watch_role(backend)),
        rules: Some(rules()),
    }
}

fn role_ref(backend: &GrpcBackend) -> RoleRef {
    RoleRef {
        api_group: "rbac.authorization.k8s.io".into(),
        kind: "Role".into(),
        name: names::watch_role(backend),
    }
}

fn desired_binding(backend: &GrpcBackend, clients: &[(String, String)]) -> RoleBinding {
    RoleBinding {
        metadata: child::metadata(backend, names::watch_role(backend)),
        role_ref: role_ref(backend),
        subjects: Some(
            clients
                .iter()
                .cloned()
                .map(|(namespace, name)| Subject {
                    kind: "ServiceAccount".into(),
                    name,
                    namespace: Some(namespace),
                    ..Subject::default()
                })
                .collect(),
        ),
    }
}

/// Namespace and name of each client that is admitted, each once.
fn clients(
    backend: &GrpcBackend,
    watch: &EndpointWatch,
    client_namespaces: &[String],
) -> Vec<(String, String)> {
    let own = backend.namespace().unwrap_or_default();
    let mut clients: Vec<_> = watch
        .clients
        .iter()
        .map(|client| {
            let namespace = client.namespace.clone().unwrap_or_else(|| own.clone());
            (namespace, client.service_account.clone())
        })
        .collect();
    if watch.service_account.is_some() || clients.is_empty() {
        clients.push((own.clone(), names::watch_service_account(backend)));
    }
    clients.retain(|(namespace, _)| *namespace == own || client_namespaces.contains(namespace));
    clients.sort();
    clients.dedup();
    clients
}

fn in_words(clients: &[(String, String)]) -> String {
    match clients {
        [] => "nobody".into(),
        [(namespace, name)] => format!("ServiceAccount {namespace}/{name}"),
        [(namespace, name), more @ ..] => {
            format!("ServiceAccount {namespace}/{name} and {} more", more.len())
        }
    }
}

#[cfg(test)]
mod tests;
