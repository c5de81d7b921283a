//! Compares the destinations' connection counts with the connection table, and puts right those that are wrong.
//!
//! Whoever ends a connection frees its slot by one atomic operation and takes it off its destination's count by another.
//! A program in the kernel always gets to the second; the daemon may be killed before it. The connection is then counted
//! for ever: lc and wlc shun its destination, and the destination, once removed, waits for ever for its last connection.
//!
//! # Why it is right
//!
//! Packets change the table while it is looked through, so that what is found in it is the state of no moment. Therefore
//! each *round* walks through the table twice, and a destination is *quiet* in a round when
//!
//! 1. its word in `DEST_CONNS` is the same before, between and after the walks,
//! 2. both walks find its connections in the same slots, as active as before, and
//! 3. none was made for it from before the first walk until after the second (`conns` of its statistics, which are never
//!    set back: `-Z` moves their zero point).
//!
//! By 3 the count can only have fallen, and by 1 it didn't: the destination had the same connections all the time. By 2
//! each of them was, at the moment between the walks, what both walks found. So that is what there was at that moment; the
//! word was read then as well, and the difference is the error, exactly. An error lasts while true counts come and go, so
//! that taking it back by one addition is right whatever packets do at the same time.
//!
//! Two things escape a single round: a change of which one operation lies before that moment and the other after it
//! (microseconds on a CPU that runs), and states of several connections that go there and back between the looks. So an
//! error is believed when [`CONFIRMATIONS`] rounds have shown the same one, and none another one or none. A round in which
//! the destination was not quiet says nothing either way. A walk at full speed takes milliseconds: even busy destinations
//! have moments that are quiet for so long, and those in the trash, for which no connection is made, are soon quiet for
//! good.
//!
//! A connection is counted until its slot is freed, also when its time is over; an insert that was never finished is not
//! counted. So live slots, and only they, are what a count is to be.

use core::sync::atomic::Ordering::Acquire;
use std::collections::BTreeMap;

use rvs_abi::map::Region;
use rvs_abi::sched::{high, low};
use rvs_abi::{Addr, Config, DestConns, SLOTS};
use rvs_core::{Tables as _, state};

use crate::conns::{bucket, buckets, live};
use crate::{HostTables, Memory, records};

/// Rounds that must show the same error, after the one that showed it first, before it is believed.
const CONFIRMATIONS: u32 = 3;

/// What was added to a destination's counts, because that much was missing; negative when there was too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Correction {
    /// Id of the destination.
    pub dest: u32,
    /// All connections.
    pub total: i32,
    /// Active ones among them.
    pub active: i32,
}

/// Where the audit is, and what it suspects. Some 32 bytes per destination.
#[derive(Debug)]
pub struct Audit {
    tallies: Vec<Tally>,
    suspicions: BTreeMap<u32, Suspicion>,
    walk: Walk,
    /// The bucket that is next.
    next: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    First,
    Second,
}

/// What a round has found about a destination. Counts are words of `DEST_CONNS`.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    /// The count before the first walk.
    counted: u64,
    /// What the first walk found.
    found: u64,
    /// Sum of the marks of what the first walk found, less those of the second: 0 when both found the same.
    difference: u64,
    /// Whether the count was another one later.
    changed: bool,
}

impl Tally {
    /// The error of the count, if the destination was quiet as far as the table and the count tell.
    fn error(&self) -> Option<u64> {
        let is_quiet = !self.changed && self.difference == 0;
        is_quiet.then(|| self.counted.wrapping_sub(self.found))
    }
}

/// An error that was seen.
#[derive(Debug, Clone, Copy)]
struct Suspicion {
    error: u64,
    /// Whose count it is: what was seen of one destination is not held against the next one with its id.
    holder: Holder,
    /// Connections ever made for it when the round began.
    made: u64,
    confirmations: u32,
}

/// Address, port and service of a destination.
type Holder = (Addr, u16, u32);

impl Audit {
    /// Of a data plane; nothing is suspected yet.
    #[must_use]
    pub fn new<M: Memory + ?Sized>(memory: &M) -> Self {
        let tallies = vec![Tally::default(); memory.region(Region::DestConns).len()];
        Self { tallies, suspicions: BTreeMap::new(), walk: Walk::First, next: 0 }
    }

