//! The conditions of a `GrpcBackend` and every reason that they can give.

use std::fmt;

/// What is stated about a backend. The order is the order in which `kubectl describe` is read.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ConditionType {
    /// Everything that was asked for is in place.
    Ready,
    /// The pair of Services exists as asked.
    ServicesReady,
    /// The ready pods run with the age that was asked for.
    ConnectionAgeApplied,
    /// The ServiceAccount, Role and RoleBinding for endpoint watches exist as asked.
    EndpointWatchReady,
    /// The pods' own metrics can be read.
    MetricsAvailable,
    /// Requests are spread evenly over the ready pods.
    Balanced,
    /// Present only while something is under way (kstatus).
    Reconciling,
    /// Present only while nothing moves without somebody's help (kstatus).
    Stalled,
}

impl ConditionType {
    /// The `type` of the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::ServicesReady => "ServicesReady",
            Self::ConnectionAgeApplied => "ConnectionAgeApplied",
            Self::EndpointWatchReady => "EndpointWatchReady",
            Self::MetricsAvailable => "MetricsAvailable",
            Self::Balanced => "Balanced",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

impl fmt::Display for ConditionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// `True`, `False` or `Unknown`, as a condition writes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The statement holds.
    True,
    /// It does not.
    False,
    /// It cannot be told.
    Unknown,
}

impl State {
    /// The `status` of the condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// What one part of the product says of itself; it becomes one condition.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Statement {
    /// Whether the condition holds.
    pub state: State,
    /// Why, as one word.
    pub reason: Reason,
    /// Why, as a sentence that names object and field and ends in what to do. Bounded to [`MAX_MESSAGE`] characters when written.
    pub message: String,
}

/// A text of ours may repeat what others wrote. What a terminal or a log would act on is shown instead of passed on.
pub fn plain(text: &str) -> String {
    let acts =
        |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// The API server's own bound is 32768; nobody reads so much.
pub const MAX_MESSAGE: usize = 1024;

impl Statement {
    /// It holds.
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(State::True, reason, message)
    }

    /// It does not hold.
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(State::False, reason, message)
    }

    /// It cannot be told.
    pub fn unknown(reason: Reason, message: impl Into<String>) -> Self {
        Self::new(State::Unknown, reason, message)
    }

    fn new(state: State, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            state,
            reason,
            message: message.into(),
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Why a condition has its state.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// Every reason there is.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The reason of that name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == name)
            }

            /// The `reason` of the condition.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    /// All parts that were asked for are in place.
    AllReady,
    /// Created and kept by the operator.
    Created,
    /// Somebody else's object is used as it is.
    Existing,
    /// Nothing was asked for.
    NotRequested,
    /// The ready pods run with it.
    Applied,
    /// Role and RoleBinding are in place.
    Bound,
    /// Every pod's metrics were read.
    Scraped,
    /// Some pods' metrics were read.
    PartlyScraped,
    /// Even within what chance explains.
    Balanced,
    /// One pod has nothing to be balanced with.
    SinglePod,
    /// A name is taken by an object that is not ours.
    NameConflict,
    /// `policy: UseExisting`, and there is none.
    ServiceNotFound,
    /// The existing Service selects other pods.
    SelectorMismatch,
    /// The existing Service has no such port.
    PortMismatch,
    /// The API server refused the object.
    Rejected,
    /// The operator has not the right.
    Forbidden,
    /// No workload matches the selector and declares the port.
    NoServer,
    /// A workload of a kind that is not patched, or of a form that cannot be.
    UnsupportedWorkload,
    /// Several containers could be meant.
    AmbiguousContainer,
    /// Neither `args` nor `command` is set, and setting one would discard the image's own.
    NothingToExtend,
    /// The field is set by somebody else.
    FieldConflict,
    /// Another GrpcBackend set the field first.
    ClaimedByOther,
    /// The knob has no grace, but one was asked for.
    GraceUnsupported,
    /// No knob is named.
    NoKnob,
    /// `mode: Advise`: nothing is written.
    NotApplied,
    /// The workload is busy with a rollout of its own.
    WaitingForRollout,
    /// The pods are being replaced by ones with the age.
    RollingOut,
    /// The workload is paused, or replaces pods only as its owner says (OnDelete, partition).
    Paused,
    /// The rollout with the age failed and was taken back.
    RolloutFailed,
    /// Somebody takes the age out again and again.
    Reverted,
    /// No port with metrics is known.
    NoMetricsPort,
    /// Metrics were read, but no family that counts requests is among them.
    NoKnownMetric,
    /// No pod's metrics could be read.
    ScrapeFailed,
    /// The address may not be asked.
    Refused,
    /// What metrics are asked for with is not there, or cannot be used.
    NoCredentials,
    /// Uneven beyond chance.
    Skewed,
    /// One pod has most of the excess.
    HotPod,
    /// New pods get nothing though they should by now.
    NewPodsStarved,
    /// Too few connections for the pods there are.
    FewClients,
    /// The spec asks for what cannot be.
    InvalidSpec,
    /// The resource is being deleted.
    Terminating,
    /// `suspend: true`.
    Suspended,
    /// `envFrom` may set the variable, and it cannot be read.
    EnvFromUnverified,
    /// Not watched for long enough.
    WarmingUp,
    /// Too few requests to tell.
    InsufficientData,
    /// No requests.
    NoTraffic,
    /// No ready pods.
    NoPods,
    /// Only long streams, which these counters do not show.
    StreamsOnly,
    /// Nothing to judge from.
    NoMetrics,
    /// Numbers only, as asked.
    Observed,
    /// Switched off.
    Off,
    /// Not reached yet.
    Pending,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
