//! A director's client: one connection, one request at a time, blocking with time-outs.

use core::time::Duration;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use rvs_config::{Command, ConnListing, Listing, MarkRules, ServiceKey, ServiceListing, Timeouts};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{Applied, ConnPage, ConnQuery, CounterTable, ErrorBody, SettingTable, Status, Stopped};
use crate::http::{AnswerDecoder, JSON, Received};
use crate::limits;
use crate::{Error, unix};

/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// A client. After an error it connects anew with the next request.
///
/// Every method fails with [`Error::Answered`] when the director refuses, [`Error::NoDirector`] when there is none,
/// [`Error::Broken`] when it goes away or takes too long, [`Error::BadAnswer`] when the answer is not understood.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    answer_within: Duration,
    stream: Option<UnixStream>,
}

/// Why there is no answer.
enum Lost {
    /// The connection ended before anything of an answer came, on a connection that was used before: the director may
    /// have closed it before it saw the request.
    Stale,
    Failed(Error),
}

impl Client {
    /// Connects to the director whose socket this is.
    ///
    /// # Errors
    /// [`Error::NoDirector`] when nobody takes the connection, [`Error::NotPermitted`] when this user may not open it.
    pub fn connect(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let stream = Some(open(&path)?);
        Ok(Self { path, answer_within: limits::ANSWER, stream })
    }

    /// Waits that long for a whole answer instead of [`limits::ANSWER`].
    #[must_use]
    pub fn answer_within(self, limit: Duration) -> Self {
        Self { answer_within: limit, ..self }
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything that is configured.
    ///
    /// # Errors
    /// See [`Client`].
    pub fn services(&mut self) -> Result<Listing, Error> {
        self.get("/v1/services")
    }

    /// One service.
    ///
    /// # Errors
    /// See [`Client`]; [`Error::Answered`] with status 404 when there is no such service.
    pub fn service(&mut self, key: &ServiceKey) -> Result<ServiceListing, Error> {
        if let Some(mark) = key.mark() {
            let kind = if key.address.is_ipv4() { "mark-ipv4" } else { "mark-ipv6" };
            return self.get(&format!("/v1/services/{kind}/{mark}"));
        }
        let endpoint = core::net::SocketAddr::new(key.address, key.port).to_string();
        // Brackets are not allowed in a path (RFC 3986 §3.3).
        let endpoint = endpoint.replace('[', "%5B").replace(']', "%5D");
        let protocol = key.protocol.to_string().to_ascii_lowercase();
        self.get(&format!("/v1/services/{protocol}/{endpoint}"))
    }

    /// Some of the connections.
    ///
    /// # Errors
    /// See [`Client`].
    pub fn connections(&mut self, query: ConnQuery) -> Result<ConnPage, Error> {
        self.get(&format!("/v1/connections?cursor={}&limit={}", query.cursor, query.limit))
    }

    /// Shows every connection, fetching page after page; never more than one page is in memory. `show` ends it early
    /// by returning false.
    ///
    /// # Errors
    /// See [`Client`].
    pub fn each_connection(&mut self, mut show: impl FnMut(ConnListing) -> bool) -> Result<(), Error> {
        let mut query = ConnQuery { cursor: 0, limit: limits::CONN_PAGE_MAX };
        loop {
            let page = self.connections(query)?;
            if !page.connections.into_iter().all(&mut show) {
                return Ok(());
            }
            match page.next {
                None => return Ok(()),
                Some(next) if next > query.cursor => query.cursor = next,
                Some(next) => {
                    let what = format!("connections: page {} is followed by {next}", query.cursor);
                    return Err(Error::BadAnswer { path: self.path.clone(), what });
                }
            }
        }
    }

    /// How the director is.
    ///
    /// # Errors
    /// See [`Client`].
    pub fn status(&mut self) -> Result<Status, Error> {
        self.get("/v1/status")
    }

    /// What became of packets.
    ///
    /// # Errors
    /// See [`Client`].
    pub fn counters(&mut self) -> Result<CounterTable, Error> {
        self.get("/v1/counters")
    }

    /// The rules that give packets a mark.
    ///
    /// # Errors
    /// See [`Client`].
    pub fn marks(&mut self) -> Result<MarkRules, Error> {
        self.get("/v1/marks")
    }

    /// Time-outs in force.
    ///
    /// # Errors
    /// See [`Client`].
    pub fn timeouts(&mut self) -> Result<Timeouts, Error> {
        self.get("/v1/timeouts")
    }

    /// Settings in force.
    ///
    /// # Errors
    /// See [`Client`].
    pub fn settings(&mut self) -> Result<SettingTable, Error> {
        self.get("/v1/settings")
    }

    /// The director's OpenAPI document.
    ///
    /// # Errors
    /// See [`Client`].
    pub fn document(&mut self) -> Result<Value, Error> {
        self.get("/v1/openapi.json")
    }

    /// Has commands carried out in order, all or none.
    ///
    /// # Errors
    /// See [`Client`]; [`Error::Answered`] with [`ErrorBody::index`] when a command is refused: nothing was changed
    /// then. After [`Error::Broken`] it is not known whether they were carried out.
    pub fn apply(&mut self, commands: &[Command]) -> Result<Applied, Error> {
        let body = serde_json::to_vec(&serde_json::json!({ "commands": commands }));
        let body = body.map_err(|error| self.broken(format!("writing the commands: {error}")))?;
        self.post("/v1/commands", &body)
    }

    /// Has the data plane taken down and the director ended.
    ///
    /// # Errors
    /// See [`Client`].
    pub fn stop(&mut self) -> Result<Stopped, Error> {
        self.post("/v1/stop", b"")
    }

    fn get<T: DeserializeOwned>(&mut self, target: &str) -> Result<T, Error> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let received = match self.exchange(request.as_bytes()) {
            Err(Lost::Stale) => self.exchange(request.as_bytes()),
            other => other,
        };
        self.understand(received)
    }

