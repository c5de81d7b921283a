//! Answers: as a server writes them and as a client reads them.

use super::body::{BodyDecoder, Framing};
use super::buffer::Buffer;
use super::request::worth_trying;
use super::{HttpError, JSON, reason};
use crate::api::{ErrorBody, RequestError};
use crate::limits;

/// An answer: a status and a JSON body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// The methods of an answer 405.
    pub(crate) allow: Option<String>,
}

impl Answer {
    /// The value as JSON; a value that can't be written as JSON is a fault of this program, and the answer says so.
    pub(crate) fn json<T: serde::Serialize>(status: u16, value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => Self { status, body, allow: None },
            Err(_) => Self {
                status: RequestError::Internal.status(),
                body: br#"{"message":"answer: can't be written as JSON","error":{"error":"internal"}}"#
                    .to_vec(),
                allow: None,
            },
        }
    }

    pub(crate) fn refusal(error: RequestError, message: impl Into<String>) -> Self {
        let allow = match &error {
            RequestError::MethodNotAllowed { allowed } => Some(allowed.join(", ")),
            _ => None,
        };
        Self { allow, ..Self::json(error.status(), &ErrorBody::new(error, message)) }
    }

    /// The bytes to send. An answer to HEAD has the same head and no body.
    pub(crate) fn encode(mut self, keep_alive: bool, to_head: bool) -> Vec<u8> {
        let (status, length) = (self.status, self.body.len());
        let allow = self.allow.map(|methods| format!("Allow: {methods}\r\n")).unwrap_or_default();
        let close = if keep_alive { "" } else { "Connection: close\r\n" };
        let head = format!(
            "HTTP/1.1 {status} {}\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n{allow}{close}\r\n",
            reason(status),
        );
        if to_head {
            self.body.clear();
        }
        self.body.splice(0..0, head.into_bytes());
        self.body
    }
}

impl From<HttpError> for Answer {
    fn from(error: HttpError) -> Self {
        Self::refusal(error.error, error.message)
    }
}

/// An answer as a client gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    /// Whether the connection may be used again.
    pub(crate) keep_alive: bool,
}

/// Makes answers of bytes: [`feed`](Self::feed) what arrives, then ask for the answer until there is one. After an
/// error the decoder is of no more use.
#[derive(Debug, Default)]
pub(crate) struct AnswerDecoder {
    buffer: Buffer,
    tried: usize,
    begun: Option<(u16, bool, BodyDecoder)>,
}

impl AnswerDecoder {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// Whether nothing of an answer has arrived.
    pub(crate) fn is_idle(&self) -> bool {
        self.begun.is_none() && self.buffer.is_empty()
    }

    /// The answer, once it is complete.
    pub(crate) fn answer(&mut self) -> Result<Option<Received>, HttpError> {
        while self.begun.is_none() {
            if !self.head()? {
                return Ok(None);
            }
        }
        let complete = match &mut self.begun {
            Some((_, _, body)) => body.advance(&mut self.buffer)?,
            None => false,
        };
        Ok(if complete { self.finish() } else { None })
    }

    /// The connection ended: the answer, if that was the end of its body.
    pub(crate) fn end(&mut self) -> Option<Received> {
        let (_, _, body) = self.begun.as_mut()?;
        if body.end() { self.finish() } else { None }
    }

    fn finish(&mut self) -> Option<Received> {
        let (status, keep_alive, body) = self.begun.take()?;
        Some(Received { status, keep_alive, body: body.into_body() })
    }

    /// True when a head was read: an interim one (1xx), or the answer's own.
    fn head(&mut self) -> Result<bool, HttpError> {
        let bytes = self.buffer.bytes();
        if !worth_trying(bytes, self.tried) {
            return Ok(false);
        }
        let mut fields = [httparse::EMPTY_HEADER; limits::HEADERS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let head = bytes.get(..limits::HEAD_BYTES_MAX).unwrap_or(bytes);
        let httparse::Status::Complete(length) = response.parse(head)? else {
            if bytes.len() >= limits::HEAD_BYTES_MAX {
                return Err(HttpError::head_too_large());
            }
            self.tried = bytes.len();
            return Ok(false);
        };
        let status = response.code.unwrap_or_default();
        if status >= 200 {
            let framing = Framing::of(response.headers, Framing::ToEnd)?;
            let closes = response.headers.iter().any(|header| {
                header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"close")
            });
            let keep_alive = response.version == Some(1) && !closes && framing != Framing::ToEnd;
            let body = BodyDecoder::new(framing, limits::ANSWER_BYTES_MAX)?;
            self.begun = Some((status, keep_alive, body));
        }
        self.buffer.consume(length);
        self.tried = 0;
        Ok(true)
    }
}
