//! HTTP/1.1 as far as this protocol needs it (RFC 9110, RFC 9112). Bytes go in, requests or answers come out; nothing
//! here reads a socket or a clock. Heads are parsed by `httparse`, the framing of bodies is done here.

mod answer;
mod body;
mod buffer;
mod request;
#[cfg(test)]
mod tests;

pub(crate) use answer::{Answer, AnswerDecoder, Received};
pub(crate) use request::{RequestDecoder, RequestHead};

use crate::api::{ErrorBody, RequestError};
use crate::limits;

/// The only media type of this protocol.
pub(crate) const JSON: &str = "application/json";

/// A message that breaks the rules. For a request it becomes the answer; either way the connection is of no more use,
/// since it is unknown where the next message begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpError {
    pub(crate) error: RequestError,
    pub(crate) message: String,
}

impl HttpError {
    fn malformed(message: impl Into<String>) -> Self {
        Self { error: RequestError::Malformed, message: message.into() }
    }

    fn head_too_large() -> Self {
        let (bytes_max, fields_max) = (limits::HEAD_BYTES_MAX, limits::HEADERS_MAX);
        Self {
            error: RequestError::HeadTooLarge { bytes_max: bytes_max as u64, fields_max: fields_max as u64 },
            message: format!("head: larger than {bytes_max} bytes or more than {fields_max} fields"),
        }
    }

    fn body_too_large(maximum: usize) -> Self {
        Self {
            error: RequestError::TooLarge { maximum: maximum as u64 },
            message: match maximum {
                0 => "body: this resource takes none".to_owned(),
                _ => format!("body: larger than {maximum} bytes"),
            },
        }
    }
}

impl From<httparse::Error> for HttpError {
    fn from(error: httparse::Error) -> Self {
        match error {
            httparse::Error::TooManyHeaders => Self::head_too_large(),
            other => Self::malformed(format!("head: not HTTP/1.1: {other}")),
        }
    }
}

impl From<HttpError> for ErrorBody {
    fn from(error: HttpError) -> Self {
        Self::new(error.error, error.message)
    }
}

/// The standard's words for the statuses of this protocol (RFC 9110 §15).
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        415 => "Unsupported Media Type",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "",
    }
}
