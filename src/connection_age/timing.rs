//! Within what time clients find a new pod. Computed here and nowhere else: judge, status and docs take it from here.
//!
//! A client that balances by DNS looks its name up again when one of its connections ends, but not sooner than its
//! resolver's own wait after the last time, and what it hears may be as old as the caches on the way. In the worst case all
//! of this adds up: `1.1 × age + wait + caches`. The tenth is the spread that servers put on the age so that connections do
//! not end all at once (gRFC A9: "a per-connection random jitter of +/-10% will be added"). The waits are those of the
//! libraries' sources: 30 s in grpc-go (`MinResolutionInterval`), C-core and grpc-js (`grpc.dns_min_time_between_resolutions_ms`)
//! and grpc-java (`networkaddress.cache.ttl`), 15 s in Grpc.Net.Client (`MinimumDnsResolutionRate`). tonic (Rust) has no
//! resolver, so its users look up by the clock: ginepro every 10 s (`dns_probe_interval`).
//!
//! Measured against these (docs/clients.md) are grpc-go, grpc-java, grpcio for C-core and grpc-js. `DNSDotNet` is from the source
//! alone. `DNSPolling` is measured by a poller of our own that looks every 3 s, and through Envoy and nginx, which look every 5 s.

use std::time::Duration;

use crate::api::{GoDuration, GrpcBackend, PromisedDiscovery};

/// The time to live of a DNS answer: 5 s with CoreDNS as it comes, 30 s with kubeadm's or with a cache on the node. A promise takes the longest.
pub const DNS_TTL: Duration = Duration::from_secs(30);
/// The least time between two look-ups in most libraries.
const RESOLVER_WAIT: Duration = Duration::from_secs(30);
/// Within this time every client that balances by DNS can have looked up once: after a rollout, and before the next may take
/// away the pods that it still knows.
pub const LOOK_UP: Duration = RESOLVER_WAIT.saturating_add(DNS_TTL);
/// A JVM keeps addresses in a cache of its own (`networkaddress.cache.ttl`, 30 s as it comes).
const JVM_CACHE: Duration = Duration::from_secs(30);
/// ginepro's time between two look-ups, whatever connections do; Grpc.Net.Client can do the same (`DnsResolverFactory`).
const POLL: Duration = Duration::from_secs(10);
/// kuberesolver waits up to 16 s before it watches anew after the API server has ended its watch; the rest is for the EndpointSlice.
const WATCH: Duration = Duration::from_secs(20);

/// How a kind of client learns of new pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Finds {
    /// It looks the name up when a connection ends.
    AfterAge {
        /// Its resolver's least time between two look-ups.
        wait: Duration,
        /// How much older than the DNS server's answer what it goes by may be.
        cache: Duration,
    },
    /// It looks the name up by the clock, whatever the age.
    Every(Duration),
    /// It is told, whatever the age.
    Within(Duration),
    /// It knows one address, behind which any pod may be.
    ByChance,
}

/// A kind of client.
#[derive(Clone, Copy, Debug)]
pub struct ClientKind {
    /// As the status calls it.
    pub name: &'static str,
    /// Who that is.
    pub who: &'static str,
    /// How it learns of new pods.
    pub finds: Finds,
}

/// Most clients are of this kind.
const DNS: ClientKind = ClientKind {
    name: "DNS",
    who: "`dns:///…` with `round_robin` in Go, C++, Python, Ruby and Node.js",
    finds: Finds::AfterAge {
        wait: RESOLVER_WAIT,
        cache: Duration::ZERO,
    },
};

/// Every kind of client that something can be said of.
pub const CLIENTS: [ClientKind; 6] = [
    DNS,
    ClientKind {
        name: "DNSJava",
        who: "the same in grpc-java: the JVM caches addresses too",
        finds: Finds::AfterAge {
            wait: RESOLVER_WAIT,
            cache: JVM_CACHE,
        },
    },
    ClientKind {
        name: "DNSDotNet",
        who: "the same in Grpc.Net.Client, whose resolver waits 15 s only (by its source: not measured)",
        finds: Finds::AfterAge {
            wait: Duration::from_secs(15),
            cache: Duration::ZERO,
        },
    },
    ClientKind {
        name: "DNSPolling",
        who: "clients that look the name up every 10 s by themselves, such as ginepro with tonic (Rust): they need no age (measured: a poller of our own, every 3 s)",
        finds: Finds::Every(POLL),
    },
    ClientKind {
        name: "EndpointWatch",
        who: "`kubernetes:///…` (kuberesolver): told by the API server, mostly within a second",
        finds: Finds::Within(WATCH),
    },
    ClientKind {
        name: "ClusterIP",
        who: "one connection to the virtual address: it gets another pod by chance whenever it ends",
        finds: Finds::ByChance,
    },
];

