//! Clients that watch endpoints.

use k8s_openapi::api::core::v1::PodSpec;
use kube::ResourceExt as _;

use crate::observed::{Observed, Observer, Watching, Workload};

use super::{Seen, age, dns, said_before, snippet};

/// As Kubernetes has it, unless its controller is told otherwise.
const SLICE: i32 = 100;

/// What is said where so many pods are in more than one slice, which need not hold as many as usual.
const SEVERAL: &str = "a Service of this backend has more than one EndpointSlice for up to ";

/// GB050: kuberesolver for Go keeps only the slice that changed last (sercand/kuberesolver#66).
pub(super) fn several_slices(observed: &Observed) -> Option<Seen> {
    observed.backend.spec.endpoint_watch.as_ref()?;
    let pods = most_in_a_rollout(observed);
    let said = said_before(observed, "GB050");
    // With how many pods there were several slices, as it was said.
    let several = said.as_deref().and_then(|said| {
        let (_, said) = said.split_once(SEVERAL)?;
        said.split(' ').next()?.parse::<i32>().ok()
    });
    let seen = |message| Seen::in_backend(observed, "spec.endpointWatch", message);
    let why = if pods > SLICE {
        format!(
            "up to {pods} pods, those included that a rollout makes besides, make more than one EndpointSlice (one holds {SLICE})"
        )
    } else if dns::any_dual(observed) {
        "a Service with addresses of two families has more than one EndpointSlice".into()
    } else if several.is_some_and(|several| i64::from(pods) * 10 > i64::from(several) * 9) {
        // What is said holds until there are a tenth fewer: an autoscaler goes to and fro.
        return said.map(seen);
    } else if observed.endpoint_slices.is_some_and(|slices| slices > 1) {
        format!("{SEVERAL}{pods} pods")
    } else if pods > SLICE / 10 * 9 {
        return said.filter(|said| said.starts_with("up to ")).map(seen);
    } else {
        return None;
    };
    Some(seen(format!(
        "{why}, and kuberesolver for Go (6.0.1 too) keeps only the one that changed last: its clients then know a part of the pods, or such as are gone. Have Go clients use dns:/// with a connection age, or keep to 100 pods and ipFamilyPolicy: SingleStack; kuberesolver-java from 0.0.2 on and go-zero are not affected"
    ))
    .write(&age::usual(observed)))
}

/// A rollout makes some before others are gone.
fn most_in_a_rollout(observed: &Observed) -> i32 {
    let surges = observed.serving_workloads().map(|own| {
        let most = observed.autoscaler(own).map_or(0, |scaler| scaler.max);
        own.surge.of(i64::from(most.max(own.replicas)))
    });
    let surge = surges.fold(0, i64::saturating_add);
    observed
        .most_pods()
        .saturating_add(i32::try_from(surge).unwrap_or(i32::MAX))
}

/// GB052: a watching client reads its token from a file.
pub(super) fn token_not_mounted(observed: &Observed) -> Vec<Seen> {
    let Some(watch) = &observed.backend.spec.endpoint_watch else {
        return Vec::new();
    };
    // Who runs under the account that it makes or is given, the operator does not know.
    let own = observed.service_account.as_ref();
    let own = own.filter(|_| watch.service_account.is_some());
    let own = own.filter(|_| observed.observer == Observer::Operator);
    let own = own.map(|account| Watching {
        name: account.name_any(),
        account: Some(account.clone()),
        ..Watching::default()
    });
    own.iter()
        .chain(&observed.watching)
        .flat_map(without_token)
        .collect()
}

/// What a pod says for itself counts before what its account says.
fn without_token(client: &Watching) -> Vec<Seen> {
    let (name, namespace) = (&client.name, client.namespace.as_deref());
    let pods = |workload: &Workload| workload.template.spec.clone().unwrap_or_default();
    let mounts = |workload: &Workload| pods(workload).automount_service_account_token;
    let lacking: Vec<&Workload> = client
        .workloads
        .iter()
        .map(AsRef::as_ref)
        .filter(|own| mounts(own) != Some(true) && !projects_a_token(&pods(own)))
        .collect();
    let account = client.account.as_ref();
    let off = account.is_some_and(|own| own.automount_service_account_token == Some(false));
    let goes_by_it = client.workloads.is_empty() || lacking.iter().any(|own| mounts(own).is_none());
    let of_account = (off && goes_by_it).then(|| {
        let message = format!(
            "ServiceAccount {name} has automountServiceAccountToken: false: watching clients that run under it find no token, and the API server refuses them, unless their pods ask for the token. Set it to true, there or in the clients' pods"
        );
        Seen::at("ServiceAccount", name, "automountServiceAccountToken".into(), message)
            .of(namespace)
            .instead("automountServiceAccountToken: true")
    });
    let refusing = lacking.into_iter().filter(|own| mounts(own) == Some(false));
    let of_pods = refusing.map(|workload| {
        let message = format!(
            "{workload} runs under ServiceAccount {name}, whose clients watch endpoints, and has automountServiceAccountToken: false: it finds no token, and the API server refuses it. Set it to true"
        );
        let field = "spec.template.spec.automountServiceAccountToken";
        Seen::in_workload(workload, field, message)
            .of(namespace)
            .instead(&snippet::pods("automountServiceAccountToken: true"))
    });
    of_account.into_iter().chain(of_pods).collect()
}

/// Whether a volume brings the token, as pods have it that want one for a short time only.
fn projects_a_token(pod: &PodSpec) -> bool {
    let volumes = pod.volumes.iter().flatten();
    let mut sources = volumes
        .filter_map(|volume| volume.projected.as_ref()?.sources.as_ref())
        .flatten();
    sources.any(|source| source.service_account_token.is_some())
}
