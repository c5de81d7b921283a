//! Packets that nobody should send, by the million: each ends in exactly one outcome, none does harm, none leaves a
//! connection that no sweep could end.

use core::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::sched::id;
use rvs_abi::{Addr, Class, Event, Method, OUTCOMES, Outcome, STEPS, TunnelFlags, TunnelType, proto};
use rvs_core::{Flow, Frame, Link, NextHop, Packet as _};
use rvs_model::testing::{DestSetup, ServiceSetup, assert_all_end, assert_nothing_half_done, install};
use rvs_model::{Capacity, Heap, Memory as _, Model, buckets, sweep};
use rvs_wire::builder::malformed::{self, Damage, carrying_less, damaged, truncations};
use rvs_wire::builder::{Extension, Fault, Ipv4, Ipv6, Payload, Sctp, Tcp, Udp, checksums_ok};
use rvs_wire::sctp::chunk;
use rvs_wire::{eth, tcp};

use crate::support::{Random, check_sums};

const CAPACITY: Capacity = Capacity { services: 16, dests: 1024, conns: 100, cpus: 1 };
const VIP: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [192, 0, 2, 2];
const REAL_SERVER: [u8; 4] = [192, 168, 9, 2];
const DIRECTOR: [u8; 4] = [192, 168, 9, 1];
const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const REAL_SERVER6: [u8; 16] = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const DIRECTOR6: [u8; 16] = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
/// Room for a frame with extension headers put in, and an outer header.
const ROOM: usize = 1024;
/// Frames of the long run.
const FRAMES: u32 = 1_000_000;

type Routes = fn(&Flow) -> Result<NextHop, Outcome>;

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 1500 })
}

/// Of each family a TCP service of each method, one of UDP and one of SCTP, and two to servers of the other family.
fn model() -> Model<Routes> {
    let heap = Heap::new(&CAPACITY);
    let mut services = Vec::new();
    let ends: [[Addr; 3]; 2] = [
        [VIP.into(), REAL_SERVER.into(), DIRECTOR.into()],
        [VIP6.into(), REAL_SERVER6.into(), DIRECTOR6.into()],
    ];
    for (i, [vip, real_server, source]) in ends.into_iter().enumerate() {
        let [_, other_server, other_source] = ends[1 - i];
        let mut service = |port, protocol, method| {
            let is_other = method == Method::FULL_NAT;
            let real_server = if is_other { other_server } else { real_server };
            let dest = DestSetup {
                source: if is_other { other_source } else { source },
                tunnel: TunnelType::GUE,
                tunnel_flags: TunnelFlags::CSUM,
                tunnel_port: 6080,
                ..DestSetup::new(real_server, 8080, method)
            };
            let scheduler = id::RR;
            services.push(ServiceSetup { vip, port, protocol, scheduler, sched_flags: 0, dests: vec![dest] });
        };
        service(80, proto::TCP, Method::MASQ);
        service(81, proto::TCP, Method::DR);
        service(82, proto::TCP, Method::TUNNEL);
        service(53, proto::UDP, Method::MASQ);
        service(90, proto::SCTP, Method::MASQ);
        // To the other family.
        service(83, proto::TCP, Method::FULL_NAT);
        service(54, proto::UDP, Method::FULL_NAT);
    }
    install(&heap, &services);
    let mut model = Model::new(heap, route as Routes);
    model.set_now_ns(1 << 50);
    model
}

fn segment(sport: u16, dport: u16, flags: u8) -> Payload {
    Payload::Tcp(Tcp { data: b"GET / HTTP/1.1".to_vec(), ..Tcp::new(sport, dport, flags) })
}

/// Link addresses of good frames.
const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

/// What a client sends.
fn requests() -> [Payload; 10] {
    [
        segment(4000, 80, tcp::SYN),
        segment(4000, 80, tcp::ACK),
        segment(4000, 81, tcp::SYN),
        segment(4000, 82, tcp::SYN),
        Payload::Udp(Udp::new(4000, 53, b"query")),
        Payload::Sctp(Sctp::new(4000, 90, &[chunk::INIT])),
        segment(4000, 83, tcp::SYN),
        segment(4000, 83, tcp::ACK),
        Payload::Udp(Udp::new(4000, 54, b"query")),
        Payload::Udp(Udp { no_checksum: true, ..Udp::new(4000, 54, b"odd") }),
    ]
}

/// What a real server sends.
fn replies() -> [Payload; 3] {
    [
        segment(8080, 4000, tcp::ACK),
        Payload::Udp(Udp::new(8080, 4000, b"answer")),
        Payload::Sctp(Sctp::new(8080, 4000, &[chunk::INIT_ACK, chunk::DATA])),
    ]
}

