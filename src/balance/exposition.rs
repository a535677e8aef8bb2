//! Reads a pod's metrics page: Prometheus text format 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>) and OpenMetrics text 1.0
//! (<https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>).
//!
//! A page may have a hundred thousand lines of which a dozen matter, and it comes from a program that
//! nobody here has vetted. So the reader takes the page in chunks, sums the series that the catalogue knows as they
//! pass, allocates nothing for a line that is not wanted, and answers every oddity with a [`ReadError`].
//! What it cannot read in a *wanted* line spoils the page: half a sum would look like an idle pod.
//! Lines of other families are not checked at all.

mod body;
mod line;
mod page;

use std::fmt;
use std::sync::Arc;

use memchr::memchr;

use super::families::{self, Condition, Names, Slot};
use line::{LastName, Told, declared_name, is_other_comment, quoted_name, value};

pub use body::{Body, Encoding};
pub use page::{Counters, Family, Page};

/// How much of a page is read before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole page, after decompression.
    pub body_bytes: usize,
    /// Bytes of one line.
    pub line_bytes: usize,
    /// Wanted series.
    pub series: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 8 << 20,
            line_bytes: 64 << 10,
            series: 50_000,
        }
    }
}

/// Which of the two formats a page is in, by its content type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text: where a page ends cannot be told.
    #[default]
    Text,
    /// OpenMetrics: it ends in `# EOF`, or it was cut off.
    OpenMetrics,
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
    /// An OpenMetrics page without its end.
    #[error("the metrics page was cut off: `# EOF` is missing")]
    CutOff,
    /// What was said to be gzip is not.
    #[error("the metrics page is not the gzip that it is said to be")]
    BadGzip,
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
    /// Behind the end.
    AfterTheEnd,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Labels => "the labels are broken",
            Self::Value => "the value is not a number",
            Self::NotACount => "a counter must be finite and not negative",
            Self::AfterTheEnd => "there is something behind `# EOF`",
        })
    }
}

/// How a page is to be read.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// In which format it is.
    pub format: Format,
    /// Labels that every series must have; others are of another server in the same process.
    pub labels: Arc<[Condition]>,
    /// What is too much.
    pub limits: Limits,
}

/// Reads a whole page at once.
pub fn read(body: &[u8], wanted: &Wanted) -> Result<Page, ReadError> {
    let mut reader = Reader::new(wanted.clone());
    reader.feed(body)?;
    reader.finish()
}

/// Reads a page as it arrives.
#[derive(Debug)]
pub struct Reader {
    names: &'static Names,
    wanted: Wanted,
    /// The beginning of a line whose end has not arrived.
    partial: Vec<u8>,
    bytes: usize,
    line: usize,
    series: usize,
    last: LastName,
    has_ended: bool,
    page: Page,
}

impl Reader {
    /// A reader of one page.
    pub fn new(wanted: Wanted) -> Self {
        let names = families::names();
        Self {
            names,
            wanted,
            partial: Vec::new(),
            bytes: 0,
            line: 1,
            series: 0,
            last: LastName::default(),
            has_ended: false,
            page: Page::empty(names),
        }
    }

