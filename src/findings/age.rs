//! Age and shutdown.

use std::time::Duration;

use crate::api::{ConnectionAge, GoDuration, ObservedAge};
use crate::balance::{Turnover, bearable_age};
use crate::observed::{Observed, Workload};
use crate::presets::{self, Server};

use super::{Seen, mesh, said_before, services, snippet};

/// An age as most servers bear it, by the knob that most examples have: a comment, since nobody here knows what the program reads.
pub(super) const USUAL: &str = "# with the knob of your server (evenkeel presets lists known ones), such as\n# connectionAge: {maxAge: 5m, grace: 30s, knob: {env: {maxAge: MAX_CONNECTION_AGE, grace: MAX_CONNECTION_AGE_GRACE}}}";
/// The same where a GrpcBackend is written or begun. What is to be added to one that is written are comments alone: as fields they would
/// be an empty spec.
pub(super) fn usual(observed: &Observed) -> String {
    if observed.guessed {
        return snippet::backend(observed, USUAL);
    }
    in_comments(observed, USUAL)
}

/// What only the owner can write into the spec.
fn in_comments(observed: &Observed, lines: &str) -> String {
    let name = snippet::word(&observed.name());
    format!("# in spec of GrpcBackend {name}\n{lines}")
}

/// The longest age that is worth having.
const LONG: Duration = Duration::from_mins(15);
/// What most clients wait between two look-ups.
const SHORT: Duration = Duration::from_secs(30);
/// Less than requests may well take.
const SHORT_GRACE: Duration = Duration::from_secs(5);

fn asked(observed: &Observed) -> Option<(&str, Duration)> {
    let age = observed.backend.spec.connection_age.as_ref()?;
    Some((age.max_age.as_str(), age.max_age.get().ok()?))
}

/// The age that a workload's servers have by themselves, as far as their image tells, where nothing in their containers speaks of
/// another.
fn by_itself(observed: &Observed, workload: &Workload) -> Option<(&'static Server, Duration)> {
    let image = observed.server(workload)?.image.as_deref()?;
    let mut ages = presets::of_image(image).filter_map(|own| Some((own, own.default_age()?)));
    let is_other = || speaks(workload) || reads_an_age(observed, workload);
    ages.next().filter(|_| !is_other())
}

/// The longest of these ages and whose it is, where none of the others lacks one.
fn longest_by_itself(observed: &Observed) -> Option<(&Workload, &'static Server, Duration)> {
    let ages = observed.serving_workloads().filter_map(|workload| {
        let (server, age) = by_itself(observed, workload)?;
        Some((workload, server, age))
    });
    let longest = ages.max_by_key(|(.., age)| *age);
    longest.filter(|_| all_are_found(observed))
}

/// The server that ends its connections by itself, and soon enough.
pub fn ends_by_itself(observed: &Observed) -> Option<&'static Server> {
    let (_, server, age) = longest_by_itself(observed)?;
    (age <= LONG).then_some(server)
}

/// GB021: without an age, clients that found their pods once never look again.
pub(super) fn absent(observed: &Observed) -> Option<Seen> {
    if is_settled(observed) || all_are_found(observed) {
        return None;
    }
    if observed.guessed {
        return absent_from_guess(observed);
    }
    let seen = Seen::in_backend(observed, "spec", "spec.connectionAge is not set: clients that balance by DNS look the pods up again only when a connection ends, so a pod that is added gets no request until then, possibly for ever. \
         Set spec.connectionAge with the knob of your server, such as {maxAge: 5m, grace: 30s, knob: {env: {maxAge: MAX_CONNECTION_AGE, grace: MAX_CONNECTION_AGE_GRACE}}} or, for a well-known one, {maxAge: 5m, knob: {preset: Thanos}}, or let clients watch endpoints (spec.endpointWatch). If your server has an age by itself, or takes it from a file only, put GB021 into spec.ignoreFindings with that as the reason"
            .into());
    Some(seen.write(&usual(observed)))
}

/// Whether clients find the new pods of every workload.
fn all_are_found(observed: &Observed) -> bool {
    let mut servers = observed.serving_workloads().peekable();
    servers.peek().is_some() && servers.all(|own| is_found(observed, own))
}

