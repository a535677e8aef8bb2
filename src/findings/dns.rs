//! Discovery by DNS.

use kube::ResourceExt;

use crate::connection_age::timing::DNS_TTL;
use crate::observed::Observed;
use crate::observed::cluster_dns::Setting;

use super::{Seen, said_before, services, snippet};

/// What a UDP answer may have where nothing larger is agreed on.
const PLAIN: usize = 512;
/// What Go asks for, and its record of 11 bytes that says so.
const EDNS: usize = 1232 - 11;
/// Over TCP the length is two bytes.
const TCP: usize = 65_535;

/// GB040: old C libraries take what fits into a datagram for all.
pub(super) fn answer_is_cut(observed: &Observed) -> Option<Seen> {
    too_many(observed, "GB040", PLAIN, |pods, most| {
        format!(
            "up to {pods} pods, of which an answer of {PLAIN} bytes holds {most}: clients on musl before 1.2.4 (Alpine before 3.18) read no further, and each sees a random part of the pods. Build such clients on Alpine 3.18 or later, or let them watch endpoints (spec.endpointWatch)"
        )
    })
    .map(|seen| seen.write("# in the clients' Dockerfile\nFROM alpine:3.22"))
}

/// GB041: each look-up is made twice.
pub(super) fn answer_needs_tcp(observed: &Observed) -> Option<Seen> {
    too_many(observed, "GB041", EDNS, |pods, most| {
        format!(
            "up to {pods} pods, of which a datagram as Go asks for it (1232 bytes) holds {most}: each look-up is made again over TCP, and each client keeps {pods} connections. See that NetworkPolicies allow TCP 53; far above a hundred pods consider subsetting or xDS"
        )
    })
    .map(|seen| seen.write("# one more entry of egress in each NetworkPolicy of the clients that lists any\n# - ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]"))
}

/// GB042: no answer holds them all.
pub(super) fn answer_is_impossible(observed: &Observed) -> Option<Seen> {
    too_many(observed, "GB042", TCP, |pods, most| {
        format!(
            "up to {pods} pods, of which the largest DNS answer (64 KiB) holds {most}: clients never learn of the others. Split the backend, or use xDS"
        )
    })
    .map(|seen| {
        let name = snippet::word(&observed.name());
        let selector = snippet::map(&observed.backend.spec.selector);
        seen.write(&format!("# in place of GrpcBackend {name} two of them, each with one more label in its selector\n# {selector}"))
    })
}

/// GB046: a resolver takes each address for a pod.
pub(super) fn two_families(observed: &Observed) -> Option<Seen> {
    let service = observed.headless.as_ref()?;
    is_dual(service).then(|| {
        let name = service.name_any();
        let message = format!(
            "headless Service {name} has addresses of two families: resolvers take each pod's two for two pods, and clients keep two connections to each. Set ipFamilyPolicy: SingleStack"
        );
        Seen::in_service(&name, "spec.ipFamilyPolicy", message)
            .instead("spec:\n  ipFamilyPolicy: SingleStack")
    })
}

/// GB048: what is promised to clients that look up is too little.
pub(super) fn answers_are_old(observed: &Observed) -> Option<Seen> {
    let dns = observed.cluster_dns.known()?;
    let counted = DNS_TTL.as_secs();
    if !is_looked_up(observed) || dns.seconds <= counted {
        return None;
    }
    let old = dns.seconds;
    let settings = dns.settings.iter();
    let settings = settings.map(|(setting, map)| format!("{setting} in ConfigMap {map}"));
    let settings = settings.collect::<Vec<_>>().join(" and ");
    let message = format!(
        "answers of this cluster's DNS may be {old} s old ({settings} in kube-system), where status.discovery counts with {counted} s: clients that look up find new pods up to {} s later than it says. See that ttl and least times are {counted} or less, and that no cache serves the cluster's own names when they have expired; or let clients watch endpoints (spec.endpointWatch)",
        old - counted
    );
    let instead = dns.settings.iter().map(|(setting, map)| {
        let right = match setting {
            Setting::Ttl(_) => format!("ttl {counted}, in the plugin kubernetes"),
            Setting::Least(_) => {
                format!("no third number above {counted} after success, in the plugin cache")
            }
            Setting::ServeStale(line) => {
                format!("no {line} in the plugin cache, or serve_stale with verify")
            }
        };
        format!("# in the Corefile of ConfigMap {map}: {right}")
    });
    let instead: Vec<String> = instead.collect();
    Some(Seen::in_backend(observed, "spec", message).write(&instead.join("\n")))
}

