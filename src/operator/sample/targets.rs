//! Which pods may be asked, and under which address. Pure: a pod in, an endpoint out.

use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::balance::{ScrapeError, Target};
use crate::names::METRICS_PORT_NAMES;
use crate::observed::{cpu_request, is_serving};

/// A pod that counts, and where its metrics are.
#[derive(Debug)]
pub struct Endpoint {
    /// The pod.
    pub target: Target,
    /// Where to ask, or why not.
    pub address: Result<SocketAddr, ScrapeError>,
}

/// None where the pod does not count: not ready, going, or of a Job.
pub fn endpoint(pod: &Pod, port: Option<i32>) -> Option<Endpoint> {
    if !is_serving(pod)
        || pod
            .owner_references()
            .iter()
            .any(|owner| owner.kind == "Job")
    {
        return None;
    }
    let status = pod.status.as_ref()?;
    let ready = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready")?;
    Some(Endpoint {
        target: Target {
            uid: pod.uid()?,
            name: pod.name_any(),
            ready_since: ready.last_transition_time.as_ref()?.0,
            restarts: status
                .container_statuses
                .iter()
                .flatten()
                .map(|status| u32::try_from(status.restart_count).unwrap_or(0))
                .sum(),
            capacity: cpu_request(pod),
        },
        address: address(pod, port),
    })
}

/// Only a declared port of the pod itself: neither a spec nor a pod can send the operator anywhere else. The address is
/// the one that the kubelet reported. A pod on the host's network would be the node.
fn address(pod: &Pod, port: Option<i32>) -> Result<SocketAddr, ScrapeError> {
    let spec = pod.spec.as_ref().ok_or(ScrapeError::NoMetricsPort)?;
    if spec.host_network == Some(true) {
        return Err(ScrapeError::NoMetricsPort);
    }
    let declared = || {
        spec.containers
            .iter()
            .flat_map(|container| container.ports.iter().flatten())
    };
    let number = match port {
        Some(port) => declared()
            .map(|port| port.container_port)
            .find(|number| *number == port),
        None => METRICS_PORT_NAMES.iter().find_map(|name| {
            declared()
                .find(|port| port.name.as_deref() == Some(name))
                .map(|port| port.container_port)
        }),
    };
    let number = number
        .and_then(|number| u16::try_from(number).ok())
        .ok_or(ScrapeError::NoMetricsPort)?;
    let ip: IpAddr = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref()?.parse().ok())
        .filter(|ip: &IpAddr| {
            !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast() && !is_link_local(ip)
        })
        .ok_or(ScrapeError::Unreachable)?;
    Ok(SocketAddr::new(ip, number))
}

/// Where clouds serve their nodes' credentials.
fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "a", "uid": "u", "namespace": "n"},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 8080}, {"name": "metrics", "containerPort": 9090}]}]},
            "status": {
                "podIP": "10.0.0.1",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        });
        change(&mut pod);
        serde_json::from_value(pod).unwrap()
    }

    fn asked(pod: &Pod, port: Option<i32>) -> Result<String, ScrapeError> {
        endpoint(pod, port)
            .unwrap()
            .address
            .map(|address| address.to_string())
    }

    #[test]
    fn the_port_is_named_or_given_and_always_declared() {
        assert_eq!(asked(&pod(|_| {}), None), Ok("10.0.0.1:9090".into()));
        assert_eq!(asked(&pod(|_| {}), Some(8080)), Ok("10.0.0.1:8080".into()));
        assert_eq!(
            asked(&pod(|_| {}), Some(10250)),
            Err(ScrapeError::NoMetricsPort)
        );
    }

    #[test]
    fn only_the_pod_itself_is_asked() {
        let host = pod(|pod| pod["spec"]["hostNetwork"] = json!(true));
        assert_eq!(asked(&host, None), Err(ScrapeError::NoMetricsPort));
        for ip in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "fe80::1",
            "nonsense",
        ] {
            let elsewhere = pod(|pod| pod["status"]["podIP"] = json!(ip));
            assert_eq!(
                asked(&elsewhere, None),
                Err(ScrapeError::Unreachable),
                "{ip}"
            );
        }
    }

    #[test]
    fn pods_that_do_not_serve_do_not_count() {
        let unready = pod(|pod| pod["status"]["conditions"][0]["status"] = json!("False"));
        let going = pod(|pod| pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
        let job = pod(|pod| {
            pod["metadata"]["ownerReferences"] =
                json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j"}]);
        });
        for pod in [unready, going, job] {
            assert!(endpoint(&pod, None).is_none());
        }
    }
}
