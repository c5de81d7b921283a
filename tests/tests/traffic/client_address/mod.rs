//! Servers behind full NAT see the client: an unmodified nginx logs its address, with `rvs agent --client-address` and no
//! module. The director's side is a stand-in.

pub(crate) mod agent;
mod full_nat;
mod rig;
pub(crate) mod server;
mod stand_in;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use nix::sys::signal::Signal;

use crate::residue::left;
pub(crate) use rig::PAGE;
use rig::{DIRECTOR, Rig, STRANGER, Shown, calls};
use server::Nginx;
use stand_in::{Says, option};

/// What each listener shows (see [`Rig::ask_all`]).
const CLIENT: [Shown; 4] = [Shown::Client; 4];
const DIRECTORS: [Shown; 4] = [Shown::Director; 4];

#[test]
fn without_an_agent_servers_see_the_director() {
    let mut rig = Rig::new();
    rig.start_server();
    assert_eq!(rig.ask_all(), DIRECTORS);
}

#[test]
fn listeners_that_are_younger_than_the_agent_show_the_client() {
    let rig = Rig::with_agent_first();
    for (in_syn, in_acks) in [(true, false), (false, true), (true, true)] {
        rig.stand_in.plan(|plan| (plan.in_syn, plan.in_acks) = (in_syn, in_acks));
        assert_eq!(rig.ask_all(), CLIENT, "SYN {in_syn}, ACKs {in_acks}");
    }
}

#[test]
fn listeners_that_are_older_than_the_agent_show_the_client() {
    let mut rig = Rig::new();
    rig.start_server();
    assert_eq!(rig.ask_all(), DIRECTORS);
    rig.start_agent();
    let log = rig.agent().log();
    assert!(
        log.contains(
            "\nrvs agent: 4 listeners from before: their servers are shown clients' addresses too\n"
        ),
        "{log}"
    );
    for (in_syn, in_acks) in [(true, false), (false, true), (true, true)] {
        rig.stand_in.plan(|plan| (plan.in_syn, plan.in_acks) = (in_syn, in_acks));
        assert_eq!(rig.ask_all(), CLIENT, "SYN {in_syn}, ACKs {in_acks}");
    }
}

/// A listener that waits for data gets a connection that comes to be with it: later than an option in the ACK before.
#[test]
fn listeners_that_wait_for_data_show_the_client_from_the_syn() {
    let mut rig = Rig::with_agent_first();
    assert_eq!(rig.ask(0, 82), Shown::Client);
    rig.stand_in.plan(|plan| (plan.in_syn, plan.in_acks) = (false, true));
    assert_eq!(rig.ask(0, 82), Shown::Director);
    rig.wait_for_the_last_segments();
    rig.agent().end(Signal::SIGTERM);
    let log = rig.agent().log();
    let late = "warning: 1 connection whose client was known only after the server could ask\n";
    assert!(log.contains(late), "{log}");
    assert!(log.contains("SIGTERM: 2 connections had their client's address"), "{log}");
}

/// With SYN cookies nothing of the SYN is kept.
#[test]
fn with_syn_cookies_acks_show_the_client() {
    let rig = Rig::with_agent_first();
    rig.server.sysctl("net/ipv4/tcp_syncookies", "2").unwrap();
    assert_eq!(rig.ask_all(), DIRECTORS);
    rig.stand_in.plan(|plan| plan.in_acks = true);
    assert_eq!(rig.ask_all(), CLIENT);
    rig.stand_in.plan(|plan| plan.in_syn = false);
    assert_eq!(rig.ask_all(), CLIENT);
    assert_eq!(rig.ask(0, 82), Shown::Client, "the cookie's ACK makes the connection");
}

#[test]
fn only_directors_are_believed() {
    let mut rig = Rig::with_agent_first();
    rig.stand_in.plan(|plan| (plan.own, plan.in_acks) = (STRANGER, true));
    assert_eq!(rig.ask_all(), DIRECTORS);
    rig.stand_in.plan(|plan| plan.own = DIRECTOR);
    assert_eq!(rig.ask_all(), CLIENT);
    // Another start, other directors: of IPv4 the other one, of IPv6 the whole network.
    assert_eq!(rig.agent().end(Signal::SIGTERM), Some(0));
    let log = rig.agent().log();
    let ignored =
        "warning: 4 connections with a client's address from an address that is no director's: ignored\n";
    assert!(log.contains(ignored), "{log}");
    assert!(log.contains("SIGTERM: 4 connections had their client's address"), "{log}");
    rig.agent().start_again("rvs agent --client-address --director 10.10.0.3 --director 2001:db8:2::/64");
    assert_eq!(rig.ask_all(), [Shown::Director, Shown::Director, Shown::Client, Shown::Client]);
    rig.stand_in.plan(|plan| plan.own = STRANGER);
    assert_eq!(rig.ask_all(), CLIENT);
}

#[test]
fn malformed_options_are_ignored() {
    let mut rig = Rig::with_agent_first();
    let malformed: [&[u8]; 8] = [
        &[254, 7, 0x9c, 0x40, 198, 51, 100, 1],
        &[254, 0, 0x9c, 0x40, 198, 51, 100, 7],
        &[254, 12, 0x9c, 0x40, 198, 51, 100, 7, 0, 0, 0, 0],
        &[254, 8, 0x9c, 0x40],
        &[254, 8, 0, 0, 198, 51, 100, 7],
        &[254, 8, 0x9c, 0x40, 0, 0, 0, 0],
        &[253, 8, 0x9c, 0x40, 198, 51, 100, 7],
        &[1, 1, 1, 254],
    ];
    for bytes in malformed {
        rig.stand_in.plan(|plan| (plan.says, plan.in_acks) = (Says::Bytes(bytes.to_vec()), true));
        assert_eq!([rig.ask(0, 80), rig.ask(1, 80)], [Shown::Director; 2], "{bytes:?}");
    }
    rig.agent().end(Signal::SIGTERM);
    let log = rig.agent().log();
    let ignored = "warning: 16 connections with a malformed option from a director: ignored\n";
    assert!(log.contains(ignored), "{log}");
    assert!(log.contains("SIGTERM: 0 connections had their client's address"), "{log}");
}

