//! The connection table against an ordered map, one operation after the other.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rvs_core::conn::{Birth, How};
use rvs_core::state::{Direction, Event, tcp};
use rvs_model::{Capacity, Heap, HostTables, buckets, flush, for_each_conn, sweep};
use rvs_wire::tcp::{ACK, FIN, RST, SYN};

use crate::support::{START, check, insert, is_found, number, packet, set_timeouts};

/// Few keys, so that they meet; room for all of them.
const KEYS: u32 = 40;
const CAPACITY: Capacity = Capacity { services: 8, dests: 8, conns: 512, cpus: 1 };

/// Something that happens to the table.
#[derive(Debug, Clone)]
enum Op {
    /// A packet from the client of connection `n`.
    Packet { n: u32, flags: u8 },
    /// Connection `n` is ended from outside.
    End { n: u32 },
    /// Ticks go by.
    Wait { ticks: u64 },
    /// The sweeper goes round.
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    let flags = prop_oneof![Just(SYN), Just(ACK), Just(FIN | ACK), Just(RST), Just(0)];
    prop_oneof![
        12 => (0..KEYS, flags).prop_map(|(n, flags)| Op::Packet { n, flags }),
        1 => (0..KEYS).prop_map(|n| Op::End { n }),
        4 => prop_oneof![0..10_u64, 0..2500_u64].prop_map(|ticks| Op::Wait { ticks }),
        1 => Just(Op::Sweep),
    ]
}

/// Time-outs of the states: from none at all to the longest.
fn timeouts() -> impl Strategy<Value = [u32; 11]> {
    let ticks = prop_oneof![0..20_u32, 20..2000_u32, Just(1 << 25)];
    prop::collection::vec(ticks, 11).prop_map(|ticks| ticks.try_into().unwrap())
}

/// A connection as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    state: u8,
    proven: bool,
    /// Last tick at which it exists.
    deadline: u64,
}

struct Reference {
    conns: BTreeMap<u32, Expected>,
    timeouts: [u32; 11],
}

impl Reference {
    /// What a packet leaves behind; whether it made its connection. The states themselves are the fixtures' business.
    fn packet(&mut self, n: u32, flags: u8, now: u64) -> bool {
        let event = Event::new(rvs_core::state::tcp::row(flags), Direction::Input);
        let old = self.conns.get(&n).filter(|conn| conn.deadline >= now).copied();
        let state = event.next(old.map_or(0, |conn| conn.state)).state();
        let deadline = now + u64::from(self.timeouts[state as usize]);
        let proven = old.is_some_and(|conn| conn.proven || state == tcp::ESTABLISHED);
        let new = Expected { state, proven, deadline };
        // A gain of less than half a second is not written.
        let is_small = |old: Expected| {
            Expected { deadline, ..old } == new && (old.deadline..old.deadline + 8).contains(&deadline)
        };
        if !old.is_some_and(is_small) {
            self.conns.insert(n, new);
        }
        old.is_none()
    }

    fn alive(&self, now: u64) -> BTreeMap<u32, Expected> {
        self.conns.iter().filter(|(_, conn)| conn.deadline >= now).map(|(n, conn)| (*n, *conn)).collect()
    }
}

fn listed(heap: &Heap, now: u64) -> BTreeMap<u32, Expected> {
    let mut all = BTreeMap::new();
    for_each_conn(heap, now, |conn| {
        let deadline = now + u64::from(conn.remaining);
        let n = number(&conn.entry).expect("an entry is whole");
        let before = all.insert(n, Expected { state: conn.state, proven: conn.proven, deadline });
        assert_eq!(before, None, "connection {n} is listed twice");
    });
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Found or made, listed, ended, swept: always what an ordered map says, and the destinations' counts with it.
    #[test]
    fn the_table_is_an_ordered_map(
        ops in prop::collection::vec(op(), 1..300),
        timeouts in timeouts(),
        start in prop_oneof![Just(0), Just(START), any::<u32>().prop_map(u64::from)],
    ) {
        let heap = Heap::new(&CAPACITY);
        let tables = HostTables::without_packets(&heap);
        let mut reference = Reference { conns: BTreeMap::new(), timeouts };
        set_timeouts(&heap, &timeouts);
        let mut now = start + 2;
        for op in ops {
            match op {
                Op::Packet { n, flags } => {
                    let is_new = reference.packet(n, flags, now);
                    let how = packet(&tables, n, flags, now);
                    prop_assert_eq!(how, is_new.then_some(How::New));
                }
                Op::End { n } => {
                    flush(&heap, |entry| number(entry) == Some(n));
                    reference.conns.remove(&n);
                }
                Op::Wait { ticks } => now += ticks,
                Op::Sweep => {
                    let swept = sweep(&heap, 0, buckets(&heap), now);
                    // One tick of patience.
                    reference.conns.retain(|_, conn| conn.deadline >= now - 1);
                    prop_assert_eq!((swept.live as usize, swept.abandoned), (reference.conns.len(), 0));
                    prop_assert_eq!(check(&heap, now), reference.conns.len());
                }
            }
            prop_assert_eq!(listed(&heap, now), reference.alive(now));
        }
        check(&heap, now);
    }
}

fn birth(timeout: u32) -> Birth {
    Birth { state: tcp::SYN_RECV, now: START, timeout }
}

/// A sweep in steps ends what a sweep at once ends, and one of buckets that are not there ends nothing.
#[test]
fn a_sweep_may_go_in_steps() {
    let heap = Heap::new(&CAPACITY);
    let tables = HostTables::without_packets(&heap);
    for n in 0..200 {
        assert_eq!(insert(&tables, n, birth(if n % 2 == 0 { 10 } else { 1000 })), How::New);
    }
    let mut ended = 0;
    for from in (0..buckets(&heap)).step_by(7) {
        ended += sweep(&heap, from, 7, START + 12).ended;
    }
    assert_eq!((ended, check(&heap, START)), (100, 100));
    assert_eq!(sweep(&heap, buckets(&heap), 100, START + 5000).ended, 0);
    assert_eq!(sweep(&heap, 0, u32::MAX, START + 5000).ended, 100);
    assert_eq!(check(&heap, START), 0);
}

/// An expired connection does not exist, to the tick; the sweeper leaves it a tick longer, since another CPU's clock may be
/// that much behind.
#[test]
fn a_connection_exists_up_to_its_deadline() {
    let heap = Heap::new(&CAPACITY);
    let tables = HostTables::without_packets(&heap);
    insert(&tables, 1, birth(100));
    let is_listed = |now| !listed(&heap, now).is_empty();
    assert!(is_listed(START + 100) && is_found(&tables, 1, START + 100));
    assert!(!is_listed(START + 101) && !is_found(&tables, 1, START + 101));
    assert_eq!(sweep(&heap, 0, buckets(&heap), START + 101).live, 1);
    assert_eq!(sweep(&heap, 0, buckets(&heap), START + 102).ended, 1);
}

/// Only what the predicate names is flushed.
#[test]
fn a_flush_ends_what_it_is_asked_to_end() {
    let heap = Heap::new(&CAPACITY);
    let tables = HostTables::without_packets(&heap);
    for n in 0..100 {
        insert(&tables, n, birth(1000));
    }
    assert_eq!(flush(&heap, |entry| entry.dest == 3), 13);
    assert_eq!(flush(&heap, |entry| entry.dest == 3), 0);
    assert!(listed(&heap, START).keys().all(|n| n % 8 != 3));
    assert_eq!(check(&heap, START), 87);
}
