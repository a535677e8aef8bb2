//! Clients that watch endpoints.

use kube::ResourceExt as _;

use crate::observed::Observed;

use super::{Seen, age, dns, said_before, snippet};

/// As Kubernetes has it, unless its controller is told otherwise.
const SLICE: i32 = 100;

/// GB050: kuberesolver for Go keeps only the slice that changed last (sercand/kuberesolver#66).
pub(super) fn several_slices(observed: &Observed) -> Option<Seen> {
    observed.backend.spec.endpoint_watch.as_ref()?;
    let pods = observed.most_pods();
    let seen = |message| Seen::in_backend(observed, "spec.endpointWatch", message);
    let why = if pods > SLICE {
        format!("up to {pods} pods make more than one EndpointSlice (one holds {SLICE})")
    } else if dns::any_dual(observed) {
        "a Service with addresses of two families has more than one EndpointSlice".into()
    } else if observed.endpoint_slices.is_some_and(|slices| slices > 1) {
        "a Service of this backend has more than one EndpointSlice".into()
    } else if pods > SLICE / 10 * 9 {
        // What is said holds until there are a tenth fewer: an autoscaler goes to and fro.
        let said = said_before(observed, "GB050");
        return said.filter(|said| said.starts_with("up to ")).map(seen);
    } else {
        return None;
    };
    Some(seen(format!(
        "{why}, and kuberesolver for Go (6.0.1 too) keeps only the one that changed last: its clients then know a part of the pods, or such as are gone. Have Go clients use dns:/// with a connection age, or keep to 100 pods and ipFamilyPolicy: SingleStack; kuberesolver-java from 0.0.2 on and go-zero are not affected"
    ))
    .instead(&snippet::spec(age::USUAL)))
}

/// GB052: a watching client reads its token from a file.
pub(super) fn token_not_mounted(observed: &Observed) -> Option<Seen> {
    observed.backend.spec.endpoint_watch.as_ref()?;
    let account = observed.service_account.as_ref()?;
    let name = account.name_any();
    (account.automount_service_account_token == Some(false)).then(|| {
        let message = format!(
            "ServiceAccount {name} has automountServiceAccountToken: false: watching clients that run under it find no token, and the API server refuses them, unless their pods ask for the token. Set it to true, there or in the clients' pods"
        );
        Seen::at("ServiceAccount", &name, "automountServiceAccountToken".into(), message)
            .instead("automountServiceAccountToken: true")
    })
}
