//! A director that only remembers, a directory for its socket, and a raw connection to it.
#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rvs_config::{
    Command, CommandError, ConnListing, Counters, ForwardingMethod, Listing, MarkRules, Protocol, Rates,
    ServiceKey, ServiceListing, Settings, Timeouts,
};
use rvs_control::api::{
    Applied, Capacity, ConnPage, ConnQuery, CounterListing, CounterTable, Failure, Fill, Request, Response,
    Status, Stopped,
};
use rvs_control::limits::Limits;
use rvs_control::{Access, Peer, Running, Server};

/// No test waits longer than this for anything.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// A directory that everybody may enter; removed at the end.
pub(crate) struct Dir(PathBuf);

impl Dir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rvs-control-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{}: {removed:?}", self.0.display());
    }
}

/// Connections of the fake director's table.
pub(crate) const CONNS: u64 = 25_000;

/// What the fake director holds: services, and which requests came from whom.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) services: Mutex<Vec<ServiceListing>>,
    pub(crate) requests: Mutex<Vec<(Request, Peer)>>,
}

impl Fake {
    pub(crate) fn answer(&self, request: Request, peer: Peer) -> Response {
        self.requests.lock().unwrap().push((request.clone(), peer));
        match request {
            Request::Services => Response::Services(self.listing()),
            Request::Service(key) => self.service(key),
            Request::Connections(query) => Response::Connections(page(query)),
            Request::Status => Response::Status(Box::new(status())),
            Request::Counters => Response::Counters(counters()),
            Request::Marks => Response::Marks(MarkRules { rules: Vec::new(), rules_max: 256 }),
            Request::Timeouts => Response::Timeouts(Timeouts::default()),
            Request::Settings => Response::Settings(Settings::default().into()),
            Request::Commands(commands) => self.apply(&commands),
            Request::Stop => Response::Stopped(Stopped { message: "instance test taken down".into() }),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }

    fn listing(&self) -> Listing {
        let services = self.services.lock().unwrap().clone();
        Listing { services, conn_table_size: 4096, timeouts: Timeouts::default() }
    }

    fn service(&self, key: ServiceKey) -> Response {
        let services = self.services.lock().unwrap();
        match services.iter().find(|known| known.service.key == key) {
            Some(found) => Response::Service(Box::new(found.clone())),
            None => Response::Failed(Failure::NotFound(CommandError::NoSuchService { service: key })),
        }
    }

    /// Adds services, all or none; knows no other command.
    fn apply(&self, commands: &[Command]) -> Response {
        let mut services = self.services.lock().unwrap();
        let mut next = services.clone();
        for (index, command) in commands.iter().enumerate() {
            let Command::AddService(service) = command else {
                let error = CommandError::NotSupported { what: format!("{command:?}") };
                return Response::Failed(Failure::Refused { index, error });
            };
            if services.iter().any(|known| known.service.key == service.key) {
                let error = CommandError::ServiceExists { service: service.key };
                return Response::Failed(Failure::Refused { index, error });
            }
            let (counters, rates) = (Counters::default(), Rates::default());
            next.push(ServiceListing { service: service.clone(), destinations: vec![], counters, rates });
        }
        *services = next;
        Response::Applied(Applied { applied: commands.len() as u64 })
    }
}

fn page(query: ConnQuery) -> ConnPage {
    let end = CONNS.min(query.cursor + u64::from(query.limit));
    let connections = (query.cursor..end).map(connection).collect();
    ConnPage { connections, next: Some(end).filter(|end| *end < CONNS) }
}

fn connection(number: u64) -> ConnListing {
    ConnListing {
        protocol: Protocol::Tcp,
        client: std::net::Ipv4Addr::from(u32::try_from(number).unwrap()).into(),
        client_port: 40_000,
        vip: "192.0.2.1".parse().unwrap(),
        vport: 80,
        destination: "10.0.0.1".parse().unwrap(),
        dport: 80,
        method: ForwardingMethod::Masq,
        state: "ESTABLISHED".into(),
        expires_s: 900,
        packets: 3,
    }
}

fn status() -> Status {
    let fill = Fill { used: 1, maximum: 2 };
    Status {
        version: "0.1.0".into(),
        instance: "test".into(),
        pid: std::process::id(),
        uptime_s: 5,
        kernel: "6.1.0".into(),
        interfaces: vec![],
        capacity: Capacity { services: fill, destinations: fill, connections: fill },
        limits_reached: vec![],
        events: vec![],
        warnings: vec![],
    }
}

fn counters() -> CounterTable {
    let counters = rvs_abi::OUTCOMES.iter().map(|outcome| CounterListing::new(*outcome, 7)).collect();
    CounterTable { counters }
}

/// A fake director at work.
pub(crate) struct Director {
    pub(crate) running: Running,
    pub(crate) fake: Arc<Fake>,
    pub(crate) path: PathBuf,
}

impl Director {
    pub(crate) fn new(dir: &Dir) -> Self {
        Self::with(dir, Access::owner(), Limits::default())
    }

    pub(crate) fn with(dir: &Dir, access: Access, limits: Limits) -> Self {
        let path = dir.join("director.sock");
        let fake = Arc::new(Fake::default());
        let handler = Arc::clone(&fake);
        let server = Server::bind(&path, 0o666, access).unwrap().limits(limits);
        let running = server.start(move |request, peer| handler.answer(request, peer)).unwrap();
        Self { running, fake, path }
    }

    pub(crate) fn raw(&self) -> Raw {
        Raw::connect(&self.path)
    }
}

/// A connection that sends whatever it is told to.
pub(crate) struct Raw {
    stream: UnixStream,
    reader: BufReader<UnixStream>,
}

/// An answer as it came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RawAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl RawAnswer {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub(crate) fn message(&self) -> String {
        let message = self.json()["message"].as_str().unwrap().to_owned();
        assert!(!message.contains('\n'), "one line: {message}");
        message
    }
}

impl Raw {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        Self { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends what the other side still takes.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub(crate) fn end_sending(&mut self) {
        self.stream.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// The next answer's head, without a body.
    pub(crate) fn head(&mut self) -> Option<RawAnswer> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match self.reader.read_line(&mut head) {
                Ok(0) => {
                    assert_eq!(head, "", "the connection ended within a head");
                    return None;
                }
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset && head.is_empty() => {
                    return None;
                }
                Err(error) => panic!("no answer: {error}"),
            }
        }
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(RawAnswer { status, head, body: String::new() })
    }

    /// The next answer; `None` when the connection ended.
    pub(crate) fn try_answer(&mut self) -> Option<RawAnswer> {
        let mut answer = self.head()?;
        let length = answer.head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.reader.read_exact(&mut body).unwrap();
        answer.body = String::from_utf8(body).unwrap();
        Some(answer)
    }

    pub(crate) fn answer(&mut self) -> RawAnswer {
        self.try_answer().expect("an answer")
    }

    pub(crate) fn get(&mut self, target: &str) -> RawAnswer {
        self.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        self.answer()
    }

    pub(crate) fn post(&mut self, target: &str, body: &str) -> RawAnswer {
        let length = body.len();
        self.send(format!(
            "POST {target} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
        self.answer()
    }

    /// Whether the other side has ended the connection, after anything it may still have sent.
    pub(crate) fn is_ended(&mut self) -> bool {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

/// Waits for something to become true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_true() {
        assert!(Instant::now() < deadline, "{what}: not within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
