//! Translation between families (RFC 7915): whatever a packet carries, its data go through unchanged and all checksums are
//! right, there and back.

use std::net::Ipv6Addr;

use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};
use rvs_abi::sched::id;
use rvs_abi::{Addr, Method, Outcome, proto};
use rvs_core::{Flow, Frame, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, Model};
use rvs_wire::builder::{Ipv4, Ipv6, Payload, Sctp, Tcp, Udp, checksums_ok, ethernet};
use rvs_wire::sctp::chunk;
use rvs_wire::{eth, tcp};

const fn v6(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last)
}

/// The ends of a family: client, virtual address, director, server.
type Ends = [Addr; 4];

fn ends(is_v4: bool) -> Ends {
    if is_v4 {
        [[192, 0, 2, 2], [10, 0, 0, 1], [192, 168, 9, 1], [192, 168, 9, 2]].map(Addr::v4)
    } else {
        [2, 1, 0x91, 0x92].map(|last| v6(last).octets().into())
    }
}

const VPORT: u16 = 80;
const SPORT: u16 = 8080;
const CAPACITY: Capacity = Capacity { services: 4, dests: 256, conns: 100, cpus: 1 };
type Route = fn(&Flow) -> Result<NextHop, Outcome>;
type Large = Frame<20_000>;

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    let link = Link { ifindex: 7, resolved: 0, macs: [0; 3], gateway: flow.to };
    Ok(NextHop { link, mtu: 9000 })
}

/// A model under TC with a service of a family for each protocol, and a server of the other.
fn model(is_v4: bool) -> Model<Route> {
    let heap = Heap::new(&CAPACITY);
    let ([_, vip, ..], [_, _, source, server]) = (ends(is_v4), ends(!is_v4));
    let dest = DestSetup { source, ..DestSetup::new(server, SPORT, Method::FULL_NAT) };
    let service = |protocol| ServiceSetup {
        vip,
        port: VPORT,
        protocol,
        scheduler: id::RR,
        sched_flags: 0,
        dests: vec![dest],
    };
    install(&heap, &[proto::TCP, proto::UDP, proto::SCTP].map(service));
    let mut model = Model::new(heap, route as Route);
    model.set_now_ns(1 << 40);
    model.set_tc(true);
    model
}

/// What is said in a header.
#[derive(Debug, Clone, Copy)]
struct Said {
    tos: u8,
    ttl: u8,
    dont_fragment: bool,
}

fn packet(from: Addr, to: Addr, said: Said, payload: &Payload) -> Vec<u8> {
    let Said { tos, ttl, dont_fragment } = said;
    if from.is_v4() {
        Ipv4 { tos, ttl, dont_fragment, ..Ipv4::new(from.v4_bytes(), to.v4_bytes()) }.packet(payload)
    } else {
        let ip = Ipv6::new(from.to_bytes(), to.to_bytes());
        Ipv6 { traffic_class: tos, hop_limit: ttl, ..ip }.packet(payload)
    }
}

fn framed(packet: &[u8]) -> Large {
    Frame::new(&ethernet([2; 6], [4; 6], eth::type_of(packet[0] >> 4 == 4), packet)).unwrap()
}

/// Handles a frame, and then what it left behind for the program: outcomes, and the packets that leave. Their checksums are
/// right, and so is the type of their frames.
fn handle(model: &Model<Route>, mut frame: Large) -> Vec<(Outcome, Vec<u8>)> {
    let verdict = model.ingress(&mut frame, 11);
    let mut left = Vec::new();
    if verdict.link.ifindex != 0 {
        let (head, packet) = frame.bytes().split_at(eth::LEN);
        assert_eq!(head[12..], eth::type_of(packet[0] >> 4 == 4));
        assert_eq!(checksums_ok(frame.bytes()), Ok(()), "{packet:02x?}");
        left.push((verdict.outcome, packet.to_vec()));
    }
    for again in frame.behind() {
        left.extend(handle(model, again));
    }
    left
}

