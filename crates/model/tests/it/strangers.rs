//! What is one connection's is no other's: ports, ends, data connections; and addresses that are nobody's, or change.

use std::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::sched::id;
use rvs_abi::{Addr, Method, Outcome, SLOTS, limits, proto};
use rvs_core::conn::{self, Bucket, Key, Place};
use rvs_core::{Flow, Frame, Link, NextHop, Tables};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, HostTables, Memory, Model, records};
use rvs_wire::builder::{Ipv4, Payload, Tcp, Udp, checksums_ok, ethernet};
use rvs_wire::eth;
use rvs_wire::tcp::{ACK, SYN};

const VIP: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [192, 0, 2, 2];
const SERVER: [u8; 4] = [192, 168, 9, 2];
const DIRECTOR: [u8; 4] = [192, 168, 9, 1];
const OTHER: [u8; 4] = [192, 168, 9, 77];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

type Routes = fn(&Flow) -> Result<NextHop, Outcome>;
type End = ([u8; 4], u16);

fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 1500 })
}

fn model_at(vip: [u8; 4], protocol: u8, method: u8, conns: u32) -> Model<Routes> {
    let heap = Heap::new(&Capacity { services: 4, dests: 64, conns, cpus: 1 });
    let dest = DestSetup { source: DIRECTOR.into(), ..DestSetup::new(SERVER, 53, method) };
    let (vip, scheduler) = (vip.into(), id::RR);
    install(&heap, &[ServiceSetup { vip, port: 53, protocol, scheduler, sched_flags: 0, dests: vec![dest] }]);
    let mut model = Model::new(heap, route as Routes);
    model.set_now_ns(1 << 40);
    model.set_tc(true);
    model
}

fn model(protocol: u8, method: u8, conns: u32) -> Model<Routes> {
    model_at(VIP, protocol, method, conns)
}

fn send(model: &Model<Routes>, from: End, to: End, payload: &Payload) -> (Outcome, Vec<u8>) {
    let packet = Ipv4::new(from.0, to.0).packet(payload);
    let mut frame = Frame::<1600>::new(&ethernet(MAC, [2, 0, 0, 0, 0, 2], eth::TYPE_IPV4, &packet)).unwrap();
    let outcome = model.ingress(&mut frame, 11).outcome;
    (outcome, frame.bytes().to_vec())
}

