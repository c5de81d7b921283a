//! Calls that are wrong, and calls without a director.

use std::fs::File;
use std::os::unix::fs::symlink;
use std::process::Command;

use crate::support::{Folder, RVS, Ran, rvs};

#[test]
fn a_wrong_call_is_named_in_one_line_and_exits_2() {
    let cases: &[(&[&str], &str)] = &[
        (&["frob"], "unrecognized subcommand 'frob' (see 'rvs --help')"),
        (&["--frob"], "unexpected argument '--frob' found (see 'rvs --help')"),
        (&["director", "eth0"], "unexpected argument 'eth0' found (see 'rvs director --help')"),
        (&["director", "--conns-max"], "a value is required for '--conns-max <N>' but none was supplied"),
        (
            &["director", "--dests-max", "0"],
            "invalid value '0' for '--dests-max <N>': 0 is not in 1..=16777216",
        ),
        (
            &["director", "--attach", "fast"],
            "invalid value 'fast' for '--attach <MODE>': expected auto, xdp, xdp-generic or tc, got \"fast\"",
        ),
        (
            &["director", "--tunnel-sources", "10.250.0.1/16"],
            "invalid value '10.250.0.1/16' for '--tunnel-sources <PREFIX>': prefix `10.250.0.1/16': expected ADDRESS or \
             ADDRESS/BITS with no bit set behind them",
        ),
        (
            &["director", "--full-nat-sources", "10.250.0.1-9"],
            "invalid value '10.250.0.1-9' for '--full-nat-sources <PREFIX>': prefix `10.250.0.1-9': expected ADDRESS or \
             ADDRESS/BITS with no bit set behind them",
        ),
        (
            &["director", "--instance", "a/b"],
            "invalid value 'a/b' for '--instance <NAME>': instance \"a/b\": expected 1 to 64 letters, digits, '-' and \
             '_'",
        ),
        (
            &["director", "--stop", "--openapi"],
            "the argument '--stop' cannot be used with '--openapi' (see 'rvs director --help')",
        ),
        (
            &["agent"],
            "the following required arguments were not provided: --client-address --director <ADDR[/LEN]> (see 'rvs agent \
             --help')",
        ),
        (
            &["agent", "--director", "10.0.0.2"],
            "the following required arguments were not provided: --client-address (see 'rvs agent --help')",
        ),
        (
            &["agent", "--client-address"],
            "the following required arguments were not provided: --director <ADDR[/LEN]> (see 'rvs agent --help')",
        ),
        (
            &["agent", "--client-address", "--director", "10.0.0.1/24"],
            "invalid value '10.0.0.1/24' for '--director <ADDR[/LEN]>': bits behind the first 24 are set; expected \
             10.0.0.0/24, or an address",
        ),
        (
            &["agent", "--client-address", "--director", "director.example"],
            "invalid value 'director.example' for '--director <ADDR[/LEN]>': expected an address, or ADDRESS/BITS",
        ),
        (
            &["agent", "--client-address", "--director", "10.0.0.2", "--instance", "a/b"],
            "invalid value 'a/b' for '--instance <NAME>': instance \"a/b\": expected 1 to 64 letters, digits, '-' and \
             '_'",
        ),
        (
            &["agent", "--client-address", "--director", "10.0.0.2", "--stop"],
            "the argument '--director <ADDR[/LEN]>' cannot be used with '--stop' (see 'rvs agent --help')",
        ),
        (&["agent", "--mss", "100"], "invalid value '100' for '--mss [<BYTES>]': expected 536 to 65495"),
        (
            &["agent", "--mss", "1360", "--address", "192.0.2.20:0"],
            "invalid value '192.0.2.20:0' for '--address <ADDR[:PORT]>': expected an address, ADDRESS:PORT or [ADDRESS]:PORT",
        ),
        (
            &["agent", "--client-address", "--director", "10.0.0.2", "--address", "192.0.2.20"],
            "the argument '--client-address' cannot be used with '--address <ADDR[:PORT]>' (see 'rvs agent --help')",
        ),
        (&["status", "now"], "unexpected argument 'now' found (see 'rvs status --help')"),
    ];
    for (args, message) in cases {
        assert_eq!(rvs(args).failure(2), format!("rvs: {message}\n"), "{args:?}");
    }
}

