//! The socket file: its mode, what is replaced and what is left alone, and the end of a server.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::sync::mpsc;
use std::thread;

use rvs_control::api::{Response, Stopped};
use rvs_control::{Access, Error, Running, Server, remove_dead};
use support::{Dir, Director, Raw};

fn bind(path: &std::path::Path) -> Result<Server, Error> {
    Server::bind(path, 0o640, Access::owner())
}

#[test]
fn the_socket_gets_its_mode_and_group() {
    let dir = Dir::new();
    let path = dir.join("run/director.sock");
    let server = Server::bind(&path, 0o660, Access::gid(4242)).unwrap();
    let found = fs::metadata(&path).unwrap();
    assert_eq!((found.permissions().mode() & 0o7777, found.gid()), (0o660, 4242));
    drop(server);
    let path = dir.join("no/such/director.sock");
    let error = bind(&path).unwrap_err().to_string();
    assert!(error.contains("director.sock: can't create its directory: "), "{error}");
}

#[test]
fn a_dead_directors_socket_is_replaced() {
    let dir = Dir::new();
    let path = dir.join("director.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind");
    let director = Director::new(&dir);
    assert_eq!(director.raw().get("/v1/status").status, 200);
}

#[test]
fn a_living_directors_socket_is_left_alone() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let pid = std::process::id();
    let expected = format!("{}: served by another director already (process {pid})", director.path.display());
    assert_eq!(bind(&director.path).unwrap_err().to_string(), expected);
    // Even if somebody removes the file or the lock's file, one of the two is in the way.
    fs::remove_file(dir.join("director.sock.lock")).unwrap();
    assert_eq!(bind(&director.path).unwrap_err().to_string(), expected);
    assert_eq!(director.raw().get("/v1/status").status, 200);
}

#[test]
fn the_locks_file_goes_with_the_server() {
    let dir = Dir::new();
    let (path, lock) = (dir.join("director.sock"), dir.join("director.sock.lock"));
    let server = bind(&path).unwrap();
    assert!(lock.exists());
    drop(server);
    assert!(!lock.exists());
    let director = Director::new(&dir);
    director.running.stop();
    assert!(!lock.exists() && !path.exists());
}

#[test]
fn what_a_dead_director_left_is_removed_and_nothing_else() {
    let dir = Dir::new();
    let (path, lock) = (dir.join("director.sock"), dir.join("director.sock.lock"));
    remove_dead(&path).unwrap();
    drop(UnixListener::bind(&path).unwrap());
    fs::write(&lock, "1\n").unwrap();
    remove_dead(&path).unwrap();
    assert!(!lock.exists() && !path.exists());
    let director = Director::new(&dir);
    assert!(matches!(remove_dead(&path), Err(Error::InUse { .. })));
    assert!(lock.exists());
    assert_eq!(director.raw().get("/v1/status").status, 200);
}

#[test]
fn another_programs_socket_is_left_alone() {
    let dir = Dir::new();
    let path = dir.join("director.sock");
    let listener = UnixListener::bind(&path).unwrap();
    assert!(matches!(bind(&path), Err(Error::InUse { pid: Some(_), .. })));
    // A full queue of connections is a living process as well. The kernel's limit is 4096 or less.
    listener.set_nonblocking(true).unwrap();
    let mut waiting = Vec::new();
    while let Some(stream) = connect_at_once(&path) {
        waiting.push(stream);
    }
    assert!(
        matches!(bind(&path), Err(Error::InUse { pid: None, .. })),
        "after {} connections",
        waiting.len()
    );
}

/// `None` when the queue is full.
fn connect_at_once(path: &std::path::Path) -> Option<std::os::fd::OwnedFd> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
    use std::os::fd::AsRawFd;
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
    match connect(fd.as_raw_fd(), &UnixAddr::new(path).unwrap()) {
        Ok(()) => Some(fd),
        Err(nix::errno::Errno::EAGAIN) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn files_and_links_are_left_alone() {
    let dir = Dir::new();
    let path = dir.join("director.sock");
    fs::write(&path, "precious").unwrap();
    let error = bind(&path).unwrap_err().to_string();
    assert_eq!(error, format!("{}: exists and is not a socket; it is left alone", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(dir.join("elsewhere"), &path).unwrap();
    assert!(matches!(bind(&path), Err(Error::NotASocket { .. })));
    std::os::unix::fs::symlink(dir.join("elsewhere"), dir.join("director.sock.lock")).unwrap();
    assert!(matches!(bind(&path), Err(Error::Bind { .. })), "a lock is not taken through a link");
}

#[test]
fn a_stopped_server_leaves_no_socket() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    let mut idle = director.raw();
    assert_eq!(idle.get("/v1/status").status, 200);
    let path = director.path.clone();
    director.running.stop();
    assert!(!path.exists());
    assert!(idle.is_ended());
    assert!(bind(&path).is_ok(), "and the next one can begin");
}

#[test]
fn somebody_elses_file_is_not_removed_at_the_end() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    fs::remove_file(&director.path).unwrap();
    fs::write(&director.path, "another").unwrap();
    let path = director.path.clone();
    director.running.stop();
    assert_eq!(fs::read_to_string(path).unwrap(), "another");
}

/// What `POST /v1/stop` needs: the request under way is answered although the server is being stopped.
#[test]
fn a_request_under_way_is_answered() {
    let dir = Dir::new();
    let path = dir.join("director.sock");
    let (began, begun) = mpsc::channel();
    let (finish, finished) = mpsc::channel();
    let finished = std::sync::Mutex::new(finished);
    let running: Running = bind(&path)
        .unwrap()
        .start(move |_, _| {
            began.send(()).unwrap();
            finished.lock().unwrap().recv_timeout(support::LIMIT).unwrap();
            Response::Stopped(Stopped { message: "down".into() })
        })
        .unwrap();
    let mut raw = Raw::connect(&path);
    raw.send("POST /v1/stop HTTP/1.1\r\nHost: x\r\n\r\n");
    begun.recv_timeout(support::LIMIT).unwrap();
    let stopping = thread::spawn(move || running.stop());
    support::until("the socket is gone", || !path.exists());
    finish.send(()).unwrap();
    let answer = raw.answer();
    assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"message":"down"}"#));
    stopping.join().unwrap();
}
