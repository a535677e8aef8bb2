//! The rules of the schema, judged without an API server: they are written in CEL, and of that only as much is known as ours use.
//!
//! What speaks of one text, or of the keys or values of one map, is a conjunction of calls, and is read from the schema itself. What speaks
//! of several fields is written out in [`WHOLE`], by the first words of the rule's message.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::LazyLock;
use std::time::Duration;

use parking_lot::Mutex;
use regex::Regex;
use serde_json::Value;

use crate::api::{
    BalanceSource, ConnectionAge, DurationFormat, GoDuration, GrpcBackendSpec, Knob, Port,
    ServiceOptions, ServicePolicy,
};

/// Whether a value breaks a rule; none: nobody here knows what the rule means.
pub fn is_broken(rule: &str, message: &str, value: &Value, spec: &GrpcBackendSpec) -> Option<bool> {
    match value {
        Value::String(text) => holds(rule, "self", text).map(|holds| !holds),
        Value::Object(fields) if rule.starts_with(KEYS) => {
            let of_one = rule.strip_prefix(KEYS)?.strip_suffix(')')?;
            let of_values = of_one.starts_with(VALUE);
            let all = fields.iter().map(|(key, value)| match value.as_str() {
                Some(value) if of_values => holds(of_one, VALUE, value),
                _ => holds(of_one, "k", key),
            });
            let all: Option<Vec<bool>> = all.collect();
            Some(!all?.into_iter().all(|holds| holds))
        }
        _ => {
            let (_, is_broken) = WHOLE.iter().find(|(own, _)| message.starts_with(own))?;
            Some(is_broken(spec))
        }
    }
}

/// How a rule begins that holds for each key of a map.
const KEYS: &str = "self.all(k, ";
/// What such a rule calls the key's value.
const VALUE: &str = "self[k]";

/// A conjunction, of a text that it calls `own`.
fn holds(rule: &str, own: &str, text: &str) -> Option<bool> {
    let terms = rule.split(" && ").map(|term| term_holds(term, own, text));
    let terms: Option<Vec<bool>> = terms.collect();
    Some(terms?.into_iter().all(|holds| holds))
}

fn term_holds(term: &str, own: &str, text: &str) -> Option<bool> {
    if let Some(term) = term.strip_prefix('!') {
        return term_holds(term, own, text).map(|holds| !holds);
    }
    let argument = |call: &str, end: &str| {
        let after = term.strip_prefix(own)?.strip_prefix(call)?;
        after.strip_prefix('\'')?.strip_suffix(end)
    };
    if let Some(pattern) = argument(".matches(", "')") {
        return matches(pattern, text);
    }
    if let Some(start) = argument(".startsWith(", "')") {
        return Some(text.starts_with(start));
    }
    if let Some(end) = argument(".endsWith(", "')") {
        return Some(text.ends_with(end));
    }
    if let Some(other) = argument(" != ", "'") {
        return Some(text != other);
    }
    compares(term, own, text)
}

/// The length, the number or the duration that a text has, against a bound.
fn compares(term: &str, own: &str, text: &str) -> Option<bool> {
    let least = term.split_once(" >= ");
    let (left, bound) = least.or_else(|| term.split_once(" <= "))?;
    let is_called = |name: &str| left == format!("{name}({own})");
    let (value, bound): (Option<f64>, f64) = if is_called("size") || left == format!("{own}.size()")
    {
        let length = u32::try_from(text.chars().count()).ok();
        (length.map(f64::from), bound.parse().ok()?)
    } else if is_called("double") {
        (text.parse().ok(), bound.parse().ok()?)
    } else if is_called("duration") {
        let bound = bound.strip_prefix("duration('")?.strip_suffix("')")?;
        (seconds(text), seconds(bound)?)
    } else {
        return None;
    };
    // What is no number or duration fails the rule on the API server too.
    Some(value.is_some_and(|value| {
        if least.is_some() {
            value >= bound
        } else {
            value <= bound
        }
    }))
}

fn seconds(text: &str) -> Option<f64> {
    let time = GoDuration::new(text).get().ok()?;
    Some(time.as_secs_f64())
}

/// Patterns are few, and GrpcBackends may be many.
static PATTERNS: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);

fn matches(pattern: &str, text: &str) -> Option<bool> {
    let mut known = PATTERNS.lock();
    if !known.contains_key(pattern) {
        known.insert(pattern.to_owned(), Regex::new(pattern).ok()?);
    }
    known.get(pattern).map(|pattern| pattern.is_match(text))
}

/// Whether a rule of several fields is broken.
type Breaks = fn(&GrpcBackendSpec) -> bool;

