//! What came of a scrape that failed, and what to do about it.

use crate::balance::round::ScrapeError;

impl ScrapeError {
    /// What happened to the pod's metrics page, and what to do.
    pub(super) fn remedy(self) -> String {
        match self {
            Self::NoMetricsPort => {
                "declares no port for metrics: name it in spec.balance.metrics.port and in the container's ports".into()
            }
            Self::UndeclaredPort(port) => format!(
                "declares no port {port}, which spec.balance.metrics.port or its annotation prometheus.io/port names: \
                 only declared ports are asked, so add it to the container's ports"
            ),
            Self::HostNetwork => {
                "is on its node's network, where only the node's ports could be asked: its metrics are not read".into()
            }
            Self::Timeout => "did not answer the scrape in time: see whether the server or a network policy holds it up".into(),
            Self::Refused => "refuses connections on the metrics port: check spec.balance.metrics.port".into(),
            Self::Unreachable => "could not be reached on the metrics port: see whether a network policy forbids it".into(),
            Self::Redirected(code) => format!(
                "answered the scrape with a redirect (HTTP status {code}), which is never followed: \
                 name the page itself in spec.balance.metrics.path"
            ),
            Self::Tls => "speaks TLS on the metrics port: say with which authority in spec.balance.metrics.https, or name a port \
                          that serves metrics without TLS in spec.balance.metrics.port"
                .into(),
            Self::NotHttp => "gives no answer in HTTP/1.1 on the metrics port that could be read: where that is its port for gRPC, name the one \
                              that serves metrics in spec.balance.metrics.port"
                .into(),
            Self::NoTls => "does not speak TLS on the metrics port: name the port that does in spec.balance.metrics.port, or leave \
                            spec.balance.metrics.https out"
                .into(),
            Self::TlsFailed => "broke off the TLS handshake on the metrics port: it may ask for a certificate of the client, which \
                                there is none of, or for a version before TLS 1.2"
                .into(),
            Self::Untrusted => "shows a certificate on the metrics port that does not come from the authority in \
                                spec.balance.metrics.https.ca: nothing was asked; name the right authority there"
                .into(),
            Self::Expired => "shows a certificate on the metrics port that is not valid at this time: nothing was asked; renew it".into(),
            Self::OtherServerName => "shows a certificate on the metrics port that is for another name: nothing was asked; set \
                                      spec.balance.metrics.https.serverName to a name in it"
                .into(),
            Self::NotInPrometheus => "is not in Prometheus by the labels namespace and pod, and those of prometheus.matchers where that is set: \
                                      have it read there, as by a PodMonitor, or leave spec.balance.source out"
                .into(),
            Self::OldInPrometheus => "has samples in Prometheus that are more than two intervals old, or apart: see whether Prometheus can \
                                      still read it, and make spec.balance.interval no shorter than Prometheus's own"
                .into(),
            Self::NotAsked => "was not asked".into(),
            Self::HttpStatus(code @ (401 | 403)) => format!(
                "answered the scrape with HTTP status {code}: it asks for a token, or for another one: name it in \
                 spec.balance.metrics.https.bearerToken"
            ),
            Self::MeshTls => {
                "refuses the scrape by its mesh's proxy, which asks for mutual TLS: except the metrics port from it \
                 (Istio: a port-level PeerAuthentication; Linkerd: config.linkerd.io/skip-inbound-ports), or name the \
                 proxy's own metrics port in spec.balance.metrics.port; in Istio's ambient mode, have an AuthorizationPolicy \
                 allow the port to the operator"
                    .into()
            }
            Self::MeshForbidden => {
                "answered the scrape with HTTP status 403, as its mesh does where no policy allows the request: allow the metrics port to \
                 the operator (Istio: an AuthorizationPolicy; Linkerd: a Server with accessPolicy all-unauthenticated), or, where the \
                 server itself asks for a token, name one in spec.balance.metrics.https.bearerToken"
                    .into()
            }
            Self::OtherFamily => {
                "counts its requests in another metric than the other pods, or than spec.balance.metrics.family names, and two ways of \
                 counting cannot be compared: have all pods serve the same metrics, and leave that field out where they do"
                    .into()
            }
            Self::KeepsFalling => {
                "has counts that fall again and again, so that no rate can be had of them: several processes may answer on its metrics \
                 port by turns; have the page show the sum of all of them, and see whether one begins anew all the time"
                    .into()
            }
            Self::HttpStatus(code) => {
                format!("answered the scrape with HTTP status {code}: check spec.balance.metrics.path")
            }
            Self::TooLarge => "has a metrics page over the size limit: point spec.balance.metrics at a smaller one".into(),
            Self::CutOff => "has a metrics page that breaks off before its end, the line # EOF: see whether the server, or a proxy before it, \
                             cuts it off"
                .into(),
            Self::Encoding => "has a metrics page that is packed otherwise than as gzip, which was asked for, or not as it says: \
                               have the server send it as gzip or as it is"
                .into(),
            Self::NotACount => {
                "has a count on its metrics page that is below zero, infinite or no number at all, as no counter can be: mend what the \
                 server counts there"
                    .into()
            }
            Self::Malformed => "has a metrics page that is not in Prometheus text format: check spec.balance.metrics.path".into(),
        }
    }
}
