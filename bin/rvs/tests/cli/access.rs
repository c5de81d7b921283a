//! Who may do what: everybody may ask, root may change.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use crate::support::{Director, RVS, Ran, SMALL, namespace};

/// User and group `nobody`.
const NOBODY: u32 = 65_534;

/// What `ipvsadm` says to others than root (ipvs.md §10.4, statement 156).
const NOT_ROOT: &str = "Can't initialize ipvs: Permission denied (you must be root)\n\
    Are you sure that IP Virtual Server is built in the kernel or as module?\n";

/// The binary where everybody may run it: the folder that it is built in may be closed to others.
fn public_binary(director: &Director<'_>) -> PathBuf {
    let path = director.folder().join("rvs");
    // By a process of its own: what another test starts while this one writes would hold the file open for a moment, and a
    // file that somebody may write can't be run (ETXTBSY).
    assert!(Command::new("cp").arg(RVS).arg(&path).status().unwrap().success());
    path
}

fn as_nobody(mut command: Command, args: &[&str]) -> Ran {
    Ran::of(command.args(args).uid(NOBODY).gid(NOBODY).current_dir("/").output().unwrap())
}

#[test]
fn others_may_ask_and_not_change() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    let rvs = public_binary(&director);
    let nobody = |args: &[&str]| as_nobody(director.client(&rvs), args);

    for args in [&["status"][..], &["services"], &["connections"], &["ipvsadm", "-Ln"], &["ipvsadm", "-S"]] {
        assert_eq!(nobody(args).status, Some(0), "{args:?}");
    }
    let changes = [&["-A", "-t", "203.0.113.1:80"][..], &["-C"], &["--set", "1", "1", "1"], &["-Z"]];
    for args in changes {
        let message = nobody(&[&["ipvsadm"], args].concat()).failure(2);
        assert_eq!(message, NOT_ROOT, "{args:?}");
    }
    let rules = director.folder().join("rules");
    fs::write(&rules, "-A -t 203.0.113.1:80\n").unwrap();
    let mut restore = director.client(&rvs);
    restore.stdin(File::open(&rules).unwrap());
    assert_eq!(as_nobody(restore, &["ipvsadm", "-R"]).failure(2), NOT_ROOT);
    let message = nobody(&["director", "--stop"]).failure(1);
    assert!(message.starts_with("rvs: ") && message.contains("65534"), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), "");
}

#[test]
fn a_director_needs_privileges_and_says_which() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    let rvs = public_binary(&director);
    let start =
        |socket: &str| as_nobody(Command::new(&rvs), &["director", "--instance", "x", "--socket", socket]);
    let hint = " (this is user 65534; a director needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)\n";

    let closed = director.folder().join("closed.sock");
    let message = start(closed.to_str().unwrap()).failure(1);
    assert!(message.contains("closed.sock: can't ") && message.ends_with(hint), "{message}");

    let socket = std::env::temp_dir().join(format!("{}.sock", director.instance()));
    let message = start(socket.to_str().unwrap()).failure(1);
    assert!(!socket.exists(), "a start that fails leaves its socket");
    assert!(!socket.with_extension("sock.lock").exists(), "a start that fails leaves its lock");
    assert!(message.starts_with("rvs: ") && message.ends_with(hint), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}
