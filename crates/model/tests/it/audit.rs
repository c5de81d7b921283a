//! Counts that went wrong are put right, and right ones left alone, whatever happens between the steps of the audit.

use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;
use rvs_abi::map::Region;
use rvs_abi::{Addr, Dest, DestConns, SLOTS, Stats};
use rvs_core::conn::word::{CLAIMED, TENTATIVE};
use rvs_core::conn::{self, Bucket as _, How};
use rvs_core::{Tables as _, conn::Key};
use rvs_model::{Audit, Capacity, Correction, Heap, HostTables, Memory as _, buckets, flush, records, sweep};
use rvs_wire::tcp::{ACK, FIN, RST, SYN};

use crate::support::{DESTS, START, check, entry, number, packet, place, set_timeouts};

const CAPACITY: Capacity = Capacity { services: 8, dests: DESTS, conns: 100, cpus: 2 };
/// Rounds that take an error back: one that finds it, three that confirm it.
const ROUNDS: u32 = 4;
/// Buckets of a step: some ten steps in a round.
const STEP: u32 = 5;
const TOTAL: u64 = DestConns::TOTAL;
const ACTIVE: u64 = DestConns::ACTIVE;

/// A packet of connection `n`; one that makes it is counted as the programs count it.
fn send(heap: &Heap, n: u32, flags: u8, now: u64) -> Option<How> {
    let tables = HostTables::without_packets(heap);
    let how = packet(&tables, n, flags, now);
    if how == Some(How::New) {
        let entry = entry(n);
        tables.count(entry.service, entry.dest, &Stats { conns: 1, ..Stats::default() });
    }
    how
}

/// A table with the connections of those numbers, each eighth of the same destination; odd ones are not active.
fn table(numbers: impl IntoIterator<Item = u32>) -> Heap {
    let heap = Heap::new(&CAPACITY);
    for n in numbers {
        assert_eq!(send(&heap, n, SYN, START), Some(How::New));
        assert_eq!(send(&heap, n, if n % 2 == 1 { FIN } else { ACK }, START), None);
    }
    heap
}

/// A round, with something going on before each of its steps, whose numbers count from 0.
fn round_while(audit: &mut Audit, heap: &Heap, mut act: impl FnMut(u32)) -> Vec<Correction> {
    let mut steps = (0..).map(|step| {
        act(step);
        audit.step(heap, STEP)
    });
    steps.find_map(|corrections| corrections).unwrap()
}

/// Rounds while nothing else happens.
fn quiet_rounds(audit: &mut Audit, heap: &Heap, rounds: u32) -> Vec<Correction> {
    (0..rounds).flat_map(|_| round_while(audit, heap, |_| ())).collect()
}

/// Steps of a walk.
fn steps() -> u32 {
    (CAPACITY.buckets() + CAPACITY.overflow_buckets()).div_ceil(STEP)
}

/// Makes a count wrong.
fn err(heap: &Heap, dest: u32, by: u64) {
    heap.region(Region::DestConns)[dest as usize].fetch_add(by, Relaxed);
}

/// Where connection `n` lies: its bucket's number and its slot.
fn slot_of(heap: &Heap, n: u32) -> Option<(u32, usize)> {
    let tables = HostTables::without_packets(heap);
    let place = place(&tables, &entry(n));
    let slots = [place.first, place.second].into_iter().flat_map(|at| (0..SLOTS).map(move |slot| (at, slot)));
    slots.into_iter().find(|(at, slot)| {
        let bucket = tables.bucket(*at).unwrap();
        bucket.word(*slot).is_live() && Key::of(&conn::entry(bucket, *slot)) == Key::of(&entry(n))
    })
}

/// The sweeper frees the slot of connection `n` and is killed before it takes it off the count. What is now too much.
fn killed_sweep(heap: &Heap, n: u32) -> Option<u64> {
    let (bucket, slot) = slot_of(heap, n)?;
    let bucket = HostTables::without_packets(heap).bucket(bucket).unwrap();
    let word = bucket.word(slot);
    assert!(bucket.swap(slot, word, word.freed()));
    Some(TOTAL + if rvs_core::state::is_active(word.state()) { ACTIVE } else { 0 })
}

