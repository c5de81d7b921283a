//! Who may change something. Other users are played by this very program, copied to where they can read it and started
//! under their ids, so these tests take root.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rvs_control::limits::Limits;
use rvs_control::{Access, Client, Error, Server};
use support::{Dir, Director, Raw};

const NOBODY: u32 = 65_534;
const SOCKET: &str = "RVS_CONTROL_TEST_SOCKET";
const EXPECTED: &str = "RVS_CONTROL_TEST_EXPECTED";

/// Tries to read and to change; both with one client.
fn what_happens(socket: &Path) -> String {
    let mut client = match Client::connect(socket) {
        Ok(client) => client,
        Err(error) => return error.to_string(),
    };
    let read = match client.services() {
        Ok(_) => "reads".to_owned(),
        Err(error) => error.to_string(),
    };
    let change = match client.apply(&[]) {
        Ok(_) => "changes".to_owned(),
        Err(Error::Answered { status, body }) => format!("{status} {}", body.message),
        Err(error) => error.to_string(),
    };
    format!("{read}, {change}")
}

/// In a child process of the other tests: what the parent expects. Otherwise: the own user may change.
#[test]
fn what_this_user_may_do() {
    let dir = Dir::new();
    let (socket, expected) = (env::var_os(SOCKET), env::var(EXPECTED));
    let own = socket.is_none().then(|| Director::new(&dir));
    let socket = socket.map_or_else(|| dir.join("director.sock"), Into::into);
    assert_eq!(what_happens(&socket), expected.unwrap_or_else(|_| "reads, changes".into()));
    drop(own);
}

/// A process that is started while another thread's copy is open for writing holds it open until it runs its own
/// program, and so long the copy can't be run ("text file busy"). So one copies and starts at a time.
static START: Mutex<()> = Mutex::new(());

/// Runs [`what_this_user_may_do`] as another user.
fn as_user(dir: &Dir, uid: u32, gid: u32, socket: &Path, expected: &str) {
    assert!(nix::unistd::geteuid().is_root(), "this test starts processes of other users: it takes root");
    let program = dir.join("peer");
    let turn = START.lock().unwrap_or_else(PoisonError::into_inner);
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let child = Command::new(&program)
        .args(["--exact", "what_this_user_may_do"])
        .env(SOCKET, socket)
        .env(EXPECTED, expected)
        .env("TMPDIR", env::temp_dir())
        .uid(uid)
        .gid(gid)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(turn);
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "uid {uid} gid {gid}: {text}");
}

const REFUSED: &str = "reads, 403 POST /v1/commands: user 65534 may read and not change; root and members of the \
    control group may";

#[test]
fn another_user_may_read_and_not_change() {
    let dir = Dir::new();
    let director = Director::new(&dir);
    as_user(&dir, NOBODY, NOBODY, &director.path, REFUSED);
    let requests = director.fake.requests.lock().unwrap();
    let peers: Vec<_> = requests.iter().map(|(_, peer)| (peer.uid, peer.gid)).collect();
    assert_eq!(peers, [(NOBODY, NOBODY)], "only the reading came to the handler");
}

#[test]
fn a_member_of_the_group_may_change() {
    let dir = Dir::new();
    let director = Director::with(&dir, Access::gid(4242), Limits::default());
    as_user(&dir, NOBODY, 4242, &director.path, "reads, changes");
    as_user(&dir, NOBODY, 4243, &director.path, REFUSED);
}

#[test]
fn the_sockets_mode_keeps_others_out() {
    let dir = Dir::new();
    let path = dir.join("director.sock");
    let server = Server::bind(&path, 0o600, Access::owner()).unwrap();
    let expected = format!("{}: the socket's permissions do not let this user in", path.display());
    as_user(&dir, NOBODY, NOBODY, &path, &expected);
    drop(server);
}

#[test]
fn places_are_kept_for_root() {
    let dir = Dir::new();
    let limits = Limits { clients: 2, clients_reserved: 1, ..Limits::default() };
    let director = Director::with(&dir, Access::owner(), limits);
    let mut reader = Raw::connect(&director.path);
    assert_eq!(reader.get("/v1/status").status, 200);
    let busy =
        "director: serves 2 clients already, try again, 503 director: serves 2 clients already, try again";
    as_user(&dir, NOBODY, NOBODY, &director.path, busy);
    assert_eq!(Raw::connect(&director.path).get("/v1/status").status, 200, "root's place");
}
