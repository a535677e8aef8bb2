//! Which pods may be asked, under which address and path, and what a failure means. Pure: a pod in, an endpoint out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, ContainerPort, Pod, PodSpec};
use kube::ResourceExt as _;

use crate::balance::{ScrapeError, Target};
use crate::names::{
    AMBIENT_ANNOTATION, AMBIENT_ENABLED, METRICS_PATH_ANNOTATION, METRICS_PORT_ANNOTATION,
    METRICS_PORT_NAMES, METRICS_PORT_PREFIX,
};
use crate::observed::{cpu_request, is_serving, mesh_proxy};

/// A pod that counts, and where its metrics are.
#[derive(Debug)]
pub struct Endpoint {
    /// The pod.
    pub target: Target,
    /// Where to ask, or why not.
    pub page: Result<Page, ScrapeError>,
}

/// A pod's metrics page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Page {
    /// The pod's own address, and a port that it declares.
    pub address: SocketAddr,
    /// The path.
    pub path: Arc<str>,
    /// Whether a mesh's proxy is in the pod, which may ask for the mesh's own TLS.
    pub is_meshed: bool,
}

/// Where the spec says that metrics are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Place {
    /// The port.
    pub port: Option<i32>,
    /// The path.
    pub path: Option<Arc<str>>,
}

/// None where the pod does not count: not ready, going, or of a Job.
pub fn endpoint(pod: &Pod, place: &Place) -> Option<Endpoint> {
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
            created: pod.creation_timestamp()?.0,
            ready_since: ready.last_transition_time.as_ref()?.0,
            restarts: status
                .container_statuses
                .iter()
                .flatten()
                .map(|status| u32::try_from(status.restart_count).unwrap_or(0))
                .sum(),
            capacity: cpu_request(pod),
        },
        page: page(pod, place),
    })
}

/// Only a declared port of the pod itself: neither a spec nor a pod can send the operator anywhere else. The address is
/// the one that the kubelet reported. A pod on the host's network would be the node.
fn page(pod: &Pod, place: &Place) -> Result<Page, ScrapeError> {
    let spec = pod.spec.as_ref().ok_or(ScrapeError::NoMetricsPort)?;
    if spec.host_network == Some(true) {
        return Err(ScrapeError::HostNetwork);
    }
    let (port, is_annotated) = port(pod, spec, place.port)?;
    let ip: IpAddr = pod
        .status
        .as_ref()
        .and_then(|status| status.pod_ip.as_deref()?.parse().ok())
        // An IPv4 address in the clothes of IPv6 is that address.
        .map(|ip: IpAddr| ip.to_canonical())
        .filter(|ip: &IpAddr| {
            !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast() && !is_link_local(ip)
        })
        .ok_or(ScrapeError::Unreachable)?;
    // A path belongs to the port that it was written for.
    let annotated = || {
        let path = pod.annotations().get(METRICS_PATH_ANNOTATION);
        path.filter(|path| is_annotated && is_path(path))
            .map(|path| Arc::from(path.as_str()))
    };
    Ok(Page {
        address: SocketAddr::new(ip, port),
        path: place
            .path
            .clone()
            .or_else(annotated)
            .unwrap_or_else(|| "/metrics".into()),
        is_meshed: mesh_proxy(spec).is_some() || is_ambient(pod),
    })
}

/// The port, and whether the pod's annotation named it.
fn port(pod: &Pod, spec: &PodSpec, asked: Option<i32>) -> Result<(u16, bool), ScrapeError> {
    let declared = || running(spec).flat_map(|container| container.ports.iter().flatten());
    let tcp = |port: &&ContainerPort| port.protocol.as_deref().is_none_or(|name| name == "TCP");
    let number = |port: &ContainerPort| u16::try_from(port.container_port).ok();
    let has = |wanted: u16| {
        declared()
            .filter(tcp)
            .any(|port| number(port) == Some(wanted))
    };
    if let Some(asked) = asked.and_then(|port| u16::try_from(port).ok()) {
        return if has(asked) {
            Ok((asked, false))
        } else {
            Err(ScrapeError::UndeclaredPort(asked))
        };
    }
    let annotated = pod.annotations().get(METRICS_PORT_ANNOTATION);
    let annotated = annotated.and_then(|port| port.parse().ok());
    if let Some(port) = annotated.filter(|port| has(*port)) {
        return Ok((port, true));
    }
    let named = |fits: &dyn Fn(&str) -> bool| {
        declared()
            .filter(tcp)
            .find(|port| port.name.as_deref().is_some_and(fits))
            .and_then(number)
    };
    METRICS_PORT_NAMES
        .iter()
        .find_map(|wanted| named(&|name| name == *wanted))
        .or_else(|| named(&|name| name.starts_with(METRICS_PORT_PREFIX)))
        .map(|port| (port, false))
        .ok_or(annotated.map_or(ScrapeError::NoMetricsPort, ScrapeError::UndeclaredPort))
}

