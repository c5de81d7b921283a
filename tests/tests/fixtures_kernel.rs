//! The packet fixtures, and malformed frames by the million, on the loaded programs. Needs root.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rvs_abi::map::Region;
use rvs_abi::sched::id;
use rvs_abi::{
    Addr, Class, DestConns, Event, Method, OUTCOMES, Outcome, SLOTS, STEPS, TunnelFlags, TunnelType, proto,
    ticks_from_secs,
};
use rvs_core::conn::word::Word;
use rvs_core::state::is_active;
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Memory, buckets, for_each_conn, records, sweep};
use rvs_tests::fixtures::on_kernel::{NotRun, OnKernel, is_taken, take_out};
use rvs_tests::fixtures::world::{CLIENT, CLIENT6, DIRECTOR, DIRECTOR6, RS, RS6, Side, VIP, VIP6, neighbour};
use rvs_tests::fixtures::{Executor, Hook, Ran, age, all, run};
use rvs_wire::builder::{
    Extension, Fault, Ipv4, Ipv6, Payload, Sctp, Tcp, Udp, checksums_ok, ethernet, malformed,
};
use rvs_wire::sctp::chunk;
use rvs_wire::{eth, tcp};

/// Frames of fixtures that can't be run, by name of the case and numbers of the frames.
const NOT_RUN: [(Hook, &str, RangeInclusive<usize>, NotRun); 4] = [
    (Hook::Xdp, "no service at all", 2..=2, NotRun::TooShort),
    (Hook::Tc, "no service at all", 2..=2, NotRun::TooShort),
    (Hook::Tc, "a frame cut at each length", 1..=20, NotRun::TooShort),
    (Hook::Tc, "an IPv6 frame cut at each length", 1..=40, NotRun::TooShort),
];
/// Malformed frames under each hook.
const FRAMES: u32 = 500_000;

/// Runs all fixtures; tells how many frames were run again because they refreshed a neighbour's entry.
fn run_all(hook: Hook) -> u32 {
    let mut taken_out = BTreeSet::new();
    let mut cases = all();
    for case in &mut cases {
        for (number, why) in take_out(hook, case) {
            taken_out.insert((case.name.clone(), number, why));
        }
    }
    let (failures, refreshes) = OnKernel::with(hook, |executor| {
        let failures: Vec<_> = cases.iter().filter_map(|case| run(executor, case).err()).collect();
        (failures, executor.refreshes())
    })
    .unwrap();
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    assert!(texts.is_empty(), "{} fixtures under {hook:?}:\n{}", texts.len(), texts.join("\n"));
    let listed = NOT_RUN.into_iter().filter(|listed| listed.0 == hook);
    let listed = listed.flat_map(|(_, name, numbers, why)| numbers.map(move |n| (name.to_owned(), n, why)));
    assert_eq!(taken_out, listed.collect());
    refreshes
}

#[test]
fn fixtures_hold_in_the_kernel_under_xdp() {
    assert_ne!(run_all(Hook::Xdp), 0, "no frame took the stack's way, where neighbours are refreshed");
}

#[test]
fn fixtures_hold_in_the_kernel_under_tc() {
    assert_eq!(run_all(Hook::Tc), 0, "the kernel itself refreshes neighbours");
}

/// What is left out is left out with reason: nothing shorter than a link header runs, and everything else that is whole
/// enough does.
#[test]
fn the_kernel_refuses_no_frames_but_those() {
    for hook in [Hook::Xdp, Hook::Tc] {
        OnKernel::with(hook, |executor| {
            for kind in [eth::TYPE_IPV4, eth::TYPE_IPV6, eth::TYPE_ARP] {
                let mut frame = [0; 100];
                frame[12..eth::LEN].copy_from_slice(&kind);
                for len in 0..frame.len() {
                    let runs = executor.once(Side::Clients, &frame[..len]).is_ok();
                    assert!(runs || !is_taken(hook, &frame[..len]), "{len} bytes under {hook:?}");
                    assert!(!runs || len >= eth::LEN, "{len} bytes under {hook:?}");
                }
            }
        })
        .unwrap();
    }
}