/// Whether they find those of one: its servers have an age, by themselves or by what is written into their containers or a ConfigMap
/// that these read, or a mesh balances requests.
fn is_found(observed: &Observed, workload: &Workload) -> bool {
    sets(workload)
        || reads_an_age(observed, workload)
        || by_itself(observed, workload).is_some()
        || mesh::balances(observed, workload)
}

fn reads_an_age(observed: &Observed, workload: &Workload) -> bool {
    let mut read = workload.config_maps();
    read.any(|name| observed.age_configs.contains(name))
}

/// Whether the resource says how clients find pods.
fn is_settled(observed: &Observed) -> bool {
    let spec = &observed.backend.spec;
    spec.connection_age.is_some() || spec.endpoint_watch.is_some()
}

/// Without a GrpcBackend: whether anything in the containers, or in a ConfigMap that they have, speaks of an age. What a program sets by itself cannot be seen.
fn absent_from_guess(observed: &Observed) -> Option<Seen> {
    let mut servers = observed.serving_workloads();
    let server = servers.find(|own| !is_found(observed, own))?;
    services::wants_balance(observed).then(|| {
        let message = format!(
            "no variable or flag of {server} speaks of a maximum connection age: clients that balance by DNS look the pods up again only when a connection ends, so a pod that is added gets no request until then, possibly for ever. \
             Write a GrpcBackend with spec.connectionAge and the knob of your server (evenkeel check --fix begins one, evenkeel presets lists known servers), unless the program sets an age by itself or a proxy balances"
        );
        Seen::in_workload(server, "spec.template.spec.containers", message)
            .write(&usual(observed))
    })
}

/// Whether anything in the containers is called after a connection's age.
pub fn speaks(workload: &Workload) -> bool {
    any_word(workload, |name, _| speaks_of_an_age(name))
}

/// The same, and it is not zero, which is for ever.
fn sets(workload: &Workload) -> bool {
    let is_zero = |value: &str| {
        let number = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        number.parse() == Ok(0.0)
    };
    any_word(workload, |name, value| {
        speaks_of_an_age(name) && !is_zero(value)
    })
}

/// Whether it holds of any word of the containers with the next one, which is the value of a flag or of a variable.
fn any_word(workload: &Workload, holds: impl Fn(&str, &str) -> bool) -> bool {
    let text = serde_json::to_string(workload.containers()).unwrap_or_default();
    let is_word = |word: &&str| !matches!(*word, "" | ":" | "value");
    let words = text.split(['"', ' ', '=', ',', ';']).filter(is_word);
    let next = words.clone().skip(1).chain([""]);
    words.zip(next).any(|(name, value)| holds(name, value))
}

/// Whether a name is that of a connection's age. Caches and cookies have a maximum age too, and so have connections to a database.
fn speaks_of_an_age(name: &str) -> bool {
    const OTHERS: [&str; 12] = [
        "db", "database", "sql", "mysql", "pg", "postgres", "mongo", "redis", "cache", "cookie",
        "session", "cors",
    ];
    let name = name.to_lowercase();
    let mut parts = name.split(['-', '_', '.']);
    let is_other = parts.any(|part| OTHERS.contains(&part));
    let name = name.replace(['-', '_', '.'], "");
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    let speaks = has(&["connectionage", "connage"])
        || has(&["maxage"]) && has(&["grpc", "conn", "keepalive", "server"]);
    // CONN_MAX_AGE is Django's, of its database.
    speaks && !is_other && name != "connmaxage"
}

/// Whether a text, such as a file of configuration, has a connection's age outside of its comments.
pub fn has_an_age(text: &str) -> bool {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let said = text.lines().filter_map(|line| line.split('#').next());
    said.flat_map(|line| line.split(|c| !is_of_name(c)))
        .any(speaks_of_an_age)
}

/// The age as the rules would have it.
pub fn mended(age: &ConnectionAge) -> ConnectionAge {
    let mut age = age.clone();
    let time = |text: &GoDuration| text.get().ok();
    if time(&age.max_age).is_some_and(|age| age < SHORT) {
        age.max_age = GoDuration::new("30s");
    }
    if time(&age.max_age).is_some_and(|age| age > LONG) {
        age.max_age = GoDuration::new("5m");
    }
    let grace = age.grace.as_ref().and_then(time);
    if grace.is_some_and(|grace| grace < SHORT_GRACE) {
        age.grace = Some(GoDuration::new("30s"));
    }
    age
}

