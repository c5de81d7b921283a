//! How full the table gets, and who gives way (conntable.md §4).

use core::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::{Event, ticks_from_secs};
use rvs_core::conn::{Birth, How};
use rvs_core::state::tcp;
use rvs_model::{Capacity, Heap, HostTables, Memory as _, flush};

use crate::support::{Random, START, check, establish, insert, is_found, number};

const CAPACITY: Capacity = Capacity { services: 8, dests: 8, conns: 20_000, cpus: 1 };

fn slots() -> u32 {
    (CAPACITY.buckets() + CAPACITY.overflow_buckets()) * 7
}

fn birth(state: u8) -> Birth {
    Birth { state, now: START, timeout: 10_000 }
}

/// Keeps a table at `percent` of all slots by replacing random established connections, and returns the share of refused
/// inserts.
fn refused(percent: u32) -> f64 {
    const ROUNDS: u32 = 100_000;
    let heap = Heap::new(&CAPACITY);
    let tables = HostTables::without_packets(&heap);
    let mut random = Random(u64::from(percent));
    let mut next = 0;
    let mut alive = Vec::new();
    let wanted = (slots() / 100 * percent) as usize;
    let mut refused = 0;
    for _ in 0..ROUNDS + slots() {
        if alive.len() >= wanted {
            let victim: u32 = alive.swap_remove(random.below(alive.len() as u64) as usize);
            end(&tables, victim);
        }
        match establish(&tables, next, START) {
            Some(How::New) => alive.push(next),
            Some(How::Full) => refused += 1,
            other => panic!("{other:?}"),
        }
        next += 1;
    }
    assert_eq!(check(&heap, START), alive.len());
    f64::from(refused) / f64::from(next)
}

/// Ends one connection without looking through the whole table.
fn end(tables: &HostTables<'_>, n: u32) {
    let entry = crate::support::entry(n);
    let place = crate::support::place(tables, &entry);
    let key = rvs_core::conn::Key::of(&entry);
    let found = rvs_core::conn::find(tables, &place, START, &key).expect("it is there");
    assert!(found.expire(tables));
}

/// Share of refused inserts in steady state, two choices and an overflow of an eighth: conntable.md §4 simulated 0, 0 and
/// 3e-5, with the emptier of two overflow buckets. Without an
/// overflow it would be 1.7e-4, 6.4e-3 and 6e-2.
#[test]
fn a_table_refuses_next_to_nothing_up_to_80_percent() {
    assert_eq!(refused(60), 0.0);
    assert_eq!(refused(70), 0.0);
    let at_80 = refused(80);
    assert!(at_80 < 2e-3, "{at_80}");
    let at_90 = refused(90);
    assert!(
        (0.08..0.25).contains(&at_90),
        "{at_90}: conntable.md says 0.15; the table is not the size it says"
    );
}

/// A flood of connections of one packet each: established ones stay, all of them, and the flood finds room among its own.
#[test]
fn only_unproven_connections_give_way() {
    let heap = Heap::new(&CAPACITY);
    let tables = HostTables::without_packets(&heap);
    let established = slots() / 2;
    for n in 0..established {
        assert_eq!(establish(&tables, n, START), Some(How::New));
    }
    let mut full = 0;
    for n in established..established + 3 * slots() {
        match insert(&tables, n, birth(tcp::SYN_RECV)) {
            How::New => assert!(is_found(&tables, n, START), "connection {n} is new and not there"),
            How::Full => full += 1,
            how => panic!("connection {n}: {how:?}"),
        }
    }
    for n in 0..established {
        assert!(is_found(&tables, n, START), "established connection {n} gave way");
    }
    let live = check(&heap, START);
    assert!(live > slots() as usize * 97 / 100, "{live} of {} slots", slots());
    assert!(full < slots() / 100, "{full} refused with half the table unproven");
}

