//! The matrix: by which way clients find pods, and what happens to the pods.

use std::time::Duration;

use evenkeel::connection_age::timing;

/// A client and its library.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Client {
    /// As in names of pods and cells.
    pub id: &'static str,
    /// As people call it.
    pub library: &'static str,
    /// Of [`timing::CLIENTS`]: how it finds pods by DNS.
    kind: &'static str,
}

/// A client of each language.
pub const CLIENTS: [Client; 5] = [
    Client {
        id: "go",
        library: "grpc-go",
        kind: "DNS",
    },
    Client {
        id: "java",
        library: "grpc-java",
        kind: "DNSJava",
    },
    Client {
        id: "node",
        library: "@grpc/grpc-js",
        kind: "DNS",
    },
    Client {
        id: "python",
        library: "grpcio",
        kind: "DNS",
    },
    Client {
        id: "rust",
        library: "tonic",
        kind: "DNSPolling",
    },
];

/// By which way clients reach pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Via {
    /// The virtual address.
    ClusterIp,
    /// The name of the headless Service, with `round_robin`.
    Headless,
    /// EndpointSlices, as kuberesolver watches them.
    Watch,
    /// A central proxy of this name that itself looks up the headless Service.
    Proxy(&'static str),
}

/// A way to reach pods, and what is set for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mode {
    /// As in the names of cells.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// The way.
    pub via: Via,
    /// The age of the servers' connections, in seconds.
    pub age: Option<u64>,
    /// Servers and clients are set so that no call fails.
    pub recipe: bool,
}

const fn mode(id: &'static str, title: &'static str, via: Via, age: Option<u64>) -> Mode {
    Mode {
        id,
        title,
        via,
        age,
        recipe: false,
    }
}

/// All ways, the most telling first.
pub const MODES: [Mode; 12] = [
    mode(
        "headless-30s",
        "headless Service, age 30 s",
        Via::Headless,
        Some(30),
    ),
    mode("watch", "endpoint watch, no age", Via::Watch, None),
    Mode {
        recipe: true,
        ..mode(
            "recipe-headless-30s",
            "headless Service, age 30 s, by the recipe",
            Via::Headless,
            Some(30),
        )
    },
    Mode {
        recipe: true,
        ..mode(
            "recipe-watch",
            "endpoint watch, by the recipe",
            Via::Watch,
            None,
        )
    },
    mode("headless", "headless Service, no age", Via::Headless, None),
    mode("cluster-ip", "ClusterIP, no age", Via::ClusterIp, None),
    mode(
        "cluster-ip-30s",
        "ClusterIP, age 30 s",
        Via::ClusterIp,
        Some(30),
    ),
    mode(
        "headless-60s",
        "headless Service, age 60 s",
        Via::Headless,
        Some(60),
    ),
    mode("envoy", "through Envoy, no age", Via::Proxy("envoy"), None),
    mode("nginx", "through nginx, no age", Via::Proxy("nginx"), None),
    Mode {
        recipe: true,
        ..mode(
            "recipe-envoy",
            "through Envoy, by the recipe",
            Via::Proxy("envoy"),
            None,
        )
    },
    Mode {
        recipe: true,
        ..mode(
            "recipe-nginx",
            "through nginx, by the recipe",
            Via::Proxy("nginx"),
            None,
        )
    },
];

/// What happens to the pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// Their number changes to this.
    Scale(u32),
    /// `kubectl rollout restart`.
    RollingUpdate,
    /// A server's process gets SIGKILL.
    Kill,
    /// A pod is evicted, as a drained node does it.
    Evict,
    /// All are deleted at once.
    Replace,
    /// The DNS server is dead for 20 s.
    DnsDown,
    /// The API server is dead for 20 s.
    ApiDown,
    /// Nothing: each connection is used only after it was idle for longer than the age.
    Idle,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event {
    /// As in the names of cells.
    pub id: &'static str,
    /// For people.
    pub title: &'static str,
    /// So many pods are there before.
    pub pods: u32,
    /// What it is.
    pub action: Action,
    /// How often it is measured.
    pub runs: usize,
    /// How many seconds are watched after all is as it should be.
    pub tail: u64,
}

