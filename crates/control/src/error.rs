//! What can go wrong with a socket: at its director's end and at its client's.

use core::fmt;
use std::path::PathBuf;

use crate::api::ErrorBody;

/// Why a server could not start or a client got no good answer. `Display` is one line that names the socket or group.
#[derive(Debug)]
pub enum Error {
    /// Nobody takes connections at the path.
    NoDirector {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The socket's permissions keep this user out.
    NotPermitted {
        /// The socket.
        path: PathBuf,
    },
    /// Another process serves this socket.
    InUse {
        /// The socket.
        path: PathBuf,
        /// Which process, if it can be told.
        pid: Option<i32>,
    },
    /// Something else than a socket is in the way.
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket could not be made.
    Bind {
        /// The socket.
        path: PathBuf,
        /// The step that failed: "create the directory", "set the mode" and the like.
        step: &'static str,
        /// What the system says.
        reason: String,
    },
    /// No group of that name.
    NoSuchGroup {
        /// The name.
        name: String,
    },
    /// The connection broke, or the answer took too long.
    Broken {
        /// The socket.
        path: PathBuf,
        /// What was under way, and what happened.
        what: String,
    },
    /// The answer is none that this client understands.
    BadAnswer {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The director answered that it can't be done; `Display` is its message.
    Answered {
        /// The status of the answer.
        status: u16,
        /// The answer.
        body: Box<ErrorBody>,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDirector { path, reason } => {
                let path = path.display();
                write!(f, "no director answers at {path}: {reason} (is 'rvs director' running?)")
            }
            Self::NotPermitted { path } => {
                write!(f, "{}: the socket's permissions do not let this user in", path.display())
            }
            Self::InUse { path, pid: Some(pid) } => {
                write!(f, "{}: served by another director already (process {pid})", path.display())
            }
            Self::InUse { path, pid: None } => {
                write!(f, "{}: served by another director already", path.display())
            }
            Self::NotASocket { path } => {
                write!(f, "{}: exists and is not a socket; it is left alone", path.display())
            }
            Self::Bind { path, step, reason } => write!(f, "{}: can't {step}: {reason}", path.display()),
            Self::NoSuchGroup { name } => write!(f, "group {name}: no such group"),
            Self::Broken { path, what } | Self::BadAnswer { path, what } => {
                write!(f, "director at {}: {what}", path.display())
            }
            Self::Answered { body, .. } => f.write_str(&body.message),
        }
    }
}

impl core::error::Error for Error {}
