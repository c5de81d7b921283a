//! Scheduler tables in map `SCHED_TABLES`.
//!
//! A table is a run of 64-bit words. It is built whole by the control plane, put in place by storing its offset in the
//! service's record (one store), and never changed afterwards but for its state word, which only compare-and-swap
//! changes. It holds all that an operator says about the service's scheduler and destinations, so that this one store
//! commits a change of any of it; the records repeat it for the packet's path and are made to agree right after.
//!
//! | word | content |
//! |---|---|
//! | 0 | state of the scheduler, see below |
//! | 1 | low half: number of destinations; high half: `wrr`'s largest weight less (step - 1), ipvs.md §6.4 `mw` |
//! | 2 | low half: `wrr`'s step, the greatest common divisor of the positive weights, 1 if none, `di` |
//! | 3 | bits 0-7: scheduler ([`id`]), 8-15: its options; they are those that this table was built for; the rest see [`options`] |
//! | 4.. | one per destination, newest first: low half id, high half weight |
//! | then | only for schedulers that hash: buckets, two to a word, low half first: index into the list, or [`NO_INDEX`] |
//! | then | one per destination, in the same order: how packets reach it, see [`Forwarding`]; for the control plane only |
//!
//! The state word:
//!
//! | scheduler | content |
//! |---|---|
//! | `rr` | low half: 1 + index of the last choice in the list; 0: the list's head, so the next search begins with the first element. High half: zero |
//! | `wrr` | low half: 1 + index of `cl` in the list; 0: the list's head. High half: `cw` |
//! | others | zero |
//!
//! The control plane carries the state over to the table that replaces this one (ipvs.md §6.3, §6.4).

/// Words before the list.
pub const HEADER_WORDS: u32 = 4;
/// Buckets of `sh` (ipvs.md §6.13).
pub const SH_BUCKETS: u32 = 256;
/// Among a table's options, beside the scheduler's own three: the service schedules each datagram by itself
/// ([`crate::ServiceFlags::ONE_PACKET`]). For the control plane; programs ask the service's record.
pub const ONE_PACKET: u8 = 1 << 3;
/// An empty bucket.
pub const NO_INDEX: u32 = u32::MAX;

/// Word 3 of a table.
#[inline(always)]
#[must_use]
pub const fn kind(scheduler: u8, flags: u8) -> u64 {
    scheduler as u64 | (flags as u64) << 8
}

/// The scheduler and its options, from word 3.
#[inline(always)]
#[must_use]
pub const fn kind_parts(word: u64) -> (u8, u8) {
    ((word & 0xff) as u8, (word >> 8 & 0xff) as u8)
}

/// The upper bits of word 3, which repeat fields of the service's record ([`crate::Service`]): 16-31 `mss`, 32-39
/// `client_address`, 40-63 zero. For the control plane; programs ask the record.
#[must_use]
pub const fn options(mss: u16, client_address: u8) -> u64 {
    (mss as u64) << 16 | (client_address as u64) << 32
}

/// These fields, from word 3; `None` if bits are set that have no meaning.
#[must_use]
pub const fn options_parts(word: u64) -> Option<(u16, u8)> {
    let [_, _, mss @ .., client_address, 0, 0, 0] = word.to_le_bytes() else { return None };
    Some((u16::from_le_bytes(mss), client_address))
}

/// Numbers of the schedulers.
pub mod id {
    /// Round robin.
    pub const RR: u8 = 1;
    /// Weighted round robin.
    pub const WRR: u8 = 2;
    /// Least connections.
    pub const LC: u8 = 3;
    /// Weighted least connections.
    pub const WLC: u8 = 4;
    /// Source hashing.
    pub const SH: u8 = 5;
}

/// A word from its halves.
#[inline(always)]
#[must_use]
pub const fn word(low: u32, high: u32) -> u64 {
    low as u64 | (high as u64) << 32
}

/// The low half.
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "the half is what is wanted")]
pub const fn low(word: u64) -> u32 {
    word as u32
}

/// The high half.
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "the half is what is wanted")]
pub const fn high(word: u64) -> u32 {
    (word >> 32) as u32
}

/// How packets reach a destination: a word of a table's last section, for the control plane only.
///
/// | bits | content |
/// |---|---|
/// | 0-7 | [`crate::Method`] |
/// | 8-15 | [`crate::TunnelType`] |
/// | 16-23 | [`crate::TunnelFlags`] |
/// | 24-31 | zero |
/// | 32-47 | UDP port of a GUE tunnel, a number; 0 for others |
/// | 48-63 | zero |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Forwarding {
    /// [`crate::Method`].
    pub method: u8,
    /// [`crate::TunnelType`].
    pub tunnel: u8,
    /// [`crate::TunnelFlags`].
    pub tunnel_flags: u8,
    /// UDP port of a GUE tunnel, host order.
    pub tunnel_port: u16,
}

impl Forwarding {
    /// Its word in the table.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.method as u64
            | (self.tunnel as u64) << 8
            | (self.tunnel_flags as u64) << 16
            | (self.tunnel_port as u64) << 32
    }

    /// From its word in the table; `None` if bits are set that have no meaning.
    #[must_use]
    pub const fn from_word(word: u64) -> Option<Self> {
        let [method, tunnel, tunnel_flags, 0, port @ .., 0, 0] = word.to_le_bytes() else { return None };
        Some(Self { method, tunnel, tunnel_flags, tunnel_port: u16::from_le_bytes(port) })
    }
}

#[cfg(test)]
mod tests {
    use super::{Forwarding, kind, kind_parts, options, options_parts};

    #[test]
    fn a_word_says_what_a_table_is_for() {
        let word = kind(3, 9) | options(0x0590, 1);
        assert_eq!(word, 0x01_0590_0903);
        assert_eq!((kind_parts(word), options_parts(word)), ((3, 9), Some((0x0590, 1))));
        for bit in 40..64 {
            assert_eq!(options_parts(word | 1 << bit), None, "bit {bit}");
        }
    }

    #[test]
    fn a_word_says_how_packets_reach_a_destination() {
        let gue = Forwarding { method: 2, tunnel: 1, tunnel_flags: 2, tunnel_port: 0x1234 };
        assert_eq!(gue.word(), 0x1234_0002_0102);
        assert_eq!(Forwarding::from_word(gue.word()), Some(gue));
        let masq = Forwarding { method: 0, ..Forwarding::default() };
        assert_eq!((masq.word(), Forwarding::from_word(0)), (0, Some(masq)));
        for bit in (24..32).chain(48..64) {
            assert_eq!(Forwarding::from_word(gue.word() | 1 << bit), None, "bit {bit}");
        }
    }
}