const fn event(
    id: &'static str,
    title: &'static str,
    pods: u32,
    action: Action,
    runs: usize,
    tail: u64,
) -> Event {
    Event {
        id,
        title,
        pods,
        action,
        runs,
        tail,
    }
}

/// All events, the most telling first.
pub const EVENTS: [Event; 10] = [
    event("scale-up-2-4", "scale-up 2 → 4", 2, Action::Scale(4), 5, 8),
    event(
        "rolling-update",
        "rolling update",
        3,
        Action::RollingUpdate,
        1,
        8,
    ),
    // Another look-up and another age, so that a dead address would be dialled.
    event(
        "scale-down-4-2",
        "scale-down 4 → 2",
        4,
        Action::Scale(2),
        1,
        40,
    ),
    event(
        "replaced",
        "all pods deleted at once",
        3,
        Action::Replace,
        1,
        8,
    ),
    event("killed", "`kill -9` of a server", 3, Action::Kill, 1, 8),
    event("evicted", "a pod evicted", 3, Action::Evict, 1, 8),
    event(
        "dns-down",
        "DNS server down for 20 s",
        3,
        Action::DnsDown,
        1,
        40,
    ),
    event(
        "api-down",
        "API server down for 20 s",
        3,
        Action::ApiDown,
        1,
        20,
    ),
    event("scale-up-3-5", "scale-up 3 → 5", 3, Action::Scale(5), 5, 8),
    event(
        "idle",
        "idle for longer than the age, then calls",
        3,
        Action::Idle,
        1,
        0,
    ),
];

/// The cells that there should be, the most telling first.
pub fn cells() -> impl Iterator<Item = (&'static Mode, &'static Event)> {
    let pairs = EVENTS
        .iter()
        .flat_map(|event| MODES.iter().map(move |mode| (mode, event)));
    pairs.filter(|(mode, event)| !mode.recipe || event.in_recipe())
}

impl Event {
    /// Whether it hits everything that runs on the cluster.
    pub fn disturbs(&self) -> bool {
        matches!(self.action, Action::DnsDown | Action::ApiDown)
    }

    /// Whether the recipe is about it.
    pub fn in_recipe(&self) -> bool {
        matches!(self.id, "rolling-update" | "scale-down-4-2")
    }
}

impl Mode {
    /// Who can go this way.
    pub fn clients(&self) -> impl Iterator<Item = Client> + use<> {
        let watches = self.via == Via::Watch;
        CLIENTS
            .into_iter()
            .filter(move |client| !watches || client.id == "go")
    }

    /// How soon a client finds a new pod at the latest; `None` where nothing is promised.
    pub fn promise(&self, client: Client) -> Option<Duration> {
        let kind = match self.via {
            Via::ClusterIp => "ClusterIP",
            Via::Headless => client.kind,
            Via::Watch => "EndpointWatch",
            // Both look the name up by the clock.
            Via::Proxy(_) => "DNSPolling",
        };
        timing::CLIENTS
            .iter()
            .find(|known| known.name == kind)?
            .within(self.age.map(Duration::from_secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_client_is_known_to_the_promises() {
        let seconds = |mode: &str, client: &str| {
            let mode = MODES.iter().find(|known| known.id == mode).unwrap();
            let client = CLIENTS.iter().find(|known| known.id == client).unwrap();
            mode.promise(*client).map(|time| time.as_secs())
        };
        assert_eq!(seconds("headless-30s", "go"), Some(93));
        assert_eq!(seconds("headless-30s", "java"), Some(123));
        assert_eq!(seconds("headless-60s", "python"), Some(126));
        assert_eq!(seconds("headless", "node"), None);
        assert_eq!(seconds("headless", "rust"), Some(40));
        assert_eq!(seconds("watch", "go"), Some(20));
        assert_eq!(seconds("cluster-ip-30s", "go"), None);
        assert_eq!(seconds("envoy", "java"), Some(40));
    }

    #[test]
    fn the_matrix_is_whole() {
        assert_eq!(cells().count(), 8 * 10 + 4 * 2);
        let first = cells().next().unwrap();
        assert_eq!((first.0.id, first.1.id), ("headless-30s", "scale-up-2-4"));
    }
}