/// Of each family a TCP service with a destination of each method; one of UDP in IPv4, one of SCTP in IPv6.
fn services() -> Vec<ServiceSetup> {
    let dest = |is_v4: bool, method| {
        let (addr, source): (Addr, Addr) =
            if is_v4 { (RS[0].into(), DIRECTOR.into()) } else { (RS6[0].into(), DIRECTOR6.into()) };
        DestSetup { source, ..DestSetup::new(addr, 8080, method) }
    };
    let tunnel = |is_v4, tunnel| {
        let (tunnel_flags, tunnel_port) = (TunnelFlags::CSUM, 6080);
        DestSetup { tunnel, tunnel_flags, tunnel_port, ..dest(is_v4, Method::TUNNEL) }
    };
    let service = |is_v4: bool, port, protocol, dests| {
        let vip: Addr = if is_v4 { VIP.into() } else { VIP6.into() };
        ServiceSetup { vip, port, protocol, scheduler: id::RR, sched_flags: 0, dests }
    };
    let all = |is_v4: bool| {
        let (masq, direct) = (dest(is_v4, Method::MASQ), dest(is_v4, Method::DR));
        vec![masq, direct, tunnel(is_v4, TunnelType::GUE), tunnel(!is_v4, TunnelType::GRE)]
    };
    vec![
        service(true, 80, proto::TCP, all(true)),
        service(false, 80, proto::TCP, all(false)),
        service(true, 53, proto::UDP, vec![dest(true, Method::MASQ)]),
        service(false, 90, proto::SCTP, vec![dest(false, Method::MASQ)]),
    ]
}

fn segment(sport: u16, dport: u16, flags: u8) -> Payload {
    Payload::Tcp(Tcp { data: b"GET / HTTP/1.1".to_vec(), ..Tcp::new(sport, dport, flags) })
}

/// What clients and the real server send in IPv4: to every service, and errors about it.
fn good_v4() -> Vec<(Side, Vec<u8>)> {
    let (request, reply) = (Ipv4::new(CLIENT, VIP), Ipv4::new(RS[0], CLIENT));
    let with_options = Ipv4 { options: vec![1; 40], ..request.clone() };
    let error = |quoted: Vec<u8>| Payload::Icmp(3, 4, [vec![0, 0, 5, 120], quoted].concat());
    let about_request = error(Ipv4::new(CLIENT, RS[0]).packet(&segment(4000, 8080, tcp::ACK)));
    let about_reply = error(Ipv4::new(VIP, CLIENT).packet(&segment(80, 4000, tcp::ACK)));
    let packets = [
        (Side::Clients, request.packet(&segment(4000, 80, tcp::SYN))),
        (Side::Clients, request.packet(&segment(4001, 80, tcp::SYN | tcp::ACK))),
        (Side::Clients, with_options.packet(&segment(4000, 80, tcp::ACK))),
        (Side::Clients, request.packet(&Payload::Udp(Udp::new(4000, 53, b"query")))),
        (Side::Servers, reply.packet(&segment(8080, 4000, tcp::ACK))),
        (Side::Servers, reply.packet(&Payload::Udp(Udp::new(8080, 4000, b"answer")))),
        (Side::Servers, reply.packet(&about_request)),
        (Side::Clients, request.packet(&about_reply)),
    ];
    packets.into_iter().map(|(side, packet)| (side, framed(side, eth::TYPE_IPV4, &packet))).collect()
}

