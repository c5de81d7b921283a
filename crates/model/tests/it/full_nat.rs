//! The director's ports of full NAT: no two connections to a server share one, replies find theirs, and what has ended gives
//! its port back.

use std::collections::BTreeSet;

use rvs_abi::sched::id;
use rvs_abi::{Method, Outcome, limits, proto};
use rvs_core::{Flow, Frame, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, Model};
use rvs_wire::builder::{Ipv4, Payload, Udp, ethernet};
use rvs_wire::eth;

const VIP: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [192, 168, 9, 2];
const DIRECTOR: [u8; 4] = [192, 168, 9, 1];

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 1500 })
}

type Routes = fn(&Flow) -> Result<NextHop, Outcome>;

/// A UDP service with one server, and room for so many connections.
fn model(conns: u32) -> Model<Routes> {
    let heap = Heap::new(&Capacity { services: 4, dests: 256, conns, cpus: 1 });
    let dest = DestSetup { source: DIRECTOR.into(), ..DestSetup::new(SERVER, 53, Method::FULL_NAT) };
    let (port, protocol, scheduler) = (53, proto::UDP, id::RR);
    let dests = vec![dest];
    install(&heap, &[ServiceSetup { vip: VIP.into(), port, protocol, scheduler, sched_flags: 0, dests }]);
    let mut model = Model::new(heap, route as Routes);
    model.set_now_ns(1 << 40);
    model
}

/// A datagram between two ends; what becomes of it, and its ends as it leaves.
fn send(model: &Model<Routes>, from: ([u8; 4], u16), to: ([u8; 4], u16)) -> (Outcome, Ends) {
    let datagram = Payload::Udp(Udp::new(from.1, to.1, b"data"));
    let packet = Ipv4::new(from.0, to.0).packet(&datagram);
    let bytes = ethernet([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], eth::TYPE_IPV4, &packet);
    let mut frame = Frame::<512>::new(&bytes).unwrap();
    let outcome = model.ingress(&mut frame, 11).outcome;
    let word = |at: usize| <[u8; 4]>::try_from(&frame.bytes()[at..at + 4]).unwrap();
    let port = |at: usize| u16::from_be_bytes([frame.bytes()[at], frame.bytes()[at + 1]]);
    (outcome, ((word(26), port(34)), (word(30), port(36))))
}

type End = ([u8; 4], u16);
type Ends = (End, End);

fn client(n: u32) -> End {
    let [_, b, c, d] = n.to_be_bytes();
    ([172, 16 + b, c, d], 40_000 + (n % 1000) as u16)
}

#[test]
fn every_connection_has_its_own_port_and_gets_its_replies() {
    let model = model(10_000);
    let mut ports = BTreeSet::new();
    for n in 0..8000 {
        let (outcome, (local, server)) = send(&model, client(n), (VIP, 53));
        assert_eq!((outcome, local.0, server), (Outcome::ForwardFullNat, DIRECTOR, (SERVER, 53)));
        assert!(limits::LOCAL_PORTS.contains(&local.1), "{local:?}");
        assert!(ports.insert(local.1), "port {} twice", local.1);
        // The next packet leaves from the same port.
        assert_eq!(send(&model, client(n), (VIP, 53)).1.0, local);
        let reply = send(&model, (SERVER, 53), local);
        assert_eq!(reply, (Outcome::ReplyFullNat, ((VIP, 53), client(n))));
    }
}

#[test]
fn ports_that_nobody_has_are_no_replies() {
    let model = model(100);
    let (_, (local, _)) = send(&model, client(1), (VIP, 53));
    assert_eq!(send(&model, (SERVER, 54), local).0, Outcome::NoService);
    assert_eq!(send(&model, (SERVER, 53), (DIRECTOR, local.1 ^ 1)).0, Outcome::NoService);
    assert_eq!(send(&model, (SERVER, 53), ([192, 168, 9, 9], local.1)).0, Outcome::NoService);
}

/// With as many ports as connections, most of them taken, a connection still finds one; with all taken it is dropped, and
/// those that end give theirs back.
#[test]
fn ports_come_back_when_their_connections_end() {
    let mut model = model(40_000);
    let mut made = 0;
    let mut refused = 0;
    for n in 0..50_000 {
        match send(&model, client(n), (VIP, 53)).0 {
            Outcome::ForwardFullNat => {
                made += 1;
                // Of one packet only, it would give way.
                assert_eq!(send(&model, client(n), (VIP, 53)).0, Outcome::ForwardFullNat);
            }
            Outcome::NoLocalPort => refused += 1,
            outcome => panic!("{outcome:?}"),
        }
    }
    // One server has as many as there are ports, at most.
    assert!(made > limits::LOCAL_PORTS.len() * 9 / 10 && made <= limits::LOCAL_PORTS.len(), "{made}");
    assert_eq!(model.outcomes(Outcome::NoLocalPort), refused);
    // The time-out of UDP, and more.
    model.set_now_ns((1 << 40) + 400_000_000_000);
    for n in 0..1000 {
        assert_eq!(send(&model, client(100_000 + n), (VIP, 53)).0, Outcome::ForwardFullNat);
    }
}

#[test]
fn a_reply_to_a_connection_that_has_ended_finds_nothing() {
    let mut model = model(100);
    let (_, (local, _)) = send(&model, client(1), (VIP, 53));
    model.set_now_ns((1 << 40) + 400_000_000_000);
    assert_eq!(send(&model, (SERVER, 53), local).0, Outcome::NoService);
}
