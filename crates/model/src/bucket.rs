//! Buckets of the connection table in memory that this process shares with others.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};

use rvs_abi::SLOTS;
use rvs_abi::sched::{high, low, word};
use rvs_core::conn::word::Word;

/// Words of a bucket.
pub(crate) const WORDS: usize = size_of::<rvs_abi::Bucket>() / 8;
/// Words of an entry.
const ENTRY_WORDS: usize = size_of::<rvs_abi::ConnEntry>() / 8;
/// The word behind the slot words: overflow count and the bucket's own number.
const SPARE: usize = SLOTS;
/// First word of the entries.
const ENTRIES: usize = SLOTS + 1;

/// A bucket: its words in mapped or plain memory.
///
/// Orders are those of a sequence lock. An entry's words are stored with `Release` after the claim and loaded with
/// `Acquire`, so whoever sees a new owner's entry also sees, in its second look at the slot word, that the owner changed
/// (conntable.md §5, "Why it is right"). A swap is sequentially consistent, because of two inserts of the same key one
/// must see the other's swap. On x86-64 all of these are plain loads and stores and the locked instruction.
#[derive(Debug, Clone, Copy)]
pub struct HostBucket<'a>(&'a [AtomicU64; WORDS]);

impl<'a> HostBucket<'a> {
    /// Bucket `index` of a table.
    #[inline]
    pub(crate) fn of(table: &'a [AtomicU64], index: u32) -> Option<Self> {
        table.as_chunks().0.get(index as usize).map(Self)
    }
}

impl rvs_core::conn::Bucket for HostBucket<'_> {
    #[inline]
    fn word(self, slot: usize) -> Word {
        Word(self.0[..SLOTS][slot].load(Acquire))
    }

    #[inline]
    fn swap(self, slot: usize, old: Word, new: Word) -> bool {
        self.0[..SLOTS][slot].compare_exchange(old.0, new.0, SeqCst, Relaxed).is_ok()
    }

    #[inline]
    fn entry_word(self, slot: usize, index: usize) -> u64 {
        self.0[ENTRIES + slot * ENTRY_WORDS..][..ENTRY_WORDS][index].load(Acquire)
    }

    #[inline]
    fn set_entry_word(self, slot: usize, index: usize, value: u64) {
        self.0[ENTRIES + slot * ENTRY_WORDS..][..ENTRY_WORDS][index].store(value, Release);
    }

    #[inline]
    fn set_entry_half(self, slot: usize, index: usize, half: usize, value: u32) {
        let word = &self.0[ENTRIES + slot * ENTRY_WORDS..][..ENTRY_WORDS][index];
        let _always = word.fetch_update(Release, Acquire, |old| {
            let mut bytes = old.to_ne_bytes();
            bytes.as_chunks_mut().0[half] = value.to_ne_bytes();
            Some(u64::from_ne_bytes(bytes))
        });
    }

    #[inline]
    fn spare(self) -> u64 {
        self.0[SPARE].load(Acquire)
    }

    #[inline]
    fn add_overflow(self, delta: u32) {
        // The programs add to the low half alone: nothing may be carried into the bucket's number.
        let sum = |spare| word(low(spare).wrapping_add(delta), high(spare));
        let mut old = self.0[SPARE].load(Relaxed);
        while let Err(seen) = self.0[SPARE].compare_exchange_weak(old, sum(old), SeqCst, Relaxed) {
            old = seen;
        }
    }

    #[inline]
    fn prefetch(self, _slot: usize) {}

    #[inline]
    fn opaque(number: u64) -> u64 {
        number
    }
}
