//! What the main loop is told.

use core::fmt;
use std::sync::mpsc::SyncSender;

use nix::sys::signal::Signal;
use rvs_control::{Peer, api};
use rvs_netlink::Event;

/// Everything that happens outside.
#[derive(Debug)]
pub(super) enum Message {
    /// A client asks, and waits for the answer.
    Request {
        /// What.
        request: api::Request,
        /// Who.
        peer: Peer,
        /// Where the answer goes.
        reply: SyncSender<api::Response>,
    },
    /// Something changed in this network namespace.
    Network(Event),
    /// There will be no more of those.
    NetworkLost(rvs_netlink::Error),
    /// The process was asked to end.
    Signal(Signal),
    /// Whoever started this process is gone, and nothing is to stay.
    StdinEnded,
}

/// Why the main loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// A signal: the data plane stays.
    Signal(Signal),
    /// A client's request, or the end of standard input: the data plane is gone.
    Stopped,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(signal) => f.write_str(signal.as_str()),
            Self::Stopped => f.write_str("stop"),
        }
    }
}