/// The one packet that leaves.
fn pass(model: &Model<Route>, packet: &[u8]) -> (Outcome, Vec<u8>) {
    let left = handle(model, framed(packet));
    <[_; 1]>::try_from(left).map_or_else(|left| panic!("{left:?}"), |[left]| left)
}

/// Addresses, type of service, time to live, and what is behind the header.
fn parts(packet: &[u8]) -> (Addr, Addr, u8, u8, &[u8]) {
    let address = |at: usize| Addr::from_bytes(packet[at..at + 16].try_into().unwrap());
    if packet[0] >> 4 == 4 {
        let old = |at: usize| Addr::v4(packet[at..at + 4].try_into().unwrap());
        return (old(12), old(16), packet[1], packet[8], &packet[20..]);
    }
    (address(8), address(24), packet[0] << 4 | packet[1] >> 4, packet[7], &packet[40..])
}

fn transport(protocol: u8, sport: u16, dport: u16, data: &[u8]) -> Payload {
    match protocol {
        proto::TCP => {
            Payload::Tcp(Tcp { data: data.to_vec(), options: vec![1; 4], ..Tcp::new(sport, dport, tcp::ACK) })
        }
        proto::UDP => Payload::Udp(Udp::new(sport, dport, data)),
        _ => Payload::Sctp(Sctp::new(sport, dport, &[chunk::DATA, chunk::DATA][..1 + data.len() % 2])),
    }
}

fn first(protocol: u8, sport: u16) -> Payload {
    match protocol {
        proto::TCP => Payload::Tcp(Tcp::new(sport, VPORT, tcp::SYN)),
        proto::UDP => Payload::Udp(Udp::new(sport, VPORT, b"first")),
        _ => Payload::Sctp(Sctp::new(sport, VPORT, &[chunk::INIT])),
    }
}

const PLAIN: Said = Said { tos: 0, ttl: 64, dont_fragment: true };

/// Begins a connection; the director's port.
fn begin(model: &Model<Route>, is_v4: bool, protocol: u8, cport: u16) -> u16 {
    let [client, vip, ..] = ends(is_v4);
    let (outcome, left) = pass(model, &packet(client, vip, PLAIN, &first(protocol, cport)));
    assert_eq!(outcome, Outcome::ForwardTranslated);
    let (_, _, _, _, l4) = parts(&left);
    u16::from_be_bytes([l4[0], l4[1]])
}

fn protocols() -> impl Strategy<Value = u8> {
    prop_oneof![Just(proto::TCP), Just(proto::UDP), Just(proto::SCTP)]
}

fn said() -> impl Strategy<Value = Said> {
    (any::<u8>(), 2_u8.., any::<bool>()).prop_map(|(tos, ttl, dont_fragment)| Said {
        tos,
        ttl,
        dont_fragment,
    })
}

