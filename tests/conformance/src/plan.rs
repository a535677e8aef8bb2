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
    finds: Finds,
}

/// When a client looks for pods by DNS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Finds {
    /// When a connection ends: a kind of [`timing::CLIENTS`].
    ByAge(&'static str),
    /// By the clock, as its example does; the promise of the status is for whoever does so more seldom.
    Every(Duration),
}

impl Client {
    /// Whether it looks for pods when a connection ends, and not by the clock.
    pub(crate) fn goes_by_age(&self) -> bool {
        matches!(self.finds, Finds::ByAge(_))
    }
}

/// A client of each language.
pub const CLIENTS: [Client; 5] = [
    Client {
        id: "go",
        library: "grpc-go",
        finds: Finds::ByAge("DNS"),
    },
    Client {
        id: "java",
        library: "grpc-java",
        finds: Finds::ByAge("DNSJava"),
    },
    Client {
        id: "node",
        library: "@grpc/grpc-js",
        finds: Finds::ByAge("DNS"),
    },
    Client {
        id: "python",
        library: "grpcio",
        finds: Finds::ByAge("DNS"),
    },
    Client {
        id: "rust",
        library: "tonic",
        finds: Finds::Every(Duration::from_secs(3)),
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
    /// Servers are set so that no call fails.
    pub recipe: bool,
    /// Clients have a retry policy.
    pub retry: bool,
}

/// Calls a second of each client, and where the recipe is tried.
const RATE: f64 = 50.0;
const RECIPE_RATE: f64 = 200.0;
/// Channels of a client that is idle, used in turn, so that there are enough calls.
pub const IDLE_CHANNELS: u32 = 8;
/// The time to live of DNS answers in the cluster that is measured on.
const DNS_TTL: Duration = Duration::from_secs(5);
/// After an outage of the API server the controllers that write EndpointSlices, and CoreDNS, watch again at the latest after this:
/// `client-go` waits longer each time, at last between 30 and 60 s (tools/cache/reflector.go). Nobody can be told before.
const RECOVERY: Duration = Duration::from_mins(1);
/// By the clock, as both examples do.
const PROXIES_LOOK_EVERY: Duration = Duration::from_secs(5);
/// So long a client without a promise is watched, longer than any resolver waits; who finds nothing until then will not by itself.
const IN_VAIN: Duration = Duration::from_secs(40);
/// The same where a connection gets another pod by chance at its every end: most find a pod within that.
const BY_CHANCE: Duration = Duration::from_mins(3);

const fn mode(id: &'static str, title: &'static str, via: Via, age: Option<u64>) -> Mode {
    Mode {
        id,
        title,
        via,
        age,
        recipe: false,
        retry: false,
    }
}

const fn recipe(id: &'static str, title: &'static str, via: Via, age: Option<u64>) -> Mode {
    Mode {
        recipe: true,
        retry: true,
        ..mode(id, title, via, age)
    }
}

/// All ways, the most telling first.
pub const MODES: [Mode; 14] = [
    mode(
        "headless-30s",
        "headless Service, age 30 s",
        Via::Headless,
        Some(30),
    ),
    mode("watch", "endpoint watch, no age", Via::Watch, None),
    recipe(
        "recipe-headless-30s",
        "headless Service, age 30 s, by the recipe",
        Via::Headless,
        Some(30),
    ),
    recipe(
        "recipe-watch",
        "endpoint watch, by the recipe",
        Via::Watch,
        None,
    ),
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
    recipe(
        "recipe-envoy",
        "through Envoy, by the recipe",
        Via::Proxy("envoy"),
        None,
    ),
    recipe(
        "recipe-nginx",
        "through nginx, by the recipe",
        Via::Proxy("nginx"),
        None,
    ),
    Mode {
        retry: false,
        ..recipe(
            "recipe-server-headless-30s",
            "headless Service, age 30 s, by the server's part of the recipe",
            Via::Headless,
            Some(30),
        )
    },
    Mode {
        retry: false,
        ..recipe(
            "recipe-server-watch",
            "endpoint watch, by the server's part of the recipe",
            Via::Watch,
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
    /// The DNS server is dead for 20 s; then a pod more.
    DnsDown,
    /// The API server is dead for 20 s; then a pod more.
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

/// So many seconds after an event all calls have ended that it met: their deadline is 10 s.
const ALL_ENDED: u64 = 12;

/// All events, the most telling first.
pub const EVENTS: [Event; 10] = [
    event("scale-up-2-4", "scale-up 2 → 4", 2, Action::Scale(4), 5, 8),
    event(
        "rolling-update",
        "rolling update",
        3,
        Action::RollingUpdate,
        1,
        ALL_ENDED,
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
        ALL_ENDED,
    ),
    event(
        "killed",
        "`kill -9` of a server",
        3,
        Action::Kill,
        1,
        ALL_ENDED,
    ),
    event("evicted", "a pod evicted", 3, Action::Evict, 1, ALL_ENDED),
    event(
        "dns-down",
        "DNS server down for 20 s, then scale-up 3 → 4",
        3,
        Action::DnsDown,
        1,
        40,
    ),
    event(
        "api-down",
        "API server down for 20 s, then scale-up 3 → 4",
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

/// Of a cell.
pub fn name(mode: &Mode, event: &Event) -> String {
    format!("{}.{}", mode.id, event.id)
}

impl Event {
    /// Whether it hits everything that runs on the cluster.
    pub fn disturbs(&self) -> bool {
        matches!(self.action, Action::DnsDown | Action::ApiDown)
    }

    /// How many pods come by it that were not there, or came anew.
    pub fn new_pods(&self) -> u32 {
        match self.action {
            Action::Scale(pods) => pods.saturating_sub(self.pods),
            Action::RollingUpdate | Action::Replace => self.pods,
            Action::Kill | Action::Evict | Action::DnsDown | Action::ApiDown => 1,
            Action::Idle => 0,
        }
    }

    /// What Kubernetes itself may need until anybody can know of a new pod.
    fn recovery(&self) -> Duration {
        match self.action {
            Action::ApiDown => RECOVERY,
            _ => Duration::ZERO,
        }
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

    /// Calls a second of each client.
    pub fn rate(&self, event: &Event) -> f64 {
        if event.action == Action::Idle {
            f64::from(IDLE_CHANNELS) / self.between_calls().as_secs_f64()
        } else if self.recipe {
            RECIPE_RATE
        } else {
            RATE
        }
    }

    /// So many calls of a client that makes so many a second may be under way at the end without having failed: what a busy
    /// machine needs for them, of which less is let pass where not one may fail.
    pub fn under_way(&self, rate: f64) -> f64 {
        if self.recipe { rate / 10.0 } else { rate }
    }

    /// Of one idle channel: longer than the age with its spread.
    pub fn between_calls(&self) -> Duration {
        Duration::from_secs(self.age.unwrap_or(30)) * 4 / 3
    }

    /// How long it is watched whether a client finds a new pod.
    pub fn patience(&self, event: &Event, client: Client) -> Duration {
        let by_chance = self.via == Via::ClusterIp && self.age.is_some();
        let scales = matches!(event.action, Action::Scale(_));
        let without = if by_chance && scales {
            BY_CHANCE
        } else {
            IN_VAIN
        };
        self.promise_in(event, client).unwrap_or(without)
    }

    /// The same as [`Mode::promise`], with what Kubernetes needs by itself after this event.
    pub fn promise_in(&self, event: &Event, client: Client) -> Option<Duration> {
        Some(self.promise(client)? + event.recovery())
    }

    /// Whether all its clients find what comes, so that what they know after one event is what they would know at the start.
    pub fn keeps_up(&self) -> bool {
        self.clients().all(|client| self.promise(client).is_some())
    }

    /// Whether two events can be measured with the same servers and clients, one after the other.
    pub fn same_stage(&self, one: &Event, other: &Event) -> bool {
        let idle = [one, other].map(|event| event.action == Action::Idle);
        one == other || self.keeps_up() && one.pods == other.pods && idle == [false, false]
    }

    /// How soon a client finds a new pod at the latest where DNS answers as in the cluster that is measured on; `None` where
    /// nothing is promised.
    pub fn promise(&self, client: Client) -> Option<Duration> {
        let kind = match self.via {
            Via::ClusterIp => "ClusterIP",
            Via::Headless => match client.finds {
                Finds::ByAge(kind) => kind,
                Finds::Every(interval) => return Some(interval + DNS_TTL),
            },
            Via::Watch => "EndpointWatch",
            Via::Proxy(_) => return Some(PROXIES_LOOK_EVERY + DNS_TTL),
        };
        timing::CLIENTS
            .iter()
            .find(|known| known.name == kind)?
            .within_with(self.age.map(Duration::from_secs), DNS_TTL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_client_is_known_to_the_promises() {
        let seconds = |mode: &str, client: &str| {
            let client = CLIENTS.iter().find(|known| known.id == client).unwrap();
            of(mode).promise(*client).map(|time| time.as_secs())
        };
        assert_eq!(seconds("headless-30s", "go"), Some(68));
        assert_eq!(seconds("headless-30s", "java"), Some(98));
        assert_eq!(seconds("headless-60s", "python"), Some(101));
        assert_eq!(seconds("headless", "node"), None);
        assert_eq!(seconds("headless", "rust"), Some(8));
        assert_eq!(seconds("watch", "go"), Some(20));
        assert_eq!(seconds("cluster-ip-30s", "go"), None);
        assert_eq!(seconds("envoy", "java"), Some(10));
    }

    #[test]
    fn each_is_watched_until_it_has_found_what_it_will() {
        let seconds = |mode: &str, event: &str, client: &str| {
            let client = CLIENTS.iter().find(|known| known.id == client).unwrap();
            of(mode).patience(at(event), *client).as_secs()
        };
        assert_eq!(seconds("headless-30s", "scale-up-2-4", "go"), 68);
        assert_eq!(seconds("headless-30s", "api-down", "go"), 128);
        assert_eq!(seconds("headless", "scale-up-2-4", "go"), 40);
        assert_eq!(seconds("cluster-ip", "scale-up-2-4", "go"), 40);
        assert_eq!(seconds("cluster-ip-30s", "scale-up-2-4", "go"), 180);
        assert_eq!(seconds("cluster-ip-30s", "replaced", "go"), 40);
        let up: Vec<_> = MODES.iter().filter(|mode| mode.keeps_up()).collect();
        assert!(!up.contains(&of("headless")) && !up.contains(&of("cluster-ip-30s")));
        assert!(up.contains(&of("headless-60s")) && up.contains(&of("nginx")));
    }

    fn of(mode: &str) -> &'static Mode {
        MODES.iter().find(|known| known.id == mode).unwrap()
    }

    fn at(event: &str) -> &'static Event {
        EVENTS.iter().find(|known| known.id == event).unwrap()
    }

    #[test]
    fn the_recipe_is_tried_at_its_rate_and_idle_channels_wait_longer_than_the_age() {
        let rate = |mode, event| of(mode).rate(at(event)).to_string();
        assert_eq!(rate("headless", "killed"), "50");
        assert_eq!(rate("recipe-server-watch", "rolling-update"), "200");
        assert_eq!(rate("headless-60s", "idle"), "0.1");
        let under_way = |mode| of(mode).under_way(200.0).to_string();
        assert_eq!(
            [under_way("watch"), under_way("recipe-watch")],
            ["200", "20"]
        );
    }

    #[test]
    fn each_event_brings_its_pods() {
        let new = |event| at(event).new_pods();
        let all = [
            "scale-up-3-5",
            "scale-down-4-2",
            "replaced",
            "killed",
            "api-down",
            "idle",
        ];
        assert_eq!(all.map(new), [2, 0, 3, 1, 1, 0]);
    }

    #[test]
    fn only_what_was_as_it_is_now_is_used_again() {
        let same = |mode, one, other| of(mode).same_stage(at(one), at(other));
        assert!(same("headless-30s", "rolling-update", "scale-up-3-5"));
        assert!(same("watch", "killed", "api-down"));
        // Who has lost a pod for good would begin with fewer.
        assert!(!same("headless", "rolling-update", "killed"));
        assert!(!same("headless-30s", "rolling-update", "scale-up-2-4"));
        // At another rate.
        assert!(!same("watch", "killed", "idle"));
    }

    #[test]
    fn the_matrix_is_whole() {
        assert_eq!(cells().count(), 8 * 10 + 6 * 2);
        let first = cells().next().unwrap();
        assert_eq!((first.0.id, first.1.id), ("headless-30s", "scale-up-2-4"));
    }
}
