//! The connection table (conntable.md).
//!
//! Buckets of [`rvs_abi::SLOTS`] slot words and entries. A connection lives in one of its two buckets or, when both were
//! full, in one of two of the overflow table. Several CPUs and the sweeper in user space work on it at the same time
//! without locks: every change of ownership is one compare-and-swap of a slot word ([`word`]), so exactly one party ends a
//! connection and accounts for it.

mod bucket;
pub mod control;
mod hash;
mod insert;
pub mod local;
mod lookup;
mod sweep;
pub mod word;

pub use bucket::{Bucket, Key, MatchReply, Matcher};
pub use hash::{Geometry, Place};
pub use insert::{ATTEMPTS, Birth, How, Request, insert};
pub use lookup::{At, Event, Found, find};
pub use sweep::{Swept, end, sweep_bucket};

use rvs_abi::{Addr, ConnEntry, DestConns};

use crate::Tables;
use crate::conn::bucket::{at, is_overflow};
use crate::state;

/// Ticks of a clock in nanoseconds.
#[inline(always)]
#[must_use]
pub const fn ticks(now_ns: u64) -> u64 {
    now_ns >> rvs_abi::TICK_SHIFT
}

/// What a connection in that state adds to its destination's counts.
#[inline(always)]
#[must_use]
pub(crate) const fn weight_of(state: u8) -> u64 {
    DestConns::TOTAL + if state::is_active(state) { DestConns::ACTIVE } else { 0 }
}

/// Accounts for the end of a connection. The overflow count of its first bucket is taken back when it lived there.
#[inline(always)]
pub(crate) fn account_end<T: Tables>(tables: &T, dest: u32, state: u8) {
    tables.add_dest_conns(dest, weight_of(state).wrapping_neg());
}

/// The bucket that counts the entry of a slot as overflow: the first of its key. `None` for entries that are not.
#[inline(always)]
pub(crate) fn home<T: Tables>(tables: &T, bucket: T::Bucket, slot: usize) -> Option<T::Bucket> {
    if !is_overflow(bucket) {
        return None;
    }
    let client = Addr([bucket.entry_word(slot, at::CLIENT), bucket.entry_word(slot, at::CLIENT + 1)]);
    let p = bucket.entry_word(slot, at::PORTS).to_ne_bytes();
    tables.bucket(Place::of(&tables.geometry()?, &client, [p[0], p[1]], p[4]).first)
}

/// Takes back the count of an entry that has left the overflow table.
#[inline(always)]
pub(crate) fn leave_overflow<B: Bucket>(home: Option<B>) {
    if let Some(home) = home {
        home.add_overflow(u32::MAX);
    }
}

/// The entry of a slot.
#[inline(always)]
#[must_use]
pub fn entry<B: Bucket>(bucket: B, slot: usize) -> ConnEntry {
    let mut words = [0; 8];
    for (i, word) in words.iter_mut().enumerate() {
        *word = bucket.entry_word(slot, i);
    }
    zerocopy::transmute!(words)
}
