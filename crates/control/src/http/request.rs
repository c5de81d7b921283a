//! Requests, as a server reads them.

use super::body::{BodyDecoder, Framing};
use super::buffer::Buffer;
use super::{HttpError, JSON};
use crate::limits;

/// What a request's head says, as far as this protocol looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    /// Path and query, as they were sent.
    pub(crate) target: String,
    /// Whether another request may follow on this connection.
    pub(crate) keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
    /// Whether the body, if there is one, says that it is JSON.
    pub(crate) is_json: bool,
    framing: Framing,
}

/// Makes requests of bytes.
///
/// Contract: [`feed`](Self::feed) what arrives, then ask for the head until there is one, then
/// [`begin_body`](Self::begin_body) once, then ask for the body until there is one; then the next head. After an error
/// the decoder is of no more use.
#[derive(Debug, Default)]
pub(crate) struct RequestDecoder {
    buffer: Buffer,
    /// Bytes that were there when parsing was last tried in vain.
    tried: usize,
    body: Option<BodyDecoder>,
}

impl RequestDecoder {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes);
    }

    /// Whether nothing of a request has arrived.
    pub(crate) fn is_idle(&self) -> bool {
        self.body.is_none() && self.buffer.is_empty()
    }

    /// The head, once it is there.
    pub(crate) fn head(&mut self) -> Result<Option<RequestHead>, HttpError> {
        // RFC 9112 §2.2: empty lines before a request are ignored.
        let blank = self.buffer.bytes().iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        self.buffer.consume(blank);
        let bytes = self.buffer.bytes();
        if !worth_trying(bytes, self.tried) {
            return Ok(None);
        }
        let head = bytes.get(..limits::HEAD_BYTES_MAX).unwrap_or(bytes);
        let mut fields = [httparse::EMPTY_HEADER; limits::HEADERS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        match request.parse(head)? {
            httparse::Status::Complete(length) => {
                let head = RequestHead::of(&request)?;
                self.buffer.consume(length);
                self.tried = 0;
                Ok(Some(head))
            }
            httparse::Status::Partial if bytes.len() >= limits::HEAD_BYTES_MAX => {
                Err(HttpError::head_too_large())
            }
            httparse::Status::Partial => {
                self.tried = bytes.len();
                Ok(None)
            }
        }
    }

    /// Says how large the body of the request whose head was just returned may be.
    pub(crate) fn begin_body(&mut self, head: &RequestHead, bytes_max: usize) -> Result<(), HttpError> {
        self.body = Some(BodyDecoder::new(head.framing, bytes_max)?);
        Ok(())
    }

    /// The body, once it is complete.
    pub(crate) fn body(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        let Some(body) = &mut self.body else { return Ok(None) };
        if !body.advance(&mut self.buffer)? {
            return Ok(None);
        }
        Ok(self.body.take().map(BodyDecoder::into_body))
    }
}

/// Parsing begins anew each time, so a head that comes byte by byte is tried when it may be complete or has doubled.
pub(super) fn worth_trying(bytes: &[u8], tried: usize) -> bool {
    let doubled = bytes.len() >= tried.saturating_mul(2).max(1);
    let fresh = bytes.get(tried.saturating_sub(3)..).unwrap_or_default();
    let ends = |window: &[u8]| window.ends_with(b"\n\n") || window == b"\n\r\n";
    doubled || bytes.len() >= limits::HEAD_BYTES_MAX || fresh.windows(3).any(ends)
}

impl RequestHead {
    fn of(request: &httparse::Request<'_, '_>) -> Result<Self, HttpError> {
        let version_1_1 = request.version == Some(1);
        let mut hosts = 0;
        let mut head = Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: origin_form(request.path.unwrap_or_default()).to_owned(),
            keep_alive: version_1_1,
            expects_continue: false,
            is_json: false,
            framing: Framing::of(request.headers, Framing::Length(0))?,
        };
        if head.framing == Framing::Chunked && !version_1_1 {
            return Err(HttpError::malformed("transfer-encoding: HTTP/1.0 has none"));
        }
        for header in &*request.headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            if is("connection") {
                head.keep_alive &= !has_token(header.value, b"close");
            } else if is("expect") {
                head.expects_continue = version_1_1 && header.value.eq_ignore_ascii_case(b"100-continue");
            } else if is("content-type") {
                head.is_json = has_media_type(header.value);
            } else if is("host") {
                hosts += 1;
            }
        }
        // RFC 9112 §3.2.
        if hosts > 1 || (version_1_1 && hosts == 0) {
            return Err(HttpError::malformed("host: expected exactly one"));
        }
        Ok(head)
    }
}

/// RFC 9112 §3.2.2: a server takes the absolute form as well.
fn origin_form(target: &str) -> &str {
    let Some(rest) = target.strip_prefix("http://") else { return target };
    rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
}

fn has_token(value: &[u8], token: &[u8]) -> bool {
    value.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// Parameters (`; charset=utf-8`) don't count: JSON is UTF-8 (RFC 8259 §8.1).
fn has_media_type(value: &[u8]) -> bool {
    let media_type = value.split(|byte| *byte == b';').next().unwrap_or_default();
    media_type.trim_ascii().eq_ignore_ascii_case(JSON.as_bytes())
}