#[test]
fn what_a_killed_sweeper_left_counted_is_taken_back() {
    let heap = table(0..64);
    // An active one of destination 2, inactive ones of 3, one of 4 whose last one it is.
    flush(&heap, |entry| entry.dest == 4 && number(entry) != Some(4));
    for n in [2, 3, 11, 4] {
        killed_sweep(&heap, n).unwrap();
    }
    assert_eq!(records::dest_conns(&heap, 4), DestConns { active: 1, total: 1 });
    let mut audit = Audit::new(&heap);
    assert_eq!(quiet_rounds(&mut audit, &heap, ROUNDS - 1), [], "after too few rounds");
    let corrections = quiet_rounds(&mut audit, &heap, 1);
    let expected = [(2, -1, -1), (3, -2, 0), (4, -1, -1)];
    assert_eq!(corrections, expected.map(|(dest, total, active)| Correction { dest, total, active }));
    assert_eq!(check(&heap, START), 53);
    assert_eq!(quiet_rounds(&mut audit, &heap, 2 * ROUNDS), [], "it is right");
}

#[test]
fn counts_are_put_right_in_both_directions() {
    let cases = [
        (TOTAL, (-1, 0)),
        (TOTAL + ACTIVE, (-1, -1)),
        (ACTIVE, (0, -1)),
        (5 * TOTAL - ACTIVE, (-5, 1)),
        (TOTAL.wrapping_neg(), (1, 0)),
        ((TOTAL + ACTIVE).wrapping_neg(), (1, 1)),
        (ACTIVE.wrapping_neg(), (0, 1)),
        // More than there are.
        ((100 * TOTAL + 100 * ACTIVE).wrapping_neg(), (100, 100)),
    ];
    for (by, (total, active)) in cases {
        for dest in [0, 1] {
            // Destination 0 has active ones only, destination 1 none of them.
            let heap = table(0..64);
            err(&heap, dest, by);
            let corrections = quiet_rounds(&mut Audit::new(&heap), &heap, ROUNDS);
            assert_eq!(corrections, [Correction { dest, total, active }], "{by:#x}");
            assert_eq!(check(&heap, START), 64);
        }
    }
}

/// Connections in the overflow table, such as are over and not swept yet, and inserts that were never finished.
#[test]
fn right_counts_of_slots_of_all_kinds_are_left_alone() {
    let heap = Heap::new(&CAPACITY);
    set_timeouts(&heap, &[10; 11]);
    let tables = HostTables::without_packets(&heap);
    let made = (0..400).filter(|n| send(&heap, *n, SYN, START) == Some(How::New)).count();
    assert!(made > 100, "{made} connections");
    let in_overflow = |index| tables.bucket(index).unwrap().spare() as u32;
    assert!((0..CAPACITY.buckets()).map(in_overflow).sum::<u32>() > 0, "the table is not full");
    for (dest, phase) in [(1, CLAIMED), (2, TENTATIVE)] {
        let (bucket, slot) = (dest..400).step_by(8).find_map(|n| slot_of(&heap, n)).unwrap();
        let bucket = tables.bucket(bucket).unwrap();
        let word = bucket.word(slot);
        assert!(conn::end(&tables, bucket, slot, word));
        assert!(bucket.swap(slot, word.freed(), word.freed().owned(word.0, phase, 0, START + 30)));
    }
    let mut audit = Audit::new(&heap);
    assert_eq!(quiet_rounds(&mut audit, &heap, 2 * ROUNDS), []);
    // The time of all is over; half of the table is swept, in the midst of a round.
    let half = buckets(&heap) / 2;
    let corrections = round_while(&mut audit, &heap, |step| {
        if step == steps() / 2 {
            assert!(sweep(&heap, 0, half, START + 5000).ended > 0);
        }
    });
    assert_eq!(corrections, []);
    assert_eq!(quiet_rounds(&mut audit, &heap, 2 * ROUNDS), []);
    assert!(sweep(&heap, half, half + 1, START + 5000).ended > 0);
    assert_eq!(quiet_rounds(&mut audit, &heap, 2 * ROUNDS), []);
    assert_eq!(check(&heap, START), 0);
}

