//! Reads a pod's metrics page: Prometheus text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! A page may have a hundred thousand lines of which a dozen matter, and it comes from a program that
//! nobody here has vetted. So the reader takes the page in chunks, sums the wanted series as they pass,
//! allocates nothing for a line that is not wanted, and answers every oddity with a [`ReadError`].
//! What it cannot read in a *wanted* line spoils the page: half a sum would look like an idle pod.
//! Lines of other families are not checked at all.

mod labels;

use std::fmt;

use labels::labels;

/// A family of counters that says how many RPCs a server has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `grpc_server_started_total`: counted when an RPC begins. Preferred: a stream counts when it
    /// arrives, not hours later when it ends.
    Started,
    /// `grpc_server_handled_total`: counted when an RPC ends.
    Handled,
}

impl Family {
    /// The name on the metrics page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Started => "grpc_server_started_total",
            Self::Handled => "grpc_server_handled_total",
        }
    }

    fn of_name(name: &[u8]) -> Option<Self> {
        [Self::Started, Self::Handled]
            .into_iter()
            .find(|family| family.name().as_bytes() == name)
    }
}

/// What one page said: the sum of each known family over methods and codes, without health checks and
/// reflection. `None` is "no such family on the page", which is not the same as zero. A family that the page declares
/// without a series is zero: some libraries do so until the first RPC.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counters {
    /// RPCs begun since the server started.
    pub started: Option<f64>,
    /// RPCs ended since the server started.
    pub handled: Option<f64>,
    /// Connections made since the server started (`grpc_tcp_connections_created_total`, gRFC A80).
    pub connections_created: Option<f64>,
    /// Connections open now (`grpc_tcp_connection_count`, gRFC A80).
    pub connections_open: Option<f64>,
    /// Whether any RPC was a stream, by the label `grpc_type`.
    pub streams: bool,
}

impl Counters {
    /// Connections made and open, where the page has both.
    pub fn connections(&self) -> Option<(f64, f64)> {
        self.connections_created.zip(self.connections_open)
    }

    /// The sum of `family`.
    pub fn get(&self, family: Family) -> Option<f64> {
        match family {
            Family::Started => self.started,
            Family::Handled => self.handled,
        }
    }

    /// The family to use when there is no other pod to agree with.
    pub fn preferred(&self) -> Option<Family> {
        [Family::Started, Family::Handled]
            .into_iter()
            .find(|family| self.get(*family).is_some())
    }

    /// RPCs that have begun and not ended, where the page has both families.
    pub fn in_flight(&self) -> Option<f64> {
        Some((self.started? - self.handled?).max(0.0))
    }

    fn slot(&mut self, wanted: Wanted) -> &mut Option<f64> {
        match wanted {
            Wanted::Rpcs(Family::Started) => &mut self.started,
            Wanted::Rpcs(Family::Handled) => &mut self.handled,
            Wanted::Created => &mut self.connections_created,
            Wanted::Open => &mut self.connections_open,
        }
    }
}

/// What a line may be wanted for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wanted {
    Rpcs(Family),
    Created,
    Open,
}

impl Wanted {
    fn of_name(name: &[u8]) -> Option<Self> {
        match name {
            b"grpc_tcp_connections_created_total" => Some(Self::Created),
            b"grpc_tcp_connection_count" => Some(Self::Open),
            _ => Family::of_name(name).map(Self::Rpcs),
        }
    }
}

/// How much of a page is read before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole page.
    pub body_bytes: usize,
    /// Bytes of one line.
    pub line_bytes: usize,
    /// Wanted series.
    pub series: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 16 << 20,
            line_bytes: 64 << 10,
            series: 50_000,
        }
    }
}

/// Why a page cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The page is longer than [`Limits::body_bytes`].
    #[error("the metrics page is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// A line is longer than [`Limits::line_bytes`].
    #[error("line {line} of the metrics page is longer than {limit} bytes")]
    LineTooLong {
        /// Which line, from 1.
        line: usize,
        /// The limit.
        limit: usize,
    },
    /// More wanted series than [`Limits::series`].
    #[error("the metrics page has more than {0} series of one server's RPC counters")]
    TooManySeries(usize),
    /// A wanted line that does not follow the format.
    #[error("line {line} of the metrics page is malformed: {what}")]
    Malformed {
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        what: Flaw,
    },
}

