//! Ways that take smaller packets than those at their ends, and of which nobody is told: the client drops ICMP errors. Without
//! `--mss` what it sends never arrives, with it it does.

use std::net::SocketAddr;

use crate::method::Attach;
use crate::transfer::{try_upload, upload};
use crate::turn::await_turn;
use crate::world::{FAMILIES, Way, World, output};

/// Bytes that the client sends.
const LEN: u64 = 100 << 10;
/// MTU of the director's link to the server.
const NARROW: u32 = 1400;
/// Fits that with IPv6's and TCP's headers.
const MSS: u16 = 1300;
/// Seconds after which a transfer counts as stalled; one that isn't takes a few milliseconds.
const STALLED_S: u32 = 3;

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
    let index = world.cluster.director().interface("to-servers").index;
    world.cluster.director_mut().netlink().set_mtu(index, NARROW).unwrap();
    drop_errors(&world);
    (world, services)
}

/// Asserts that a transfer stalls because segments are too large for the way.
fn stalls(world: &World, service: SocketAddr) {
    let before = world.daemon.counted("too_big");
    let stalled = try_upload(world.client(), service, LEN, STALLED_S);
    assert!(stalled.as_ref().is_err_and(|said| said.contains("timed out")), "{service}: {stalled:?}");
    assert!(world.daemon.counted("too_big") > before, "{service}");
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
