//! Which clients are connected, and how many may be.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::Peer;
use crate::limits::{self, Limits};

/// What happened on a socket since its server was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Connections served.
    pub clients: u64,
    /// Connections that were told that there are too many ([`Limits::clients`]).
    pub clients_refused: u64,
    /// Connections closed without a word: even of those to be told there were too many ([`limits::REFUSALS_MAX`]).
    pub clients_closed: u64,
    /// Connections lost since the system had no descriptor or thread for them.
    pub clients_lost: u64,
    /// Requests answered.
    pub requests: u64,
    /// How many of those were answered with a status other than 2xx.
    pub requests_refused: u64,
}

/// The clients of one server.
#[derive(Debug)]
pub(super) struct Clients {
    limits: Limits,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stopping: bool,
    next_id: u64,
    served: usize,
    refused: usize,
    /// A second handle of each connection, to end it when the server stops.
    open: BTreeMap<u64, UnixStream>,
    counts: Counts,
}

/// A client's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    clients: Arc<Clients>,
    id: u64,
    refused: bool,
}

impl Clients {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: Mutex::default(), changed: Condvar::new() }
    }

    /// No code can panic while it holds the lock, so there is nothing half done behind a poisoned one.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// A place for a new client; `None` when it is to be closed at once.
    pub(super) fn admit(self: &Arc<Self>, stream: &UnixStream, peer: &Peer) -> io::Result<Option<Ticket>> {
        let handle = stream.try_clone()?;
        let places = match peer.is_owner() {
            true => self.limits.clients,
            false => self.limits.clients.saturating_sub(self.limits.clients_reserved),
        };
        let state = &mut *self.state();
        let refused = state.served >= places;
        if state.stopping || (refused && state.refused >= limits::REFUSALS_MAX) {
            state.counts.clients_closed += 1;
            return Ok(None);
        }
        if refused {
            state.refused += 1;
            state.counts.clients_refused += 1;
        } else {
            state.served += 1;
            state.counts.clients += 1;
        }
        state.next_id += 1;
        state.open.insert(state.next_id, handle);
        Ok(Some(Ticket { clients: Arc::clone(self), id: state.next_id, refused }))
    }

    pub(super) fn count_lost(&self) {
        self.state().counts.clients_lost += 1;
    }

    pub(super) fn count_answer(&self, status: u16) {
        let mut state = self.state();
        state.counts.requests += 1;
        state.counts.requests_refused += u64::from(status >= 300);
    }

    pub(super) fn counts(&self) -> Counts {
        self.state().counts
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    /// Ends every connection as soon as the request under way is answered.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopping = true;
        for stream in state.open.values() {
            // Fails only when the client is gone, which is what is wanted.
            drop(stream.shutdown(Shutdown::Read));
        }
        self.changed.notify_all();
    }

    /// Waits until all clients are gone; after `limit` it cuts them off.
    pub(super) fn wait(&self, limit: Duration) {
        let busy = |state: &mut State| !state.open.is_empty();
        let waited = self.changed.wait_timeout_while(self.state(), limit, busy);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        for stream in state.open.values() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }

    /// Waits, but not longer than until the server stops.
    pub(super) fn pause(&self, limit: Duration) {
        let working = |state: &mut State| !state.stopping;
        drop(self.changed.wait_timeout_while(self.state(), limit, working));
    }
}

impl Ticket {
    /// Whether this client is only to be told that there are too many.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.clients.state();
        state.open.remove(&self.id);
        if self.refused {
            state.refused -= 1;
        } else {
            state.served -= 1;
        }
        self.clients.changed.notify_all();
    }
}