impl ClientKind {
    /// How long it takes at the most with this age; `None` where nothing can be promised.
    pub fn within(&self, age: Option<Duration>) -> Option<Duration> {
        self.within_with(age, DNS_TTL)
    }

    /// The same where the time to live of DNS answers is known.
    pub fn within_with(&self, age: Option<Duration>, ttl: Duration) -> Option<Duration> {
        match self.finds {
            Finds::AfterAge { wait, cache } => {
                let age = age?;
                Some(
                    age.saturating_add(age / 10)
                        .saturating_add(wait)
                        .saturating_add(ttl)
                        .saturating_add(cache),
                )
            }
            Finds::Every(poll) => Some(poll.saturating_add(ttl)),
            Finds::Within(time) => Some(time),
            Finds::ByChance => None,
        }
    }
}

/// How long it takes at the most until clients that balance by DNS know a new pod, with the age that runs.
pub fn promise(age: Duration) -> Option<Duration> {
    DNS.within(Some(age))
}

/// How long it takes at the most until every kind of client that goes by the age knows a new pod: who has not found it until then
/// never will. `longest`: the age of the pods that keep their connections longest, since a client may be connected to those alone.
pub fn patience(longest: Duration) -> Option<Duration> {
    let by_age = |kind: &&ClientKind| matches!(kind.finds, Finds::AfterAge { .. });
    let kinds = CLIENTS.iter().filter(by_age);
    kinds.filter_map(|kind| kind.within(Some(longest))).max()
}

/// What is promised to each kind of client of this backend.
pub fn promises(backend: &GrpcBackend, running: Option<&str>) -> Vec<PromisedDiscovery> {
    let age = running_age(running);
    CLIENTS
        .iter()
        .filter(|kind| kind.name != "EndpointWatch" || backend.spec.endpoint_watch.is_some())
        .map(|kind| PromisedDiscovery {
            client: kind.name.into(),
            within: kind
                .within(age)
                .map(|time| format!("{}s", time.as_secs_f64().ceil())),
        })
        .collect()
}

/// The age that runs on all pods; `None` where there is none, or pods differ: then nothing can be promised.
pub fn running_age(running: Option<&str>) -> Option<Duration> {
    GoDuration::new(running?).get().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EndpointWatch, GrpcBackendSpec};

    fn backend(watch: bool) -> GrpcBackend {
        let endpoint_watch = watch.then(EndpointWatch::default);
        GrpcBackend::new(
            "echo",
            GrpcBackendSpec {
                endpoint_watch,
                ..GrpcBackendSpec::default()
            },
        )
    }

    fn said(watch: bool, running: Option<&str>) -> Vec<(String, Option<String>)> {
        promises(&backend(watch), running)
            .into_iter()
            .map(|promise| (promise.client, promise.within))
            .collect()
    }

    #[test]
    fn each_kind_has_its_own_time() {
        let some = |name: &str, within: &str| (name.to_owned(), Some(within.to_owned()));
        let none = |name: &str| (name.to_owned(), None);
        assert_eq!(
            said(true, Some("30s")),
            [
                some("DNS", "93s"),
                some("DNSJava", "123s"),
                some("DNSDotNet", "78s"),
                some("DNSPolling", "40s"),
                some("EndpointWatch", "20s"),
                none("ClusterIP"),
            ]
        );
        assert_eq!(
            running_age(Some("30s")).and_then(promise),
            Some(Duration::from_secs(93))
        );
    }

    #[test]
    fn a_shorter_time_to_live_makes_it_sooner() {
        let (age, ttl) = (Some(Duration::from_secs(30)), Duration::from_secs(5));
        let within = CLIENTS.map(|kind| kind.within_with(age, ttl).map(|time| time.as_secs()));
        assert_eq!(
            within,
            [Some(68), Some(98), Some(53), Some(15), Some(20), None]
        );
    }

    #[test]
    fn without_one_age_only_those_promise_that_need_none() {
        for running in [None, Some("mixed"), Some("unknown")] {
            assert_eq!(running_age(running), None);
            let told: Vec<_> = said(true, running)
                .into_iter()
                .filter_map(|(name, within)| within.map(|_| name))
                .collect();
            assert_eq!(told, ["DNSPolling", "EndpointWatch"]);
        }
    }
}
