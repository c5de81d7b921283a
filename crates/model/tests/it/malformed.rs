//! Packets that nobody should send, by the million: each ends in exactly one outcome, none does harm, none leaves a
//! connection that no sweep could end.

use rvs_abi::map::Region;
use rvs_abi::sched::id;
use rvs_abi::{Class, Event, Method, OUTCOMES, Outcome, proto};
use rvs_core::{Flow, Frame, Link, NextHop, Packet as _};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, Memory as _, Model, buckets, for_each_conn, records, sweep};
use rvs_wire::builder::malformed::{self, Damage, damaged, truncations};
use rvs_wire::builder::{Ipv4, Payload, Tcp, Udp, checksums_ok};
use rvs_wire::tcp;

use crate::support::{Random, check_sums};

const CAPACITY: Capacity = Capacity { services: 4, dests: 256, conns: 100, cpus: 1 };
const VIP: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [192, 0, 2, 2];
const REAL_SERVER: [u8; 4] = [192, 168, 9, 2];
/// Outcomes with which no packet ends.
const INTERNAL: [Outcome; 4] =
    [Outcome::Balanced, Outcome::FromServer, Outcome::NoConnection, Outcome::Inconsistent];
/// Frames of the long run.
const FRAMES: u32 = 1_000_000;

type Routes = fn(&Flow) -> Result<NextHop, Outcome>;

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 1500 })
}

/// A TCP service of each method, and one of UDP.
fn model() -> Model<Routes> {
    let heap = Heap::new(&CAPACITY);
    let service = |port, protocol, method| ServiceSetup {
        vip: VIP,
        port,
        protocol,
        scheduler: id::RR,
        sched_flags: 0,
        dests: vec![DestSetup { addr: REAL_SERVER, port: 8080, method, weight: 1, source: [192, 168, 9, 1] }],
    };
    install(
        &heap,
        &[
            service(80, proto::TCP, Method::MASQ),
            service(81, proto::TCP, Method::DR),
            service(82, proto::TCP, Method::TUNNEL),
            service(53, proto::UDP, Method::MASQ),
        ],
    );
    let mut model = Model::new(heap, route as Routes);
    model.set_now_ns(1 << 50);
    model
}

/// Good packets to every service and one from the real server.
fn good() -> Vec<Vec<u8>> {
    let request = Ipv4::new(CLIENT, VIP);
    let reply = Ipv4::new(REAL_SERVER, CLIENT);
    let segment = |sport, dport, flags| {
        Payload::Tcp(Tcp { data: b"GET / HTTP/1.1".to_vec(), ..Tcp::new(sport, dport, flags) })
    };
    let with_options = Ipv4 { options: vec![1; 40], ..request.clone() };
    let packets = [
        (&request, segment(4000, 80, tcp::SYN)),
        (&request, segment(4000, 80, tcp::ACK)),
        (&request, segment(4000, 81, tcp::SYN)),
        (&request, segment(4000, 82, tcp::SYN)),
        (&with_options, segment(4000, 82, tcp::ACK)),
        (&request, Payload::Udp(Udp::new(4000, 53, b"query"))),
        (&reply, segment(8080, 4000, tcp::ACK)),
        (&reply, Payload::Udp(Udp::new(8080, 4000, b"answer"))),
    ];
    let macs = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    packets.into_iter().map(|(ip, payload)| ip.frame(macs.0, macs.1, &payload)).collect()
}

/// Runs a frame; its outcome is counted once, and no other.
fn run(model: &Model<Routes>, bytes: &[u8]) -> (Outcome, Vec<u8>) {
    let mut frame = Frame::<512>::new(bytes).expect("test frames are small");
    let verdict = model.ingress(&mut frame);
    assert!(!INTERNAL.contains(&verdict.outcome), "{:?}: {bytes:02x?}", verdict.outcome);
    let is_sent = verdict.outcome.class() == Class::Forward;
    assert_eq!(verdict.link.ifindex, if is_sent { 7 } else { 0 }, "{:?}: {bytes:02x?}", verdict.outcome);
    (verdict.outcome, frame.bytes().to_vec())
}

fn counted(model: &Model<Routes>) -> u64 {
    model
        .heap()
        .region(Region::Counters)
        .iter()
        .take(Event::Evicted as usize)
        .map(|word| word.load(std::sync::atomic::Ordering::Relaxed))
        .sum()
}

/// What is passed on is passed on as it came, whatever was done before; what is sent on is whole.
fn check_frame(outcome: Outcome, before: &[u8], after: &[u8]) {
    match outcome.class() {
        Class::Pass | Class::HandOver => assert_eq!(before, after, "{outcome:?}"),
        Class::Forward => {
            let ip_ok = !matches!(
                checksums_ok(after),
                Err(rvs_wire::builder::Fault::Lengths | rvs_wire::builder::Fault::Ipv4)
            );
            assert!(ip_ok, "{outcome:?}: {before:02x?} became {after:02x?}");
        }
        Class::Drop => {}
    }
}

/// After everything: nothing is half done, the counts agree, and when all time is over nothing is left.
fn check_end(model: &Model<Routes>) {
    let heap = model.heap();
    let now = model.now_ns() >> rvs_abi::TICK_SHIFT;
    let mut alive = 0;
    for_each_conn(heap, now, |_| alive += 1);
    let swept = sweep(heap, 0, buckets(heap), now);
    assert_eq!((swept.live, swept.abandoned), (alive, 0));
    check_sums(heap);
    let year = 365 * 86_400 * 10;
    assert_eq!(sweep(heap, 0, buckets(heap), now + year % (1 << 27)).live, 0, "entries that never end");
    for dest in 0..4 {
        let conns = records::dest_conns(heap, dest);
        assert_eq!((conns.active, conns.total), (0, 0), "destination {dest}");
    }
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

/// The packet ends early, the frame is padded: as short frames arrive from a wire.
#[test]
fn total_lengths_that_cut_the_transport_header_are_dropped() {
    let model = model();
    for frame in good() {
        let header_len = u16::from(frame[14] & 15) * 4;
        let transport = if frame[23] == proto::TCP { 20 } else { 8 };
        for len in 0..header_len {
            assert_eq!(run(&model, &damaged(&frame, Damage::TotalLen(len))).0, Outcome::BadIpHeader);
        }
        for len in header_len..header_len + transport {
            assert_eq!(run(&model, &damaged(&frame, Damage::TotalLen(len))).0, Outcome::TruncatedTransport);
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
        let bytes = malformed::any(frame, &mut || random.next());
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
    assert!(reached >= 15, "the frames are all alike: {seen:?}");
    check_end(&model);
}

/// A driver may have no room before a frame, or behind it.
#[test]
fn a_frame_without_room_for_an_outer_header_is_dropped() {
    let model = model();
    let bytes = good().swap_remove(3);
    let mut frame = Frame::<80>::new(&bytes).unwrap();
    assert!(bytes.len() + 20 > 80);
    assert_eq!(model.ingress(&mut frame).outcome, Outcome::RewriteFailed);
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
