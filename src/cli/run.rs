//! `evenkeel run`: the operator's flags and its log.

use std::collections::BTreeSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::log::{self, LogFormat};
use crate::api::GoDuration;
use crate::operator::{LeaseSettings, Options, PrometheusSettings, Settings, run, traces};

/// Each flag can be given as a variable too.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Run {
    /// Namespaces to watch, separated by commas; none: all of them.
    #[arg(long, env = "EVENKEEL_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Namespaces whose ServiceAccounts may be given access to endpoints besides the backend's own, separated by commas.
    #[arg(long, env = "EVENKEEL_CLIENT_NAMESPACES", value_delimiter = ',')]
    client_namespaces: Vec<String>,
    /// Where metrics are served: `[::]` is every address, of IPv4 too.
    #[arg(long, env = "EVENKEEL_METRICS_ADDRESS", default_value = "[::]:8080")]
    metrics_address: SocketAddr,
    /// Where /healthz and /readyz are served.
    #[arg(long, env = "EVENKEEL_HEALTH_ADDRESS", default_value = "[::]:8081")]
    health_address: SocketAddr,
    /// Rollouts that the operator has under way at once, over all backends.
    #[arg(long, env = "EVENKEEL_MAX_CONCURRENT_ROLLOUTS", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    max_concurrent_rollouts: u16,
    /// How long a pod may take to be ready with a new connection age before the age is taken back; of a Deployment its progressDeadlineSeconds where they are more, or less if its controller says that they are over.
    #[arg(long, env = "EVENKEEL_ROLLOUT_DEADLINE", default_value = "10m", value_parser = deadline)]
    rollout_deadline: Duration,
    /// Whether HorizontalPodAutoscalers are read, which needs the right to list them: without it findings about autoscaling are not checked.
    #[arg(long, env = "EVENKEEL_READ_AUTOSCALERS", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    read_autoscalers: bool,
    /// Whether the ConfigMaps coredns and node-local-dns in kube-system are read, which needs the right to get them: without it the finding about old DNS answers is not checked.
    #[arg(long, env = "EVENKEEL_READ_CLUSTER_DNS", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    read_cluster_dns: bool,
    /// Whether the labels and annotations by which a backend's namespace asks for a mesh count for findings: without it a mesh shows in the pods and their template alone.
    #[arg(long, env = "EVENKEEL_READ_NAMESPACES", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    read_namespaces: bool,
    /// The Prometheus server that backends with `source: Prometheus` are judged by, as http://host:9090; none: they are told so.
    #[arg(long, env = "EVENKEEL_PROMETHEUS_URL")]
    prometheus_url: Option<String>,
    /// A file with the bearer token that Prometheus is asked with, over https only. It is read again for each query.
    #[arg(
        long,
        env = "EVENKEEL_PROMETHEUS_TOKEN_FILE",
        requires = "prometheus_url"
    )]
    prometheus_token_file: Option<PathBuf>,
    /// A file with the authority that the certificate of Prometheus must come from.
    #[arg(long, env = "EVENKEEL_PROMETHEUS_CA_FILE", requires = "prometheus_url")]
    prometheus_ca_file: Option<PathBuf>,
    /// Labels that series in Prometheus must have to count, as label=value, at most 8, separated by commas: where one server has the series of several clusters, this one's, such as cluster=prod.
    #[arg(
        long,
        env = "EVENKEEL_PROMETHEUS_MATCHERS",
        value_delimiter = ',',
        requires = "prometheus_url"
    )]
    prometheus_matchers: Vec<String>,
    /// Whether several processes take turns by a Lease.
    #[arg(long, env = "EVENKEEL_LEADER_ELECTION", default_value_t = false, action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    leader_election: bool,
    /// Namespace of the Lease; default: the one of the pod.
    #[arg(long, env = "EVENKEEL_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,
    /// Name of the Lease.
    #[arg(long, env = "EVENKEEL_LEASE_NAME", default_value = "evenkeel")]
    lease_name: String,
    /// An OpenTelemetry collector that is sent a span of each pass over a backend, by OTLP over HTTP as http://host:4318; none: no traces.
    #[arg(long, env = "EVENKEEL_OTLP_ENDPOINT")]
    otlp_endpoint: Option<String>,
    /// What is logged: off, error, warn, info, debug or trace, or such a word for a part, as in info,evenkeel=debug.
    #[arg(long, env = "EVENKEEL_LOG_FILTER", default_value = "info")]
    log_filter: String,
    /// How the log is written.
    #[arg(long, env = "EVENKEEL_LOG_FORMAT", value_enum, default_value_t = LogFormat::Json)]
    log_format: LogFormat,
}

/// A flag of `evenkeel run`, as people read of it.
pub struct Flag {
    /// `--name`.
    pub name: String,
    /// The variable that stands for it.
    pub variable: String,
    /// What holds without it, if anything does.
    pub default: Option<String>,
    /// What it does.
    pub help: String,
}

/// Each flag of `evenkeel run`.
pub fn flags() -> Vec<Flag> {
    let command = Run::augment_args(Command::new("run"));
    let flag = |argument: &clap::Arg| {
        let defaults = argument.get_default_values().iter();
        let defaults: Vec<_> = defaults.map(|value| value.to_string_lossy()).collect();
        Some(Flag {
            name: format!("--{}", argument.get_long()?),
            variable: argument.get_env()?.to_string_lossy().into(),
            default: (!defaults.is_empty()).then(|| defaults.join(",")),
            help: argument.get_help()?.to_string(),
        })
    };
    command.get_arguments().filter_map(flag).collect()
}