    /// Always on a new connection: an old one may be about to be closed, and a change must not be sent twice.
    fn post<T: DeserializeOwned>(&mut self, target: &str, body: &[u8]) -> Result<T, Error> {
        let length = body.len();
        let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n");
        let head = if body.is_empty() { head } else { format!("{head}Content-Type: {JSON}\r\n") };
        self.stream = None;
        let received = self.exchange(&[head.as_bytes(), b"\r\n", body].concat());
        self.understand(received)
    }

    fn understand<T: DeserializeOwned>(&mut self, received: Result<Received, Lost>) -> Result<T, Error> {
        let received = received.map_err(|lost| match lost {
            Lost::Stale => self.broken("the connection ended before the answer".to_owned()),
            Lost::Failed(error) => error,
        })?;
        let status = received.status;
        let bad = |error| {
            let what = format!("answer {status} is not understood: {error}");
            Error::BadAnswer { path: self.path.clone(), what }
        };
        if status == 200 {
            return serde_json::from_slice(&received.body).map_err(bad);
        }
        let body: ErrorBody = serde_json::from_slice(&received.body).map_err(bad)?;
        Err(Error::Answered { status, body: Box::new(body) })
    }

    /// Sends a request and reads its answer; keeps the connection when it may be used again.
    fn exchange(&mut self, request: &[u8]) -> Result<Received, Lost> {
        let (mut stream, used) = match self.stream.take() {
            Some(stream) => (stream, true),
            None => (open(&self.path).map_err(Lost::Failed)?, false),
        };
        let deadline = Instant::now() + self.answer_within;
        let sent = self.send(&mut stream, request, deadline);
        // A director that refuses a request may answer before it has read all of it.
        match self.receive(&mut stream, deadline) {
            Ok(Some(received)) => {
                self.stream = Some(stream).filter(|_| received.keep_alive && sent.is_ok());
                Ok(received)
            }
            Ok(None) if used => Err(Lost::Stale),
            Ok(None) => Err(Lost::Failed(
                sent.err()
                    .unwrap_or_else(|| self.broken("the connection ended before the answer".to_owned())),
            )),
            Err(error) => Err(Lost::Failed(error)),
        }
    }

    fn send(&self, stream: &mut UnixStream, mut request: &[u8], deadline: Instant) -> Result<(), Error> {
        while !request.is_empty() {
            let left = self.left(deadline, "sending the request")?;
            let written = stream.set_write_timeout(Some(left)).and_then(|()| stream.write(request));
            match written {
                Ok(count) => request = request.get(count..).unwrap_or_default(),
                Err(error) if is_passing(error.kind()) => {}
                Err(error) => return Err(self.broken(format!("sending the request: {error}"))),
            }
        }
        Ok(())
    }

    /// `None` when the connection ended before anything of an answer came.
    fn receive(&self, stream: &mut UnixStream, deadline: Instant) -> Result<Option<Received>, Error> {
        let mut decoder = AnswerDecoder::default();
        let mut chunk = vec![0; READ_BYTES];
        loop {
            let bad = |error: crate::http::HttpError| {
                let what = format!("answer is not understood: {}", error.message);
                Error::BadAnswer { path: self.path.clone(), what }
            };
            if let Some(received) = decoder.answer().map_err(bad)? {
                return Ok(Some(received));
            }
            let left = self.left(deadline, "waiting for the answer")?;
            let read = stream.set_read_timeout(Some(left)).and_then(|()| stream.read(&mut chunk));
            match read {
                Ok(0) if decoder.is_idle() => return Ok(None),
                Ok(0) => {
                    return decoder.end().map(Some).ok_or_else(|| self.broken("answer: cut short".into()));
                }
                Ok(count) => decoder.feed(chunk.get(..count).unwrap_or_default()),
                Err(error) if is_passing(error.kind()) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset && decoder.is_idle() => {
                    return Ok(None);
                }
                Err(error) => return Err(self.broken(format!("waiting for the answer: {error}"))),
            }
        }
    }

    fn left(&self, deadline: Instant, what: &str) -> Result<Duration, Error> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let limit = self.answer_within;
            return Err(self.broken(format!("{what}: not done after {limit:?}")));
        }
        Ok(left)
    }

    fn broken(&self, what: String) -> Error {
        Error::Broken { path: self.path.clone(), what }
    }
}

fn open(path: &Path) -> Result<UnixStream, Error> {
    unix::connect(path, limits::CONNECT).map_err(|errno| match errno {
        Errno::EACCES | Errno::EPERM => Error::NotPermitted { path: path.to_owned() },
        _ => Error::NoDirector { path: path.to_owned(), reason: errno.desc().to_owned() },
    })
}

/// Whether the same call may succeed later; the deadline is looked at before each.
fn is_passing(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
