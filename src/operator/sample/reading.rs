//! What a pod answers, as it comes in. Pure.

use std::sync::Arc;

use http::StatusCode;

use super::targets::{Failure, meaning};
use crate::balance::exposition::{Body, Encoding, Format, Page, Wanted};
use crate::balance::{ScrapeError, families::Condition};

/// An answer whose head is known.
pub enum Reading {
    /// The metrics.
    Page(Box<Body>),
    /// Status 400, whose reason is in its body.
    Refusal {
        /// Its beginning.
        words: Vec<u8>,
        /// Whether the pod is in a mesh.
        is_meshed: bool,
    },
}

/// Bytes of a refusal that are looked at.
const REFUSAL: usize = 1 << 10;
const REFUSED: ScrapeError = ScrapeError::HttpStatus(400);

impl Reading {
    /// What comes of an answer with this head: its status, its content's type and encoding, each empty where it is not said.
    pub fn begin(
        status: StatusCode,
        kind: &[u8],
        encoding: &[u8],
        labels: Arc<[Condition]>,
        is_meshed: bool,
    ) -> Result<Self, ScrapeError> {
        match status {
            StatusCode::OK => {}
            StatusCode::BAD_REQUEST => {
                return Ok(Self::Refusal {
                    words: Vec::new(),
                    is_meshed,
                });
            }
            StatusCode::FORBIDDEN if is_meshed => return Err(ScrapeError::MeshForbidden),
            status if status.is_redirection() => {
                return Err(ScrapeError::Redirected(status.as_u16()));
            }
            status => return Err(ScrapeError::HttpStatus(status.as_u16())),
        }
        let format = if kind.starts_with(b"application/openmetrics-text") {
            Format::OpenMetrics
        } else {
            Format::Text
        };
        let encoding = match encoding.trim_ascii() {
            b"" | b"identity" => Encoding::Identity,
            name if is_gzip(name) => Encoding::Gzip,
            _ => return Err(ScrapeError::Encoding),
        };
        let wanted = Wanted {
            format,
            labels,
            ..Wanted::default()
        };
        Ok(Self::Page(Box::new(Body::new(encoding, wanted))))
    }

    /// Takes the next bytes of the body; they may end anywhere.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ScrapeError> {
        let (words, is_meshed) = match self {
            Self::Page(body) => return body.feed(bytes).map_err(ScrapeError::from),
            Self::Refusal { words, is_meshed } => (words, *is_meshed),
        };
        let room = REFUSAL.saturating_sub(words.len());
        words.extend(bytes.iter().take(room));
        // How Go's and others' servers answer a request that is not encrypted: in plain text, with a status that says nothing.
        if words.windows(5).any(|word| word == b"HTTPS") {
            return Err(meaning(Failure::AsksForTls, is_meshed));
        }
        if bytes.len() >= room {
            return Err(REFUSED);
        }
        Ok(())
    }

    /// What it comes to that the body breaks off with this. A refusal needs no end.
    pub fn broken(&self, error: ScrapeError) -> ScrapeError {
        match self {
            Self::Page(_) => error,
            Self::Refusal { .. } => REFUSED,
        }
    }

    /// What the page said.
    pub fn finish(self) -> Result<Page, ScrapeError> {
        match self {
            Self::Page(body) => body.finish().map_err(ScrapeError::from),
            Self::Refusal { .. } => Err(REFUSED),
        }
    }
}

/// By its name, or its old one.
fn is_gzip(encoding: &[u8]) -> bool {
    encoding.eq_ignore_ascii_case(b"gzip") || encoding.eq_ignore_ascii_case(b"x-gzip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_may_come_in_pieces() {
        let words = b"Client sent an HTTP request to an HTTPS server.";
        let said = |body: &[u8], piece: usize| {
            let no_labels = Arc::default();
            let mut reading =
                Reading::begin(StatusCode::BAD_REQUEST, b"", b"", no_labels, false).unwrap();
            let fed = body.chunks(piece).try_for_each(|bytes| reading.feed(bytes));
            fed.and_then(|()| reading.finish()).unwrap_err()
        };
        for piece in 1..=words.len() {
            assert_eq!(said(words, piece), ScrapeError::Tls, "{piece}");
            assert_eq!(said(&words[..30], piece), ScrapeError::HttpStatus(400));
        }
        let late = [&[b' '; REFUSAL][..], words].concat();
        assert_eq!(said(&late, 100), ScrapeError::HttpStatus(400));
    }
}