#[test]
fn a_call_without_a_sub_command_names_them() {
    let message = rvs(&[]).failure(2);
    assert!(
        message.starts_with(
            "rvs: 'rvs' requires a subcommand but one was not provided [subcommands: director, "
        )
    );
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn an_agent_names_a_cgroup_that_is_none() {
    let refused = |path: &str| {
        rvs(&["agent", "--client-address", "--director", "10.0.0.2", "--cgroup", path]).failure(1)
    };
    assert_eq!(refused("/nowhere"), "rvs: cgroup /nowhere: No such file or directory (os error 2)\n");
    assert_eq!(refused("/proc"), "rvs: cgroup /proc: expected a directory of a cgroup v2 file system\n");
}

#[test]
fn without_a_director_clients_say_where_they_looked() {
    let folder = Folder::new();
    let socket = folder.join("none.sock").display().to_string();
    for command in ["status", "services", "connections"] {
        let message = rvs(&[command, "--socket", &socket]).failure(1);
        let expected = "No such file or directory (is 'rvs director' running?)";
        assert_eq!(message, format!("rvs: no director answers at {socket}: {expected}\n"));
    }
}

#[test]
fn without_a_director_ipvsadm_is_without_ipvs() {
    let folder = Folder::new();
    let socket = folder.join("none.sock");
    for args in [&["-Ln"][..], &["-C"], &["-A", "-t", "10.0.0.1:80"], &["-S"], &["-Ln", "--timeout"]] {
        let ran = Command::new(RVS).arg("ipvsadm").args(args).env("RVS_SOCKET", &socket).output().unwrap();
        let expected = format!(
            "Can't initialize ipvs: {}: No such file or directory\n\
             Are you sure that a director is running ('rvs director')?\n",
            socket.display()
        );
        assert_eq!(Ran::of(ran).failure(2), expected, "{args:?}");
    }
}

/// What is wrong with the words themselves is said without asking anybody (ipvs.md §10.4).
#[test]
fn ipvsadm_checks_its_words_first() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&["-A"], 2, "You need to supply the 'service-address' option for the 'add-service' command\n"),
        (&["-A", "-E"], 2, "invalid option `-E'\n"),
        (&["-A", "-t", "10.0.0.1"], 2, "Zero port specified for non-persistent service\n"),
        (&["--set", "1", "2"], 2, "--set option requires 3 timeout values\n"),
        (&["nonsense"], 255, "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n"),
    ];
    for (args, status, message) in cases {
        assert_eq!(rvs(&[&["ipvsadm"], *args].concat()).failure(*status), *message, "{args:?}");
    }
}

#[test]
fn the_binary_is_the_tool_that_it_is_called() {
    let folder = Folder::new();
    let run = |name: &str, args: &[&str]| {
        let link = folder.join(name);
        if !link.exists() {
            symlink(RVS, &link).unwrap();
        }
        let socket = folder.join("none.sock");
        Ran::of(Command::new(link).args(args).env("RVS_SOCKET", socket).output().unwrap())
    };
    assert_eq!(run("ipvsadm", &["-h"]), rvs(&["ipvsadm", "-h"]));
    assert!(run("ipvsadm-restore", &[]).failure(2).starts_with("Can't initialize ipvs: "));
    assert!(run("ipvsadm-save", &["-n"]).failure(2).starts_with("Can't initialize ipvs: "));
    assert!(run("ipvsadm-save", &["--help"]).success().starts_with("Usage: ipvsadm-save [-n]"));
    assert!(run("ipvsadm-restore", &["--help"]).success().starts_with("Usage: ipvsadm-restore < FILE"));
    assert!(run("other", &["ipvsadm", "-v"]).success().starts_with("ipvsadm v1.31 "));
}

#[test]
fn the_openapi_document_is_printed_without_a_director() {
    let text = rvs(&["director", "--openapi"]).success();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/v1/commands"]["post"].is_object());
}

#[test]
fn an_output_that_is_full_is_an_error_and_one_that_is_closed_is_none() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ran = Command::new(RVS).arg("--help").stdout(full).output().unwrap();
    let message = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(1));
    assert_eq!(message, "rvs: standard output: No space left on device (os error 28)\n");

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = Command::new(RVS).arg("--help").stdout(writer).output().unwrap();
    assert_eq!((ran.status.code(), ran.stderr), (Some(0), Vec::new()));
}

#[test]
fn full_nat_comes_from_addresses_that_can_be_a_pool() {
    for (prefixes, said) in [
        (["10.1.0.0/22", "10.2.0.0/32"], "10.2.0.0/32: expected at most 1024 addresses of a family"),
        (["10.1.0.0/24", "fd00::/64"], "fd00::/64: expected at most 1024 addresses of a family"),
        (
            ["10.1.0.9", "10.1.0.8/30"],
            "10.1.0.8/30: expected each address once, there is 10.1.0.9/32 already",
        ),
        (["fd00::/120", "ff00::/120"], "ff00::/120: expected addresses that packets can come from"),
        (["127.0.0.2", "fd00::7"], "127.0.0.2/32: expected addresses that packets can come from"),
    ] {
        let folder = Folder::new();
        let socket = folder.join("socket");
        let options = prefixes.map(|prefix| ["--full-nat-sources", prefix]).concat();
        let mut command = Command::new(RVS);
        command.arg("director").arg("--socket").arg(socket).args(options);
        assert_eq!(
            Ran::of(command.output().unwrap()).failure(1),
            format!("rvs: --full-nat-sources {said}\n")
        );
    }
}

#[test]
fn tunnels_come_from_one_prefix_of_each_family() {
    for (prefixes, said) in [
        (
            ["10.1.0.0/16", "10.2.0.0/16"],
            "--tunnel-sources 10.2.0.0/16: expected one prefix of each family, there is 10.1.0.0/16 already",
        ),
        (
            ["10.1.0.0/16", "ff00::/8"],
            "--tunnel-sources ff00::/8: expected addresses that packets can come from",
        ),
        (
            ["0.0.0.0/8", "fd00::/64"],
            "--tunnel-sources 0.0.0.0/8: expected addresses that packets can come from",
        ),
    ] {
        let folder = Folder::new();
        let socket = folder.join("socket");
        let options = prefixes.map(|prefix| ["--tunnel-sources", prefix]).concat();
        let mut command = Command::new(RVS);
        command.arg("director").arg("--socket").arg(socket).args(options);
        assert_eq!(Ran::of(command.output().unwrap()).failure(1), format!("rvs: {said}\n"));
    }
}
