//! What the client has seen: sums, JSON lines, and a page for whoever asks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};

const MAX_ERRORS_PER_SECOND: u32 = 20;
const MAX_MESSAGE: usize = 300;

/// The time as the lines have it.
pub fn stamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// One JSON line.
pub fn line(event: &str, fields: Value) {
    let mut line = json!({"t": stamp(), "event": event});
    if let (Value::Object(line), Value::Object(fields)) = (&mut line, fields) {
        line.extend(fields);
    }
    println!("{line}");
}

/// Sums since a moment.
#[derive(Clone, Debug, Default, Serialize)]
struct Sums {
    started: u64,
    ok: u64,
    dropped: u64,
    late: u64,
    replies: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
}

struct Stretch {
    since: Instant,
    sums: Sums,
}

impl Stretch {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            sums: Sums::default(),
        }
    }

    fn report(&self, in_flight: u64) -> Value {
        let mut report = json!(self.sums);
        report["since_ms"] =
            json!(u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX));
        report["in_flight"] = in_flight.into();
        report
    }
}

struct Inner {
    window: Stretch,
    total: Stretch,
    in_flight: u64,
    first_replies: BTreeMap<String, String>,
    second: u64,
    errors: u32,
}

/// Counts twice: since the last report, and since the start or a reset.
#[derive(Clone)]
pub struct Totals(Arc<Mutex<Inner>>);

impl Default for Totals {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Inner {
            window: Stretch::new(),
            total: Stretch::new(),
            in_flight: 0,
            first_replies: BTreeMap::new(),
            second: 0,
            errors: 0,
        })))
    }
}

impl Totals {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, change: impl Fn(&mut Sums)) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        change(&mut inner.window.sums);
        change(&mut inner.total.sums);
        inner
    }

    /// Calls begun and not yet ended.
    pub fn in_flight(&self) -> u64 {
        self.lock().in_flight
    }

    /// A call begins.
    pub fn started(&self) {
        self.count(|sums| sums.started += 1).in_flight += 1;
    }

    /// A call was not made because too many were open.
    pub fn dropped(&self) {
        drop(self.count(|sums| sums.dropped += 1));
    }

    /// So many calls were not made because the process was not run in time.
    pub fn late(&self, calls: u64) {
        drop(self.count(|sums| sums.late += calls));
    }

    /// A call ended well. Whether it is the first reply ever from this pod.
    pub fn replied(&self, pod: &str) -> bool {
        let mut inner = self.count(|sums| {
            sums.ok += 1;
            *sums.replies.entry(pod.to_owned()).or_default() += 1;
        });
        inner.in_flight -= 1;
        if inner.first_replies.contains_key(pod) {
            return false;
        }
        inner.first_replies.insert(pod.to_owned(), stamp());
        true
    }

    /// A call failed. An outage at a high rate must not fill the node's log; the sums are complete.
    pub fn failed(&self, code: &str, begun: Instant, message: &str) {
        let mut inner = self.count(|sums| *sums.errors.entry(code.to_owned()).or_default() += 1);
        inner.in_flight -= 1;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let second = now.map_or(0, |now| now.as_secs());
        if second != inner.second {
            (inner.second, inner.errors) = (second, 0);
        }
        inner.errors += 1;
        if inner.errors > MAX_ERRORS_PER_SECOND {
            return;
        }
        let mut short: String = message.chars().take(MAX_MESSAGE).collect();
        if short.len() < message.len() {
            short.push('…');
        }
        let after = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        line(
            "error",
            json!({"code": code, "after_ms": after, "message": short}),
        );
    }

    /// Since the last time.
    pub fn window(&self) -> Value {
        let mut inner = self.lock();
        let ended = std::mem::replace(&mut inner.window, Stretch::new());
        ended.report(inner.in_flight)
    }

    /// Since the start or the last reset. With a reset, sums begin anew in the same instant.
    pub fn total(&self, reset: bool) -> Value {
        let mut inner = self.lock();
        let mut report = inner.total.report(inner.in_flight);
        report["first_replies"] = json!(inner.first_replies);
        if reset {
            inner.total = Stretch::new();
        }
        report
    }

    /// `GET /totals`, `POST /reset`, `GET /healthz`.
    pub fn page(&self) -> Router {
        let stamped = |totals: &Self, reset| {
            let mut report = totals.total(reset);
            report["t"] = stamp().into();
            Json(report)
        };
        let (totals, reset) = (self.clone(), self.clone());
        Router::new()
            .route("/totals", get(async move || stamped(&totals, false)))
            .route("/reset", post(async move || stamped(&reset, true)))
            .route("/healthz", get(async || "ok"))
    }
}
