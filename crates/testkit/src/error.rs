//! What can go wrong while a cluster is built or used.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::wait::TimedOut;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation. The text is one line that names the object.
#[derive(Debug)]
pub enum Error {
    /// A namespace, link, address, route, neighbour or parameter could not be set up.
    Network(rvs_netlink::Error),
    /// More or fewer real servers were asked for than the addresses allow.
    ServerCount {
        /// How many were asked for.
        wanted: usize,
        /// The most there can be.
        maximum: usize,
    },
    /// The routed layout has one way back from the servers, through the director.
    NoWayAround,
    /// Something that had to come about did not, within its time.
    Late(TimedOut),
    /// A server could not listen or a thread could not start.
    Http {
        /// What was tried, with the server's name or the address.
        operation: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A control group could not be made.
    Cgroup {
        /// Its directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A raw socket could not be opened, read or written.
    Capture {
        /// The interface, with its namespace.
        interface: String,
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(error) => error.fmt(f),
            Self::ServerCount { wanted, maximum } => {
                write!(f, "cluster of {wanted} real servers: expected 1 to {maximum}")
            }
            Self::NoWayAround => {
                f.write_str("routed cluster: replies can't bypass the director, use the switched layout")
            }
            Self::Late(error) => error.fmt(f),
            Self::Http { operation, source } => write!(f, "{operation}: {source}"),
            Self::Cgroup { path, source } => write!(f, "make cgroup {}: {source}", path.display()),
            Self::Capture { interface, operation, source } => write!(f, "{operation} {interface}: {source}"),
        }
    }
}

impl std::error::Error for Error {
    // The cause is part of the text already, so a chain printer would say it twice.
}

impl From<rvs_netlink::Error> for Error {
    fn from(error: rvs_netlink::Error) -> Self {
        Self::Network(error)
    }
}

impl From<TimedOut> for Error {
    fn from(error: TimedOut) -> Self {
        Self::Late(error)
    }
}
