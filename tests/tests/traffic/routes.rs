//! Routes to destinations: the kernel's, at every moment.

use std::time::{Duration, Instant};

use rvs_netlink::{MacAddr, Prefix, Route, RouteKind};
use rvs_testkit::{Capture, Cluster, Direction, Frame, wait_until};

use crate::method::{Attach, Method};
use crate::stage::{LIMIT, Stage};

/// Frames in a row that must have come the new way.
const STEADY: usize = 50;

/// A route to `s1` alone.
fn route(stage: &Stage) -> Route {
    let router = stage.cluster.fabric().unwrap().interface("servers").address.unwrap();
    Route::to(Prefix::host(stage.cluster.servers()[0].address())).via(router)
}

/// Waits until `s1` receives IPv4 frames from one neighbour only.
fn await_frames_from(stage: &Stage, sender: MacAddr) {
    let mut capture = Capture::open(stage.cluster.servers()[0].netns(), "eth0").unwrap();
    let is_received =
        |frame: &Frame| frame.direction == Direction::Received && frame.bytes.get(12..14) == Some(&[8, 0]);
    let deadline = Instant::now() + LIMIT;
    let mut steady = 0;
    while steady < STEADY {
        assert!(Instant::now() < deadline, "frames don't come from {sender}");
        let frame = capture.next_matching(Duration::from_secs(5), is_received).unwrap();
        let frame = frame.unwrap_or_else(|| panic!("no frame from {sender}, nor any other"));
        steady = if frame.bytes[6..12] == sender.0 { steady + 1 } else { 0 };
    }
}

/// Requests to `s1` go through the router as long as there is a route that says so.
fn follows_routes(stage: &mut Stage) {
    let fabric = stage.cluster.fabric().unwrap();
    // The router would tell the director of the shorter way.
    for interface in ["all", "servers"] {
        fabric.netns().sysctl(&format!("net/ipv4/conf/{interface}/send_redirects"), "0").unwrap();
    }
    let (direct, router) =
        (stage.cluster.director().interface("to-servers").mac, fabric.interface("servers").mac);
    let run = stage.client().connections(6).requests(u64::MAX).start(stage.cluster.client().netns()).unwrap();
    let route = route(stage);
    await_frames_from(stage, direct);
    stage.cluster.director_mut().netlink().add_route(&route).unwrap();
    await_frames_from(stage, router);
    stage.cluster.director_mut().netlink().delete_route(&route).unwrap();
    await_frames_from(stage, direct);
    assert_eq!(run.stop().failed(), 0);
}

#[test]
fn changes_take_effect_without_a_daemon_under_tc() {
    let mut stage = Stage::new(Method::Nat, Attach::Tc);
    stage.daemon.kill();
    follows_routes(&mut stage);
}

#[test]
fn changes_take_effect_without_a_daemon_under_xdp() {
    let mut stage = Stage::new(Method::Tun, Attach::Xdp);
    stage.daemon.kill();
    follows_routes(&mut stage);
}

/// Where the kernel doesn't forward, it tells programs no routes; the daemon does.
#[test]
fn changes_take_effect_with_forwarding_off() {
    for attach in [Attach::Tc, Attach::Xdp] {
        let cluster = Cluster::switched(3).ip_forward(false);
        follows_routes(&mut Stage::build(Method::Tun, attach, cluster));
    }
}

/// As in LVS (ipvs.md §3.3), direct routing needs no forwarding in the kernel.
#[test]
fn dr_works_with_forwarding_off() {
    for attach in [Attach::Tc, Attach::Xdp] {
        let stage = Stage::build(Method::Dr, attach, Cluster::switched(3).ip_forward(false));
        let report = stage.request(60);
        assert_eq!([30, 20, 10], ["s1", "s2", "s3"].map(|server| report.answers_of(server)));
    }
}

/// A route that refuses stops the connections of that server, no others; they go on when it is gone.
#[test]
fn a_refusing_route_is_obeyed_and_survived() {
    let mut stage = Stage::new(Method::Nat, Attach::Tc);
    let run = stage.client().connections(6).requests(u64::MAX).start(stage.cluster.client().netns()).unwrap();
    wait_until("six connections", LIMIT, || stage.accepted() == [3, 2, 1]).unwrap();
    let s1 = Prefix::host(stage.cluster.servers()[0].address());
    let refusing = Route::refusing(s1, RouteKind::Blackhole);
    stage.cluster.director_mut().netlink().add_route(&refusing).unwrap();
    let silent = || {
        let before = (stage.servers[0].requests(), stage.servers[1].requests() + 1000);
        wait_until("answers of s2", LIMIT, || stage.servers[1].requests() >= before.1).unwrap();
        stage.servers[0].requests() == before.0
    };
    wait_until("s1 gets nothing", LIMIT, silent).unwrap();
    stage.cluster.director_mut().netlink().delete_route(&refusing).unwrap();
    let enough = stage.servers[0].requests() + 100;
    wait_until("s1 answers again", LIMIT, || stage.servers[0].requests() >= enough).unwrap();
    assert_eq!(run.stop().failed(), 0);
}