    /// Goes on through `count` buckets. At the end of a round: the corrections that were made. The steps of a round should
    /// follow each other without delay, and the next round some seconds later.
    #[must_use]
    pub fn step<M: Memory + ?Sized>(&mut self, memory: &M, count: u32) -> Option<Vec<Correction>> {
        let buckets = buckets(memory);
        if self.walk == Walk::First && self.next == 0 {
            self.begin(memory);
        }
        let end = self.next.saturating_add(count.max(1)).min(buckets);
        self.look(memory, self.next, end);
        self.next = end;
        if end < buckets {
            return None;
        }
        self.next = 0;
        self.compare(memory);
        if self.walk == Walk::First {
            self.walk = Walk::Second;
            return None;
        }
        self.walk = Walk::First;
        Some(self.conclude(memory))
    }

    fn begin<M: Memory + ?Sized>(&mut self, memory: &M) {
        let config = records::config(memory);
        // Before the counts, and at the end after them: nothing was made while the counts were watched.
        for (id, suspicion) in &mut self.suspicions {
            suspicion.made = made(memory, &config, *id);
        }
        for (tally, word) in self.tallies.iter_mut().zip(memory.region(Region::DestConns)) {
            *tally = Tally { counted: word.load(Acquire), ..Tally::default() };
        }
    }

    fn look<M: Memory + ?Sized>(&mut self, memory: &M, from: u32, to: u32) {
        let tables = HostTables::without_packets(memory);
        for (number, bucket) in (from..to).map_while(|number| Some((number, bucket(&tables, number)?))) {
            for slot in 0..SLOTS {
                let Some((word, entry)) = live(bucket, slot) else { continue };
                let Some(tally) = self.tallies.get_mut(entry.dest as usize) else { continue };
                let active = if state::is_active(word.state()) { DestConns::ACTIVE } else { 0 };
                // The sum of such numbers tells sets of connections apart.
                let mark = mix((u64::from(number) << 3 | slot as u64) << 1 | active);
                if self.walk == Walk::First {
                    tally.found = tally.found.wrapping_add(DestConns::TOTAL + active);
                    tally.difference = tally.difference.wrapping_add(mark);
                } else {
                    tally.difference = tally.difference.wrapping_sub(mark);
                }
            }
        }
    }

    fn compare<M: Memory + ?Sized>(&mut self, memory: &M) {
        for (tally, word) in self.tallies.iter_mut().zip(memory.region(Region::DestConns)) {
            tally.changed |= word.load(Acquire) != tally.counted;
        }
    }

    fn conclude<M: Memory + ?Sized>(&mut self, memory: &M) -> Vec<Correction> {
        let config = records::config(memory);
        let mut corrections = Vec::new();
        for (id, tally) in (0..).zip(&self.tallies) {
            let Some(error) = tally.error() else { continue };
            if error == 0 {
                self.suspicions.remove(&id);
                continue;
            }
            let made = made(memory, &config, id);
            let seen = Suspicion { error, holder: holder(memory, id), made, confirmations: 0 };
            if is_certain(&mut self.suspicions, id, seen) {
                self.suspicions.remove(&id);
                corrections.push(correct(memory, id, error));
            }
        }
        corrections
    }
}

/// Whether an error that was seen again was seen often enough.
fn is_certain(suspicions: &mut BTreeMap<u32, Suspicion>, id: u32, seen: Suspicion) -> bool {
    match suspicions.get_mut(&id) {
        Some(known) if (known.error, known.holder) == (seen.error, seen.holder) => {
            known.confirmations += u32::from(known.made == seen.made);
            known.confirmations == CONFIRMATIONS
        }
        _ => {
            suspicions.insert(id, seen);
            false
        }
    }
}

fn correct<M: Memory + ?Sized>(memory: &M, dest: u32, error: u64) -> Correction {
    let delta = error.wrapping_neg();
    HostTables::without_packets(memory).add_dest_conns(dest, delta);
    // Both halves are signed; one below 0 has borrowed from the other.
    let active = low(delta).cast_signed();
    let total = high(delta.wrapping_sub(i64::from(active).cast_unsigned())).cast_signed();
    Correction { dest, total, active }
}

/// Connections ever made for a destination, on all CPUs.
fn made<M: Memory + ?Sized>(memory: &M, config: &Config, dest: u32) -> u64 {
    let row = 1 + config.services_max + dest;
    let parts = (0..config.cpus).map(|cpu| records::stats_part(memory, config, cpu, row).conns);
    parts.fold(0, u64::wrapping_add)
}

fn holder<M: Memory + ?Sized>(memory: &M, dest: u32) -> Holder {
    let record = records::dest(memory, dest).unwrap_or_default();
    (record.addr, record.port, record.service)
}

/// SplitMix64's finalizer: every bit of the number has its say in every bit of the result.
const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