/// A connection of destination 0 that is to lie in the buckets of a walk's first step, and one in later ones.
fn early_and_late(heap: &Heap) -> (u32, u32) {
    let tables = HostTables::without_packets(heap);
    let is_early = |n: u32| {
        let place = place(&tables, &entry(n));
        [place.first, place.second].map(|bucket| bucket < STEP)
    };
    let find = |early| (1000..9000).step_by(8).find(|n| is_early(*n) == [early; 2]).unwrap();
    (find(true), find(false))
}

fn make(heap: &Heap, n: u32) {
    assert_eq!(send(heap, n, SYN, START), Some(How::New));
}

fn end(heap: &Heap, n: u32) {
    assert_eq!(flush(heap, |entry| number(entry) == Some(n)), 1);
}

/// Connections made and ended in step with the walks, so that the count is the same each time that it is read, and one of
/// them is always where no walk looks: only the number of connections made tells.
#[test]
fn a_destination_for_which_connections_are_made_is_left_alone() {
    for by in [0, TOTAL] {
        let heap = table(0..64);
        err(&heap, 0, by);
        let (early, late) = early_and_late(&heap);
        let mut audit = Audit::new(&heap);
        for _ in 0..3 * ROUNDS {
            make(&heap, late);
            let corrections = round_while(&mut audit, &heap, |step| {
                if step == 1 {
                    end(&heap, late);
                    make(&heap, early);
                } else if step == steps() {
                    end(&heap, early);
                } else if step == steps() + 1 {
                    make(&heap, early);
                }
            });
            assert_eq!(corrections, []);
            end(&heap, early);
        }
        let corrections = quiet_rounds(&mut audit, &heap, ROUNDS);
        assert_eq!(corrections.len(), if by == 0 { 0 } else { 1 });
        assert_eq!(check(&heap, START), 64);
    }
}

/// Two connections that change places while a walk is on its way between them: it finds both active, and the count stays.
#[test]
fn a_destination_whose_connections_change_states_is_left_alone() {
    let heap = table([]);
    let (early, late) = early_and_late(&heap);
    let swap = |close, open| {
        assert_eq!((send(&heap, close, FIN, START), send(&heap, open, SYN, START)), (None, None));
    };
    for n in [early, late] {
        make(&heap, n);
        assert_eq!(send(&heap, n, ACK, START), None);
    }
    assert_eq!(send(&heap, late, FIN, START), None);
    let mut audit = Audit::new(&heap);
    for _ in 0..3 * ROUNDS {
        let corrections = round_while(&mut audit, &heap, |step| {
            if step == 1 {
                swap(early, late);
            }
        });
        assert_eq!(corrections, []);
        swap(late, early);
    }
    assert_eq!(check(&heap, START), 2);
}

/// A connection in each round that is counted when it begins, and gone when the walk comes there.
#[test]
fn a_destination_whose_connections_end_is_left_alone() {
    let heap = table([]);
    let (_, late) = early_and_late(&heap);
    // Many of them lie in the same two buckets, and none of those is in a walk's first step.
    let tables = HostTables::without_packets(&heap);
    let is_late =
        |n: &u32| place(&tables, &entry(*n)).first >= STEP && place(&tables, &entry(*n)).second >= STEP;
    let numbers: Vec<u32> = (late..9000).step_by(8).filter(is_late).take(3 * ROUNDS as usize).collect();
    numbers.iter().for_each(|n| make(&heap, *n));
    let mut audit = Audit::new(&heap);
    for n in numbers {
        let corrections = round_while(&mut audit, &heap, |step| {
            if step == 1 {
                end(&heap, n);
            }
        });
        assert_eq!(corrections, []);
    }
    assert_eq!(quiet_rounds(&mut audit, &heap, 2 * ROUNDS), []);
    assert_eq!(check(&heap, START), 0);
}

