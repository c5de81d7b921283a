//! The address filter: one bit per address that may belong to a service or to a NAT destination.
//!
//! Traffic that has nothing to do with any service is told apart by two bits in 8 KiB of memory, before any table is
//! asked. A bit that is set by chance costs a look-up, nothing else. The director sets the bits.

use rvs_abi::{Addr, mark};

use crate::Tables;

const BITS: u32 = rvs_abi::limits::FILTER_WORDS * 64;
const _: () = assert!(BITS == 1 << 16);

/// Word and bit of an address.
#[inline(always)]
#[must_use]
pub const fn bit(address: Addr) -> (u32, u32) {
    // Addresses of a site differ in their low bits: a multiplication spreads them (Knuth, TAOCP 6.4).
    let hash = address.folded().wrapping_mul(0x9e37_79b1) >> 16;
    (hash >> 6, hash & 63)
}

/// Whether connections to an address may have been made by mark.
#[inline(always)]
pub(crate) fn is_learned<T: Tables>(tables: &T, address: Addr) -> bool {
    let (word, bit) = bit(address);
    tables.marked_word(mark::LEARNED + word) >> bit & 1 != 0
}

/// Writes down that there is a connection to this address that was made by mark. Before the connection is.
#[inline(always)]
pub(crate) fn learn<T: Tables>(tables: &T, address: Addr) {
    if !is_learned(tables, address) {
        let (word, bit) = bit(address);
        tables.learn(mark::LEARNED + word, 1 << bit);
    }
}

/// Whether some rule of the classifier may concern packets to an address.
#[inline(always)]
pub(crate) fn is_ruled<T: Tables>(tables: &T, address: Addr) -> bool {
    let (word, bit) = mark::ruled_bit(address);
    tables.marked_word(word) >> bit & 1 != 0
}

/// Whether an address may belong to a service or a destination.
#[inline(always)]
pub(crate) fn has<T: Tables>(tables: &T, address: Addr) -> bool {
    let (word, bit) = bit(address);
    tables.filter_word(word) >> bit & 1 != 0
}
