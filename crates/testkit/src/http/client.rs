//! A load generator: many connections, a set number of requests, and an account of each.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rvs_netlink::Netns;

use super::message::{HEAD_LEN_MAX, Head, head_len};
use crate::error::{Error, Result};

/// Longest body taken: the servers' are some thirty bytes.
const BODY_LEN_MAX: usize = 64 * 1024;
/// Stack of a connection's thread: a buffer and some strings.
const STACK_LEN: usize = 128 * 1024;
/// Pause after a failed connection attempt, so that a refused address is not asked a million times a second.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// What to request, and how.
#[derive(Debug, Clone)]
#[must_use]
pub struct HttpClient {
    target: SocketAddr,
    connections: usize,
    requests: u64,
    requests_per_connection: u64,
    timeout: Duration,
}

impl HttpClient {
    /// Requests to `target`: one, unless told otherwise.
    pub fn new(target: SocketAddr) -> Self {
        Self {
            target,
            connections: 1,
            requests: 1,
            requests_per_connection: u64::MAX,
            timeout: Duration::from_secs(5),
        }
    }

    /// How many connections are open at once.
    pub fn connections(mut self, count: usize) -> Self {
        self.connections = count.max(1);
        self
    }

    /// How many requests are made in all, over all connections. A failed one counts too and is not repeated.
    pub fn requests(mut self, count: u64) -> Self {
        self.requests = count;
        self
    }

    /// After how many requests a connection is closed and a new one opened. Default: never.
    pub fn requests_per_connection(mut self, count: u64) -> Self {
        self.requests_per_connection = count.max(1);
        self
    }

    /// How long a connection attempt, and then an answer, may take. Default: 5 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Makes all requests from inside `netns` and reports.
    pub fn run(self, netns: &Netns) -> Result<Report> {
        self.start(netns).map(HttpRun::wait)
    }

    /// Starts making requests from inside `netns`, in the background.
    pub fn start(self, netns: &Netns) -> Result<HttpRun> {
        let progress = Arc::new(Progress { left: AtomicU64::new(self.requests), ..Progress::default() });
        let start = Instant::now();
        let threads = netns.enter(|| {
            (0..self.connections)
                .map(|_| {
                    let (client, progress) = (self.clone(), Arc::clone(&progress));
                    let thread = thread::Builder::new().name("http client".to_owned()).stack_size(STACK_LEN);
                    thread.spawn(move || client.work(&progress))
                })
                .collect::<io::Result<Vec<_>>>()
        })?;
        match threads {
            Ok(threads) => Ok(HttpRun { progress, threads, start }),
            Err(source) => {
                progress.left.store(0, Ordering::Relaxed);
                Err(Error::Http { operation: format!("client of {}", self.target), source })
            }
        }
    }

