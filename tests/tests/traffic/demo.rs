//! `rvs demo`, as a user sees it.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{self, Child, Command, Output, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rvs_testkit::{Residue, wait_until};

use crate::program;
use crate::residue::left;
use crate::stage::LIMIT;
use crate::turn::await_turn;

const README: &str = include_str!("../../../README.md");
/// Somebody without privileges.
const NOBODY: u32 = 65_534;

/// Without any environment, so without any program but itself.
fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(program::path());
    command.arg("demo").args(args).env_clear().stdin(Stdio::null());
    command
}

fn start(args: &[&str]) -> Child {
    demo(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for its end; after that nothing of it may be there.
fn finish(child: Child) -> Output {
    let (namespaces, instance) = (format!("rvs-{}-", child.id()), format!("demo-{}-", child.id()));
    let output = child.wait_with_output().unwrap();
    assert_eq!(left(&[&namespaces, &instance]), [""; 0]);
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn shows_all_methods_twice_at_once() {
    let _turn = await_turn();
    let children = [start(&[]), start(&[])];
    let [first, second] = children.map(finish);
    for output in [&first, &second] {
        assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    }
    let shown = text(&first.stdout);
    for title in ["NAT (network", "DR (direct", "TUN (IP"] {
        assert_eq!(shown.matches(title).count(), 1, "{shown}");
    }
    for (name, answers) in [("s1", [300, 360]), ("s2", [200, 240])] {
        for count in answers {
            let bars =
                shown.lines().filter(|l| l.contains(name) && l.ends_with(&format!(" {count}"))).count();
            assert_eq!(bars, 3, "{name} {count}:\n{shown}");
        }
    }
    assert_eq!(shown.matches("0 failed").count(), 9, "{shown}");
    assert_eq!(shown.matches("s3  weight 0  0\n").count(), 3, "{shown}");
    for (forward, port) in [("Masq", 8080), ("Route", 80), ("Tunnel", 80)] {
        let address = format!("10.10.0.11:{port}");
        let line = format!("    -> {address:<28} {forward:<7} 3      3          300\n");
        assert!(shown.contains(&line), "{line}{shown}");
    }
    assert!(shown.lines().all(|line| line == line.trim_end()), "blanks at ends of lines");
    // What it shows does not change from run to run, so the README can show it.
    assert_eq!(shown, text(&second.stdout));
    assert!(README.contains(shown.trim()), "the README shows something else than:\n{shown}");
}

#[test]
fn one_method_is_shown_alone() {
    let _turn = await_turn();
    let output = finish(start(&["dr"]));
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    assert!(shown.contains("DR (direct") && !shown.contains("NAT (") && !shown.contains("TUN ("), "{shown}");
}

#[test]
fn both_families_and_all_tunnels_are_shown_if_asked_for() {
    let _turn = await_turn();
    let methods =
        ["nat6", "dr6", "tun6", "fullnat", "fullnat6", "gre", "gue6", "4in6", "6in4", "nat64", "nat46"];
    let output = finish(start(&methods));
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{shown}{}", text(&output.stderr));
    assert_eq!(shown.matches("0 failed").count(), 3 * methods.len(), "{shown}");
    let service = "TCP  [2001:db8:113::10]:80 wrr";
    assert_eq!(shown.matches(service).count(), 7, "{shown}");
    for title in [
        "NAT (network address translation) of IPv6",
        "at both ends) ━",
        "at both ends) of IPv6",
        "by GRE) ━",
        "by GUE) of IPv6",
        "of IPv4 in IPv6",
        "at both ends) from IPv6 to IPv4",
        "at both ends) from IPv4 to IPv6",
    ] {
        assert_eq!(shown.matches(title).count(), 1, "{title}: {shown}");
    }
    assert!(shown.contains("-r [2001:db8:10::11]:80 -i --tun-type gue --tun-port 6080 -w 3\n"), "{shown}");
    assert!(shown.lines().all(|line| line == line.trim_end()), "blanks at ends of lines");
}

#[test]
fn signals_end_it_and_nothing_is_left() {
    let _turn = await_turn();
    let path = std::env::temp_dir().join(format!("rvs-traffic-demo-{}", process::id()));
    // In the middle of building, of balancing, of the second method.
    for (signal, moment) in
        [(Signal::SIGINT, ""), (Signal::SIGTERM, "$ ipvsadm -A"), (Signal::SIGHUP, "DR (direct")]
    {
        let shown = || fs::read_to_string(&path).unwrap();
        let mut command = demo(&[]);
        command.stdout(File::create(&path).unwrap()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let started = || !left(&[&format!("rvs-{}-", child.id())]).is_empty() && shown().contains(moment);
        wait_until(moment, LIMIT, started).unwrap();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let output = finish(child);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(
            error.starts_with("rvs: demo ") && error.ends_with(&format!(": ended by {signal}\n")),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    fs::remove_file(&path).unwrap();
}

/// Sends SIGKILL to a demo in the middle, and to its director before, if that is wanted. Names of what it left.
fn kill_in_the_middle(with_director: bool) -> (String, String) {
    let path = std::env::temp_dir().join(format!("rvs-traffic-killed-{}", process::id()));
    let mut child = demo(&[]).stdout(File::create(&path).unwrap()).spawn().unwrap();
    let shown = || fs::read_to_string(&path).unwrap();
    wait_until("the first service", LIMIT, || shown().contains("$ ipvsadm -A")).unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let (namespaces, instance) = (format!("rvs-{pid}-"), format!("demo-{pid}-"));
    if with_director {
        // It must not notice and clean up.
        kill(pid, Signal::SIGSTOP).unwrap();
        let processes = Residue::scan().processes;
        let director = processes.iter().find(|(_, command)| command.contains(&instance)).unwrap();
        kill(Pid::from_raw(director.0.try_into().unwrap()), Signal::SIGKILL).unwrap();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    fs::remove_file(&path).unwrap();
    (namespaces, instance)
}

#[test]
fn what_a_killed_demo_left_is_removed_by_the_next() {
    let _turn = await_turn();
    let living = start(&[]);
    for with_director in [false, true] {
        let (namespaces, instance) = kill_in_the_middle(with_director);
        if with_director {
            assert!(left(&[&instance]).len() > 10, "maps and links: {:?}", left(&[&instance]));
        } else {
            // Neither process nor pins: the director has seen to that.
            wait_until("the end of its director", LIMIT, || left(&[&instance]).is_empty()).unwrap();
        }
        assert_eq!(left(&[&namespaces]).len(), 6, "client, director, fabric and three servers");
        let folder = std::env::temp_dir().join(format!("rvs-{instance}0"));
        assert!(folder.exists());

        let output = finish(start(&["nat"]));
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.starts_with("rvs: demo: removed what killed demos left: "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert_eq!(said.contains("instance"), with_director, "{said}");
        wait_until("nothing is left", LIMIT, || left(&[&namespaces, &instance]).is_empty()).unwrap();
        assert!(!folder.exists());
    }
    let output = finish(living);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    // Nothing is to be left by another test.
    let _turn = await_turn();
    let mut child = start(&["nat"]);
    drop(child.stdout.take());
    let output = finish(child);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
}

/// A copy of the program that everybody may run, wherever it was built.
struct Copy(PathBuf);

impl Copy {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("rvs-traffic-copy-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        // By a process of its own: what another test starts while this one writes would hold the file open for a moment,
        // and a file that somebody may write can't be run (ETXTBSY).
        assert!(Command::new("cp").arg(program::path()).arg(folder.join("rvs")).status().unwrap().success());
        Self(folder)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn others_than_root_are_told() {
    let copy = Copy::new();
    let output = Command::new(copy.0.join("rvs")).arg("demo").uid(NOBODY).gid(NOBODY).output().unwrap();
    let expected = "rvs: demo: needs root, to make network namespaces and to load programs into the kernel\n";
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), expected));
    assert!(output.stdout.is_empty());
}

#[test]
fn unknown_methods_are_refused() {
    let output = demo(&["nat4"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let expected = "rvs: invalid value 'nat4' for '[METHOD]...': expected nat, dr, tun, nat6, dr6, tun6, fullnat, fullnat6, \
                    gre, gre6, gue, gue6, 4in6, 6in4, nat64 or nat46, got \"nat4\"\n";
    assert_eq!(text(&output.stderr), expected);
}
