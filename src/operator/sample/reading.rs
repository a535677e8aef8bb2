//! What a pod answers, as it comes in. Pure.

use std::sync::Arc;

use http::StatusCode;

use super::targets::{Failure, meaning};
use crate::balance::exposition::{Body, Encoding, Format, Page, Wanted};
use crate::balance::{ScrapeError, families::Condition};

/// An answer whose head is known.
pub struct Reading {
    body: Body,
    /// The beginning of a refusal whose reason is in its body.
    refusal: Option<Vec<u8>>,
    is_meshed: bool,
}

/// Bytes of a refusal that are looked at.
const REFUSAL: usize = 1 << 10;

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
            StatusCode::OK | StatusCode::BAD_REQUEST => {}
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
        let is_refusal = status != StatusCode::OK;
        let encoding = match encoding.trim_ascii() {
            b"" | b"identity" => Encoding::Identity,
            name if is_gzip(name) => Encoding::Gzip,
            _ if is_refusal => Encoding::Identity,
            _ => return Err(ScrapeError::Encoding),
        };
        let wanted = Wanted {
            format,
            labels,
            ..Wanted::default()
        };
        Ok(Self {
            body: Body::new(encoding, wanted),
            refusal: is_refusal.then(Vec::new),
            is_meshed,
        })
    }

    /// Takes the next bytes of the body; they may end anywhere.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ScrapeError> {
        let Some(refusal) = &mut self.refusal else {
            return self.body.feed(bytes).map_err(ScrapeError::from);
        };
        let room = REFUSAL.saturating_sub(refusal.len());
        refusal.extend(bytes.iter().take(room));
        // How Go's and others' servers answer a request that is not encrypted: in plain text, with a status that says nothing.
        if refusal.windows(5).any(|word| word == b"HTTPS") {
            return Err(meaning(Failure::AsksForTls, self.is_meshed));
        }
        if bytes.len() >= room {
            return Err(ScrapeError::HttpStatus(400));
        }
        Ok(())
    }

    /// What the page said.
    pub fn finish(self) -> Result<Page, ScrapeError> {
        if self.refusal.is_some() {
            return Err(ScrapeError::HttpStatus(400));
        }
        self.body.finish().map_err(ScrapeError::from)
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
