//! The packet fixtures, and malformed frames by the million, on the loaded programs. Needs root.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::sched::id;
use rvs_abi::{Class, DestConns, Event, Method, OUTCOMES, Outcome, SLOTS, proto, ticks_from_secs};
use rvs_core::conn::word::Word;
use rvs_core::state::tcp::is_active;
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Memory, buckets, for_each_conn, records, sweep};
use rvs_tests::fixtures::on_kernel::{NotRun, OnKernel, is_taken, take_out};
use rvs_tests::fixtures::world::{CLIENT, DIRECTOR, RS, Side, VIP, neighbour};
use rvs_tests::fixtures::{Executor, Hook, age, all, run};
use rvs_wire::builder::{Fault, Ipv4, Payload, Tcp, Udp, checksums_ok, malformed};
use rvs_wire::{eth, tcp};

/// Frames of fixtures that can't be run, by name of the case and numbers of the frames.
const NOT_RUN: [(Hook, &str, RangeInclusive<usize>, NotRun); 3] = [
    (Hook::Xdp, "no service at all", 2..=2, NotRun::TooShort),
    (Hook::Tc, "no service at all", 2..=2, NotRun::TooShort),
    (Hook::Tc, "a frame cut at each length", 1..=20, NotRun::TooShort),
];
/// Malformed frames under each hook.
const FRAMES: u32 = 500_000;
/// Outcomes with which no packet ends.
const INTERNAL: [Outcome; 4] =
    [Outcome::Balanced, Outcome::FromServer, Outcome::NoConnection, Outcome::Inconsistent];

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

/// A TCP service of each method, and one of UDP.
fn services() -> Vec<ServiceSetup> {
    let service = |port, protocol, method| ServiceSetup {
        vip: VIP,
        port,
        protocol,
        scheduler: id::RR,
        sched_flags: 0,
        dests: vec![DestSetup { addr: RS[0], port: 8080, method, weight: 1, source: DIRECTOR }],
    };
    vec![
        service(80, proto::TCP, Method::MASQ),
        service(81, proto::TCP, Method::DR),
        service(82, proto::TCP, Method::TUNNEL),
        service(53, proto::UDP, Method::MASQ),
    ]
}

/// Good frames to every service, and some from the real server.
fn good() -> Vec<(Side, Vec<u8>)> {
    let request = Ipv4::new(CLIENT, VIP);
    let with_options = Ipv4 { options: vec![1; 40], ..request.clone() };
    let reply = Ipv4::new(RS[0], CLIENT);
    let segment = |sport, dport, flags| {
        Payload::Tcp(Tcp { data: b"GET / HTTP/1.1".to_vec(), ..Tcp::new(sport, dport, flags) })
    };
    let frame = |side: Side, from, ip: &Ipv4, payload: &Payload| {
        (side, ip.frame(side.mac(), neighbour(from).unwrap(), payload))
    };
    let to_vip = |ip: &Ipv4, payload: &Payload| frame(Side::Clients, CLIENT, ip, payload);
    let from_server = |payload: &Payload| frame(Side::Servers, RS[0], &reply, payload);
    vec![
        to_vip(&request, &segment(4000, 80, tcp::SYN)),
        to_vip(&request, &segment(4000, 80, tcp::ACK)),
        to_vip(&request, &segment(4000, 81, tcp::SYN)),
        to_vip(&request, &segment(4000, 82, tcp::SYN)),
        to_vip(&with_options, &segment(4000, 82, tcp::ACK)),
        to_vip(&request, &Payload::Udp(Udp::new(4000, 53, b"query"))),
        from_server(&segment(8080, 4000, tcp::ACK)),
        from_server(&Payload::Udp(Udp::new(8080, 4000, b"answer"))),
    ]
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

/// What is passed on is passed on as it came, whatever was done before; what is sent on is whole.
fn check_frame(outcome: Outcome, before: &[u8], after: &[u8]) {
    assert!(!INTERNAL.contains(&outcome), "{outcome:?}: {before:02x?}");
    match outcome.class() {
        Class::Pass | Class::HandOver => assert_eq!(before, after, "{outcome:?}"),
        Class::Forward => {
            let broken = matches!(checksums_ok(after), Err(Fault::Lengths | Fault::Ipv4));
            assert!(!broken, "{outcome:?}: {before:02x?} became {after:02x?}");
        }
        Class::Drop => {}
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
        of_dest.active += u32::from(conn.entry.protocol == proto::TCP && is_active(conn.state));
    });
    assert_eq!(conns.values().map(|conns| conns.total).sum::<u32>(), swept.live);
    for (id, _) in (0..).zip(memory.region(Region::DestConns)) {
        let counted = records::dest_conns(memory, id);
        assert_eq!(counted, conns.remove(&id).unwrap_or_default(), "destination {id}");
    }
    assert!(conns.is_empty(), "connections of destinations that are not there: {conns:?}");
    // Half the way around the clock of deadlines.
    assert_eq!(sweep(memory, 0, all, now + (1 << 27) - 1).live, 0, "connections that never end");
    assert!(memory.region(Region::DestConns).iter().all(|word| word.load(Relaxed) == 0));
}

fn run_malformed(hook: Hook, executor: &mut OnKernel) {
    executor.reset();
    install(executor.memory(), &services());
    let (good, mut random) = (good(), Random(0x5eed));
    let (mut seen, mut runs) = (BTreeMap::<Outcome, u64>::new(), 0);
    while runs < FRAMES {
        let (side, frame) = &good[usize::try_from(random.next() >> 61).unwrap()];
        let bytes = malformed::any(frame, &mut || random.next());
        if !is_taken(hook, &bytes) {
            continue;
        }
        let (outcome, ran) = executor.once(*side, &bytes).unwrap();
        check_frame(outcome, &bytes, &ran.frame);
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
    assert_eq!(counted[..Event::Evicted as usize].iter().sum::<u64>(), u64::from(FRAMES));
    for outcome in OUTCOMES {
        let seen = seen.get(outcome).copied().unwrap_or(0);
        assert_eq!(counted[*outcome as usize], seen, "{outcome:?}");
    }
    let often = seen.values().filter(|runs| **runs > 100).count();
    assert!(often >= 15, "the frames are all alike: {seen:?}");
    check_end(executor.memory(), executor.now_ticks());
}

#[test]
fn half_a_million_malformed_frames_do_no_harm_under_xdp() {
    OnKernel::with(Hook::Xdp, |executor| run_malformed(Hook::Xdp, executor)).unwrap();
}

#[test]
fn half_a_million_malformed_frames_do_no_harm_under_tc() {
    OnKernel::with(Hook::Tc, |executor| run_malformed(Hook::Tc, executor)).unwrap();
}