/// As whom the Lease is held. Outside a pod of the chart's the process's number alone would not do: it is 1 in every container, and
/// whoever finds its own name in the Lease acts.
fn identity(pod: Option<String>) -> String {
    pod.filter(|name| !name.is_empty()).unwrap_or_else(|| {
        // The standard library's keys are random in each process, and differ each time.
        let random = RandomState::new().build_hasher().finish();
        format!("process-{}-{random:016x}", std::process::id())
    })
}

/// Each once, and nothing where nothing is written: a namespace that was named twice would be watched, and written in, by two at a time.
fn given(names: Vec<String>) -> Vec<String> {
    let names: BTreeSet<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
    names.into_iter().collect()
}

/// A length of time as in the resource: 90s, 10m.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = GoDuration::new(text.to_owned());
    duration.get().map_err(|error| error.to_string())
}

/// With none at all each rollout would be over its deadline as it begins, and be taken back.
fn deadline(text: &str) -> Result<Duration, String> {
    let deadline = duration(text)?;
    if deadline < Duration::from_secs(1) {
        return Err(format!(
            "{text} is too short for any pod to be ready: write 1s or more, such as 10m"
        ));
    }
    Ok(deadline)
}

/// A misspelt level would count as the name of a part, of which all is logged, and of everything else nothing: not even why.
fn filter(text: &str) -> anyhow::Result<EnvFilter> {
    for part in text.split(',') {
        let is_level = !part.is_empty() && part.parse::<LevelFilter>().is_ok();
        anyhow::ensure!(
            is_level || part.contains(['=', '[']),
            "--log-filter {text:?}: {part:?} is no level: write off, error, warn, info, debug or trace, without blanks, or such a word \
             for a part, as in info,evenkeel=debug"
        );
    }
    EnvFilter::try_new(text).map_err(|error| anyhow::anyhow!("--log-filter {text:?}: {error}"))
}

impl Run {
    /// Runs until the end.
    pub fn main(self) -> anyhow::Result<()> {
        let filter = filter(&self.log_filter)?;
        let endpoint = self.otlp_endpoint.as_deref();
        let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty());
        let (traces, exporter) = endpoint.map(traces).transpose()?.unzip();
        log::subscriber(filter, self.log_format, std::io::stderr, traces).init();
        let options = self.options()?;
        // One thread carries it: what the operator does is waiting, and each further thread costs memory.
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(run(options, exporter))
    }

    fn options(self) -> anyhow::Result<Options> {
        let lease = if self.leader_election {
            let namespace = self
                .lease_namespace
                .or_else(|| std::env::var("POD_NAMESPACE").ok())
                .ok_or_else(|| {
                    anyhow::anyhow!(
                        "--leader-election needs --lease-namespace (or the variable POD_NAMESPACE)"
                    )
                })?;
            Some(LeaseSettings {
                namespace,
                name: self.lease_name,
                identity: identity(std::env::var("POD_NAME").ok()),
            })
        } else {
            None
        };
        let (token_file, ca_file) = (self.prometheus_token_file, self.prometheus_ca_file);
        let matchers = given(self.prometheus_matchers);
        let url = self.prometheus_url.filter(|url| !url.is_empty());
        Ok(Options {
            settings: Settings {
                watch_namespaces: given(self.watch_namespaces),
                client_namespaces: given(self.client_namespaces),
                max_concurrent_rollouts: self.max_concurrent_rollouts.into(),
                rollout_deadline: self.rollout_deadline,
                read_autoscalers: self.read_autoscalers,
                read_cluster_dns: self.read_cluster_dns,
                read_namespaces: self.read_namespaces,
                prometheus: url.map(|url| PrometheusSettings {
                    url,
                    token_file,
                    ca_file,
                    matchers,
                }),
            },
            metrics_address: self.metrics_address,
            health_address: self.health_address,
            lease,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_leaves_time_to_be_ready() {
        for (text, taken) in [
            ("10m", true),
            ("1s", true),
            ("1000ms", true),
            ("0s", false),
            ("999ms", false),
            ("0h0m", false),
            ("soon", false),
        ] {
            assert_eq!(deadline(text).is_ok(), taken, "{text}");
        }
    }

    #[test]
    fn a_namespace_is_watched_once() {
        let names = ["shop", "", "cart", "shop"].map(str::to_owned);
        assert_eq!(given(names.to_vec()), ["cart", "shop"]);
        assert!(given(vec![String::new()]).is_empty(), "all of them");
    }

    #[test]
    fn a_misspelt_level_is_refused_and_not_silent() {
        for taken in [
            "info",
            "WARN",
            "off",
            "3",
            "info,evenkeel::balance=debug",
            "evenkeel=5,error",
            "warn,evenkeel[pass]=trace",
        ] {
            filter(taken).unwrap();
        }
        for refused in [
            "warning",
            "6",
            "",
            "info,",
            "info, evenkeel=debug",
            "info ",
            "inof,evenkeel=debug",
            "info,evenkeel",
            "evenkeel=warning",
        ] {
            let said = filter(refused).unwrap_err().to_string();
            let begins = format!("--log-filter {refused:?}: ");
            assert!(said.starts_with(&begins), "{said}");
            for word in ["off", "error", "warn", "info", "debug", "trace"] {
                assert!(said.contains(word), "{said} lacks {word}");
            }
        }
    }

    #[test]
    fn two_processes_never_hold_the_lease_by_one_name() {
        assert_eq!(identity(Some("evenkeel-0".into())), "evenkeel-0");
        for nameless in [None, Some(String::new())] {
            let other = identity(None);
            assert_ne!(identity(nameless), other);
            assert!(other.starts_with(&format!("process-{}-", std::process::id())));
        }
    }
}