/// The containers that run beside each other: native sidecars stand among the init containers.
fn running(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars =
        sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    spec.containers.iter().chain(sidecars)
}

fn is_ambient(pod: &Pod) -> bool {
    let redirection = pod.annotations().get(AMBIENT_ANNOTATION);
    redirection.is_some_and(|value| value == AMBIENT_ENABLED)
}

/// The same as in the resource: a pod's annotation has no schema.
fn is_path(path: &str) -> bool {
    path.len() <= 128
        && path.starts_with('/')
        && !path.split('/').any(|segment| segment == "..")
        && path
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._/-".contains(&byte))
}

/// How a request failed after the connection was made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The connection ended without an answer.
    Ended,
    /// The answer is not HTTP/1.1, or cannot be read as that: a port for gRPC answers in HTTP/2.
    NotHttp,
    /// The answer is a record of TLS, as an alert is.
    TlsRecord,
    /// The answer says that TLS is spoken here.
    AsksForTls,
    /// TLS broke off.
    Tls,
    /// Anything else.
    Other,
}

/// What a failure means. A proxy under strict mutual TLS ends a connection that does not begin with it, without a word or with an alert of
/// TLS: what comes from behind it in plain text it has let pass.
pub fn meaning(failure: Failure, is_meshed: bool) -> ScrapeError {
    match failure {
        Failure::Ended | Failure::TlsRecord if is_meshed => ScrapeError::MeshTls,
        Failure::TlsRecord | Failure::AsksForTls => ScrapeError::Tls,
        Failure::NotHttp => ScrapeError::NotHttp,
        Failure::Tls => ScrapeError::TlsFailed,
        Failure::Ended | Failure::Other => ScrapeError::Unreachable,
    }
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

    /// As the watch keeps it.
    fn pod(change: impl FnOnce(&mut Value)) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "a", "uid": "u", "namespace": "n", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 8080}, {"name": "metrics", "containerPort": 9090}]}]},
            "status": {
                "podIP": "10.0.0.1",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        });
        change(&mut pod);
        let mut pod = serde_json::from_value(pod).unwrap();
        crate::operator::kept::pod(&mut pod);
        pod
    }

    #[test]
    fn capacity_is_the_cpu_request() {
        let pod = pod(|pod| {
            pod["spec"]["containers"][0]["resources"] =
                json!({"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"cpu": "1"}});
        });
        let target = endpoint(&pod, &Place::default()).unwrap().target;
        assert_eq!(target.capacity, Some(250));
        let resources = pod.spec.unwrap().containers.remove(0).resources.unwrap();
        assert!(resources.limits.is_none() && resources.requests.unwrap().len() == 1);
    }

    fn asked(pod: &Pod, port: Option<i32>) -> Result<String, ScrapeError> {
        let place = Place { port, path: None };
        let page = endpoint(pod, &place).unwrap().page?;
        Ok(format!("{}{}", page.address, page.path))
    }

    fn annotated(port: &str, path: &str) -> Pod {
        pod(|pod| {
            pod["metadata"]["annotations"] =
                json!({"prometheus.io/port": port, "prometheus.io/path": path});
        })
    }

    #[test]
    fn the_port_is_named_or_given_and_always_declared() {
        let named = Ok("10.0.0.1:9090/metrics".into());
        assert_eq!(asked(&pod(|_| {}), None), named);
        assert_eq!(
            asked(&pod(|_| {}), Some(8080)),
            Ok("10.0.0.1:8080/metrics".into())
        );
        assert_eq!(
            asked(&pod(|_| {}), Some(10250)),
            Err(ScrapeError::UndeclaredPort(10250))
        );
        for (name, found) in [
            ("http-metrics", true),
            ("prometheus", true),
            ("prom-http", true),
            ("http-envoy-prom", false),
            ("stats", false),
        ] {
            let pod = pod(|pod| pod["spec"]["containers"][0]["ports"][1]["name"] = json!(name));
            assert_eq!(asked(&pod, None).is_ok(), found, "{name}");
        }
        let udp = pod(|pod| pod["spec"]["containers"][0]["ports"][1]["protocol"] = json!("UDP"));
        assert_eq!(asked(&udp, None), Err(ScrapeError::NoMetricsPort));
    }

    #[test]
    fn an_annotation_goes_before_a_name_and_is_declared_too() {
        let path = "10.0.0.1:8080/stats".to_owned();
        assert_eq!(asked(&annotated("8080", "/stats"), None), Ok(path));
        let spec = Ok("10.0.0.1:9090/metrics".to_owned());
        assert_eq!(asked(&annotated("8080", "/stats"), Some(9090)), spec);
        // As Istio leaves it behind, with a path that is not the named port's.
        assert_eq!(asked(&annotated("15020", "/stats/prometheus"), None), spec);
        for nonsense in ["http", "-1", "99999", ""] {
            assert_eq!(asked(&annotated(nonsense, "/stats"), None), spec);
        }
        for path in ["stats", "/a b", "/?x", "//evil.example/", "/\r\nHost:x"] {
            let said = asked(&annotated("8080", path), None).unwrap();
            let expected = if path == "//evil.example/" {
                path
            } else {
                "/metrics"
            };
            assert_eq!(said, format!("10.0.0.1:8080{expected}"), "{path}");
        }
        let mut undeclared = annotated("15020", "/x");
        undeclared.spec.as_mut().unwrap().containers[0].ports = None;
        assert_eq!(
            asked(&undeclared, None),
            Err(ScrapeError::UndeclaredPort(15020))
        );
    }

    #[test]
    fn a_native_sidecar_declares_ports_and_an_init_container_does_not() {
        let with = |policy: Option<&str>| {
            pod(|pod| {
                pod["spec"]["initContainers"] = json!([{
                    "name": "proxy", "restartPolicy": policy,
                    "ports": [{"name": "linkerd-admin", "containerPort": 4191}],
                }]);
            })
        };
        assert!(asked(&with(Some("Always")), Some(4191)).is_ok());
        assert!(asked(&with(None), Some(4191)).is_err());
    }

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        for (ip, address) in [
            ("10.0.0.7", "10.0.0.7:9090"),
            ("2001:db8::7", "[2001:db8::7]:9090"),
            ("fd00:0:0:0::a", "[fd00::a]:9090"),
            ("::ffff:10.0.0.7", "10.0.0.7:9090"),
        ] {
            let pod = pod(|pod| pod["status"]["podIP"] = json!(ip));
            assert_eq!(asked(&pod, None), Ok(format!("{address}/metrics")), "{ip}");
        }
    }

    #[test]
    fn only_the_pod_itself_is_asked() {
        let host = pod(|pod| pod["spec"]["hostNetwork"] = json!(true));
        assert_eq!(asked(&host, None), Err(ScrapeError::HostNetwork));
        for ip in [
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "fe80::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
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
    fn a_mesh_s_refusal_is_named() {
        for (failure, meshed, alone) in [
            (
                Failure::Ended,
                ScrapeError::MeshTls,
                ScrapeError::Unreachable,
            ),
            (Failure::TlsRecord, ScrapeError::MeshTls, ScrapeError::Tls),
            (Failure::NotHttp, ScrapeError::NotHttp, ScrapeError::NotHttp),
            (Failure::AsksForTls, ScrapeError::Tls, ScrapeError::Tls),
            (
                Failure::Other,
                ScrapeError::Unreachable,
                ScrapeError::Unreachable,
            ),
        ] {
            assert_eq!(meaning(failure, true), meshed, "{failure:?}");
            assert_eq!(meaning(failure, false), alone, "{failure:?}");
        }
        let meshed = pod(|pod| {
            pod["spec"]["initContainers"] =
                json!([{"name": "istio-proxy", "restartPolicy": "Always"}]);
        });
        let page = |pod: &Pod| endpoint(pod, &Place::default()).unwrap().page.unwrap();
        assert!(page(&meshed).is_meshed && !page(&pod(|_| {})).is_meshed);
        for (redirection, is_meshed) in [("enabled", true), ("disabled", false)] {
            let ambient = pod(|pod| {
                pod["metadata"]["annotations"] =
                    json!({"ambient.istio.io/redirection": redirection});
            });
            assert_eq!(page(&ambient).is_meshed, is_meshed, "{redirection}");
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
            assert!(endpoint(&pod, &Place::default()).is_none());
        }
    }
}