/// What is wrong with a wanted line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// The braces, names or quotes of the labels.
    Labels,
    /// Not a number.
    Value,
    /// Not a number, infinite, or below zero: no counter is.
    NotACount,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Labels => "the labels are broken",
            Self::Value => "the value is not a number",
            Self::NotACount => "a counter must be finite and not negative",
        })
    }
}

/// Reads a whole page at once.
pub fn read(body: &[u8], limits: Limits) -> Result<Counters, ReadError> {
    let mut reader = Reader::new(limits);
    reader.feed(body)?;
    reader.finish()
}

/// Reads a page as it arrives.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    bytes: usize,
    line: usize,
    series: usize,
    sums: Counters,
}

impl Reader {
    /// A reader of one page.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            partial: Vec::new(),
            bytes: 0,
            line: 1,
            series: 0,
            sums: Counters::default(),
        }
    }

    /// Takes the next chunk; it may end anywhere. After an error the page is spoilt.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<(), ReadError> {
        self.bytes = self.bytes.saturating_add(chunk.len());
        if self.bytes > self.limits.body_bytes {
            return Err(ReadError::BodyTooLarge(self.limits.body_bytes));
        }
        while let Some(end) = chunk.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = (&chunk[..end], &chunk[end + 1..]);
            self.check_length(self.partial.len() + head.len())?;
            if self.partial.is_empty() {
                self.take(head)?;
            } else {
                let mut line = std::mem::take(&mut self.partial);
                line.extend_from_slice(head);
                self.take(&line)?;
                line.clear();
                self.partial = line;
            }
            self.line += 1;
            chunk = tail;
        }
        self.check_length(self.partial.len() + chunk.len())?;
        self.partial.extend_from_slice(chunk);
        Ok(())
    }

    /// The sums. A last line without line feed counts, as it does for Prometheus itself.
    pub fn finish(mut self) -> Result<Counters, ReadError> {
        let last = std::mem::take(&mut self.partial);
        self.take(&last)?;
        let sums = [
            self.sums.started,
            self.sums.handled,
            self.sums.connections_created,
            self.sums.connections_open,
        ];
        if sums.into_iter().flatten().any(f64::is_infinite) {
            return Err(self.flaw(Flaw::NotACount));
        }
        Ok(self.sums)
    }

    fn check_length(&self, bytes: usize) -> Result<(), ReadError> {
        if bytes > self.limits.line_bytes {
            return Err(ReadError::LineTooLong {
                line: self.line,
                limit: self.limits.line_bytes,
            });
        }
        Ok(())
    }

    fn flaw(&self, what: Flaw) -> ReadError {
        ReadError::Malformed {
            line: self.line,
            what,
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), ReadError> {
        if let Some(family) = declared(line) {
            self.sums.slot(Wanted::Rpcs(family)).get_or_insert(0.0);
            return Ok(());
        }
        let Some((wanted, rest)) = wanted(line) else {
            return Ok(());
        };
        self.series += 1;
        if self.series > self.limits.series {
            return Err(ReadError::TooManySeries(self.limits.series));
        }
        let (series, rest) = labels(rest).ok_or_else(|| self.flaw(Flaw::Labels))?;
        let value = value(rest).map_err(|what| self.flaw(what))?;
        let sum = self.sums.slot(wanted).get_or_insert(0.0);
        if !series.is_housekeeping {
            *sum += value;
            self.sums.streams |= series.is_stream && value > 0.0;
        }
        Ok(())
    }
}

/// The family that a `# TYPE` line is of. A broken one is a comment, as the format has it.
fn declared(line: &[u8]) -> Option<Family> {
    let mut words = line
        .trim_ascii()
        .strip_prefix(b"#")?
        .split(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    (words.next()? == b"TYPE")
        .then(|| words.next())?
        .and_then(Family::of_name)
}

/// What a line is wanted for, and what follows the name.
fn wanted(line: &[u8]) -> Option<(Wanted, &[u8])> {
    let line = line.trim_ascii();
    let end = line
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':')))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    Some((Wanted::of_name(name)?, rest))
}

/// The value; a timestamp or exemplar behind it is not looked at.
fn value(rest: &[u8]) -> Result<f64, Flaw> {
    let token = rest
        .split(u8::is_ascii_whitespace)
        .find(|token| !token.is_empty())
        .ok_or(Flaw::Value)?;
    let number: f64 = std::str::from_utf8(token)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(Flaw::Value)?;
    if number.is_finite() && number >= 0.0 {
        Ok(number)
    } else {
        Err(Flaw::NotACount)
    }
}

#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
