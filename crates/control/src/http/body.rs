//! The framing of bodies (RFC 9112 §6 and §7): by length, in chunks, or to the end of the connection.

use super::HttpError;
use super::buffer::Buffer;
use crate::api::RequestError;
use crate::limits;

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// `Content-Length`, or nothing at all.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// Answers only: the body ends with the connection.
    ToEnd,
}

impl Framing {
    /// What the head says. `otherwise` holds when it says nothing.
    ///
    /// RFC 9112 §6.1: a message with both fields, or with two lengths, may be an attempt to make two readers see two
    /// different messages; it is refused.
    pub(crate) fn of(headers: &[httparse::Header<'_>], otherwise: Self) -> Result<Self, HttpError> {
        let mut framing = None;
        for header in headers {
            let found = if header.name.eq_ignore_ascii_case("content-length") {
                Self::Length(length(header.value)?)
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(HttpError {
                        error: RequestError::UnsupportedCoding,
                        message: "transfer-encoding: only chunked is known".to_owned(),
                    });
                }
                Self::Chunked
            } else {
                continue;
            };
            if framing.replace(found).is_some() {
                return Err(HttpError::malformed("head: more than one length or transfer coding"));
            }
        }
        Ok(framing.unwrap_or(otherwise))
    }
}

/// `1*DIGIT`; more than fits saturates, it is too large in any case.
fn length(value: &[u8]) -> Result<u64, HttpError> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(HttpError::malformed("content-length: expected a number"));
    }
    let digit = |sum: u64, byte: &u8| sum.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    Ok(value.iter().fold(0, digit))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// So many bytes are missing.
    Length(u64),
    /// The line with a chunk's size comes next.
    ChunkSize,
    /// So many bytes of the chunk are missing.
    Chunk(u64),
    /// CR LF after a chunk comes next.
    ChunkEnd,
    /// After the last chunk: fields up to an empty line, so many bytes of them so far.
    Trailer(usize),
    ToEnd,
    Complete,
}

/// Collects one body.
#[derive(Debug)]
pub(crate) struct BodyDecoder {
    state: State,
    body: Vec<u8>,
    bytes_max: usize,
}

impl BodyDecoder {
    /// # Errors
    /// When the length is known and larger than `bytes_max`.
    pub(crate) fn new(framing: Framing, bytes_max: usize) -> Result<Self, HttpError> {
        let state = match framing {
            Framing::Length(0) => State::Complete,
            Framing::Length(length) if length > bytes_max as u64 => {
                return Err(HttpError::body_too_large(bytes_max));
            }
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::ToEnd => State::ToEnd,
        };
        Ok(Self { state, body: Vec::new(), bytes_max })
    }

    /// Takes what it can from the buffer; true once the body is complete.
    pub(crate) fn advance(&mut self, buffer: &mut Buffer) -> Result<bool, HttpError> {
        while self.state != State::Complete {
            let Some(next) = self.step(buffer)? else { return Ok(false) };
            self.state = next;
        }
        Ok(true)
    }

    /// The connection ended; true when that is the end of the body.
    pub(crate) fn end(&mut self) -> bool {
        if self.state == State::ToEnd {
            self.state = State::Complete;
        }
        self.state == State::Complete
    }

    pub(crate) fn into_body(self) -> Vec<u8> {
        self.body
    }

    /// The state after the next piece, `None` when it is not there yet.
    fn step(&mut self, buffer: &mut Buffer) -> Result<Option<State>, HttpError> {
        Ok(match self.state {
            State::Complete => Some(State::Complete),
            State::Length(missing) => self.copy(missing, buffer)?.map(|missing| match missing {
                0 => State::Complete,
                _ => State::Length(missing),
            }),
            State::Chunk(missing) => self.copy(missing, buffer)?.map(|missing| match missing {
                0 => State::ChunkEnd,
                _ => State::Chunk(missing),
            }),
            State::ToEnd => self.copy(u64::MAX, buffer)?.map(|_| State::ToEnd),
            State::ChunkSize => self.chunk_size(buffer)?,
            State::ChunkEnd => chunk_end(buffer)?,
            State::Trailer(bytes) => trailer(buffer, bytes)?,
        })
    }

    /// Copies at most `missing` bytes; how many are missing then, `None` when there was nothing to copy.
    fn copy(&mut self, missing: u64, buffer: &mut Buffer) -> Result<Option<u64>, HttpError> {
        let count = usize::try_from(missing).unwrap_or(usize::MAX).min(buffer.bytes().len());
        if count == 0 {
            return Ok(None);
        }
        if count > self.bytes_max - self.body.len() {
            return Err(HttpError::body_too_large(self.bytes_max));
        }
        self.body.extend_from_slice(buffer.take(count));
        Ok(Some(missing - count as u64))
    }

    fn chunk_size(&self, buffer: &mut Buffer) -> Result<Option<State>, HttpError> {
        let waiting = buffer.bytes().len();
        let Some(line) = buffer.line() else {
            return match waiting {
                0..=limits::CHUNK_LINE_BYTES_MAX => Ok(None),
                _ => Err(HttpError::malformed("body: the line before a chunk does not end")),
            };
        };
        let size = chunk_length(line).ok_or_else(|| HttpError::malformed("body: expected a chunk's size"))?;
        if size > (self.bytes_max - self.body.len()) as u64 {
            return Err(HttpError::body_too_large(self.bytes_max));
        }
        Ok(Some(if size == 0 { State::Trailer(0) } else { State::Chunk(size) }))
    }
}

/// `1*HEXDIG`, perhaps followed by extensions, which mean nothing here (RFC 9112 §7.1.1).
fn chunk_length(line: &[u8]) -> Option<u64> {
    if line.len() > limits::CHUNK_LINE_BYTES_MAX {
        return None;
    }
    let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    // `from_str_radix` would take a sign.
    if !size.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(core::str::from_utf8(size).ok()?, 16).ok()
}

fn chunk_end(buffer: &mut Buffer) -> Result<Option<State>, HttpError> {
    match buffer.bytes() {
        [b'\r', b'\n', ..] => {
            buffer.consume(2);
            Ok(Some(State::ChunkSize))
        }
        [] | [b'\r'] => Ok(None),
        _ => Err(HttpError::malformed("body: a chunk is longer than its size says")),
    }
}

fn trailer(buffer: &mut Buffer, bytes: usize) -> Result<Option<State>, HttpError> {
    let waiting = buffer.bytes().len();
    let line = buffer.line().map(<[u8]>::len);
    if bytes + line.unwrap_or(waiting) > limits::HEAD_BYTES_MAX {
        return Err(HttpError::head_too_large());
    }
    Ok(line.map(|length| match length {
        0 => State::Complete,
        _ => State::Trailer(bytes + length + 2),
    }))
}
