//! The connection table with several threads at work, which change places in the middle of what they do: each access to
//! a bucket may give the processor away.
//!
//! That these tests can fail is itself tested: the same rounds with an insert that leaves out the search for twins
//! (conntable.md §5, step 5) find duplicates. Letting `place_in` take a slot that another thread has claimed makes
//! `nothing_is_lost_mixed_up_or_counted_wrong` find mixed-up entries, as it did in the core at first.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use rvs_abi::SLOTS;
use rvs_core::Tables;
use rvs_core::conn::word::{CLAIMED, LIVE};
use rvs_core::conn::{Bucket, How};
use rvs_core::state::tcp;
use rvs_model::{Capacity, Heap, HostTables, NoPackets, buckets, flush, for_each_conn, sweep};
use rvs_wire::tcp::{ACK, FIN, RST, SYN};

use crate::hooked::{Event, Hooked};
use crate::support::{Random, START, check, entry, is_found, number, packet, place, set_timeouts};

/// Keys that all threads insert in one round.
const KEYS: u32 = 64;
/// How long a connection that others were in the way of is tried again, as a client would: a thread that is in the way may have
/// to wait for its processor.
const LONGEST: Duration = Duration::from_secs(60);

/// A hook that gives the processor away at one access in so many.
fn jitter(seed: u64, one_in: u64) -> impl Fn(Event) {
    let random = RefCell::new(Random(seed));
    move |_| {
        if random.borrow_mut().below(one_in) == 0 {
            std::thread::yield_now();
        }
    }
}

fn hooked<'a>(heap: &'a Heap, hook: &'a dyn Fn(Event)) -> Hooked<'a, NoPackets> {
    Hooked { tables: HostTables::without_packets(heap), hook }
}

/// Has two threads insert the same keys in the same order into an empty table, by `make`; says how many were new.
fn race(seed: u64, heap: &Heap, make: impl Fn(&Hooked<'_, NoPackets>, u32) -> bool + Sync) -> u32 {
    let start = Barrier::new(2);
    let run = |thread: u64| {
        let hook = jitter(seed * 2 + thread, 20);
        let tables = hooked(heap, &hook);
        start.wait();
        (0..KEYS).filter(|n| make(&tables, *n)).count() as u32
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| run(1));
        run(0) + other.join().unwrap()
    })
}

/// Two CPUs handle the first packets of the same flows at the same moment: one connection each, none missing, all counted
/// once.
#[test]
fn two_threads_make_one_connection_of_each_key() {
    let capacity = Capacity { services: 8, dests: 8, conns: 256, cpus: 1 };
    for round in 0..400 {
        let heap = Heap::new(&capacity);
        let new = race(round, &heap, |tables, n| {
            let begin = Instant::now();
            loop {
                match packet(tables, n, SYN, START) {
                    Some(How::New) => return true,
                    Some(How::Existing) | None => return false,
                    Some(How::Contended) => {
                        assert!(begin.elapsed() < LONGEST, "others are always in the way")
                    }
                    Some(how) => panic!("key {n}: {how:?}"),
                }
                std::thread::yield_now();
            }
        });
        assert_eq!(check(&heap, START), KEYS as usize, "round {round}");
        let tables = HostTables::without_packets(&heap);
        assert!((0..KEYS).all(|n| is_found(&tables, n, START)), "round {round}: a key is missing");
        assert_eq!(new, KEYS, "round {round}: a key was new twice");
    }
}

/// The same race without the search for twins: it must show duplicates, or the race above shows nothing.
#[test]
fn without_the_search_for_twins_the_race_makes_duplicates() {
    let capacity = Capacity { services: 8, dests: 8, conns: 256, cpus: 1 };
    let duplicates = |round| {
        let heap = Heap::new(&capacity);
        race(round, &heap, |tables, n| !is_found_hooked(tables, n) && insert_without_twins(tables, n));
        let mut seen: BTreeMap<u32, u32> = BTreeMap::new();
        for_each_conn(&heap, START, |conn| *seen.entry(number(&conn.entry).unwrap()).or_default() += 1);
        seen.values().filter(|count| **count > 1).count()
    };
    assert!((0..2000).any(|round| duplicates(round) > 0), "the race is none");
}

fn is_found_hooked(tables: &Hooked<'_, NoPackets>, n: u32) -> bool {
    let entry = entry(n);
    rvs_core::conn::find(tables, &place(tables, &entry), START, &rvs_core::conn::Key::of(&entry)).is_some()
}