const GRACE: &str = "connectionAge: {grace: 30s}";

fn max_age(age: &str) -> String {
    snippet::spec(&format!("connectionAge: {{maxAge: {age}}}"))
}

/// GB022: the resolvers of most languages wait 30 seconds between two look-ups, that of .NET 15.
pub(super) fn short(observed: &Observed) -> Option<Seen> {
    let (text, age) = asked(observed)?;
    (age < SHORT).then(|| {
        Seen::in_backend(observed, "spec.connectionAge.maxAge", format!("spec.connectionAge.maxAge is {text}: most clients wait 30 s between two look-ups (15 s in .NET), so an age under 30s costs connections and finds new pods hardly sooner. Set it to 30s or more"))
            .instead(&max_age("30s"))
    })
}

/// GB023: what ends comes back, and that costs both sides.
pub(super) fn hurried(observed: &Observed) -> Option<Seen> {
    let (text, age) = asked(observed)?;
    let seen = |message| Seen::in_backend(observed, "spec.connectionAge.maxAge", message);
    let Some(often) = observed.published.as_ref()?.reconnects else {
        // After a restart of the operator what was said stands until it has been counted anew.
        return said_before(observed, "GB023").map(seen);
    };
    let better = bearable_age(age, often).as_secs().max(1);
    let (longer, remedy) = if better <= LONG.as_secs() {
        let age = max_age(&format!("{better}s"));
        (format!("Set it to {better}s or more, or have"), age)
    } else {
        let shared = "# in each client: one channel for all of its calls\n";
        ("Have".into(), max_age("15m") + shared)
    };
    (often > 0).then(|| {
        seen(format!("spec.connectionAge.maxAge is {text}, and a pod has so many connections that {often} or more end each second: every one comes back as a new one, with TLS by a handshake, and costs servers and clients CPU. {longer} the clients share connections"))
            .instead(&remedy)
    })
}

/// GB029: a new pod may idle for 1.1 times the age.
pub(super) fn long(observed: &Observed) -> Option<Seen> {
    let Some((text, age)) = asked(observed) else {
        return long_by_itself(observed);
    };
    (age > LONG).then(|| {
        Seen::in_backend(observed, "spec.connectionAge.maxAge", format!("spec.connectionAge.maxAge is {text}: a pod that is added may idle for that long. Set it to 15m or less; 5m suits most"))
            .instead(&max_age("5m"))
    })
}

/// Where nobody sets it and the server has one all the same.
fn long_by_itself(observed: &Observed) -> Option<Seen> {
    let (workload, server, age) = longest_by_itself(observed)?;
    let is_wanted = !observed.guessed || services::wants_balance(observed);
    if age <= LONG || is_settled(observed) || !is_wanted {
        return None;
    }
    let (name, default) = (&server.name, server.default.as_deref().unwrap_or_default());
    let message = format!(
        "by its image {workload} runs {name}, which ends connections by itself after {default}, and nothing in its containers says otherwise: a pod that is added may idle for that long. \
         Set spec.connectionAge.maxAge of a GrpcBackend to 15m or less; 5m suits most (evenkeel presets {name})"
    );
    let fields = if server.knob.is_some() {
        format!("connectionAge: {{maxAge: 5m, knob: {{preset: {name}}}}}")
    } else {
        format!("# evenkeel presets {name} says where its configuration takes an age")
    };
    Some(if observed.guessed {
        Seen::in_workload(workload, "spec.template.spec.containers", message)
            .write(&snippet::backend(observed, &fields))
    } else {
        let seen = Seen::in_backend(observed, "spec", message);
        if server.knob.is_some() {
            seen.instead(&snippet::spec(&fields))
        } else {
            seen.write(&in_comments(observed, &fields))
        }
    })
}