/// The same in IPv6.
fn good_v6() -> Vec<(Side, Vec<u8>)> {
    let (request, reply) = (Ipv6::new(CLIENT6, VIP6), Ipv6::new(RS6[0], CLIENT6));
    let extensions = vec![Extension::DestinationOptions(Vec::new())];
    let with_extensions = Ipv6 { extensions, ..request.clone() };
    let error = |quoted: Vec<u8>| Payload::Icmp6(2, 0, [vec![0, 0, 5, 120], quoted].concat());
    let about_request = error(Ipv6::new(CLIENT6, RS6[0]).packet(&segment(4000, 8080, tcp::ACK)));
    let about_reply = error(Ipv6::new(VIP6, CLIENT6).packet(&segment(80, 4000, tcp::ACK)));
    let init_ack = Payload::Sctp(Sctp::new(8080, 4000, &[chunk::INIT_ACK, chunk::DATA]));
    let packets = [
        (Side::Clients, request.packet(&segment(4000, 80, tcp::SYN))),
        (Side::Clients, request.packet(&segment(4001, 80, tcp::SYN | tcp::ACK))),
        (Side::Clients, with_extensions.packet(&segment(4000, 80, tcp::ACK))),
        (Side::Clients, request.packet(&Payload::Sctp(Sctp::new(4000, 90, &[chunk::INIT])))),
        (Side::Servers, reply.packet(&segment(8080, 4000, tcp::ACK))),
        (Side::Servers, reply.packet(&init_ack)),
        (Side::Servers, reply.packet(&about_request)),
        (Side::Clients, request.packet(&about_reply)),
    ];
    packets.into_iter().map(|(side, packet)| (side, framed(side, eth::TYPE_IPV6, &packet))).collect()
}

/// A packet as it comes in on that side.
fn framed(side: Side, kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    let from = if side == Side::Clients { CLIENT } else { RS[0] };
    ethernet(side.mac(), neighbour(from).unwrap(), kind, packet)
}

/// Good frames to every service, some from the real server, and errors about both: sixteen.
fn good() -> Vec<(Side, Vec<u8>)> {
    [good_v4(), good_v6()].concat()
}

/// `SplitMix64`: seeded, so that a failure can be had again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What is passed on is passed on as it came, whatever was done before; what is sent on is whole, and its checksums are
/// right if they were. The error about a packet that is dropped is right in any case.
fn check_frame(outcome: Outcome, before: &[u8], ran: &Ran) {
    assert!(!STEPS.contains(&outcome) && outcome != Outcome::Inconsistent, "{outcome:?}: {before:02x?}");
    let after = &ran.frame;
    match (outcome.class(), ran.class) {
        (Class::Pass | Class::HandOver, _) => assert_eq!(before, after, "{outcome:?}"),
        (_, Class::Forward) => {
            let seen = checksums_ok(after);
            let is_ok = match checksums_ok(before) {
                Err(_) if outcome.class() == Class::Forward => {
                    !matches!(seen, Err(Fault::Lengths | Fault::Ipv4))
                }
                _ => seen.is_ok(),
            };
            assert!(is_ok, "{outcome:?}: {before:02x?} became {after:02x?}: {seen:?}");
        }
        _ => {}
    }
}

/// After everything: nothing is half done, destinations' connections are those of the table, and when all time is over
/// nothing is left.
fn check_end<M: Memory>(memory: &M, now: u64) {
    let mut busy = 0;
    for region in [Region::Conns, Region::ConnOverflow] {
        for bucket in memory.region(region).chunks_exact(region.value_words()) {
            for word in bucket[..SLOTS].iter().map(|word| Word(word.load(Relaxed))) {
                assert!(!word.is_busy() || word.is_live() && !word.is_tentative(), "half done: {word:x?}");
                busy += u64::from(word.is_busy());
            }
        }
    }
    let all = buckets(memory);
    let swept = sweep(memory, 0, all, now);
    assert_eq!(swept.abandoned, 0);
    assert_eq!(u64::from(swept.live) + u64::from(swept.ended), busy);
    let mut conns: BTreeMap<u32, DestConns> = BTreeMap::new();
    for_each_conn(memory, now, |conn| {
        let of_dest = conns.entry(conn.entry.dest).or_default();
        of_dest.total += 1;
        of_dest.active += u32::from(is_active(conn.state));
    });
    assert_eq!(conns.values().map(|conns| conns.total).sum::<u32>(), swept.live);
    for (id, _) in (0..).zip(memory.region(Region::DestConns)) {
        let counted = records::dest_conns(memory, id);
        assert_eq!(counted, conns.remove(&id).unwrap_or_default(), "destination {id}");
    }
    assert!(conns.is_empty(), "connections of destinations that are not there: {conns:?}");
    // Half the way around the clock of deadlines.
    assert_eq!(sweep(memory, 0, all, now + (1 << 26) - 1).live, 0, "connections that never end");
    assert!(memory.region(Region::DestConns).iter().all(|word| word.load(Relaxed) == 0));
}

