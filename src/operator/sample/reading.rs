//! What a pod answers, as it comes in. Pure.

use std::sync::Arc;

use http::StatusCode;

use super::targets::{Failure, meaning};
use crate::balance::exposition::{Body, Encoding, Format, Page, Wanted};
use crate::balance::{ScrapeError, families::Condition};

/// An answer whose head is known.
pub struct Reading {
    body: Body,
    /// A refusal whose reason is in its body.
    is_refusal: bool,
    is_meshed: bool,
}

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
            name if name.eq_ignore_ascii_case(b"gzip") => Encoding::Gzip,
            _ if is_refusal => Encoding::Identity,
            _ => return Err(ScrapeError::Malformed),
        };
        let wanted = Wanted {
            format,
            labels,
            ..Wanted::default()
        };
        Ok(Self {
            body: Body::new(encoding, wanted),
            is_refusal,
            is_meshed,
        })
    }

    /// Takes the next bytes of the body; they may end anywhere.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), ScrapeError> {
        // How Go's and others' servers answer a request that is not encrypted: in plain text, with a status that says nothing.
        if self.is_refusal && bytes.windows(5).any(|word| word == b"HTTPS") {
            return Err(meaning(Failure::AsksForTls, self.is_meshed));
        }
        if self.is_refusal {
            return Err(ScrapeError::HttpStatus(400));
        }
        self.body.feed(bytes).map_err(ScrapeError::from)
    }

    /// What the page said.
    pub fn finish(self) -> Result<Page, ScrapeError> {
        if self.is_refusal {
            return Err(ScrapeError::HttpStatus(400));
        }
        self.body.finish().map_err(ScrapeError::from)
    }
}
