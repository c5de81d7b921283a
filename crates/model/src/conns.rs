//! The connection table as user space works on it: sweeping, listing, flushing. While packets go on.
//!
//! Buckets are numbered through: those of the table, then those of its overflow. Times are ticks
//! ([`rvs_abi::TICK_SHIFT`]) of the data plane's clock.

use core::ops::Range;

use rvs_abi::{ConnEntry, DestFlags, SLOTS};
use rvs_core::Tables as _;
use rvs_core::conn::word::Word;
use rvs_core::conn::{self, Bucket as _, Swept};

use crate::bucket::HostBucket;
use crate::{HostTables, Memory, records};

/// How often a slot is looked at again when it changed while it was read.
const LOOKS: u32 = 8;

/// A connection as it was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conn {
    /// Who is connected with whom.
    pub entry: ConnEntry,
    /// Protocol state, [`rvs_core::state`].
    pub state: u8,
    /// More than one packet was exchanged: it is never evicted.
    pub proven: bool,
    /// Ticks until it ends.
    pub remaining: u32,
}

/// How many buckets there are, overflow included.
#[must_use]
pub fn buckets<M: Memory + ?Sized>(memory: &M) -> u32 {
    let config = records::config(memory);
    config.buckets + config.overflow_buckets
}

/// Ends the expired connections in `count` buckets from bucket `from` on, and gives back what unfinished inserts left.
/// Buckets beyond the last are none.
pub fn sweep<M: Memory + ?Sized>(memory: &M, from: u32, count: u32, now: u64) -> Swept {
    let tables = HostTables::without_packets(memory);
    let mut sum = Swept::default();
    for bucket in (from..from.saturating_add(count)).map_while(|number| bucket(&tables, number)) {
        let swept = conn::sweep_bucket(&tables, bucket, now);
        sum.live += swept.live;
        sum.ended += swept.ended;
        sum.abandoned += swept.abandoned;
    }
    sum
}

/// Ends the connections of removed destinations in `count` buckets from bucket `from` on, and returns how many.
pub fn purge<M: Memory + ?Sized>(memory: &M, from: u32, count: u32) -> u64 {
    let tables = HostTables::without_packets(memory);
    let mut is_removed = |entry: &ConnEntry| {
        records::dest(memory, entry.dest).is_some_and(|dest| dest.flags & DestFlags::AVAILABLE == 0)
    };
    let mut ended = 0;
    for bucket in (from..from.saturating_add(count)).map_while(|number| bucket(&tables, number)) {
        for slot in 0..SLOTS {
            ended += u64::from(flush_slot(&tables, bucket, slot, &mut is_removed));
        }
    }
    ended
}

/// Shows every connection that is alive. Each is shown as it was at one moment; one that begins, ends or changes hands
/// meanwhile may be missed.
pub fn for_each_conn<M: Memory + ?Sized>(memory: &M, now: u64, mut show: impl FnMut(&Conn)) {
    conns(memory, 0..u64::MAX, now).for_each(|(_, conn)| show(&conn));
}

/// The connections that are alive in a range of slots, with their slots, each as it was at one moment. Slots are numbered
/// through all buckets; those beyond the last are none. A connection stays in its slot until it ends.
pub fn conns<M: Memory + ?Sized>(
    memory: &M,
    slots: Range<u64>,
    now: u64,
) -> impl Iterator<Item = (u64, Conn)> {
    const PER_BUCKET: u64 = SLOTS as u64;
    let tables = HostTables::without_packets(memory);
    let end = slots.end.min(u64::from(buckets(memory)) * PER_BUCKET);
    (slots.start..end).filter_map(move |number| {
        let (in_bucket, slot) = (number / PER_BUCKET, number % PER_BUCKET);
        let bucket = bucket(&tables, u32::try_from(in_bucket).ok()?)?;
        Some((number, look(bucket, usize::try_from(slot).ok()?, now)?))
    })
}

/// Ends the connections for which `which` says so, and returns how many it ended. Those that begin meanwhile may stay.
pub fn flush<M: Memory + ?Sized>(memory: &M, mut which: impl FnMut(&ConnEntry) -> bool) -> u64 {
    let tables = HostTables::without_packets(memory);
    let mut ended = 0;
    for bucket in (0..).map_while(|number| bucket(&tables, number)) {
        for slot in 0..SLOTS {
            ended += u64::from(flush_slot(&tables, bucket, slot, &mut which));
        }
    }
    ended
}

/// Ends the connection in a slot if it is to end. It is asked for again when packets moved it along meanwhile.
fn flush_slot<'a>(
    tables: &HostTables<'a>,
    bucket: HostBucket<'a>,
    slot: usize,
    which: &mut impl FnMut(&ConnEntry) -> bool,
) -> bool {
    for _ in 0..LOOKS {
        let word = bucket.word(slot);
        if !word.is_live() {
            return false;
        }
        let entry = conn::entry(bucket, slot);
        if bucket.word(slot).same_live(word) {
            if !which(&entry) {
                return false;
            }
            if conn::end(tables, bucket, slot, word) {
                return true;
            }
        }
    }
    false
}

/// The connection in a slot if it is alive.
fn look(bucket: HostBucket<'_>, slot: usize, now: u64) -> Option<Conn> {
    let (word, entry) = live(bucket, slot)?;
    // Negative when it is over.
    let remaining = u32::try_from(word.remaining(now)).ok()?;
    Some(Conn { entry, state: word.state(), proven: word.is_proven(), remaining })
}

/// The live connection in a slot, be its time over or not: its entry between two looks at a word of the same owner
/// (conntable.md §5).
pub(crate) fn live(bucket: HostBucket<'_>, slot: usize) -> Option<(Word, ConnEntry)> {
    for _ in 0..LOOKS {
        let word = bucket.word(slot);
        if !word.is_live() {
            return None;
        }
        let entry = conn::entry(bucket, slot);
        let again = bucket.word(slot);
        if again.same_live(word) {
            return Some((again, entry));
        }
    }
    None
}

/// A bucket by its number among all.
pub(crate) fn bucket<'a>(tables: &HostTables<'a>, number: u32) -> Option<HostBucket<'a>> {
    let main = tables.geometry()?.buckets;
    match number.checked_sub(main) {
        None => tables.bucket(number),
        Some(number) => tables.overflow_bucket(number),
    }
}