/// Whether it may have addresses of both families.
pub(super) fn is_dual(service: &k8s_openapi::api::core::v1::Service) -> bool {
    service.spec.as_ref().is_some_and(|spec| {
        let families = spec.ip_families.as_ref().map_or(0, Vec::len);
        let policy = spec.ip_family_policy.as_deref();
        // In a cluster the families say what has become of the policy: with one of them it has one.
        families > 1
            || families == 0 && matches!(policy, Some("PreferDualStack" | "RequireDualStack"))
    })
}

/// More pods than an answer of so many bytes holds. What is said holds until there are a tenth fewer: an autoscaler goes to and fro.
fn too_many(
    observed: &Observed,
    id: &str,
    bytes: usize,
    message: impl Fn(usize, usize) -> String,
) -> Option<Seen> {
    let (pods, most) = (pods(observed)?, addresses(observed, bytes));
    let message = if pods > most {
        message(pods, most)
    } else if pods * 10 > most * 9 {
        said_before(observed, id)?
    } else {
        return None;
    };
    Some(in_workload(observed, message))
}

/// The most pods that one answer has to hold, where clients are to look them up.
fn pods(observed: &Observed) -> Option<usize> {
    if !is_looked_up(observed) {
        return None;
    }
    usize::try_from(observed.most_pods()).ok()
}

/// Whether there is a name that gives the pods' addresses.
fn is_looked_up(observed: &Observed) -> bool {
    if observed.guessed {
        observed.headless.is_some()
    } else {
        crate::services::names(&observed.backend).headless.is_some()
    }
}

/// Addresses that fit: what is left after the header, the question and its type, by 16 bytes for each of IPv4 and 28 for each of IPv6.
fn addresses(observed: &Observed, bytes: usize) -> usize {
    let (service, namespace) = (observed.headless_name(), observed.namespace());
    let name = format!("{service}.{namespace}.svc.cluster.local");
    let address = if is_ipv6(observed) { 28 } else { 16 };
    bytes.saturating_sub(12 + name.len() + 2 + 4) / address
}

/// Whether the pods have addresses of IPv6: as the headless Service has it, or its twin, whose cluster is the same.
fn is_ipv6(observed: &Observed) -> bool {
    let specs = [&observed.headless, &observed.cluster_ip];
    let mut families = specs.into_iter().filter_map(|service| {
        let families = service.as_ref()?.spec.as_ref()?.ip_families.as_ref()?;
        (!families.is_empty()).then_some(families)
    });
    let own = families.next();
    own.is_some_and(|own| own.iter().any(|family| family == "IPv6"))
}

fn in_workload(observed: &Observed, message: String) -> Seen {
    let mut workloads = observed.serving_workloads();
    let scaled = workloads.find_map(|workload| observed.autoscaler(workload));
    if let Some(scaler) = scaled {
        return Seen::at(
            scaler.kind,
            &scaler.name,
            scaler.max_field().into(),
            message,
        );
    }
    match observed.serving_workloads().next() {
        Some(workload) => Seen::in_workload(workload, "spec.replicas", message),
        None => Seen::in_backend(observed, "spec", message),
    }
}

/// Whether any of the Services may have addresses of both families.
pub(super) fn any_dual(observed: &Observed) -> bool {
    services::both(observed).any(is_dual)
}
