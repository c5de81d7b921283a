//! The maximum segment size that a service allows, in segments with any options, and where one end is this director.

use proptest::prelude::*;
use rvs_abi::sched::id;
use rvs_abi::{DestFlags, Method, Outcome, Service, proto};
use rvs_core::{Flow, Frame, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, Model, records};
use rvs_wire::builder::{Ipv4, Ipv6, Payload, Tcp, checksums_ok, ethernet};
use rvs_wire::{eth, tcp};

const VIP: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [192, 0, 2, 2];
const SERVER: [u8; 4] = [192, 168, 9, 2];
const OWN: [u8; 4] = [192, 168, 9, 1];
const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const SERVER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// Offset of TCP's options in a frame.
const OPTIONS_V4: usize = eth::LEN + 20 + tcp::LEN;
const OPTIONS_V6: usize = eth::LEN + 40 + tcp::LEN;

type Routes = fn(&Flow) -> Result<NextHop, Outcome>;

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 1500 })
}

/// A service of each family at TCP port 80, each with one destination at port 8080.
fn model(mss: u16, method: u8, to: [u8; 4]) -> Model<Routes> {
    let heap = Heap::new(&Capacity { services: 2, dests: 128, conns: 1000, cpus: 1 });
    let service = |vip, dest| ServiceSetup {
        vip,
        port: 80,
        protocol: proto::TCP,
        scheduler: id::RR,
        sched_flags: 0,
        dests: vec![dest],
    };
    let dest = DestSetup::new(to, 8080, method);
    let dest6 = DestSetup::new(rvs_abi::Addr::from_bytes(&SERVER6), 8080, method);
    install(&heap, &[service(VIP.into(), dest), service(rvs_abi::Addr::from_bytes(&VIP6), dest6)]);
    for service in 0..2 {
        let record = records::service(&heap, service).unwrap();
        records::write_service(&heap, service, &Service { mss, ..record });
    }
    if to == OWN {
        let mut record = records::dest(&heap, 0).unwrap();
        record.flags |= DestFlags::LOCAL;
        records::write_dest(&heap, 0, &record);
    }
    let mut model = Model::new(heap, route as Routes);
    model.set_now_ns(1 << 40);
    model
}

fn segment(sport: u16, dport: u16, flags: u8, options: &[u8], data: &[u8]) -> Payload {
    Payload::Tcp(Tcp { options: options.to_vec(), data: data.to_vec(), ..Tcp::new(sport, dport, flags) })
}

fn frame(from: [u8; 4], to: [u8; 4], payload: &Payload) -> Frame<256> {
    Frame::new(&ethernet(MAC, MAC, eth::TYPE_IPV4, &Ipv4::new(from, to).packet(payload))).unwrap()
}

fn frame6(from: [u8; 16], to: [u8; 16], payload: &Payload) -> Frame<256> {
    Frame::new(&ethernet(MAC, MAC, eth::TYPE_IPV6, &Ipv6::new(from, to).packet(payload))).unwrap()
}

/// The options as a receiver reads them (RFC 9293 §3.1), each size above the limit lowered to it: slow and obvious.
fn lowered(options: &[u8], mss: u16) -> Vec<u8> {
    let mut out = options.to_vec();
    let mut at = 0;
    while let Some(&kind) = out.get(at) {
        if kind == 0 {
            break;
        }
        if kind == 1 {
            at += 1;
            continue;
        }
        let Some(&len) = out.get(at + 1) else { break };
        let len = usize::from(len);
        if len < 2 || at + len > out.len() {
            break;
        }
        if kind == 2 && len == 4 {
            let size = u16::from_be_bytes([out[at + 2], out[at + 3]]);
            out[at + 2..at + 4].copy_from_slice(&size.min(mss).to_be_bytes());
        }
        at += len;
    }
    out
}

/// Options that mean something more often than any bytes do.
fn any_option() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        3 => any::<[u8; 2]>().prop_map(|[a, b]| vec![2, 4, a, b]),
        3 => Just(vec![1]),
        1 => Just(vec![0]),
        1 => Just(vec![3, 3, 7]),
        1 => Just(vec![4, 2]),
        1 => Just(vec![8, 10, 0, 0, 0, 9, 0, 0, 0, 0]),
        1 => prop::collection::vec(any::<u8>(), 0..6),
        1 => (3..6_u8, any::<[u8; 2]>()).prop_map(|(len, [a, b])| vec![2, len, a, b]),
    ]
}

fn any_options() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any_option(), 0..12).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.truncate(40);
        bytes.resize(bytes.len().next_multiple_of(4), 1);
        bytes
    })
}