/// What is known of an error is not lost by rounds in which nothing can be known.
#[test]
fn a_destination_that_is_seldom_quiet_is_put_right_as_well() {
    let heap = table(0..64);
    err(&heap, 0, TOTAL);
    let mut audit = Audit::new(&heap);
    let mut corrections = Vec::new();
    for _ in 0..ROUNDS {
        corrections.extend(quiet_rounds(&mut audit, &heap, 1));
        for _ in 0..5 {
            let busy = round_while(&mut audit, &heap, |step| {
                if step % 3 == 1 {
                    make(&heap, 800)
                } else if step % 3 == 2 {
                    end(&heap, 800)
                }
            });
            assert_eq!(busy, []);
            flush(&heap, |entry| number(entry) == Some(800));
        }
    }
    assert_eq!(corrections, [Correction { dest: 0, total: -1, active: 0 }]);
    assert_eq!(check(&heap, START), 64);
}

/// Three rounds for the same error, and none in between that shows another one or none.
#[test]
fn an_error_must_stay_the_same_to_be_believed() {
    let heap = table(0..64);
    let mut audit = Audit::new(&heap);
    // 1, 0, 1 and 2 too many.
    for by in [TOTAL, TOTAL.wrapping_neg(), TOTAL, TOTAL] {
        err(&heap, 3, by);
        assert_eq!(quiet_rounds(&mut audit, &heap, ROUNDS - 1), []);
    }
    assert_eq!(quiet_rounds(&mut audit, &heap, 1), [Correction { dest: 3, total: -2, active: 0 }]);
    assert_eq!(check(&heap, START), 64);
}

/// An id that another destination gets meanwhile: what was seen before is not held against it.
#[test]
fn what_is_known_of_a_destination_does_not_count_for_the_next_with_its_id() {
    let heap = table(0..64);
    let record = Dest { addr: Addr::v4([192, 168, 9, 1]), port: 80, service: 1, ..Dest::default() };
    let others = [
        Dest { addr: Addr::v4([192, 168, 9, 2]), ..record },
        Dest { port: 81, ..record },
        Dest { service: 2, ..record },
        Dest::default(),
    ];
    for other in others {
        records::write_dest(&heap, 3, &record);
        err(&heap, 3, TOTAL);
        let mut audit = Audit::new(&heap);
        assert_eq!(quiet_rounds(&mut audit, &heap, ROUNDS - 1), []);
        // An edit changes nothing about who it is.
        records::write_dest(&heap, 3, &Dest { weight: 7, ..record });
        records::write_dest(&heap, 3, &other);
        assert_eq!(quiet_rounds(&mut audit, &heap, ROUNDS - 1), []);
        assert_eq!(quiet_rounds(&mut audit, &heap, 1).len(), 1, "begun anew, it is certain");
        assert_eq!(check(&heap, START), 64);
    }
}

/// Something that happens between two steps of the audit.
#[derive(Debug, Clone)]
enum Op {
    /// A packet from the client of connection `n`.
    Packet { n: u32, flags: u8 },
    /// Connection `n` is ended from outside.
    End { n: u32 },
    /// Ticks go by.
    Wait { ticks: u64 },
    /// The sweeper goes through a part of the table.
    Sweep { from: u32, count: u32 },
    /// The daemon is killed in the middle of ending connection `n`, and starts again.
    Kill { n: u32 },
    /// A count goes wrong without reason.
    Err { dest: u32, total: i32, active: i32 },
    /// The audit goes on.
    Steps { steps: u32 },
}

const KEYS: u32 = 60;

fn op() -> impl Strategy<Value = Op> {
    let flags = prop_oneof![Just(SYN), Just(ACK), Just(FIN | ACK), Just(RST), Just(0)];
    prop_oneof![
        12 => (0..KEYS, flags).prop_map(|(n, flags)| Op::Packet { n, flags }),
        2 => (0..KEYS).prop_map(|n| Op::End { n }),
        2 => (0..200_u64).prop_map(|ticks| Op::Wait { ticks }),
        2 => (0..30_u32, 1..10_u32).prop_map(|(from, count)| Op::Sweep { from, count }),
        1 => (0..KEYS).prop_map(|n| Op::Kill { n }),
        1 => (0..DESTS, -3..=3, -3..=3).prop_map(|(dest, total, active)| Op::Err { dest, total, active }),
        8 => prop_oneof![1..4_u32, 1..60_u32].prop_map(|steps| Op::Steps { steps }),
    ]
}