    /// Takes the next chunk; it may end anywhere. After an error the page is spoilt.
    pub fn feed(&mut self, mut chunk: &[u8]) -> Result<(), ReadError> {
        self.bytes = self.bytes.saturating_add(chunk.len());
        if self.bytes > self.wanted.limits.body_bytes {
            return Err(ReadError::BodyTooLarge(self.wanted.limits.body_bytes));
        }
        while let Some(end) = memchr(b'\n', chunk) {
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
    pub fn finish(mut self) -> Result<Page, ReadError> {
        let last = std::mem::take(&mut self.partial);
        self.take(&last)?;
        if self.wanted.format == Format::OpenMetrics && !self.has_ended {
            return Err(ReadError::CutOff);
        }
        if self.page.is_infinite() {
            return Err(self.flaw(Flaw::NotACount));
        }
        Ok(self.page)
    }

    fn check_length(&self, bytes: usize) -> Result<(), ReadError> {
        if bytes > self.wanted.limits.line_bytes {
            return Err(ReadError::LineTooLong {
                line: self.line,
                limit: self.wanted.limits.line_bytes,
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

    /// Most lines end here, at the filter.
    #[inline]
    fn take(&mut self, line: &[u8]) -> Result<(), ReadError> {
        if self.has_ended {
            return self.after_the_end(line);
        }
        match line.first() {
            Some(b'#') => {
                self.comment(line);
                Ok(())
            }
            Some(b'{') => self.quoted(line),
            Some(b' ' | b'\t' | b'\r') => self.indented(line.trim_ascii()),
            Some(_) if self.names.may_begin(line) => self.named(line),
            _ => Ok(()),
        }
    }

    fn named(&mut self, line: &[u8]) -> Result<(), ReadError> {
        match self.last.find(line, self.names) {
            Some((slot, rest)) => self.sample(slot, rest),
            None => Ok(()),
        }
    }

    fn indented(&mut self, line: &[u8]) -> Result<(), ReadError> {
        if line.is_empty() {
            return Ok(());
        }
        self.take(line)
    }

    /// `{"a.name",label="x"} 1`: names of other than the old letters stand within the braces.
    fn quoted(&mut self, line: &[u8]) -> Result<(), ReadError> {
        let found = quoted_name(line).and_then(|(name, rest)| Some((self.names.find(name)?, rest)));
        match found {
            Some((slot, rest)) => self.sample_within(slot, rest, true),
            None => Ok(()),
        }
    }

    #[cold]
    fn after_the_end(&self, line: &[u8]) -> Result<(), ReadError> {
        if line.trim_ascii().is_empty() {
            Ok(())
        } else {
            Err(self.flaw(Flaw::AfterTheEnd))
        }
    }

    /// A family that the page declares is at zero, even before it has a series.
    fn comment(&mut self, line: &[u8]) {
        if is_other_comment(line, self.names) {
            return;
        }
        if self.wanted.format == Format::OpenMetrics && line.trim_ascii_end() == b"# EOF" {
            self.has_ended = true;
            return;
        }
        let Some(name) = declared_name(line) else {
            return;
        };
        for slot in self.names.declared(name) {
            let known = &self.names.slots()[slot];
            if known.only.is_empty() && self.asked(known).is_empty() {
                self.page.declare(slot);
            }
        }
    }

    /// The labels that a series of this name must have.
    fn asked(&self, known: &Slot) -> &[Condition] {
        if known.kind.is_of_connections() {
            &[]
        } else {
            &self.wanted.labels
        }
    }

    fn sample(&mut self, slot: usize, rest: &[u8]) -> Result<(), ReadError> {
        match rest.trim_ascii_start().strip_prefix(b"{") {
            Some(labels) => self.sample_within(slot, labels, false),
            None => self.add(slot, Told::nothing(), rest),
        }
    }

    /// `rest` is within the braces. `after_name`: a comma or the end comes next.
    fn sample_within(
        &mut self,
        slot: usize,
        rest: &[u8],
        after_name: bool,
    ) -> Result<(), ReadError> {
        let known = &self.names.slots()[slot];
        let (told, rest) = line::labels(rest, after_name, known, self.asked(known))
            .ok_or_else(|| self.flaw(Flaw::Labels))?;
        self.add(slot, told, rest)
    }

    fn add(&mut self, slot: usize, told: Told, rest: &[u8]) -> Result<(), ReadError> {
        self.series += 1;
        if self.series > self.wanted.limits.series {
            return Err(ReadError::TooManySeries(self.wanted.limits.series));
        }
        let known = &self.names.slots()[slot];
        let value = value(rest, known.kind).map_err(|what| self.flaw(what))?;
        if told.fits < known.only.len() + self.asked(known).len() {
            return Ok(());
        }
        let value = if told.is_left_out { 0.0 } else { value };
        self.page.add(slot, value);
        if told.is_stream && value > 0.0 {
            self.page.has_streams(known.owner);
        }
        Ok(())
    }
}

#[cfg(test)]
mod corpus;
#[cfg(test)]
mod family_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