/// A table full of established connections refuses, and changes nothing by it.
#[test]
fn a_table_full_of_established_connections_refuses() {
    let heap = Heap::new(&Capacity { conns: 100, ..CAPACITY });
    let tables = HostTables::without_packets(&heap);
    for n in 0..4000 {
        establish(&tables, n, START);
    }
    let before = check(&heap, START);
    for n in 10_000..14_000 {
        assert_eq!(insert(&tables, n, birth(tcp::SYN_RECV)), How::Full, "connection {n} of {before}");
    }
    assert_eq!(check(&heap, START), before);
    // When their time is over, all of it is free again, without any sweeper.
    let later = START + ticks_from_secs(900) + 1;
    for n in 10_000..10_050 {
        let birth = Birth { state: tcp::SYN_RECV, now: later, timeout: 100 };
        assert_eq!(insert(&tables, n, birth), How::New);
    }
    assert_eq!(check(&heap, later), before);
    assert_eq!(flush(&heap, |entry| number(entry) >= Some(10_000)), 50);
    check(&heap, later);
}

/// Among unproven connections the one nearest to its end gives way.
#[test]
fn the_unproven_connection_nearest_to_its_end_gives_way() {
    let heap = Heap::new(&Capacity { conns: 1, ..CAPACITY });
    let tables = HostTables::without_packets(&heap);
    // One key after the other, later ones with longer lives, until the first gives way to a newcomer.
    let mut alive: Vec<u32> = Vec::new();
    for n in 0..500 {
        let birth = Birth { state: tcp::SYN_RECV, now: START, timeout: 1000 + n };
        assert_eq!(insert(&tables, n, birth), How::New);
        let gone: Vec<u32> = alive.iter().copied().filter(|n| !is_found(&tables, *n, START)).collect();
        assert!(gone.len() <= 1, "{gone:?} made room for {n}");
        alive.retain(|n| !gone.contains(n));
        for victim in gone {
            // Of those in the newcomer's buckets, and each has a longer life than all before it.
            let of = |n: u32| crate::support::place(&tables, &crate::support::entry(n));
            let shares = |other: u32| {
                let bucket = where_is(&heap, other);
                [of(n).first, of(n).second].contains(&bucket)
            };
            let older: Vec<u32> = alive.iter().copied().filter(|m| *m < victim && shares(*m)).collect();
            assert!(older.is_empty(), "{victim} gave way to {n}, and {older:?} end earlier");
        }
        alive.push(n);
    }
    check(&heap, START);
    assert!(alive.len() < 100, "nothing ever gave way");
}

/// The number of the bucket that a connection lies in.
fn where_is(heap: &Heap, n: u32) -> u32 {
    use rvs_abi::SLOTS;
    use rvs_core::Tables as _;
    use rvs_core::conn::Bucket as _;
    let tables = HostTables::without_packets(heap);
    let geometry = tables.geometry().unwrap();
    let main = (0..geometry.buckets).map(|index| tables.bucket(index).unwrap());
    let mut all = main.chain((0..geometry.overflow_buckets).map(|i| tables.overflow_bucket(i).unwrap()));
    let is_there = |bucket: &rvs_model::HostBucket<'_>| {
        (0..SLOTS).any(|slot| {
            bucket.word(slot).is_live() && number(&rvs_core::conn::entry(*bucket, slot)) == Some(n)
        })
    };
    all.find(is_there).map_or(u32::MAX, |bucket| (bucket.spare() >> 32) as u32)
}

/// Whoever gave way was counted, and nobody else.
#[test]
fn what_made_room_is_counted() {
    let heap = Heap::new(&CAPACITY);
    let tables = HostTables::without_packets(&heap);
    let evicted = || heap.region(Region::Counters)[Event::Evicted as usize].load(Relaxed);
    let made = |numbers: std::ops::Range<u32>| {
        numbers.filter(|n| insert(&tables, *n, birth(tcp::SYN_RECV)) == How::New).count() as u64
    };
    let few = made(0..slots() / 2);
    assert_eq!((few, evicted()), (u64::from(slots() / 2), 0), "there was room for all");
    let many = made(slots() / 2..slots() * 2);
    let alive = check(&heap, START) as u64;
    assert!(evicted() > 0);
    assert_eq!(few + many, alive + evicted());
}