/// What is added to the word in `DEST_CONNS`.
fn word(total: i32, active: i32) -> u64 {
    let [total, active] = [total, active].map(|count| i64::from(count).cast_unsigned());
    TOTAL.wrapping_mul(total).wrapping_add(active)
}

/// What is wrong in a destination's word, one error behind the other. A correction takes back all, or all but the last ones,
/// which came while the audit had seen the others.
#[derive(Default)]
struct Wrong(Vec<u64>);

impl Wrong {
    fn correct(&mut self, by: u64) -> bool {
        let sums = self.0.iter().scan(0_u64, |sum, error| {
            *sum = sum.wrapping_add(*error);
            Some(*sum)
        });
        let Some(last) = sums.collect::<Vec<_>>().iter().rposition(|sum| sum.wrapping_add(by) == 0) else {
            return false;
        };
        self.0.drain(..=last);
        true
    }
}

/// Whatever happens between its steps, the audit takes back what is wrong and nothing else, and when nothing happens any more,
/// all counts get right.
fn play(ops: Vec<Op>, timeouts: [u32; 11]) -> Result<(), TestCaseError> {
    let heap = Heap::new(&CAPACITY);
    set_timeouts(&heap, &timeouts);
    let mut audit = Audit::new(&heap);
    let mut wrong = [(); DESTS as usize].map(|()| Wrong::default());
    let mut now = START;
    for op in ops {
        match op {
            Op::Packet { n, flags } => drop(send(&heap, n, flags, now)),
            Op::End { n } => drop(flush(&heap, |entry| number(entry) == Some(n))),
            Op::Wait { ticks } => now += ticks,
            Op::Sweep { from, count } => drop(sweep(&heap, from, count, now)),
            Op::Kill { n } => {
                if let Some(too_much) = killed_sweep(&heap, n) {
                    wrong[entry(n).dest as usize].0.push(too_much);
                    audit = Audit::new(&heap);
                }
            }
            Op::Err { dest, total, active } => {
                err(&heap, dest, word(total, active));
                wrong[dest as usize].0.push(word(total, active));
            }
            Op::Steps { steps } => {
                let rounds = (0..steps).filter_map(|_| audit.step(&heap, STEP));
                for Correction { dest, total, active } in rounds.flatten() {
                    let errors = &mut wrong[dest as usize];
                    let before = errors.0.clone();
                    let is_right = errors.correct(word(total, active));
                    prop_assert!(is_right, "destination {dest} by {total}, {active}: {before:x?}");
                }
            }
        }
    }
    // The round that it is in may say nothing.
    quiet_rounds(&mut audit, &heap, 1 + ROUNDS);
    check(&heap, now);
    Ok(())
}

/// The second error comes when the first is about to be corrected.
#[test]
fn one_error_after_another() {
    let mut ops =
        vec![Op::Packet { n: 49, flags: 2 }, Op::Steps { steps: 4 }, Op::Packet { n: 9, flags: 17 }];
    ops.extend([
        Op::Steps { steps: 197 },
        Op::Err { dest: 1, total: 0, active: -1 },
        Op::Packet { n: 2, flags: 2 },
    ]);
    ops.extend([Op::Wait { ticks: 22 }, Op::Steps { steps: 47 }, Op::Err { dest: 1, total: 2, active: 1 }]);
    ops.extend([Op::Wait { ticks: 141 }, Op::Sweep { from: 1, count: 5 }, Op::Steps { steps: 2 }]);
    play(ops, [1; 11]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_audit_corrects_what_is_wrong_and_only_that(
        ops in prop::collection::vec(op(), 1..300),
        timeouts in prop::collection::vec(1..400_u32, 11),
    ) {
        play(ops, timeouts.try_into().unwrap())?;
    }
}