const WHOLE: [(&str, Breaks); 13] = [
    ("two ports lead to one targetPort", |spec| {
        is_twice(spec.ports.iter().map(Port::target))
    }),
    ("two entries have the same port", |spec| {
        is_twice(spec.ports.iter().map(|own| own.port))
    }),
    ("clusterIP.name and headless.name are the same", |spec| {
        spec.services.as_ref().is_some_and(|services| {
            let name = |own: &Option<ServiceOptions>| {
                let wanted = own
                    .as_ref()
                    .filter(|o| o.policy != Some(ServicePolicy::None))?;
                wanted.name.clone()
            };
            let names = [name(&services.cluster_ip), name(&services.headless)];
            names[0].is_some() && names[0] == names[1]
        })
    }),
    ("knob takes exactly one of", |spec| {
        knob(spec).is_some_and(|knob| {
            let given = [
                knob.preset.is_some(),
                knob.env.is_some(),
                knob.flags.is_some(),
                knob.list_flag.is_some(),
                knob.switch.is_some(),
            ];
            given.into_iter().filter(|given| *given).count() != 1
        })
    }),
    ("env.grace and env.maxAge", |spec| {
        let env = knob(spec).and_then(|knob| knob.env.as_ref());
        env.is_some_and(|own| own.grace.as_ref() == Some(&own.max_age))
    }),
    ("flags.grace and flags.maxAge", |spec| {
        let flags = knob(spec).and_then(|knob| knob.flags.as_ref());
        let name = |flag: &String| flag.trim_start_matches('-').replace('_', "-");
        flags.is_some_and(|own| own.grace.as_ref().map(name) == Some(name(&own.max_age)))
    }),
    ("listFlag.grace and listFlag.maxAge", |spec| {
        let list = knob(spec).and_then(|knob| knob.list_flag.as_ref());
        list.is_some_and(|own| own.grace.as_ref() == Some(&own.max_age))
    }),
    ("knob.switch.implies must equal maxAge", |spec| {
        age(spec).is_some_and(|age| {
            let switch = age.knob.switch.as_ref();
            switch.is_some_and(|own| own.implies.get() != age.max_age.get())
        })
    }),
    ("format Seconds takes whole seconds only", |spec| {
        age(spec).is_some_and(|age| {
            let times = [Some(&age.max_age), age.grace.as_ref()];
            let mut times = times.into_iter().flatten();
            let is_broken = |own: &GoDuration| own.get().is_ok_and(|own| own.subsec_nanos() > 0);
            wants_seconds(&age.knob) && times.any(is_broken)
        })
    }),
    ("balance.window must be at least", |spec| {
        spec.balance.as_ref().is_some_and(|balance| {
            let interval = time(balance.interval.as_ref()).unwrap_or(Duration::from_secs(15));
            let least = interval.saturating_mul(2).max(Duration::from_secs(10));
            time(balance.window.as_ref()).is_some_and(|window| window < least)
        })
    }),
    ("balance.window is 60s unless given", |spec| {
        spec.balance.as_ref().is_some_and(|balance| {
            let interval = time(balance.interval.as_ref());
            balance.window.is_none() && interval > Some(Duration::from_secs(30))
        })
    }),
    ("balance.source Prometheus asks no pod", |spec| {
        spec.balance.as_ref().is_some_and(|balance| {
            let asks = balance
                .metrics
                .as_ref()
                .is_some_and(|own| own.port.is_some() || own.path.is_some() || own.https.is_some());
            balance.source == Some(BalanceSource::Prometheus) && asks
        })
    }),
    ("ca is either in a secret or in a configMap", |spec| {
        let metrics = spec.balance.as_ref().and_then(|own| own.metrics.as_ref());
        let https = metrics.and_then(|own| own.https.as_ref());
        https.is_some_and(|own| own.ca.secret.is_some() == own.ca.config_map.is_some())
    }),
];

fn age(spec: &GrpcBackendSpec) -> Option<&ConnectionAge> {
    spec.connection_age.as_ref()
}

fn knob(spec: &GrpcBackendSpec) -> Option<&Knob> {
    age(spec).map(|age| &age.knob)
}

fn time(text: Option<&GoDuration>) -> Option<Duration> {
    text?.get().ok()
}

fn wants_seconds(knob: &Knob) -> bool {
    let formats = [
        knob.env.as_ref().and_then(|own| own.format),
        knob.flags.as_ref().and_then(|own| own.format),
        knob.list_flag.as_ref().and_then(|own| own.format),
    ];
    formats.contains(&Some(DurationFormat::Seconds))
}

fn is_twice<T: Eq + Hash>(mut all: impl Iterator<Item = T>) -> bool {
    let mut seen = HashSet::new();
    !all.all(|own| seen.insert(own))
}
