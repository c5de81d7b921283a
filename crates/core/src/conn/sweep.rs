//! Ending connections from user space: those whose time is over, and those that are to go.

use rvs_abi::SLOTS;

use crate::Tables;
use crate::conn::bucket::{at, ids};
use crate::conn::word::Word;
use crate::conn::{Bucket, account_end, home, leave_overflow};

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Slots in use that were left alone.
    pub live: u32,
    /// Connections that ended.
    pub ended: u32,
    /// Inserts that were never finished, taken back.
    pub abandoned: u32,
}

/// Frees what is expired in a bucket; `now` in ticks.
pub fn sweep_bucket<T: Tables>(tables: &T, bucket: T::Bucket, now: u64) -> Swept {
    let mut swept = Swept::default();
    for slot in 0..SLOTS {
        let word = bucket.word(slot);
        if !word.is_busy() {
            continue;
        }
        // One tick of patience: the clock that a packet reads on another CPU may be that much behind.
        if !word.is_expired(now.wrapping_sub(1)) {
            swept.live += 1;
        } else if end(tables, bucket, slot, word) {
            if word.is_live() {
                swept.ended += 1;
            } else {
                swept.abandoned += 1;
            }
        }
    }
    swept
}

/// Frees a slot if its word still is `word`, and accounts for it if it was a connection. A process that is killed between
/// the two leaves a connection counted that is gone: `rvs_model::Audit` finds it.
pub fn end<T: Tables>(tables: &T, bucket: T::Bucket, slot: usize, word: Word) -> bool {
    // Read before the swap: as long as the word is the same, so is the entry.
    let (dest, _) = ids(bucket.entry_word(slot, at::IDS));
    let home = home(tables, bucket, slot);
    if !bucket.swap(slot, word, word.freed()) {
        return false;
    }
    if word.is_live() {
        account_end(tables, dest, word.state());
    }
    // An entry that was never complete may not have been counted; a count too many costs time only, one too few would
    // hide connections.
    if word.is_live() || word.is_tentative() {
        leave_overflow(home);
    }
    true
}
