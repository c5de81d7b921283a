//! The connection table against an ordered map, one operation after the other.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rvs_core::conn::How;
use rvs_core::state::tcp;
use rvs_model::{Capacity, Heap, HostTables, buckets, flush, for_each_conn, sweep};

use crate::support::{START, check, number, packet};

/// Few keys, so that they meet; room for all of them.
const KEYS: u32 = 40;
const CAPACITY: Capacity = Capacity { services: 8, dests: 8, conns: 512, cpus: 1 };

/// Something that happens to the table.
#[derive(Debug, Clone)]
enum Op {
    /// A packet of connection `n` leaves it in `state`, for `timeout` ticks.
    Packet { n: u32, state: u8, timeout: u32 },
    /// Connection `n` is ended from outside.
    End { n: u32 },
    /// Ticks go by.
    Wait { ticks: u64 },
    /// The sweeper goes round.
    Sweep,
}

fn op() -> impl Strategy<Value = Op> {
    let packet = (0..KEYS, 0..11_u8, prop_oneof![0..20_u32, 20..2000_u32, Just(1 << 25)]);
    prop_oneof![
        12 => packet.prop_map(|(n, state, timeout)| Op::Packet { n, state, timeout }),
        1 => (0..KEYS).prop_map(|n| Op::End { n }),
        4 => prop_oneof![0..10_u64, 0..2500_u64].prop_map(|ticks| Op::Wait { ticks }),
        1 => Just(Op::Sweep),
    ]
}

/// A connection as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    state: u8,
    proven: bool,
    /// Last tick at which it exists.
    deadline: u64,
}

#[derive(Default)]
struct Reference(BTreeMap<u32, Expected>);

impl Reference {
    fn packet(&mut self, n: u32, state: u8, now: u64, timeout: u32) -> bool {
        let deadline = now + u64::from(timeout);
        match self.0.get_mut(&n).filter(|conn| conn.deadline >= now) {
            Some(conn) => {
                let proven = conn.proven || state == tcp::ESTABLISHED;
                let same = (state, proven) == (conn.state, conn.proven);
                // A gain of less than half a second is not written.
                if !(same && (0..8).contains(&(deadline as i64 - conn.deadline as i64))) {
                    *conn = Expected { state, proven, deadline };
                }
                false
            }
            None => {
                self.0.insert(n, Expected { state, proven: false, deadline });
                true
            }
        }
    }

    fn alive(&self, now: u64) -> BTreeMap<u32, Expected> {
        self.0.iter().filter(|(_, conn)| conn.deadline >= now).map(|(n, conn)| (*n, *conn)).collect()
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
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Found or made, listed, ended, swept: always what an ordered map says, and the destinations' counts with it.
    #[test]
    fn the_table_is_an_ordered_map(ops in prop::collection::vec(op(), 1..300), start in prop_oneof![Just(0), Just(START), any::<u32>().prop_map(u64::from)]) {
        let heap = Heap::new(&CAPACITY);
        let tables = HostTables::without_packets(&heap);
        let mut reference = Reference::default();
        let mut now = start + 2;
        for op in ops {
            match op {
                Op::Packet { n, state, timeout } => {
                    let is_new = reference.packet(n, state, now, timeout);
                    let how = packet(&tables, n, state, now, timeout);
                    prop_assert_eq!(how, is_new.then_some(How::New));
                }
                Op::End { n } => {
                    flush(&heap, |entry| number(entry) == Some(n));
                    reference.0.remove(&n);
                }
                Op::Wait { ticks } => now += ticks,
                Op::Sweep => {
                    let swept = sweep(&heap, 0, buckets(&heap), now);
                    // One tick of patience.
                    reference.0.retain(|_, conn| conn.deadline >= now - 1);
                    prop_assert_eq!((swept.live as usize, swept.abandoned), (reference.0.len(), 0));
                    prop_assert_eq!(check(&heap, now), reference.0.len());
                }
            }
            prop_assert_eq!(listed(&heap, now), reference.alive(now));
        }
        check(&heap, now);
    }
}

/// A sweep in steps ends what a sweep at once ends, and one of buckets that are not there ends nothing.
#[test]
fn a_sweep_may_go_in_steps() {
    let heap = Heap::new(&CAPACITY);
    let tables = HostTables::without_packets(&heap);
    for n in 0..200 {
        assert_eq!(packet(&tables, n, 1, START, if n % 2 == 0 { 10 } else { 1000 }), Some(How::New));
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
    packet(&tables, 1, tcp::SYN_RECV, START, 100);
    let is_listed = |now| !listed(&heap, now).is_empty();
    assert!(is_listed(START + 100) && crate::support::is_found(&tables, 1, START + 100));
    assert!(!is_listed(START + 101) && !crate::support::is_found(&tables, 1, START + 101));
    assert_eq!(sweep(&heap, 0, buckets(&heap), START + 101).live, 1);
    assert_eq!(sweep(&heap, 0, buckets(&heap), START + 102).ended, 1);
}

/// Only what the predicate names is flushed.
#[test]
fn a_flush_ends_what_it_is_asked_to_end() {
    let heap = Heap::new(&CAPACITY);
    let tables = HostTables::without_packets(&heap);
    for n in 0..100 {
        packet(&tables, n, 1, START, 1000);
    }
    assert_eq!(flush(&heap, |entry| entry.dest == 3), 13);
    assert_eq!(flush(&heap, |entry| entry.dest == 3), 0);
    assert!(listed(&heap, START).keys().all(|n| n % 8 != 3));
    assert_eq!(check(&heap, START), 87);
}