proptest! {
    #[test]
    fn what_is_carried_goes_through_there_and_back(
        is_v4: bool,
        protocol in protocols(),
        cport in 21_u16..,
        said in said(),
        data in proptest::collection::vec(any::<u8>(), 0..1100),
    ) {
        let model = model(is_v4);
        let ([client, vip, ..], [_, _, local, server]) = (ends(is_v4), ends(!is_v4));
        let lport = begin(&model, is_v4, protocol, cport);
        // The first segments of TCP tell who the client is; those with data do not.
        let data = if data.is_empty() { vec![0] } else { data };
        let came = packet(client, vip, said, &transport(protocol, cport, VPORT, &data));
        let (outcome, left) = pass(&model, &came);
        prop_assert_eq!(outcome, Outcome::ForwardTranslated);
        let alike = packet(local, server, said, &transport(protocol, lport, SPORT, &data));
        let (.., expected) = parts(&alike);
        prop_assert_eq!(parts(&left), (local, server, said.tos, said.ttl - 1, expected));
        let answer = packet(server, local, said, &transport(protocol, SPORT, lport, &data));
        let (outcome, left) = pass(&model, &answer);
        prop_assert_eq!(outcome, Outcome::ReplyTranslated);
        let alike = packet(vip, client, said, &transport(protocol, VPORT, cport, &data));
        let (.., expected) = parts(&alike);
        prop_assert_eq!(parts(&left), (vip, client, said.tos, said.ttl - 1, expected));
    }

    /// Errors about a packet as the server got it, quoted whole or cut: all checksums are right, also that in the quote.
    #[test]
    fn errors_are_right_at_both_depths(
        is_v4: bool,
        protocol in protocols(),
        cport in 21_u16..,
        said in said(),
        len in 8_usize..1400,
        data in proptest::collection::vec(any::<u8>(), 1..1100),
    ) {
        let model = model(is_v4);
        let ([client, vip, ..], [_, _, local, server]) = (ends(is_v4), ends(!is_v4));
        let lport = begin(&model, is_v4, protocol, cport);
        let about = packet(local, server, said, &transport(protocol, lport, SPORT, &data));
        let head = if is_v4 { 40 } else { 20 };
        let quoted = &about[..about.len().min(head + len)];
        let rest = [&[0; 4][..], quoted].concat();
        let error = if is_v4 { Payload::Icmp6(1, 4, rest) } else { Payload::Icmp(3, 3, rest) };
        let (outcome, left) = pass(&model, &packet(server, local, PLAIN, &error));
        prop_assert_eq!(outcome, Outcome::IcmpToClient);
        let (from, to, _, ttl, message) = parts(&left);
        prop_assert_eq!((from, to, ttl), (vip, client, 63));
        prop_assert_eq!([message[0], message[1]], if is_v4 { [3, 3] } else { [1, 4] });
        let (from, to, tos, ttl, inside) = parts(&message[8..]);
        prop_assert_eq!((from, to, tos, ttl), (client, vip, said.tos, said.ttl));
        prop_assert_eq!([inside[0], inside[1]], cport.to_be_bytes());
        let most = if is_v4 { 576 } else { 1280 };
        let whole = quoted.len() == about.len() && left.len() < most;
        prop_assert_eq!(left.len() <= most, true);
        if whole {
            prop_assert_eq!(checksums_ok(framed(&message[8..]).bytes()), Ok(()));
        }
    }

    /// A datagram of IPv4 that may be fragmented becomes packets of at most 1280 bytes, which make the same datagram.
    #[test]
    fn no_packet_becomes_larger_than_every_way_takes(
        data in proptest::collection::vec(any::<u8>(), 1..6000),
        has_checksum: bool,
    ) {
        let model = model(true);
        let ([client, vip, ..], [_, _, local, server]) = (ends(true), ends(false));
        let lport = begin(&model, true, proto::UDP, 4000);
        let no_checksum = !has_checksum;
        let came = Payload::Udp(Udp { no_checksum, ..Udp::new(4000, VPORT, &data) });
        let left = handle(&model, framed(&packet(client, vip, Said { dont_fragment: false, ..PLAIN }, &came)));
        let mut got = vec![0; data.len() + 8];
        for (outcome, packet) in &left {
            prop_assert_eq!(*outcome, Outcome::ForwardTranslated);
            prop_assert_eq!(packet.len() <= 1280, true);
            let (_, _, _, _, behind) = parts(packet);
            let (at, part) = match packet[6] {
                44 => (usize::from(u16::from_be_bytes([behind[2], behind[3]]) & !7), &behind[8..]),
                _ => (0, behind),
            };
            got[at..at + part.len()].copy_from_slice(part);
        }
        let whole = packet(local, server, PLAIN, &Payload::Udp(Udp::new(lport, SPORT, &data)));
        let (.., expected) = parts(&whole);
        prop_assert_eq!(&got[..], expected);
    }
}

