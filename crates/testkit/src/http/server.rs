//! A real server: says who it is and whom it saw.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rvs_netlink::Netns;

use super::content;
use super::message::{HEAD_LEN_MAX, Head, head_len};
use crate::error::{Error, Result};
use crate::poll::wait_readable;

/// How often a waiting thread looks whether the server is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(50);
/// How long a connection may be silent.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// Connections at once, each with a thread; more are closed at once.
const CONNECTIONS_MAX: usize = 2048;
/// Stack of a connection's thread: a buffer and some strings.
const STACK_LEN: usize = 128 * 1024;

#[derive(Debug)]
struct Shared {
    name: String,
    stop: AtomicBool,
    requests: AtomicU64,
    accepted: AtomicU64,
    open: AtomicUsize,
}

/// An HTTP server in a namespace. Answers `GET` of any path with the body `NAME PEER-ADDRESS\n`, but of `/content/LENGTH`
/// with so many bytes of [`content`]. Takes those by `PUT`, and answers 409 if they are others. Dropping it ends it.
#[derive(Debug)]
pub struct HttpServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    listener: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens on `address` (port 0: any free one) in `netns`. When this returns, connections are accepted.
    pub fn start(netns: &Netns, name: &str, address: SocketAddr) -> Result<Self> {
        let failed = |source| Error::Http { operation: format!("server {name} on {address}"), source };
        // The socket stays in the namespace it was opened in; the threads need not.
        let listener = netns.enter(|| TcpListener::bind(address))?.map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            stop: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            open: AtomicUsize::new(0),
        });
        let thread = thread::Builder::new().name(format!("http {name}"));
        let accepting = Arc::clone(&shared);
        let listener = thread.spawn(move || accept(&listener, &accepting)).map_err(failed)?;
        Ok(Self { shared, address, listener: Some(listener) })
    }

    /// The name it answers with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests answered so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }
}

impl Drop for HttpServer {
    /// Stops listening and ends all connections; returns when no thread is left.
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(listener) = self.listener.take() {
            // A panic in it has been printed already, and drop may be running because of another.
            listener.join().ok();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    while !shared.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, peer)) => {
                connections.retain(|thread| !thread.is_finished());
                connections.extend(serve_on_thread(stream, peer, shared));
            }
            // Nobody there, or gone before it was accepted (ECONNABORTED): wait for the next.
            Err(_) => drop(wait_readable(listener, STOP_INTERVAL)),
        }
    }
    for connection in connections {
        connection.join().ok();
    }
}

fn serve_on_thread(stream: TcpStream, peer: SocketAddr, shared: &Arc<Shared>) -> Option<JoinHandle<()>> {
    shared.accepted.fetch_add(1, Ordering::Relaxed);
    if shared.open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
        shared.open.fetch_sub(1, Ordering::Relaxed);
        return None;
    }
    let serving = Arc::clone(shared);
    let thread = thread::Builder::new().name(format!("http {}", shared.name)).stack_size(STACK_LEN);
    let started = thread.spawn(move || {
        // A connection that breaks is the client's to report.
        serve(stream, peer, &serving).ok();
        serving.open.fetch_sub(1, Ordering::Relaxed);
    });
    if started.is_err() {
        shared.open.fetch_sub(1, Ordering::Relaxed);
    }
    started.ok()
}

fn serve(mut stream: TcpStream, peer: SocketAddr, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STOP_INTERVAL))?;
    stream.set_write_timeout(Some(IDLE_LIMIT))?;
    // To a socket of both families, IPv4 has addresses in IPv6's form.
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let body = format!("{} {peer}\n", shared.name);
    let mut pending = Vec::with_capacity(HEAD_LEN_MAX);
    let mut deadline = Instant::now() + IDLE_LIMIT;
    loop {
        while let Some(len) = head_len(&pending) {
            let Some(head) = Head::parse(&pending[..len]) else {
                return stream.write_all(&response("400 Bad Request", &shared.name, "", true));
            };
            let closes = head.closes();
            shared.requests.fetch_add(1, Ordering::Relaxed);
            match (head.words[0], content_len(head.words[1]), body_len(&head)) {
                ("GET", Some(wanted), _) => {
                    stream.write_all(&head_of("200 OK", &shared.name, wanted, true))?;
                    return content::write(&mut stream, wanted);
                }
                ("GET", None, _) => {
                    stream.write_all(&response("200 OK", &shared.name, &body, closes))?;
                }
                ("PUT", _, Some(sent)) => {
                    stream.set_read_timeout(Some(IDLE_LIMIT))?;
                    let same = content::is_same((&pending[len..]).chain(&stream), sent)?;
                    let status = if same { "200 OK" } else { "409 Conflict" };
                    return stream.write_all(&response(status, &shared.name, &body, true));
                }
                _ => return stream.write_all(&response("405 Method Not Allowed", &shared.name, "", true)),
            }
            if closes {
                return Ok(());
            }
            pending.drain(..len);
            deadline = Instant::now() + IDLE_LIMIT;
        }
        if pending.len() >= HEAD_LEN_MAX || !receive(&mut stream, &mut pending, shared, deadline)? {
            return Ok(());
        }
    }
}

/// Reads what is there into `pending`; false if the peer or the server is done.
fn receive(
    stream: &mut TcpStream,
    pending: &mut Vec<u8>,
    shared: &Shared,
    deadline: Instant,
) -> io::Result<bool> {
    let mut chunk = [0; 4096];
    // Looked at each time: a busy client never leaves the socket silent.
    while !shared.stop.load(Ordering::Relaxed) {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(false),
            Ok(len) => {
                pending.extend_from_slice(&chunk[..len]);
                return Ok(true);
            }
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if Instant::now() >= deadline {
                    return Ok(false);
                }
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(false)
}

/// How much is asked for by a path.
fn content_len(path: &str) -> Option<u64> {
    path.strip_prefix("/content/")?.parse().ok()
}

/// Length of the body behind a head.
fn body_len(head: &Head<'_>) -> Option<u64> {
    head.field("content-length")?.parse().ok()
}

fn response(status: &str, name: &str, body: &str, closes: bool) -> Vec<u8> {
    let mut bytes = head_of(status, name, body.len() as u64, closes);
    bytes.extend(body.as_bytes());
    bytes
}

fn head_of(status: &str, name: &str, len: u64, closes: bool) -> Vec<u8> {
    let connection = if closes { "close" } else { "keep-alive" };
    format!(
        "HTTP/1.1 {status}\r\nServer: {name}\r\nContent-Type: text/plain\r\nContent-Length: {len}\r\n\
         Connection: {connection}\r\n\r\n"
    )
    .into_bytes()
}
