//! Ways that take smaller packets than those at their ends, and of which nobody is told: the client drops ICMP errors. Without
//! `--mss` what it sends never arrives, with it it does.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use rvs_testkit::{Cgroup, wait_until};

use crate::client_address::agent::Agent;
use crate::method::Attach;
use crate::mib::is_listening;
use crate::stage::LIMIT;
use crate::transfer::{try_upload, upload};
use crate::turn::await_turn;
use crate::world::{FAMILIES, Process, Way, World, output};

/// Bytes that the client sends.
const LEN: u64 = 100 << 10;
/// MTU of the director's link to the server.
const NARROW: u32 = 1400;
/// Fits that with IPv6's and TCP's headers.
const MSS: u16 = 1300;
/// Seconds after which a transfer counts as stalled; one that isn't takes a few milliseconds.
const STALLED_S: u32 = 1;
/// Seconds that one may take that has to arrive.
const ARRIVED_S: u32 = 3;

/// Has the client drop all that routers and the director tell it.
fn drop_errors(world: &World) {
    let chain = "add chain inet f in { type filter hook input priority 0; }";
    let v4 = "add rule inet f in icmp type destination-unreachable drop";
    let v6 = "add rule inet f in icmpv6 type packet-too-big drop";
    for rule in ["add table inet f", chain, v4, v6] {
        output(world.client(), "nft", &[rule]);
    }
}

fn edit(world: &World, service: SocketAddr, options: &str) {
    world.daemon.ipvsadm(&format!("-E -t {service} -s rr{options}"));
}

/// Services of both families by a way, whose link to the server is narrow.
fn narrow(way: Way, attach: Attach) -> (World, Vec<SocketAddr>) {
    let mut world = World::new(way.replies(), attach);
    let services: Vec<_> =
        FAMILIES.into_iter().zip(8000..).map(|(family, port)| world.serve(family, port, way)).collect();
    make_narrow(&mut world);
    (world, services)
}

fn make_narrow(world: &mut World) {
    let index = world.cluster.director().interface("to-servers").index;
    world.cluster.director_mut().netlink().set_mtu(index, NARROW).unwrap();
    drop_errors(world);
}

/// Asserts that a transfer stalls because segments are too large for the way.
fn stalls(world: &World, service: SocketAddr) {
    let before = world.daemon.counted("too_big");
    let stalled = try_upload(world.client(), service, LEN, STALLED_S);
    assert!(stalled.as_ref().is_err_and(|said| said.contains("timed out")), "{service}: {stalled:?}");
    assert!(world.daemon.counted("too_big") > before, "{service}");
    // What curl left behind would go on trying.
    output(world.client(), "ss", &["--kill", "dst", &service.to_string()]);
}

fn by_nat(way: Way, attach: Attach) {
    let _turn = await_turn();
    let (world, services) = narrow(way, attach);
    for service in services {
        stalls(&world, service);
        edit(&world, service, &format!(" --mss {MSS}"));
        let before = world.daemon.counted("too_big");
        upload(world.client(), service, LEN);
        assert_eq!(world.daemon.counted("too_big"), before, "{service}");
        edit(&world, service, "");
        stalls(&world, service);
    }
}

#[test]
fn uploads_by_nat_arrive_with_a_segment_size_under_tc() {
    by_nat(Way::NAT, Attach::Tc);
    by_nat(Way::FULL_NAT, Attach::Tc);
}

#[test]
fn uploads_by_nat_arrive_with_a_segment_size_under_xdp() {
    by_nat(Way::NAT, Attach::Xdp);
    by_nat(Way::FULL_NAT, Attach::Xdp);
}

#[test]
fn translated_uploads_arrive_with_a_segment_size() {
    by_nat(Way::TRANSLATED, Attach::Tc);
    by_nat(Way::TRANSLATED, Attach::Xdp);
}

/// Port of iperf3 at the server, and of the services.
const PORT: u16 = 8000;

/// iperf3 at the server, in a control group, when it listens.
fn iperf3(world: &World, cgroup: &Cgroup) -> Process {
    let mut command = cgroup.command("iperf3");
    command.args(["--server", "--port", &PORT.to_string()]).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let server = Process::start(world.server(), &mut command);
    wait_until("iperf3 listens", LIMIT, || is_listening(world.server(), PORT)).unwrap();
    server
}

/// Whether so much arrives at iperf3 in so many seconds.
fn arrives(world: &World, service: SocketAddr, seconds: u32) -> bool {
    let (seconds, len) = (seconds.to_string(), LEN.to_string());
    let (host, port) = (service.ip().to_string(), service.port().to_string());
    let mut command = Command::new("timeout");
    command.args([&seconds, "iperf3", "--client", &host, "--port", &port, "--bytes", &len]);
    world.client().netns().output(&mut command).unwrap().status.success()
}

/// It may be busy with what is left of a transfer before.
#[track_caller]
fn assert_arrives(world: &World, service: SocketAddr) {
    wait_until("a transfer", LIMIT, || arrives(world, service, ARRIVED_S))
        .unwrap_or_else(|e| panic!("{service}: {e}"));
}

#[track_caller]
fn assert_stalls(world: &World, service: SocketAddr) {
    let before = world.daemon.counted("too_big");
    assert!(!arrives(world, service, STALLED_S), "{service}");
    assert!(world.daemon.counted("too_big") > before, "{service}");
}

/// Answers go past the director, so that the servers have to announce less: an agent has them do so.
fn by_tunnel(attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(Way::IPIP.replies(), attach);
    let cgroup = Cgroup::create().unwrap();
    let services = FAMILIES.map(|family| world.add("-t", family, PORT, Way::IPIP));
    let server = iperf3(&world, &cgroup);
    make_narrow(&mut world);
    for service in services {
        // What the director sees of the connection is not what bounds it.
        edit(&world, service, &format!(" --mss {MSS}"));
        assert_stalls(&world, service);
    }
    let addresses: String = services.iter().map(|service| format!(" --address {service}")).collect();
    let mut agent = Agent::start(cgroup.path(), &format!("rvs agent --mss {MSS}{addresses}"));
    let log = agent.log();
    assert!(log.contains("1 listener from before: they announce segments of that size too\n"), "{log}");
    services.iter().for_each(|service| assert_arrives(&world, *service));
    // A listener that is younger, and one without the agent's process.
    drop(server);
    let server = iperf3(&world, &cgroup);
    services.iter().for_each(|service| assert_arrives(&world, *service));
    assert_eq!(agent.end(Signal::SIGTERM), Some(0));
    drop(server);
    let server = iperf3(&world, &cgroup);
    services.iter().for_each(|service| assert_arrives(&world, *service));
    assert_eq!(agent.stop("rvs agent --mss --stop"), "instance NAME: taken down\n");
    assert_eq!(agent.stop("rvs agent --mss --stop"), "instance NAME: nothing to take down\n");
    drop(server);
    let _server = iperf3(&world, &cgroup);
    assert_stalls(&world, services[0]);
}

#[test]
fn uploads_through_tunnels_arrive_with_an_agent_under_tc() {
    by_tunnel(Attach::Tc);
}

#[test]
fn uploads_through_tunnels_arrive_with_an_agent_under_xdp() {
    by_tunnel(Attach::Xdp);
}
