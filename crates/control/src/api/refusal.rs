//! Every answer that is no success: one line for people, and a tag with its particulars for programs.

use core::fmt;

use rvs_config::CommandError;
use serde::{Deserialize, Serialize};

/// The body of every answer whose status is not 2xx. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// One line that names the object and what was expected.
    pub message: String,
    /// What is wrong.
    pub error: ErrorDetail,
    /// Which command of a transaction was refused or could not be read, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
}

/// What is wrong: with a command, or with the request around it. The tag `error` tells which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ErrorDetail {
    /// The director refused it.
    Command(CommandError),
    /// It did not come to that.
    Request(RequestError),
    /// A tag that only a later director knows; the message still tells people.
    Other(serde_json::Value),
}

/// Why a request did not reach the director's tables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", rename_all = "kebab-case")]
pub enum RequestError {
    /// 400: not HTTP/1.1, not JSON, or not what this resource takes.
    Malformed,
    /// 403: this user may read and not change.
    Forbidden {
        /// The peer's effective user id.
        uid: u32,
    },
    /// 404: no such resource.
    UnknownPath,
    /// 405: the resource has other methods.
    MethodNotAllowed {
        /// These.
        allowed: Vec<String>,
    },
    /// 408: the request did not arrive in time.
    TimedOut {
        /// Seconds it had.
        limit_s: u64,
    },
    /// 413: the body is too large.
    TooLarge {
        /// Bytes it may have.
        maximum: u64,
    },
    /// 415: the body is not JSON.
    UnsupportedMediaType,
    /// 431: the head is too large, or has too many fields.
    HeadTooLarge {
        /// Bytes it may have.
        bytes_max: u64,
        /// Fields it may have.
        fields_max: u64,
    },
    /// 500: a fault of this program.
    Internal,
    /// 501: a transfer coding other than chunked.
    UnsupportedCoding,
    /// 503: too many clients at once.
    Busy {
        /// How many are served.
        maximum: u64,
    },
    /// 503: the director is starting or ending.
    Unavailable,
}

impl RequestError {
    /// The status of an answer that carries this error.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Forbidden { .. } => 403,
            Self::UnknownPath => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::TimedOut { .. } => 408,
            Self::TooLarge { .. } => 413,
            Self::UnsupportedMediaType => 415,
            Self::HeadTooLarge { .. } => 431,
            Self::Internal => 500,
            Self::UnsupportedCoding => 501,
            Self::Busy { .. } | Self::Unavailable => 503,
        }
    }
}

/// Why the director did not do what was asked; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// A command of the transaction was refused: 422.
    Refused {
        /// Its place in the list, from 0.
        index: usize,
        /// Why.
        error: CommandError,
    },
    /// What was asked for does not exist: 404.
    NotFound(CommandError),
    /// The director can't take requests now: 503.
    Unavailable {
        /// Why, in one line.
        message: String,
    },
    /// A fault of this program or of the system: 500.
    Internal {
        /// What, in one line.
        message: String,
    },
}

impl Failure {
    /// The status and body of the answer.
    #[must_use]
    pub fn answer(self) -> (u16, ErrorBody) {
        match self {
            Self::Refused { index, error } => {
                let body = ErrorBody { index: u64::try_from(index).ok(), ..ErrorBody::from(error) };
                (422, body)
            }
            Self::NotFound(error) => (404, error.into()),
            Self::Unavailable { message } => {
                (RequestError::Unavailable.status(), ErrorBody::new(RequestError::Unavailable, message))
            }
            Self::Internal { message } => {
                (RequestError::Internal.status(), ErrorBody::new(RequestError::Internal, message))
            }
        }
    }
}

impl ErrorBody {
    pub(crate) fn new(error: RequestError, message: impl Into<String>) -> Self {
        Self { message: message.into(), error: ErrorDetail::Request(error), index: None }
    }

    /// The director's reason, if it was the director that refused.
    #[must_use]
    pub fn command_error(&self) -> Option<&CommandError> {
        match &self.error {
            ErrorDetail::Command(error) => Some(error),
            ErrorDetail::Request(_) | ErrorDetail::Other(_) => None,
        }
    }
}

impl From<CommandError> for ErrorBody {
    fn from(error: CommandError) -> Self {
        Self { message: error.to_string(), error: ErrorDetail::Command(error), index: None }
    }
}

impl fmt::Display for ErrorBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
