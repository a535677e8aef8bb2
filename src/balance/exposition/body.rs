//! The bytes of an answer, compressed or not.

use std::io::{self, Write as _};

use flate2::write::MultiGzDecoder;

use super::{Page, ReadError, Reader, Wanted};

/// How an answer is encoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As it is.
    #[default]
    Identity,
    /// Compressed.
    Gzip,
}

/// Reads an answer as it arrives. The limits are of what comes out of the decompression: some kilobytes at a time, so that
/// a small answer that would become huge is refused as early as a huge one. That of the whole is of what goes in too, since a
/// compressed answer without end may hold nothing.
#[derive(Debug)]
pub struct Body {
    kind: Kind,
    /// Bytes that may still come in.
    room: usize,
    limit: usize,
}

#[derive(Debug)]
enum Kind {
    Plain(Box<Reader>),
    Gzip(Box<MultiGzDecoder<Sink>>),
}

/// Where the decompressed bytes go. The first error stays, since the decoder has only its own kind.
#[derive(Debug)]
struct Sink {
    reader: Reader,
    error: Option<ReadError>,
}

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.reader.feed(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.error = Some(error);
                Err(io::ErrorKind::InvalidData.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Body {
    /// A reader of one answer.
    pub fn new(encoding: Encoding, wanted: Wanted) -> Self {
        let limit = wanted.limits.body_bytes;
        let reader = Reader::new(wanted);
        let kind = match encoding {
            Encoding::Identity => Kind::Plain(Box::new(reader)),
            Encoding::Gzip => Kind::Gzip(Box::new(MultiGzDecoder::new(Sink {
                reader,
                error: None,
            }))),
        };
        Self {
            kind,
            room: limit,
            limit,
        }
    }

    /// Takes the next chunk; it may end anywhere.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ReadError> {
        let room = self.room.checked_sub(chunk.len());
        self.room = room.ok_or(ReadError::BodyTooLarge(self.limit))?;
        match &mut self.kind {
            Kind::Plain(reader) => reader.feed(chunk),
            Kind::Gzip(decoder) => decoder
                .write_all(chunk)
                .map_err(|_| decoder.get_ref().error.unwrap_or(ReadError::BadGzip)),
        }
    }

    /// The sums.
    pub fn finish(self) -> Result<Page, ReadError> {
        match self.kind {
            Kind::Plain(reader) => reader.finish(),
            Kind::Gzip(mut decoder) => {
                let ended = decoder.try_finish();
                let sink = decoder.get_ref();
                if ended.is_err() {
                    return Err(sink.error.unwrap_or(ReadError::BadGzip));
                }
                // The decoder keeps its sink where the stream is incomplete; then it has failed above.
                let sink = decoder.finish().map_err(|_| ReadError::BadGzip)?;
                sink.reader.finish()
            }
        }
    }
}