/// Claim, write, live: steps 3, 4 and 6 of the protocol.
fn insert_without_twins(tables: &Hooked<'_, NoPackets>, n: u32) -> bool {
    let entry = entry(n);
    let place = place(tables, &entry);
    let bucket = tables.bucket(place.first).unwrap();
    let words: [u64; 8] = zerocopy::transmute!(entry);
    for slot in 0..SLOTS {
        let old = bucket.word(slot);
        let claim = old.next_generation().owned(place.tag, CLAIMED, 0, START + 30);
        if old.is_busy() || !bucket.swap(slot, old, claim) {
            continue;
        }
        for (index, word) in words.iter().enumerate() {
            bucket.set_entry_word(slot, index, *word);
        }
        return bucket.swap(slot, claim, claim.owned(place.tag, LIVE, tcp::SYN_RECV, START + 1000));
    }
    false
}

/// The clock of a test: it goes on only while no operation lasts longer than a claim does.
struct Clock {
    now: AtomicU64,
    /// When each thread's operation began; `u64::MAX` between two.
    began: [AtomicU64; WORKERS],
}

const WORKERS: usize = 3;
/// Operations of each worker.
const OPS: u32 = 200_000;
/// Ticks that an operation may last: fewer than a claim.
const PATIENCE: u64 = 20;

impl Clock {
    fn begin(&self, worker: usize) -> u64 {
        // Announced before it is read: the clock then can't run away in between.
        self.began[worker].store(self.now.load(SeqCst), SeqCst);
        let now = self.now.load(SeqCst);
        self.began[worker].store(now, SeqCst);
        now
    }

    fn end(&self, worker: usize) {
        self.began[worker].store(u64::MAX, SeqCst);
    }

    /// One tick more, unless somebody is behind.
    fn tick(&self) -> u64 {
        let now = self.now.load(SeqCst);
        if self.began.iter().all(|began| began.load(SeqCst) >= now - PATIENCE) {
            self.now.store(now + 1, SeqCst);
        }
        now
    }
}

/// One operation of a worker: mostly packets of few connections in a table that is too small for them; some are ended.
fn operate(tables: &Hooked<'_, NoPackets>, heap: &Heap, random: &mut Random, now: u64) {
    const FLAGS: [u8; 4] = [SYN, ACK, FIN | ACK, RST];
    let n = random.below(150) as u32;
    match random.below(200) {
        0 => {
            flush(heap, |entry| number(entry) == Some(n));
        }
        1..20 => {
            let entry = entry(n);
            let key = rvs_core::conn::Key::of(&entry);
            if let Some(found) = rvs_core::conn::find(tables, &place(tables, &entry), now, &key) {
                found.expire(tables);
            }
        }
        _ => {
            packet(tables, n, FLAGS[random.below(4) as usize], now);
        }
    }
}

/// Packets, deletions, evictions, expiry and the sweeper all at once. What a listing shows meanwhile is always whole; and
/// when all is quiet, no key is there twice, no entry is mixed up, nothing is left unfinished, and the counts of
/// destinations and of the overflow are exact.
#[test]
fn nothing_is_lost_mixed_up_or_counted_wrong() {
    for (round, conns) in [30, 60, 120, 30, 60].into_iter().enumerate() {
        let heap = Heap::new(&Capacity { services: 8, dests: 8, conns, cpus: 1 });
        // Some states end while they are looked at, others outlive the test.
        set_timeouts(&heap, &[3, 200, 2, 40, 1, 2, 3, 400, 0, 1, 5]);
        let clock =
            Clock { now: AtomicU64::new(START), began: [const { AtomicU64::new(u64::MAX) }; WORKERS] };
        let working = AtomicU64::new(WORKERS as u64);
        std::thread::scope(|scope| {
            for worker in 0..WORKERS {
                let (heap, clock, working) = (&heap, &clock, &working);
                scope.spawn(move || {
                    // Counted down even if it dies: the sweeper would wait for ever.
                    let _done = Done(working);
                    let mut random = Random((round * WORKERS + worker) as u64);
                    let hook = jitter(random.next(), 300);
                    let tables = hooked(heap, &hook);
                    for _ in 0..OPS {
                        let now = clock.begin(worker);
                        operate(&tables, heap, &mut random, now);
                        clock.end(worker);
                    }
                });
            }
            scope.spawn(|| {
                while working.load(SeqCst) > 0 {
                    let now = clock.tick();
                    let swept = sweep(&heap, 0, buckets(&heap), now);
                    assert_eq!(swept.abandoned, 0, "an insert was not waited for");
                    for_each_conn(&heap, now, |conn| assert!(number(&conn.entry).is_some(), "{conn:?}"));
                    std::thread::yield_now();
                }
            });
        });
        let now = clock.now.load(SeqCst);
        check(&heap, now);
        sweep(&heap, 0, buckets(&heap), now + 1000);
        assert_eq!(check(&heap, now), 0, "round {round}");
    }
}

/// Counts a worker down when it ends.
struct Done<'a>(&'a AtomicU64);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