/// A director may reach its servers by another family than clients reach it.
#[test]
fn the_clients_family_may_be_another() {
    let mut rig = Rig::with_agent_first();
    let v4 = SocketAddr::from((Ipv4Addr::new(198, 51, 100, 7), 40_001));
    let v6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, 7), 40_002));
    for (in_syn, in_acks) in [(true, false), (false, true)] {
        rig.stand_in.plan(|plan| (plan.in_syn, plan.in_acks) = (in_syn, in_acks));
        rig.stand_in.plan(|plan| plan.says = Says::Bytes(option(v4)));
        assert_eq!(rig.ask_all(), [Shown::Other(v4); 4]);
        rig.stand_in.plan(|plan| plan.says = Says::Bytes(option(v6)));
        let other = Shown::Other(v6);
        assert_eq!(rig.ask_all(), [Shown::Director, other, other, other], "an IPv4 socket can't show it");
    }
    rig.agent().end(Signal::SIGTERM);
    let log = rig.agent().log();
    assert!(
        log.contains("warning: 2 connections of IPv6 clients at IPv4 listeners, which can't show them\n"),
        "{log}"
    );
}

#[test]
fn connections_without_the_option_are_as_before() {
    let rig = Rig::with_agent_first();
    rig.stand_in.plan(|plan| (plan.says, plan.in_acks) = (Says::Nothing, true));
    assert_eq!(rig.ask_all(), DIRECTORS);
}

#[test]
fn a_killed_agent_is_not_missed_and_the_next_adopts() {
    let mut rig = Rig::with_agent_first();
    for _ in 0..2 {
        assert_eq!(rig.ask_all(), CLIENT);
        assert_eq!(rig.agent().end(Signal::SIGKILL), None);
        assert_eq!(rig.ask_all(), CLIENT);
        // A listener that nobody but the programs in the kernel has seen.
        rig.nginx = None;
        rig.start_server();
        assert_eq!(rig.ask_all(), CLIENT);
        rig.agent().start_again(calls()[0]);
        assert!(rig.agent().log().lines().any(|line| line.contains(": adopted, attached again to cgroup ")));
    }
    rig.agent().end(Signal::SIGINT);
    let log = rig.agent().log();
    assert!(log.contains("SIGINT: 24 connections had their client's address"), "{log}");
}

#[test]
fn sigterm_leaves_the_programs_and_stop_takes_them_off() {
    let mut rig = Rig::with_agent_first();
    assert_eq!(rig.agent().end(Signal::SIGTERM), Some(0));
    assert_eq!(rig.ask_all(), CLIENT);
    let instance = rig.agent().instance().to_owned();
    // The BPF file system may be mounted in two places.
    let pins: BTreeSet<_> = left(&[&instance]).into_iter().collect();
    assert_eq!(pins.len(), 6, "three maps and three programs: {pins:?}");
    assert_eq!(rig.agent().stop(calls()[1]), "instance NAME: taken down\n");
    assert_eq!(rig.ask_all(), DIRECTORS);
    assert_eq!(left(&[&instance]), [""; 0]);
    assert_eq!(rig.agent().stop(calls()[1]), "instance NAME: nothing to take down\n");
}

#[test]
fn detach_on_exit_leaves_nothing() {
    let mut rig = Rig::with_agent_first();
    rig.agent().end(Signal::SIGKILL);
    rig.agent().start_again(&format!("{} --detach-on-exit", calls()[0]));
    assert_eq!(rig.ask_all(), CLIENT);
    assert_eq!(rig.agent().end(Signal::SIGTERM), Some(0));
    assert_eq!(rig.ask_all(), DIRECTORS);
    let instance = rig.agent().instance().to_owned();
    assert_eq!(left(&[&instance]), [""; 0]);
}

#[test]
fn servers_outside_of_the_cgroup_see_the_director() {
    let mut rig = Rig::new();
    rig.start_agent();
    let other = rvs_testkit::Cgroup::create().unwrap();
    rig.nginx = Some(Nginx::start(&rig.server, &other));
    assert_eq!(rig.ask_all(), DIRECTORS);
    rig.nginx = None;
}

#[test]
fn a_running_agent_is_named_to_another() {
    let mut rig = Rig::new();
    rig.start_agent();
    let cgroup = rig.cgroup.path().to_owned();
    let refused = |agent: &agent::Agent, call: &str, cgroup: Option<&Path>| {
        let mut command = agent.command(call);
        command.args(cgroup.map(|path| [Path::new("--cgroup"), path]).into_iter().flatten());
        let output = command.output().unwrap();
        assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
        String::from_utf8(output.stderr).unwrap().replace(agent.instance(), "NAME")
    };
    let pid = rig.agent().pid();
    let locked = format!("rvs: instance NAME is in use by process {pid}");
    assert_eq!(refused(rig.agent(), calls()[0], Some(&cgroup)), format!("{locked}\n"));
    assert_eq!(refused(rig.agent(), calls()[1], None), format!("{locked}: end it first, by SIGTERM\n"));
}
