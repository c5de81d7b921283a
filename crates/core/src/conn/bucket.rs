//! Access to a bucket, and what a look-up compares.

use rvs_abi::sched::{high, low};
use rvs_abi::{Addr, ConnEntry, ConnFlags, Method, OVERFLOW_BUCKET};

use crate::conn::word::Word;
use crate::{DestRecord, Tables};

/// A handle to a bucket in memory that others change at the same time. All accesses are single and atomic.
pub trait Bucket: Copy {
    /// Reads a slot word.
    fn word(self, slot: usize) -> Word;
    /// Replaces a slot word if it still is `old`, as a full barrier; says whether it was.
    fn swap(self, slot: usize, old: Word, new: Word) -> bool;
    /// Reads a word of an entry.
    fn entry_word(self, slot: usize, index: usize) -> u64;
    /// Writes a word of an entry.
    fn set_entry_word(self, slot: usize, index: usize, value: u64);
    /// Writes half of a word of an entry, 0 the one that is first in memory, and leaves the other as it is at that moment.
    fn set_entry_half(self, slot: usize, index: usize, half: usize, value: u32);
    /// Reads the word that holds the bucket's number and how many of its entries live in the overflow table.
    fn spare(self) -> u64;
    /// Adds 1 (or, with `u32::MAX`, -1) to the number of entries in the overflow table.
    fn add_overflow(self, delta: u32);
    /// Begins to load an entry.
    fn prefetch(self, slot: usize);
    /// The same number, about which the compiler no longer knows anything: the verifier wants to see it checked.
    fn opaque(number: u64) -> u64;
}

/// Whether entries of a bucket live in the overflow table.
#[inline(always)]
pub(crate) fn has_overflow<B: Bucket>(bucket: B) -> bool {
    low(bucket.spare()) != 0
}

/// Whether it is a bucket of the overflow table.
#[inline(always)]
pub(crate) fn is_overflow<B: Bucket>(bucket: B) -> bool {
    high(bucket.spare()) & OVERFLOW_BUCKET != 0
}

/// Its number, with [`OVERFLOW_BUCKET`] in the overflow table.
#[inline(always)]
pub(crate) fn number<B: Bucket>(bucket: B) -> u32 {
    high(bucket.spare())
}

/// Order among all slots: who of two twins goes first.
#[inline(always)]
pub(crate) fn position<B: Bucket>(bucket: B, slot: usize) -> u64 {
    u64::from(high(bucket.spare())) << 3 | slot as u64
}

/// Words of an entry by what is in them, see [`ConnEntry`].
pub(crate) mod at {
    pub(crate) const CLIENT: usize = 0;
    pub(crate) const VIP: usize = 2;
    pub(crate) const PORTS: usize = 4;
    pub(crate) const IDS: usize = 5;
    pub(crate) const DPORT: usize = 6;
    pub(crate) const PACKETS: usize = 7;
}

/// The part of word 4 that belongs to the key: all but the flags.
const KEY_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
/// The part of word 4 that a reply knows: client port, protocol, family.
const REPLY_MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0, 0, 0xff, 0xff, 0, 0]);

/// What an entry is compared with.
pub trait Matcher<T: Tables> {
    /// Whether the entry is the one that is looked for.
    fn matches(&self, tables: &T, bucket: T::Bucket, slot: usize) -> bool;
}

/// The key of the request direction (ipvs.md §1.4), as words of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    words: [u64; 5],
}

impl Key {
    /// Of an entry.
    #[inline(always)]
    #[must_use]
    pub fn of(entry: &ConnEntry) -> Self {
        let w: [u64; 8] = zerocopy::transmute!(*entry);
        Self { words: [w[0], w[1], w[2], w[3], w[at::PORTS] & KEY_MASK] }
    }

    /// Of a packet from a client; ports in network order.
    #[inline(always)]
    #[must_use]
    pub const fn new(
        client: Addr,
        cport: [u8; 2],
        vip: Addr,
        vport: [u8; 2],
        protocol: u8,
        family: u8,
    ) -> Self {
        let ports = [cport[0], cport[1], vport[0], vport[1], protocol, family, 0, 0];
        Self { words: [client.0[0], client.0[1], vip.0[0], vip.0[1], u64::from_ne_bytes(ports)] }
    }
}

impl<T: Tables> Matcher<T> for Key {
    #[inline(always)]
    fn matches(&self, _tables: &T, bucket: T::Bucket, slot: usize) -> bool {
        let w = &self.words;
        // One branch for all words: the entry is one cache line, and a second look-up is rare.
        let difference = (bucket.entry_word(slot, at::CLIENT) ^ w[0])
            | (bucket.entry_word(slot, at::CLIENT + 1) ^ w[1])
            | (bucket.entry_word(slot, at::VIP) ^ w[2])
            | (bucket.entry_word(slot, at::VIP + 1) ^ w[3])
            | ((bucket.entry_word(slot, at::PORTS) & KEY_MASK) ^ w[4]);
        difference == 0
    }
}

/// The key of the reply direction (ipvs.md §1.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchReply {
    /// Client address: where the reply goes.
    pub client: Addr,
    /// Client port, network order.
    pub cport: [u8; 2],
    /// Address that the reply comes from.
    pub source: Addr,
    /// Port that it comes from, network order.
    pub sport: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
    /// [`rvs_abi::family`].
    pub family: u8,
}

impl<T: Tables> Matcher<T> for MatchReply {
    #[inline(always)]
    fn matches(&self, tables: &T, bucket: T::Bucket, slot: usize) -> bool {
        let known = [self.cport[0], self.cport[1], 0, 0, self.protocol, self.family, 0, 0];
        let ports = bucket.entry_word(slot, at::PORTS);
        let difference = (bucket.entry_word(slot, at::CLIENT) ^ self.client.0[0])
            | (bucket.entry_word(slot, at::CLIENT + 1) ^ self.client.0[1])
            | ((ports & REPLY_MASK) ^ u64::from_ne_bytes(known));
        if difference != 0 {
            return false;
        }
        let p = ports.to_ne_bytes();
        let flags = u16::from_ne_bytes([p[6], p[7]]);
        if flags & ConnFlags::METHOD != Method::MASQ as u16 {
            // Every other method answers from the virtual address and port, but full NAT: its replies come to an address of
            // the director's, see `conn::local`. Without a branch, for the verifier.
            let method = u64::from(flags & ConnFlags::METHOD);
            let is_full = T::Bucket::opaque((method ^ Method::FULL_NAT as u64).wrapping_sub(1)) >> 63;
            let vip = is_full
                | (bucket.entry_word(slot, at::VIP) ^ self.source.0[0])
                | (bucket.entry_word(slot, at::VIP + 1) ^ self.source.0[1]);
            return vip == 0 && [p[2], p[3]] == self.sport;
        }
        let dport = bucket.entry_word(slot, at::DPORT).to_ne_bytes();
        if [dport[0], dport[1]] != self.sport {
            return false;
        }
        let (dest, _) = ids(bucket.entry_word(slot, at::IDS));
        tables.dest(dest).is_some_and(|dest| dest.addr() == self.source)
    }
}

/// Destination id and service id from word 5.
#[inline(always)]
pub(crate) const fn ids(word: u64) -> (u32, u32) {
    let b = word.to_ne_bytes();
    (u32::from_ne_bytes([b[0], b[1], b[2], b[3]]), u32::from_ne_bytes([b[4], b[5], b[6], b[7]]))
}