fn datagram(model: &Model<Routes>, from: End, to: End) -> (Outcome, End, End) {
    let (outcome, bytes) = send(model, from, to, &Payload::Udp(Udp::new(from.1, to.1, b"data")));
    let word = |at: usize| <[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap();
    let port = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    (outcome, (word(26), port(34)), (word(30), port(36)))
}

fn set_source(model: &Model<Routes>, source: Addr) {
    let record = records::dest(model.heap(), 0).unwrap();
    records::write_dest(model.heap(), 0, &rvs_abi::Dest { source, ..record });
}

/// docs/full-nat.md: those from the director's own address end when a route changes that.
#[test]
fn a_connection_whose_own_address_changes_ends_and_its_client_is_served_by_another() {
    let model = model(proto::UDP, Method::FULL_NAT, 100_000);
    let (outcome, local, _) = datagram(&model, (CLIENT, 4000), (VIP, 53));
    assert_eq!((outcome, local.0), (Outcome::ForwardFullNat, DIRECTOR));
    assert_eq!(datagram(&model, (SERVER, 53), local).0, Outcome::ReplyFullNat);
    set_source(&model, OTHER.into());
    let (outcome, local, _) = datagram(&model, (CLIENT, 4000), (VIP, 53));
    assert_eq!((outcome, local.0), (Outcome::ForwardFullNat, OTHER));
    // What the server answers to that very datagram has to find its client.
    let (outcome, _, to) = datagram(&model, (SERVER, 53), local);
    assert_eq!((outcome, to), (Outcome::ReplyFullNat, (CLIENT, 4000)));
}

/// The same: its packets must not leave from an end that another connection has by now.
#[test]
fn a_connection_whose_own_address_changes_takes_nobodys_end() {
    let model = model(proto::UDP, Method::FULL_NAT, 100_000);
    let (_, local, _) = datagram(&model, (CLIENT, 4000), (VIP, 53));
    datagram(&model, (SERVER, 53), local);
    set_source(&model, OTHER.into());
    let other = (0..60_000_u32).find_map(|n| {
        let [_, b, c, d] = n.to_be_bytes();
        let from = ([172, 16 + b, c, d], 5000);
        let (outcome, end, _) = datagram(&model, from, (VIP, 53));
        assert_eq!(outcome, Outcome::ForwardFullNat);
        (end.1 == local.1).then_some(from)
    });
    let other = other.expect("some connection has that port of the new address");
    let (_, end, _) = datagram(&model, (CLIENT, 4000), (VIP, 53));
    let (outcome, _, to) = datagram(&model, (SERVER, 53), end);
    assert!(
        outcome != Outcome::ReplyFullNat || to == (CLIENT, 4000),
        "the answer to {CLIENT:?}'s datagram goes to {to:?} (the stranger is {other:?})"
    );
}

/// As Linux does, and so IPVS: no source are 0/8, 127/8, groups and 255.255.255.255.
#[test]
fn a_client_of_class_e_is_served() {
    let model = model(proto::UDP, Method::MASQ, 100);
    assert_eq!(datagram(&model, ([240, 0, 0, 1], 4000), (VIP, 53)).0, Outcome::ForwardMasq);
}

/// An error about a reply, while the director has no address on the way to the server: full NAT's other packets are dropped then
/// (`no_local_address`), and nothing may leave from 0.0.0.0.
#[test]
fn no_error_leaves_from_no_address() {
    let model = model(proto::UDP, Method::FULL_NAT, 100);
    let (_, local, _) = datagram(&model, (CLIENT, 4000), (VIP, 53));
    assert_eq!(datagram(&model, (SERVER, 53), local).0, Outcome::ReplyFullNat);
    set_source(&model, Addr::default());
    assert_eq!(datagram(&model, (CLIENT, 4000), (VIP, 53)).0, Outcome::NoLocalAddress);
    let reply = Ipv4::new(VIP, CLIENT).packet(&Payload::Udp(Udp::new(53, 4000, b"data")));
    let error = Payload::Icmp(3, 3, [&[0; 4], &reply[..]].concat());
    let (outcome, bytes) = send(&model, (CLIENT, 0), (VIP, 0), &error);
    assert_eq!(checksums_ok(&bytes), Ok(()));
    assert_eq!(outcome, Outcome::NoLocalAddress, "source {:?}", &bytes[26..30]);
}

/// A word of `LOCAL_PORTS` whose connection has ended names a slot that others have had since; every 2048th of them has the
/// generation that it names. Such a one has nothing to do with the port, and does not give way for it.
#[test]
fn a_connection_that_has_not_the_port_does_not_give_way_for_it() {
    let heap = Heap::new(&Capacity { services: 4, dests: 256, conns: 100, cpus: 1 });
    let dest = |method| DestSetup { source: DIRECTOR.into(), ..DestSetup::new(SERVER, 53, method) };
    let service = |port, method| ServiceSetup {
        vip: VIP.into(),
        port,
        protocol: proto::TCP,
        scheduler: id::RR,
        sched_flags: 0,
        dests: vec![dest(method)],
    };
    install(&heap, &[service(53, Method::FULL_NAT), service(80, Method::DR)]);
    let mut model = Model::new(heap, route as Routes);
    model.set_now_ns(1 << 40);
    model.set_tc(true);
    let syn = |from: End, port| send(&model, from, (VIP, port), &Payload::Tcp(Tcp::new(from.1, port, SYN))).0;
    // A stranger, of direct routing.
    assert_eq!(syn((CLIENT, 4000), 80), Outcome::ForwardDr);
    let now = conn::ticks(1 << 40);
    let is_there = || {
        let tables = HostTables::without_packets(model.heap());
        let place =
            Place::of(&tables.geometry().unwrap(), &CLIENT.into(), 4000_u16.to_be_bytes(), proto::TCP);
        let key = Key::new(
            CLIENT.into(),
            4000_u16.to_be_bytes(),
            VIP.into(),
            80_u16.to_be_bytes(),
            proto::TCP,
            rvs_abi::family::V4,
        );
        conn::find(&tables, &place, now, &key).is_some()
    };
    assert!(is_there());
    let word = {
        let tables = HostTables::without_packets(model.heap());
        let buckets = tables.geometry().unwrap().buckets;
        let mut words = (0..buckets).flat_map(|index| {
            let bucket = tables.bucket(index).unwrap();
            (0..SLOTS)
                .filter(move |slot| bucket.word(*slot).is_live())
                .map(move |slot| bucket.word(slot).generation() << 35 | u64::from(index) << 3 | slot as u64)
        });
        words.next().unwrap()
    };
    // All words are stale, of ports that ended connections had.
    for place in model.heap().region(Region::LocalPorts) {
        place.store(word | u64::from(limits::LOCAL_PORTS.start.to_be()) << 48, Relaxed);
    }
    let outcome = syn(([192, 0, 2, 3], 4001), 53);
    assert!(is_there(), "a half-open connection by direct routing was ended for a port ({outcome:?})");
}

/// A client names another one's address in PORT (as IPVS lets it): that must not end the other's data connection. IPVS makes a
/// connection "unless one exists" (ipvs.md §12.2).
#[test]
fn nobody_ends_anothers_data_connection_by_a_command() {
    let servers = [[192, 168, 9, 2], [192, 168, 9, 3]];
    let heap = Heap::new(&Capacity { services: 4, dests: 64, conns: 1000, cpus: 1 });
    let dests =
        servers.map(|s| DestSetup { source: DIRECTOR.into(), ..DestSetup::new(s, 2021, Method::MASQ) });
    let (vip, port, protocol, scheduler) = (VIP.into(), 21, proto::TCP, id::RR);
    install(&heap, &[ServiceSetup { vip, port, protocol, scheduler, sched_flags: 0, dests: dests.to_vec() }]);
    let mut config = records::config(&heap);
    config.ftp_ports[0] = 21_u16.to_be();
    records::write_config(&heap, &config);
    let mut model = Model::new(heap, route as Routes);
    model.set_now_ns(1 << 40);
    model.set_tc(true);
    let segment = |from: End, to: End, flags, data: &str| {
        let tcp = Tcp {
            sequence: 1,
            acknowledgement: 1,
            data: data.as_bytes().to_vec(),
            ..Tcp::new(from.1, to.1, flags)
        };
        let (outcome, bytes) = send(&model, from, to, &Payload::Tcp(tcp));
        (outcome, <[u8; 4]>::try_from(&bytes[30..34]).unwrap())
    };
    let open = |from: End| {
        let (_, server) = segment(from, (VIP, 21), SYN, "");
        segment((server, 2021), from, SYN | ACK, "");
        assert_eq!(segment(from, (VIP, 21), ACK, "").0, Outcome::ForwardMasq);
        server
    };
    let command = "PORT 192,0,2,2,7,9\r\n";
    let of_victim = open((CLIENT, 40_000));
    segment((CLIENT, 40_000), (VIP, 21), ACK, command);
    assert_eq!(segment((of_victim, 2020), (CLIENT, 1801), SYN, "").0, Outcome::ReplyMasq);
    assert_eq!(segment((CLIENT, 1801), (VIP, 20), SYN | ACK, "").0, Outcome::ForwardMasq);
    assert_eq!(segment((of_victim, 2020), (CLIENT, 1801), ACK, "data").0, Outcome::ReplyMasq);
    // Somebody else, whose control connection is to the other server.
    let attacker = ([198, 51, 100, 66], 40_000);
    assert_ne!(open(attacker), of_victim);
    segment(attacker, (VIP, 21), ACK, command);
    assert_eq!(segment((of_victim, 2020), (CLIENT, 1801), ACK, "more").0, Outcome::ReplyMasq);
    assert_eq!(segment((CLIENT, 1801), (VIP, 20), ACK, "").1, of_victim);
}

/// A route that is replaced, or flaps, has no source for a moment. Replies that come meanwhile are still of their connections:
/// what is passed on to the stack is answered by a reset, which ends them at the server.
#[test]
fn a_route_that_is_away_for_a_moment_leaves_no_reply_to_the_stack() {
    let model = model(proto::UDP, Method::FULL_NAT, 100_000);
    let (_, local, _) = datagram(&model, (CLIENT, 4000), (VIP, 53));
    assert_eq!(datagram(&model, (SERVER, 53), local).0, Outcome::ReplyFullNat);
    set_source(&model, Addr::default());
    let (outcome, ..) = datagram(&model, (SERVER, 53), local);
    assert_ne!(outcome.class(), rvs_abi::Class::Pass, "{outcome:?}");
}