fn run_malformed(hook: Hook, executor: &mut OnKernel) {
    executor.reset();
    install(executor.memory(), &services());
    let (good, mut random) = (good(), Random(0x5eed));
    let (mut seen, mut runs) = (BTreeMap::<Outcome, u64>::new(), 0);
    while runs < FRAMES {
        let (side, frame) = &good[usize::try_from(random.next() >> 60).unwrap()];
        let bytes = malformed::anything(frame, &mut || random.next());
        if !is_taken(hook, &bytes) {
            continue;
        }
        let (outcome, ran) = executor.once(*side, &bytes).unwrap();
        check_frame(outcome, &bytes, &ran);
        *seen.entry(outcome).or_default() += 1;
        runs += 1;
        // Time goes by, and sometimes a lot.
        if runs % 100 == 0 {
            age(executor.memory(), ticks_from_secs(if runs % 25_000 == 0 { 2000 } else { 1 }));
        }
        if runs % 10_000 == 0 {
            let memory = executor.memory();
            sweep(memory, 0, buckets(memory), executor.now_ticks());
        }
    }
    let counted = executor.counted();
    // Fragments that were held are counted once more when they go on.
    let behind = counted[Event::HeldSent as usize];
    let all: u64 = OUTCOMES.iter().map(|outcome| counted[*outcome as usize]).sum();
    assert_eq!(all, u64::from(FRAMES) + behind);
    for outcome in OUTCOMES {
        let seen = seen.get(outcome).copied().unwrap_or(0);
        let more = counted[*outcome as usize].checked_sub(seen);
        assert!(more.is_some_and(|more| more <= behind), "{outcome:?}: {more:?}");
    }
    let often = seen.values().filter(|runs| **runs > 100).count();
    assert!(often >= 20, "the frames are all alike: {seen:?}");
    assert!(counted[Event::ErrorSent as usize] > 10, "packets die in silence");
    check_end(executor.memory(), executor.now_ticks());
}

/// First fragments of somebody else, between one and that behind it. The map has room for many more, but the kernel may
/// drop others than the oldest.
const FLOOD: u16 = 5000;

/// What is known of a first fragment outlives others' that come before the rest of its packet does.
fn flood_with_first_fragments(executor: &mut OnKernel) {
    let datagram = Payload::Udp(Udp::new(40_000, 53, &[7; 100]));
    let frame = |client: [u8; 4], id, index: usize| {
        let packet = Ipv4 { id, ..Ipv4::new(client, VIP) }.fragments(&datagram, 48).swap_remove(index);
        ethernet(Side::Clients.mac(), neighbour(CLIENT).unwrap(), eth::TYPE_IPV4, &packet)
    };
    for attempt in 0..5 {
        executor.reset();
        install(executor.memory(), &services());
        let start = Instant::now();
        assert_eq!(executor.run(Side::Clients, &frame(CLIENT, attempt, 0)).class, Class::Forward);
        for id in 0..FLOOD {
            let _any = executor.once(Side::Clients, &frame([192, 0, 2, 77], id, 0)).unwrap();
        }
        let (outcome, _) = executor.once(Side::Clients, &frame(CLIENT, attempt, 1)).unwrap();
        // What is known is forgotten after two seconds.
        if start.elapsed() < Duration::from_millis(1800) {
            assert_eq!(outcome, Outcome::ForwardMasq);
            return;
        }
    }
    panic!("{FLOOD} frames take longer than a first fragment is remembered");
}

#[test]
fn a_flood_of_first_fragments_leaves_others_alone() {
    for hook in [Hook::Xdp, Hook::Tc] {
        OnKernel::with(hook, flood_with_first_fragments).unwrap();
    }
}

#[test]
fn half_a_million_malformed_frames_do_no_harm_under_xdp() {
    OnKernel::with(Hook::Xdp, |executor| run_malformed(Hook::Xdp, executor)).unwrap();
}

#[test]
fn half_a_million_malformed_frames_do_no_harm_under_tc() {
    OnKernel::with(Hook::Tc, |executor| run_malformed(Hook::Tc, executor)).unwrap();
}
