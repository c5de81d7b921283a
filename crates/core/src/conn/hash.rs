//! The table's hash: over the client's address and port and the protocol only, so that request and reply meet in the
//! same bucket (conntable.md §1, §3).

use rvs_abi::{Addr, SLOTS};

pub(super) const K1: u64 = 0x9e37_79b9_7f4a_7c15;
pub(super) const K2: u64 = 0xbf58_476d_1ce4_e5b9;
const K3: u64 = 0x94d0_49bb_1331_11eb;

/// Shape and secret of the connection table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Buckets.
    pub buckets: u32,
    /// Buckets of the overflow table.
    pub overflow_buckets: u32,
    /// Secret of the hash.
    pub seed: [u64; 3],
}

/// Where a client's connections may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Hash.
    hash: u64,
    /// Tag of the slot words.
    pub tag: u64,
    /// First bucket.
    pub first: u32,
    /// Second bucket.
    pub second: u32,
}

impl Place {
    /// Of the client at `address` and `port` (network order).
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "a product shifted right by 32 fits 32 bits")]
    pub const fn of(geometry: &Geometry, address: &Addr, port: [u8; 2], protocol: u8) -> Self {
        let (c, s) = (address.0, geometry.seed);
        let mut h = (c[1] ^ s[0]).wrapping_mul(K1);
        h ^= h >> 29;
        h = h.wrapping_add((c[0] ^ s[1]).wrapping_mul(K3).rotate_left(32));
        let rest = u16::from_ne_bytes(port) as u64 | (protocol as u64) << 16;
        h ^= s[2] ^ rest.wrapping_mul(K1).rotate_left(32);
        h ^= h >> 32;
        h = h.wrapping_mul(K2);
        h ^= h >> 29;
        h = h.wrapping_mul(K3);
        h ^= h >> 32;
        let first = scale(h, geometry.buckets);
        let second = scale(h.wrapping_mul(K1), geometry.buckets);
        Self { hash: h, tag: h & 0xffff, first, second: other(first, second) }
    }

    /// The two buckets of the overflow table.
    #[inline(always)]
    #[must_use]
    pub const fn overflow(&self, buckets: u32) -> [u32; 2] {
        let h = self.hash.wrapping_mul(K2);
        let first = scale(h, buckets);
        [first, other(first, scale(h.wrapping_mul(K1), buckets))]
    }

    /// The slot that an insert takes when it is free, and that a look-up loads early.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "less than SLOTS")]
    pub const fn preferred(&self) -> usize {
        (((self.hash >> 16) & 0xff) as usize * SLOTS) >> 8
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a product shifted right by 32 fits 32 bits")]
#[inline(always)]
const fn scale(hash: u64, n: u32) -> u32 {
    (((hash >> 32) * n as u64) >> 32) as u32
}

/// The second bucket, moved off the first where both fall together.
#[inline(always)]
const fn other(first: u32, second: u32) -> u32 {
    if first != second {
        second
    } else if first == 0 {
        1
    } else {
        first - 1
    }
}