/// Good packets to every service, some from the real server, and errors about both.
fn good() -> Vec<Vec<u8>> {
    let (request, reply) = (Ipv4::new(CLIENT, VIP), Ipv4::new(REAL_SERVER, CLIENT));
    let (request6, reply6) = (Ipv6::new(CLIENT6, VIP6), Ipv6::new(REAL_SERVER6, CLIENT6));
    let with_options = Ipv4 { options: vec![1; 40], ..request.clone() };
    let extensions = vec![Extension::DestinationOptions(Vec::new())];
    let with_extensions = Ipv6 { extensions, ..request6.clone() };
    let frame = |ip: &Ipv4, payload: &Payload| ip.frame(MACS.0, MACS.1, payload);
    let frame6 = |ip: &Ipv6, payload: &Payload| ip.frame(MACS.0, MACS.1, payload);
    let mut frames = Vec::new();
    for payload in requests() {
        frames.extend([frame(&request, &payload), frame6(&request6, &payload)]);
    }
    frames.push(frame(&with_options, &segment(4000, 82, tcp::ACK)));
    frames.push(frame6(&with_extensions, &segment(4000, 82, tcp::ACK)));
    for payload in replies() {
        frames.extend([frame(&reply, &payload), frame6(&reply6, &payload)]);
    }
    let error = |quoted: Vec<u8>| Payload::Icmp(3, 4, [vec![0, 0, 5, 120], quoted].concat());
    let error6 = |quoted: Vec<u8>| Payload::Icmp6(2, 0, [vec![0, 0, 5, 120], quoted].concat());
    let (from_client, from_vip) = (segment(4000, 8080, tcp::ACK), segment(80, 4000, tcp::ACK));
    frames.push(frame(&reply, &error(Ipv4::new(CLIENT, REAL_SERVER).packet(&from_client))));
    frames.push(frame(&request, &error(Ipv4::new(VIP, CLIENT).packet(&from_vip))));
    frames.push(frame6(&reply6, &error6(Ipv6::new(CLIENT6, REAL_SERVER6).packet(&from_client))));
    frames.push(frame6(&request6, &error6(Ipv6::new(VIP6, CLIENT6).packet(&from_vip))));
    frames
}

/// Runs a frame; its outcome is counted once, and no other.
fn run(model: &Model<Routes>, bytes: &[u8]) -> (Outcome, Vec<u8>) {
    let mut frame = Frame::<ROOM>::new(bytes).expect("test frames are small");
    let verdict = model.ingress(&mut frame, 11);
    let is_end = !STEPS.contains(&verdict.outcome) && verdict.outcome != Outcome::Inconsistent;
    assert!(is_end, "{:?}: {bytes:02x?}", verdict.outcome);
    // What is dropped may leave as the error about it.
    match verdict.outcome.class() {
        Class::Forward => assert_eq!(verdict.link.ifindex, 7, "{:?}: {bytes:02x?}", verdict.outcome),
        Class::Drop if verdict.link.ifindex != 0 => {
            let after = frame.bytes();
            assert_eq!(checksums_ok(after), Ok(()), "{bytes:02x?} became {after:02x?}");
        }
        _ => assert_eq!(verdict.link.ifindex, 0, "{:?}: {bytes:02x?}", verdict.outcome),
    }
    (verdict.outcome, frame.bytes().to_vec())
}

fn counted(model: &Model<Routes>) -> u64 {
    let counters = model.heap().region(Region::Counters);
    OUTCOMES.iter().map(|outcome| counters[*outcome as usize].load(Relaxed)).sum()
}

fn noted(model: &Model<Routes>, event: Event) -> u64 {
    model.heap().region(Region::Counters)[event as usize].load(Relaxed)
}

/// What is passed on is passed on as it came, whatever was done before; what is sent on is whole, and its checksums are
/// right if they were.
fn check_frame(outcome: Outcome, before: &[u8], after: &[u8]) {
    match outcome.class() {
        Class::Pass | Class::HandOver => assert_eq!(before, after, "{outcome:?}"),
        Class::Forward => {
            let seen = checksums_ok(after);
            let is_ok = match checksums_ok(before) {
                Ok(()) => seen.is_ok(),
                Err(_) => !matches!(seen, Err(Fault::Lengths | Fault::Ipv4)),
            };
            assert!(is_ok, "{outcome:?}: {before:02x?} became {after:02x?}: {seen:?}");
        }
        Class::Drop => {}
    }
}