proptest! {
    /// What a receiver reads is what is allowed, all else is as it was, and the checksum is right.
    #[test]
    fn whatever_the_options_are_the_size_is_lowered_and_the_checksum_right(
        options in any_options(),
        mss in 536..=65_495_u16,
        data in prop::collection::vec(any::<u8>(), 0..9),
    ) {
        let model = model(mss, Method::MASQ, SERVER);
        let expected = lowered(&options, mss);
        // A SYN, the same once more, and the answer to it.
        for _ in 0..2 {
            let mut syn = frame(CLIENT, VIP, &segment(40_000, 80, tcp::SYN, &options, &data));
            prop_assert_eq!(model.ingress(&mut syn, 3).outcome, Outcome::ForwardMasq);
            prop_assert_eq!(checksums_ok(syn.bytes()), Ok(()));
            prop_assert_eq!(&syn.bytes()[OPTIONS_V4..][..options.len()], &expected[..]);
            prop_assert_eq!(&syn.bytes()[OPTIONS_V4 + options.len()..], &data[..]);
        }
        let answer = segment(8080, 40_000, tcp::SYN | tcp::ACK, &options, &data);
        let mut answer = frame(SERVER, CLIENT, &answer);
        prop_assert_eq!(model.ingress(&mut answer, 7).outcome, Outcome::ReplyMasq);
        prop_assert_eq!(checksums_ok(answer.bytes()), Ok(()));
        prop_assert_eq!(&answer.bytes()[OPTIONS_V4..][..options.len()], &expected[..]);
        let mut syn = frame6(CLIENT6, VIP6, &segment(40_000, 80, tcp::SYN, &options, &data));
        prop_assert_eq!(model.ingress(&mut syn, 3).outcome, Outcome::ForwardMasq);
        prop_assert_eq!(checksums_ok(syn.bytes()), Ok(()));
        prop_assert_eq!(&syn.bytes()[OPTIONS_V6..][..options.len()], &expected[..]);
    }
}

const LARGE: [u8; 4] = [2, 4, 5, 180];
const LOWERED: [u8; 4] = [2, 4, 5, 80];

/// A server and a client of this director's own.
#[test]
fn what_is_from_or_for_the_stack_is_lowered_too() {
    let mut model = model(1360, Method::MASQ, OWN);
    model.set_tc(true);
    let mut syn = frame(CLIENT, VIP, &segment(40_000, 80, tcp::SYN, &LARGE, &[]));
    assert_eq!(model.ingress(&mut syn, 3).outcome, Outcome::LocalNode);
    assert_eq!((&syn.bytes()[OPTIONS_V4..], checksums_ok(syn.bytes())), (&LOWERED[..], Ok(())));
    let mut answer = frame(OWN, CLIENT, &segment(8080, 40_000, tcp::SYN | tcp::ACK, &LARGE, &[]));
    assert_eq!(model.egress(&mut answer).outcome, Outcome::ReplyMasq);
    assert_eq!((&answer.bytes()[OPTIONS_V4..], checksums_ok(answer.bytes())), (&LOWERED[..], Ok(())));

    let mut model = self::model(1360, Method::MASQ, SERVER);
    model.set_tc(true);
    let mut syn = frame(VIP, VIP, &segment(40_000, 80, tcp::SYN, &LARGE, &[]));
    assert_eq!(model.egress(&mut syn).outcome, Outcome::ForwardMasq);
    assert_eq!((&syn.bytes()[OPTIONS_V4..], checksums_ok(syn.bytes())), (&LOWERED[..], Ok(())));
    let mut answer = frame(SERVER, VIP, &segment(8080, 40_000, tcp::SYN | tcp::ACK, &LARGE, &[]));
    assert_eq!(model.ingress(&mut answer, 7).outcome, Outcome::ReplyLocal);
    assert_eq!((&answer.bytes()[OPTIONS_V4..], checksums_ok(answer.bytes())), (&LOWERED[..], Ok(())));
}

/// The program under TC finds it lowered already, and counts its connection once.
#[test]
fn what_xdp_hands_over_is_lowered_once() {
    let model = model(1360, Method::MASQ, OWN);
    let mut syn = frame(CLIENT, VIP, &segment(40_000, 80, tcp::SYN, &LARGE, &[]));
    assert_eq!(model.ingress(&mut syn, 3).outcome, Outcome::HandOverRoute);
    assert_eq!(model.ingress_after_xdp(&mut syn, 3).outcome, Outcome::LocalNode);
    assert_eq!((&syn.bytes()[OPTIONS_V4..], checksums_ok(syn.bytes())), (&LOWERED[..], Ok(())));
    let stats = records::stats_part(model.heap(), &records::config(model.heap()), 0, 0);
    assert_eq!((stats.conns, stats.in_packets), (1, 1));
}

/// A header that says it is longer than the packet.
#[test]
fn a_header_beyond_the_packet_is_left_alone() {
    let model = model(1360, Method::DR, SERVER);
    let mut bytes = frame(CLIENT, VIP, &segment(40_000, 80, tcp::SYN, &[2, 4, 5, 180], &[])).bytes().to_vec();
    bytes[eth::LEN + 20 + tcp::DATA_OFFSET] = 0xf0;
    let mut syn = Frame::<256>::new(&bytes).unwrap();
    assert_eq!(model.ingress(&mut syn, 3).outcome, Outcome::ForwardDr);
    assert_eq!(syn.bytes()[eth::LEN + 20..], bytes[eth::LEN + 20..]);
}
