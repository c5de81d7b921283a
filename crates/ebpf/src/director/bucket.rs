//! Buckets of the connection table in map memory.

use rvs_abi::SLOTS;
use rvs_core::conn::word::Word;
use rvs_ebpf::atomic;

/// A bucket: a pointer that the kernel gave for a map's value, so it is valid for the program's whole run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket(pub(crate) *mut rvs_abi::Bucket);

impl Bucket {
    /// A slot word, if there is such a slot. The index is checked behind a veil: see `atomic::opaque`.
    #[inline(always)]
    fn word_pointer(self, slot: usize) -> Option<*mut u64> {
        if slot >= SLOTS {
            return None;
        }
        // SAFETY: `slot` is below the number of words.
        Some(unsafe { (&raw mut (*self.0).words).cast::<u64>().add(slot) })
    }

    /// A word of an entry, if there is such a slot; `index` is a constant below 8.
    #[inline(always)]
    fn entry_pointer(self, slot: usize, index: usize) -> Option<*mut u64> {
        if slot >= SLOTS || index >= 8 {
            return None;
        }
        // SAFETY: both are below the number of entries and of their words.
        Some(unsafe { (&raw mut (*self.0).entries).cast::<u64>().add(slot * 8 + index) })
    }
}

impl rvs_core::conn::Bucket for Bucket {
    #[inline(always)]
    fn word(self, slot: usize) -> Word {
        // SAFETY: a live word of a map; others change it, hence volatile.
        Word(self.word_pointer(slot).map_or(0, |word| unsafe { word.read_volatile() }))
    }

    #[inline(always)]
    fn swap(self, slot: usize, old: Word, new: Word) -> bool {
        // SAFETY: a live, aligned word of a map.
        self.word_pointer(slot).is_some_and(|word| unsafe { atomic::swap(word, old.0, new.0) })
    }

    #[inline(always)]
    fn entry_word(self, slot: usize, index: usize) -> u64 {
        // SAFETY: a live word of a map; others change it, hence volatile.
        self.entry_pointer(slot, index).map_or(0, |word| unsafe { word.read_volatile() })
    }

    #[inline(always)]
    fn set_entry_word(self, slot: usize, index: usize, value: u64) {
        if let Some(word) = self.entry_pointer(slot, index) {
            // SAFETY: a live word of a map.
            unsafe { word.write_volatile(value) };
        }
    }

    #[inline(always)]
    fn set_entry_half(self, slot: usize, index: usize, half: usize, value: u32) {
        if let Some(word) = self.entry_pointer(slot, index)
            && half < 2
        {
            // SAFETY: a live word of a map, and `half` is one of its two halves.
            unsafe { word.cast::<u32>().add(half).write_volatile(value) };
        }
    }

    #[inline(always)]
    fn spare(self) -> u64 {
        // SAFETY: a live word of a map; others change it, hence volatile.
        unsafe { (&raw const (*self.0).overflow).read_volatile() }
    }

    #[inline(always)]
    fn add_overflow(self, delta: u32) {
        // SAFETY: a live, aligned word of a map, of which the low half is the counter (this target is little-endian).
        unsafe { atomic::add_u32((&raw mut (*self.0).overflow).cast(), delta) };
    }

    #[inline(always)]
    fn prefetch(self, slot: usize) {
        // A volatile read whose result nobody waits for is the only prefetch there is.
        let slot = Self::opaque(slot as u64) as usize;
        let _ = rvs_core::conn::Bucket::entry_word(self, slot, 0);
    }

    #[inline(always)]
    fn opaque(number: u64) -> u64 {
        atomic::opaque(number)
    }
}
