//! The address filter's bits (`rvs_core::filter`): how many addresses need each.

use core::net::IpAddr;
use core::sync::atomic::Ordering::Relaxed;
use std::collections::BTreeMap;

use rvs_abi::Addr;
use rvs_abi::map::Region;
use rvs_model::Memory;

/// Number of an address's bit.
pub(crate) const fn bit(address: IpAddr) -> u32 {
    bit_of(Addr::from_ip(address))
}

/// The same of an address in the maps' form.
pub(crate) const fn bit_of(address: Addr) -> u32 {
    let (word, bit) = rvs_core::filter::bit(address);
    word * 64 + bit
}

/// Sets or clears a bit in memory.
pub(crate) fn write<M: Memory>(memory: &M, bit: u32, set: bool) {
    let Some(word) = memory.region(Region::Filter).get(bit as usize / 64) else { return };
    let mask = 1 << (bit % 64);
    if set {
        word.fetch_or(mask, Relaxed);
    } else {
        word.fetch_and(!mask, Relaxed);
    }
}

/// Makes the filter in memory what the counts say. Bits that are right are not touched at any time.
pub(crate) fn repair<M: Memory>(memory: &M, counts: &BTreeMap<u32, u32>) {
    for (words, index) in memory.region(Region::Filter).iter().zip(0..) {
        let needed =
            counts.range(index * 64..(index + 1) * 64).fold(0, |all, (bit, _)| all | 1_u64 << (bit % 64));
        if words.load(Relaxed) != needed {
            words.store(needed, Relaxed);
        }
    }
}