/// After everything: nothing is half done, the counts agree, and when all time is over nothing is left.
fn check_end(model: &Model<Routes>) {
    let now = model.now_ns() >> rvs_abi::TICK_SHIFT;
    assert_nothing_half_done(model.heap(), now);
    check_sums(model.heap());
    assert_all_end(model.heap(), now, 10);
}

#[test]
fn frames_cut_at_each_length_end_in_one_outcome() {
    let model = model();
    let mut runs = 0;
    for frame in good() {
        let whole = run(&model, &frame).0;
        runs += 1;
        assert_eq!(whole.class(), Class::Forward, "{whole:?}");
        for cut in truncations(&frame) {
            let (outcome, after) = run(&model, cut);
            let expected = if cut.len() < 14 { Outcome::NotIp } else { Outcome::BadIpHeader };
            assert_eq!(outcome, expected, "{} of {} bytes", cut.len(), frame.len());
            assert_eq!(cut, after);
            runs += 1;
        }
    }
    assert_eq!(counted(&model), runs);
    check_end(&model);
}

/// The packet ends early: lengths and checksum say so.
#[test]
fn lengths_that_cut_the_transport_header_are_dropped() {
    let model = model();
    for frame in good() {
        let is_v4 = frame[12..14] == eth::TYPE_IPV4;
        let header_len = u16::from(frame[14] & 15) * 4;
        for len in (0..header_len).filter(|_| is_v4) {
            assert_eq!(run(&model, &damaged(&frame, Damage::TotalLen(len))).0, Outcome::BadIpHeader);
        }
        let transport = match if is_v4 { frame[23] } else { frame[20] } {
            proto::TCP => 20,
            proto::SCTP => 16,
            // Destination options, and TCP behind.
            60 => 28,
            _ => 8,
        };
        for len in 0..transport {
            assert_eq!(run(&model, &carrying_less(&frame, len)).0, Outcome::TruncatedTransport);
        }
    }
    check_end(&model);
}

/// Seeded, so that a failure can be had again.
#[test]
fn a_million_malformed_frames_do_no_harm() {
    let mut model = model();
    let mut random = Random(0x5eed);
    let good = good();
    let mut seen = vec![0_u32; OUTCOMES.len()];
    for n in 0..FRAMES {
        let frame = &good[random.below(good.len() as u64) as usize];
        let bytes = malformed::anything(frame, &mut || random.next());
        let (outcome, after) = run(&model, &bytes);
        check_frame(outcome, &bytes, &after);
        seen[OUTCOMES.iter().position(|other| *other == outcome).unwrap()] += 1;
        // Time goes by, and sometimes a lot.
        let step = if n % 50_000 == 0 { 2_000_000_000_000 } else { 10_000_000 };
        model.set_now_ns(model.now_ns() + step);
        if n % 10_000 == 0 {
            sweep(model.heap(), 0, buckets(model.heap()), model.now_ns() >> rvs_abi::TICK_SHIFT);
        }
    }
    assert_eq!(counted(&model), u64::from(FRAMES));
    for (outcome, runs) in OUTCOMES.iter().zip(&seen) {
        assert_eq!(model.outcomes(*outcome), u64::from(*runs), "{outcome:?}");
    }
    let reached = seen.iter().filter(|runs| **runs > 100).count();
    assert!(reached >= 22, "the frames are all alike: {seen:?}");
    assert!(noted(&model, Event::ErrorSent) > 100, "packets die in silence");
    check_end(&model);
}

/// A driver may have no room before a frame, or behind it.
#[test]
fn a_frame_without_room_for_an_outer_header_is_dropped() {
    let model = model();
    let bytes = Ipv4::new(CLIENT, VIP).frame(MACS.0, MACS.1, &segment(4000, 82, tcp::SYN));
    let mut frame = Frame::<80>::new(&bytes).unwrap();
    assert!(bytes.len() + 20 > 80);
    assert_eq!(model.ingress(&mut frame, 11).outcome, Outcome::RewriteFailed);
    assert_eq!(model.outcomes(Outcome::RewriteFailed), 1);
    check_end(&model);
}

/// An empty frame, and one of bytes without any sense.
#[test]
fn nothing_and_noise() {
    let model = model();
    assert_eq!(run(&model, &[]).0, Outcome::NotIp);
    assert_eq!(run(&model, &[0xff; 512]).0, Outcome::NotIp);
    assert!(Frame::<512>::new(&[0; 513]).is_none());
    let frame = Frame::<16>::new(&[1; 16]).unwrap();
    assert_eq!((frame.get::<16>(1), frame.get::<2>(usize::MAX)), (None, None));
    assert!(!frame.for_host());
}