    /// One connection after another, until no request is left.
    fn work(&self, progress: &Progress) -> Report {
        let mut report = Report::default();
        let mut connection = None;
        while progress.take() {
            match self.request(&mut connection, &mut report) {
                Ok(()) => progress.answered.fetch_add(1, Ordering::Relaxed),
                Err(reason) => {
                    connection = None;
                    *report.failures.entry(reason).or_default() += 1;
                    thread::sleep(RETRY_PAUSE);
                    progress.failed.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
        report
    }

    /// One request, over the open connection or a new one.
    fn request(&self, slot: &mut Option<Connection>, report: &mut Report) -> Result<(), String> {
        let connection = match slot {
            Some(connection) if connection.requests < self.requests_per_connection => connection,
            _ => {
                // The old one goes first: it may be the one too many.
                *slot = None;
                let opened =
                    Connection::open(self.target, self.timeout).map_err(|e| reason("connect", &e))?;
                report.connections += 1;
                report.reply_sources.insert(opened.peer);
                slot.insert(opened)
            }
        };
        let answer = connection.exchange()?;
        let (server, client) =
            answer.body.trim_end().split_once(' ').ok_or("answer: not from a test server")?;
        *report.answers.entry(server.to_owned()).or_default() += 1;
        let client: SocketAddr = client.parse().map_err(|_| "answer: no client address")?;
        report.client_addresses.insert(client.ip());
        if answer.closes {
            *slot = None;
        }
        Ok(())
    }
}

/// Text of a failure that many requests share: no ports, no numbers.
fn reason(operation: &str, error: &io::Error) -> String {
    match error.kind() {
        // A socket with a time limit says "would block" when it is over.
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => format!("{operation}: timed out"),
        kind => format!("{operation}: {kind}"),
    }
}

/// What the threads of a run share.
#[derive(Debug, Default)]
struct Progress {
    left: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    /// Takes one request to make; false if none is left.
    fn take(&self) -> bool {
        let less = |left: u64| left.checked_sub(1);
        !self.stopped.load(Ordering::Relaxed)
            && self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// Requests being made.
#[derive(Debug)]
pub struct HttpRun {
    progress: Arc<Progress>,
    threads: Vec<JoinHandle<Report>>,
    start: Instant,
}

impl HttpRun {
    /// Requests answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.progress.answered.load(Ordering::Relaxed)
    }

    /// Requests that failed so far.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.progress.failed.load(Ordering::Relaxed)
    }

    /// Whether all requests have been made.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Makes no further request; those under way are finished. Then as [`HttpRun::wait`].
    #[must_use]
    pub fn stop(self) -> Report {
        self.progress.stopped.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until all requests have been made, and reports. A panic of a thread goes on here.
    #[must_use]
    pub fn wait(mut self) -> Report {
        let mut report = Report::default();
        for thread in std::mem::take(&mut self.threads) {
            match thread.join() {
                Ok(part) => report.add(part),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        report.elapsed = self.start.elapsed();
        report
    }
}

impl Drop for HttpRun {
    /// A run nobody waits for ends after the requests under way.
    fn drop(&mut self) {
        self.progress.stopped.store(true, Ordering::Relaxed);
    }
}

/// What became of the requests.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Answers by the name of the server that gave them.
    pub answers: BTreeMap<String, u64>,
    /// Failures by reason.
    pub failures: BTreeMap<String, u64>,
    /// The addresses that replies came from. TCP takes segments from no other, so these are what the wire showed.
    pub reply_sources: BTreeSet<SocketAddr>,
    /// The client addresses that the servers saw.
    pub client_addresses: BTreeSet<IpAddr>,
    /// Connections opened.
    pub connections: u64,
    /// Time from the start to the last answer.
    pub elapsed: Duration,
}

impl Report {
    /// Requests answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// Requests that failed.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Answers of one server.
    #[must_use]
    pub fn answers_of(&self, server: &str) -> u64 {
        self.answers.get(server).copied().unwrap_or(0)
    }

    fn add(&mut self, part: Self) {
        for (server, count) in part.answers {
            *self.answers.entry(server).or_default() += count;
        }
        for (reason, count) in part.failures {
            *self.failures.entry(reason).or_default() += count;
        }
        self.reply_sources.extend(part.reply_sources);
        self.client_addresses.extend(part.client_addresses);
        self.connections += part.connections;
    }
}

/// A keep-alive connection.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    request: Vec<u8>,
    received: Vec<u8>,
    requests: u64,
    timeout: Duration,
}

struct Answer {
    body: String,
    closes: bool,
}

impl Connection {
    fn open(target: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&target, timeout)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let peer = stream.peer_addr()?;
        let request = format!("GET / HTTP/1.1\r\nHost: {target}\r\n\r\n").into_bytes();
        Ok(Self { stream, peer, request, received: Vec::new(), requests: 0, timeout })
    }

    /// Sends a request and reads its answer.
    fn exchange(&mut self) -> Result<Answer, String> {
        self.requests += 1;
        self.stream.write_all(&self.request).map_err(|e| reason("request", &e))?;
        self.received.clear();
        // The socket's limit holds for each piece; this one for all of them.
        let deadline = Instant::now() + self.timeout;
        let (head, len) = loop {
            if let Some(head_len) = head_len(&self.received) {
                break (head_len, self.expected_len(head_len)?);
            }
            self.receive(HEAD_LEN_MAX, deadline)?;
        };
        while self.received.len() < len {
            self.receive(HEAD_LEN_MAX + BODY_LEN_MAX, deadline)?;
        }
        if self.received.len() > len {
            return Err("answer: longer than it says".to_owned());
        }
        let closes = Head::parse(&self.received[..head]).is_some_and(|head| head.closes());
        Ok(Answer { body: String::from_utf8_lossy(&self.received[head..]).into_owned(), closes })
    }

    /// Length of the whole answer, once its head is here.
    fn expected_len(&self, head_len: usize) -> Result<usize, String> {
        let head = Head::parse(&self.received[..head_len]).ok_or("answer: malformed")?;
        if head.words[1] != "200" {
            return Err(format!("answer: status {}", head.words[1]));
        }
        let body: usize =
            head.field("content-length").and_then(|n| n.parse().ok()).ok_or("answer: no length")?;
        if body > BODY_LEN_MAX { Err("answer: too long".to_owned()) } else { Ok(head_len + body) }
    }

    fn receive(&mut self, len_max: usize, deadline: Instant) -> Result<(), String> {
        if self.received.len() >= len_max {
            return Err("answer: too long".to_owned());
        }
        if Instant::now() >= deadline {
            return Err("answer: timed out".to_owned());
        }
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk) {
            Ok(0) => Err("answer: connection closed".to_owned()),
            Ok(len) => {
                self.received.extend_from_slice(&chunk[..len]);
                Ok(())
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(e) => Err(reason("answer", &e)),
        }
    }
}
