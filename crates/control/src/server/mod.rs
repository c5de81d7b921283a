//! The director's end: a socket, a thread that takes connections, and a thread for each of them up to a limit.

mod clients;
mod connection;
mod socket;

use core::fmt;
use core::time::Duration;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use nix::sys::socket::{Shutdown, shutdown};

use crate::api::{Request, Response};
use crate::limits::{self, Limits};
use crate::{Access, Error, Peer};
pub use clients::Counts;
use clients::{Clients, Ticket};
use connection::Connection;
use socket::Socket;
pub use socket::remove_dead;

/// What is done with a request; called by several threads at once.
type Handler = dyn Fn(Request, Peer) -> Response + Send + Sync;

/// How long the taking of connections pauses when the system has no descriptor or thread left.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that is bound and not served yet.
#[derive(Debug)]
pub struct Server {
    socket: Socket,
    access: Access,
    limits: Limits,
}

impl Server {
    /// Binds the socket and gives it that mode, and to the group of `access` if there is one. The last directory of the
    /// path is made if it does not exist; the socket of a dead director is replaced. `PATH.lock` is held as long as the
    /// server lives, and stays.
    ///
    /// # Errors
    /// [`Error::InUse`] when a living process serves the path, [`Error::NotASocket`] when something else is there,
    /// [`Error::Bind`] for whatever the system refuses.
    pub fn bind(path: &Path, mode: u32, access: Access) -> Result<Self, Error> {
        let socket = Socket::bind(path, mode, access.group_id())?;
        Ok(Self { socket, access, limits: Limits::default() })
    }

    /// Other limits than the usual ones.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Begins to serve. `handler` gets each request that was understood and is allowed, on the connection's own thread,
    /// and may block.
    ///
    /// # Errors
    /// [`Error::Bind`] when no thread can be started.
    pub fn start<H>(self, handler: H) -> Result<Running, Error>
    where
        H: Fn(Request, Peer) -> Response + Send + Sync + 'static,
    {
        let failed = |error: io::Error| Error::Bind {
            path: self.socket.path().to_owned(),
            step: "start a thread for it",
            reason: error.to_string(),
        };
        let listener = self.socket.listener().try_clone().map_err(failed)?;
        let clients = Arc::new(Clients::new(self.limits));
        let service =
            Service { clients: Arc::clone(&clients), access: self.access, handler: Arc::new(handler) };
        let accept = thread::Builder::new()
            .name("rvs-control".to_owned())
            .spawn(move || service.accept(&listener))
            .map_err(failed)?;
        Ok(Running { socket: self.socket, clients, accept: Some(accept) })
    }
}

/// A server at work. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    socket: Socket,
    clients: Arc<Clients>,
    accept: Option<JoinHandle<()>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.socket.path()
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.clients.counts()
    }

    /// Removes the socket, takes no more connections or requests, lets those under way end, at most for
    /// [`limits::STOP`]. Not to be called by the handler, which would wait for itself; and a thread that handlers wait
    /// for has to see to it that they don't any more.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The path goes first: while the listener lives, nobody else takes the path for a dead director's.
        self.socket.remove();
        self.clients.stop();
        // Wakes `accept`, which then returns EINVAL (Linux; the standard library has nothing for it). It can't fail on
        // a listening socket that is open.
        let woken = shutdown(self.socket.listener().as_raw_fd(), Shutdown::Read).is_ok();
        if let Some(accept) = self.accept.take().filter(|_| woken) {
            // Its only way to panic would be a fault in this crate; there is nothing left to do about it here.
            drop(accept.join());
        }
        self.clients.wait(limits::STOP);
    }
}

/// What the threads share.
#[derive(Clone)]
struct Service {
    clients: Arc<Clients>,
    access: Access,
    handler: Arc<Handler>,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("clients", &self.clients).finish_non_exhaustive()
    }
}

impl Service {
    fn accept(&self, listener: &UnixListener) {
        loop {
            let accepted = listener.accept();
            if self.clients.is_stopping() {
                return;
            }
            let admitted = accepted.and_then(|(stream, _)| self.admit(stream));
            let passing = [io::ErrorKind::Interrupted, io::ErrorKind::ConnectionAborted];
            if admitted.is_err_and(|error| !passing.contains(&error.kind())) {
                self.clients.count_lost();
                self.clients.pause(PAUSE);
            }
        }
    }

    /// Starts a connection's thread, unless there are too many.
    fn admit(&self, stream: UnixStream) -> io::Result<()> {
        let peer = Peer::of(&stream)?;
        let Some(ticket) = self.clients.admit(&stream, &peer)? else { return Ok(()) };
        let service = self.clone();
        let serve = move || {
            let ticket: Ticket = ticket;
            Connection::new(&service, stream, peer, ticket.is_refused()).serve();
        };
        thread::Builder::new().name("rvs-control-conn".to_owned()).spawn(serve).map(drop)
    }
}