/// RFC 768, RFC 9868: a datagram may be shorter than its packet.
#[test]
fn a_checksum_that_is_made_is_over_the_datagram_only() {
    let [client, vip, ..] = ends(true);
    let said = Said { tos: 0, ttl: 64, dont_fragment: false };
    let mut datagram = packet(client, vip, said, &Payload::Udp(Udp::new(40_000, VPORT, b"data")));
    datagram[26..28].copy_from_slice(&[0, 0]);
    datagram.extend([0x12, 0x34, 0x56, 0x78]);
    datagram[2..4].copy_from_slice(&36_u16.to_be_bytes());
    datagram[10..12].copy_from_slice(&[0, 0]);
    let sum = rvs_wire::checksum::full(0, &datagram[..20]);
    datagram[10..12].copy_from_slice(&sum);
    let model = model(true);
    let mut frame = framed(&datagram);
    assert_eq!(model.ingress(&mut frame, 11).outcome, Outcome::ForwardTranslated);
    let left = &frame.bytes()[eth::LEN..];
    let [from, to] = [8, 24].map(|at| Addr::from_bytes(left[at..at + 16].try_into().unwrap()));
    let pseudo = rvs_wire::checksum::pseudo_v6(from.words(), to.words(), proto::UDP, 12);
    assert_eq!(rvs_wire::checksum::full(pseudo, &left[40..52]), [0, 0], "{left:02x?}");
}

/// RFC 7915 §4.5: also one that the director itself makes fragments of; only what comes in fragments is dropped.
#[test]
fn a_large_datagram_without_a_checksum_that_comes_whole_gets_one() {
    let [client, vip, ..] = ends(true);
    let said = Said { tos: 0, ttl: 64, dont_fragment: false };
    let datagram = Udp { no_checksum: true, ..Udp::new(40_000, VPORT, &[0x5a; 1400]) };
    let model = model(true);
    let left = handle(&model, framed(&packet(client, vip, said, &Payload::Udp(datagram))));
    let data: usize = left.iter().map(|(_, packet)| packet.len() - 48).sum();
    assert_eq!(data, 1408, "dropped as translate_checksum: {}", model.outcomes(Outcome::TranslateChecksum));
}

/// RFC 7915 §5.1.1: what has a fragment header gets "don't fragment" 0, and so does an atomic fragment (RFC 6946).
#[test]
fn an_atomic_fragment_may_be_fragmented_in_ipv4() {
    let [client, vip, ..] = ends(false);
    let datagram = Payload::Udp(Udp::new(40_000, VPORT, &[0x5a; 1240]));
    let atomic = Ipv6::new(client.to_bytes(), vip.to_bytes()).fragments(&datagram, 1248, 0x1234_abcd);
    assert_eq!(atomic.len(), 1);
    let (_, left) = pass(&model(false), &atomic[0]);
    assert_eq!((&left[4..6], left[6] & 0x40), (&[0xab, 0xcd][..], 0));
}

/// Nobody could look at the options in the second fragment, in which a client may say who it is.
#[test]
fn a_first_fragment_whose_options_are_cut_is_dropped() {
    for is_v4 in [true, false] {
        let [client, vip, ..] = ends(is_v4);
        let options = [&[1; 4][..], &[254, 8, 0, 80, 192, 0, 2, 99]].concat();
        let segment = Payload::Tcp(Tcp { options, ..Tcp::new(40_000, VPORT, tcp::SYN) });
        let cut = if is_v4 {
            Ipv4::new(client.v4_bytes(), vip.v4_bytes()).fragments(&segment, 24)
        } else {
            Ipv6::new(client.to_bytes(), vip.to_bytes()).fragments(&segment, 24, 7)
        };
        let model = model(is_v4);
        assert_eq!(handle(&model, framed(&cut[0])), []);
        assert_eq!(model.outcomes(Outcome::TruncatedTransport), 1);
    }
}
