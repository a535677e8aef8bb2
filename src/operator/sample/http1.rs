//! An answer in HTTP/1.1 (RFC 9112), as far as one GET needs it. Pure: bytes in, what they mean out.
//!
//! Where the answer could end at two places, or where more came than it is long, its connection carries no other: what one server
//! takes for the rest of an answer must never be read as the next one.

use super::targets::Failure;

/// Bytes of an answer's head, and of all that a body in chunks has beside its data.
const ASIDE: usize = 16 << 10;
const HEADERS: usize = 100;

/// What comes before the body.
#[derive(Debug)]
pub struct Head {
    /// The status.
    pub status: u16,
    /// Of the body; empty where it is not said.
    pub content_type: Vec<u8>,
    /// The same.
    pub content_encoding: Vec<u8>,
    /// Where the body ends.
    pub end: End,
    /// Whether another answer may come after this one.
    pub goes_on: bool,
}

/// Where a body ends.
#[derive(Debug, PartialEq)]
pub enum End {
    /// After so many bytes more.
    After(u64),
    /// With the last chunk.
    Chunks(Chunks),
    /// With the connection.
    Closing,
}

impl Head {
    /// The head that these bytes begin with, and how long it is. None: it goes on.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Failure> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let length = match answer.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() < ASIDE => return Ok(None),
            _ => return Err(no_head(bytes)),
        };
        let is_new = answer.version == Some(1);
        let (status, headers) = (answer.code.unwrap_or_default(), &*answer.headers);
        let first = |name: &str| values(headers, name).next().unwrap_or_default().to_vec();
        let says_close = values(headers, "connection")
            .flat_map(|value| value.split(|byte| *byte == b','))
            .any(|word| word.trim_ascii().eq_ignore_ascii_case(b"close"));
        let lengths = length_of(headers)?;
        let coded = values(headers, "transfer-encoding").count();
        let end = match (coded, lengths) {
            (0, Some(length)) => End::After(length),
            (0, None) => End::Closing,
            (1, _) if is_chunked(headers) => End::Chunks(Chunks::default()),
            _ => return Err(Failure::NotHttp),
        };
        let is_clear = end != End::Closing && (coded == 0 || lengths.is_none());
        let head = Self {
            status,
            content_type: first("content-type"),
            content_encoding: first("content-encoding"),
            end,
            goes_on: is_new && is_clear && !says_close,
        };
        Ok(Some((head, length)))
    }

    /// Whether another head follows, of the same answer.
    pub fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }
}

/// What it is that begins so: servers and proxies that speak TLS answer with an alert.
fn no_head(bytes: &[u8]) -> Failure {
    match bytes.first() {
        Some(0x15 | 0x16) => Failure::TlsRecord,
        _ => Failure::NotHttp,
    }
}

fn values<'a>(
    headers: &'a [httparse::Header<'_>],
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    let named = headers
        .iter()
        .filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.map(|header| header.value.trim_ascii())
}

/// All that say one must say the same.
fn length_of(headers: &[httparse::Header<'_>]) -> Result<Option<u64>, Failure> {
    let mut lengths = values(headers, "content-length").map(|value| {
        let text = std::str::from_utf8(value).ok();
        let digits = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|text| text.parse().ok())
    });
    let Some(first) = lengths.next() else {
        return Ok(None);
    };
    if first.is_none() || lengths.any(|other| other != first) {
        return Err(Failure::NotHttp);
    }
    Ok(first)
}

fn is_chunked(headers: &[httparse::Header<'_>]) -> bool {
    values(headers, "transfer-encoding").all(|value| value.eq_ignore_ascii_case(b"chunked"))
}

impl End {
    /// Whether all of the body has come.
    pub fn is_reached(&self) -> bool {
        match self {
            Self::After(left) => *left == 0,
            Self::Chunks(chunks) => chunks.at == At::End,
            Self::Closing => false,
        }
    }

    /// Takes the body's next bytes off; none: all are taken, or the body has ended.
    pub fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Failure> {
        let data = match self {
            Self::After(left) => cut(bytes, left),
            Self::Chunks(chunks) => chunks.next(bytes)?,
            Self::Closing => std::mem::take(bytes),
        };
        Ok((!data.is_empty()).then_some(data))
    }
}

fn cut<'a>(bytes: &mut &'a [u8], left: &mut u64) -> &'a [u8] {
    let length = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
    let (data, rest) = bytes.split_at(length);
    *left -= data.len() as u64;
    *bytes = rest;
    data
}

/// A body in chunks.
#[derive(Debug, Default, PartialEq)]
pub struct Chunks {
    at: At,
    /// Of the chunk's data, and of its size's digits.
    left: u64,
    digits: u8,
    /// Bytes that were passed over.
    aside: usize,
}

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum At {
    #[default]
    Size,
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    Trailer,
    TrailerLine,
    TrailerEnd,
    LastEnd,
    End,
}

impl Chunks {
    fn next<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<&'a [u8], Failure> {
        loop {
            if self.at == At::Data {
                let data = cut(bytes, &mut self.left);
                if self.left == 0 {
                    self.at = At::DataReturn;
                }
                return Ok(data);
            }
            let Some((byte, rest)) = bytes.split_first().filter(|_| self.at != At::End) else {
                return Ok(&[]);
            };
            *bytes = rest;
            self.at = self.step(*byte).ok_or(Failure::NotHttp)?;
        }
    }

    fn step(&mut self, byte: u8) -> Option<At> {
        Some(match (self.at, byte) {
            (At::Size, byte) if byte.is_ascii_hexdigit() && self.digits < 16 => {
                let digit = char::from(byte).to_digit(16)?;
                self.left = (self.left << 4) | u64::from(digit);
                self.digits += 1;
                At::Size
            }
            (At::Size, b'\r') if self.digits > 0 => At::SizeEnd,
            (At::Size, b';' | b' ' | b'\t') if self.digits > 0 => self.aside(At::Extension)?,
            (At::Extension, b'\r') => At::SizeEnd,
            (At::SizeEnd, b'\n') => {
                self.digits = 0;
                if self.left == 0 {
                    At::Trailer
                } else {
                    At::Data
                }
            }
            (At::DataReturn, b'\r') => At::DataEnd,
            (At::DataEnd, b'\n') => At::Size,
            (At::Trailer, b'\r') => At::LastEnd,
            (At::TrailerLine, b'\r') => At::TrailerEnd,
            (At::TrailerEnd, b'\n') => At::Trailer,
            (At::LastEnd, b'\n') => At::End,
            (_, b'\n') => return None,
            (At::Extension, _) => self.aside(At::Extension)?,
            (At::Trailer | At::TrailerLine, _) => self.aside(At::TrailerLine)?,
            _ => return None,
        })
    }

    fn aside(&mut self, next: At) -> Option<At> {
        self.aside += 1;
        (self.aside <= ASIDE).then_some(next)
    }
}

#[cfg(test)]
#[path = "http1_tests.rs"]
mod tests;