/// GB024: what is still running when the grace ends is cut off.
pub(super) fn short_grace(observed: &Observed) -> Option<Seen> {
    let grace = observed
        .backend
        .spec
        .connection_age
        .as_ref()?
        .grace
        .as_ref()?;
    (grace.get().ok()? < SHORT_GRACE).then(|| {
        Seen::in_backend(observed, "spec.connectionAge.grace", format!("spec.connectionAge.grace is {}: a request that takes longer is cut off whenever its connection comes of age, and clients see UNAVAILABLE. Set it above the longest deadline of your clients; 30s suits most", grace.as_str()))
            .instead(&snippet::spec(GRACE))
    })
}

/// GB025: a connection with an open stream stays until the stream ends, and the grace is what ends it.
pub(super) fn streams_without_grace(observed: &Observed) -> Option<Seen> {
    let age = observed.backend.spec.connection_age.as_ref()?;
    let streams = observed.published.as_ref()?.streams;
    (streams && age.grace.is_none()).then(|| {
        Seen::in_backend(observed, "spec.connectionAge", "the servers have streaming methods and spec.connectionAge.grace is not set: in most servers a connection with an open stream then stays for as long as the stream, and its pod keeps the load. \
         Set spec.connectionAge.grace to the longest time that a stream may go on, if your server has a name for it; clients must open streams anew after that. If it has none, end streams in the program, or put GB025 into spec.ignoreFindings"
            .into())
        .instead(&snippet::spec(GRACE))
    })
}

/// GB035: what is known of a preset's server.
pub(super) fn known_to_lose_calls(observed: &Observed) -> Option<Seen> {
    let age = observed.backend.spec.connection_age.as_ref()?;
    let server = presets::find(age.knob.preset.as_ref()?.as_str())?;
    let note = server.note.as_ref().filter(|_| server.loses_calls)?;
    let seen = Seen::in_backend(
        observed,
        "spec.connectionAge.knob.preset",
        format!(
            "preset {} ({}): {note}. Each connection that comes of age then takes calls with it, and clients see UNAVAILABLE. \
         Run a release without that fault and put GB035 into spec.ignoreFindings with the release as the reason, or remove spec.connectionAge and let clients watch endpoints (spec.endpointWatch)",
            server.name, server.what
        ),
    );
    Some(seen.write(&in_comments(
        observed,
        "# with a release without that fault, one more entry of ignoreFindings:\n# {id: GB035, reason: runs a release without that fault}",
    )))
}

/// GB034: it is set, and the connections do not follow.
pub(super) fn outlived(observed: &Observed) -> Option<Seen> {
    asked(observed)?;
    let turnover = &observed.published.as_ref()?.turnover;
    let Some((pod, _)) = turnover.iter().find(|(_, seen)| **seen == Turnover::Later) else {
        // After a restart of the operator what was said stands until it has been counted anew.
        let counted = turnover.values().any(|seen| *seen != Turnover::Measuring);
        let status = observed.backend.status.as_ref().filter(|_| !counted)?;
        let mut servers = status.servers.iter();
        let stands = servers.any(|server| server.observed == Some(ObservedAge::Later));
        let said = said_before(observed, "GB034").filter(|_| stands)?;
        return Some(Seen::in_backend(observed, "spec.connectionAge", said));
    };
    let of = owner(observed, pod);
    let seen = Seen::in_backend(
        observed,
        "spec.connectionAge",
        format!(
            "connections of pod {pod}{of} outlive the age that it is set to by the server's own count: the server does not take the value, or takes it for another unit, or open streams hold its connections. \
         Check the name and spec.connectionAge.knob's format against the server's documentation; where it serves streams, set spec.connectionAge.grace"
        ),
    );
    Some(seen.write(&in_comments(
        observed,
        "# with the name and the format of your server, and of the grace if it serves streams, in connectionAge such as\n# {maxAge: 5m, grace: 30s, knob: {env: {maxAge: MAX_CONNECTION_AGE, grace: MAX_CONNECTION_AGE_GRACE, format: Seconds}}}",
    )))
}

/// ` of Deployment a`, if it is known whose pod it is.
pub(super) fn owner(observed: &Observed, pod: &str) -> String {
    let pod = observed
        .pods
        .iter()
        .find(|own| own.metadata.name.as_deref() == Some(pod));
    let owner = pod.and_then(|pod| observed.workloads.iter().find(|own| own.owns(pod)));
    owner.map_or_else(String::new, |workload| format!(" of {workload}"))
}
