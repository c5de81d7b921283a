//! IPv4 headers (RFC 791).

use crate::checksum::{self, Delta};

/// Bytes of a header without options.
pub const LEN: usize = 20;
/// "Don't fragment" in the byte at offset 6.
pub const DF: u8 = 0x40;

/// Offsets of fields.
pub mod at {
    /// Source address.
    pub const SOURCE: usize = 12;
    /// Destination address.
    pub const DESTINATION: usize = 16;
}

/// The identification of a packet that somebody may fragment, from a random number: any but 0, which the kernel takes for
/// none.
#[inline(always)]
#[must_use]
pub const fn identification(random: u16) -> u16 {
    random | (random == 0) as u16
}

/// Words of a header by what is in them.
const LENGTH: usize = 0;
const FRAGMENT: usize = 1;
const LIFE: usize = 2;
const SOURCE: usize = 3;
const DESTINATION: usize = 4;

/// A header without its options: the first 20 bytes as five words, each as it stands in memory. Words and not bytes, so
/// that a program for a machine with eleven registers has five things to keep and not twenty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header(pub [u32; 5]);

impl Header {
    /// From its bytes.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(b: &[u8; LEN]) -> Self {
        Self([
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
            u32::from_ne_bytes([b[16], b[17], b[18], b[19]]),
        ])
    }

    /// Its bytes.
    #[inline(always)]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; LEN] {
        let (a, b, c) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes(), self.0[2].to_ne_bytes());
        let (d, e) = (self.0[3].to_ne_bytes(), self.0[4].to_ne_bytes());
        [
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3],
            e[0], e[1], e[2], e[3],
        ]
    }

    /// Version field.
    #[inline(always)]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.0[LENGTH].to_ne_bytes()[0] >> 4
    }

    /// Bytes of the header with its options.
    #[inline(always)]
    #[must_use]
    pub const fn header_len(&self) -> usize {
        (self.0[LENGTH].to_ne_bytes()[0] & 15) as usize * 4
    }

    /// Type of service.
    #[inline(always)]
    #[must_use]
    pub const fn tos(&self) -> u8 {
        self.0[LENGTH].to_ne_bytes()[1]
    }

    /// Bytes of header and payload.
    #[inline(always)]
    #[must_use]
    pub const fn total_len(&self) -> u16 {
        let b = self.0[LENGTH].to_ne_bytes();
        u16::from_be_bytes([b[2], b[3]])
    }

    /// Identification, as it stands in the header.
    #[inline(always)]
    #[must_use]
    pub const fn id(&self) -> u32 {
        let b = self.0[FRAGMENT].to_ne_bytes();
        u16::from_ne_bytes([b[0], b[1]]) as u32
    }

    /// Whether it must not be fragmented.
    #[inline(always)]
    #[must_use]
    pub const fn dont_fragment(&self) -> bool {
        self.0[FRAGMENT].to_ne_bytes()[2] & DF != 0
    }

    /// Whether it is a part of a larger packet: more fragments follow, or it is not the first.
    #[inline(always)]
    #[must_use]
    pub const fn is_fragment(&self) -> bool {
        self.0[FRAGMENT] & u32::from_ne_bytes([0, 0, 0x3f, 0xff]) != 0
    }

    /// Whether it is a part of a larger packet and not the first.
    #[inline(always)]
    #[must_use]
    pub const fn is_later_fragment(&self) -> bool {
        self.0[FRAGMENT] & u32::from_ne_bytes([0, 0, 0x1f, 0xff]) != 0
    }

    /// Time to live.
    #[inline(always)]
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        self.0[LIFE].to_ne_bytes()[0]
    }

    /// Protocol of the payload.
    #[inline(always)]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        self.0[LIFE].to_ne_bytes()[1]
    }

    /// Header checksum.
    #[inline(always)]
    #[must_use]
    pub const fn checksum(&self) -> [u8; 2] {
        let b = self.0[LIFE].to_ne_bytes();
        [b[2], b[3]]
    }

    /// Source address.
    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> [u8; 4] {
        self.0[SOURCE].to_ne_bytes()
    }

    /// Destination address.
    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> [u8; 4] {
        self.0[DESTINATION].to_ne_bytes()
    }

    /// The same with another source address, and what that adds to checksums.
    #[inline(always)]
    #[must_use]
    pub const fn with_source(mut self, address: [u8; 4]) -> (Self, Delta) {
        let delta = Delta::new().words(self.source(), address);
        self.0[SOURCE] = u32::from_ne_bytes(address);
        (self, delta)
    }

    /// The same with another destination address, and what that adds to checksums.
    #[inline(always)]
    #[must_use]
    pub const fn with_destination(mut self, address: [u8; 4]) -> (Self, Delta) {
        let delta = Delta::new().words(self.destination(), address);
        self.0[DESTINATION] = u32::from_ne_bytes(address);
        (self, delta)
    }

    /// The same with a time to live that is one less, and what that adds to the checksum.
    #[inline(always)]
    #[must_use]
    pub const fn decrement_ttl(mut self) -> (Self, Delta) {
        let b = self.0[LIFE].to_ne_bytes();
        let ttl = b[0].wrapping_sub(1);
        self.0[LIFE] = u32::from_ne_bytes([ttl, b[1], b[2], b[3]]);
        (self, Delta::new().word([b[0], b[1]], [ttl, b[1]]))
    }

    /// The same with its checksum updated.
    #[inline(always)]
    #[must_use]
    pub const fn update_checksum(mut self, delta: Delta) -> Self {
        let b = self.0[LIFE].to_ne_bytes();
        let checksum = delta.apply([b[2], b[3]]);
        self.0[LIFE] = u32::from_ne_bytes([b[0], b[1], checksum[0], checksum[1]]);
        self
    }

    /// The one's complement sum over its words; with a right checksum it folds to `0xffff`.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "halves of a word")]
    pub const fn sum(&self) -> u32 {
        let mut sum = 0;
        let mut i = 0;
        while i < self.0.len() {
            sum += (self.0[i] & 0xffff) + (self.0[i] >> 16);
            i += 1;
        }
        sum
    }
}

/// What an outer header of an IP-in-IP packet (RFC 2003) is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// Type of service.
    pub tos: u8,
    /// Bytes of the outer header and everything behind it.
    pub total_len: u16,
    /// Identification.
    pub id: u16,
    /// "Don't fragment".
    pub dont_fragment: bool,
    /// Time to live.
    pub ttl: u8,
    /// Protocol number of what is inside.
    pub protocol: u8,
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
}

impl Outer {
    /// The header, checksum included.
    #[inline(always)]
    #[must_use]
    pub const fn emit(&self) -> Header {
        let (len, id) = (self.total_len.to_be_bytes(), self.id.to_be_bytes());
        let flags = if self.dont_fragment { DF } else { 0 };
        let mut header = Header([
            u32::from_ne_bytes([0x45, self.tos, len[0], len[1]]),
            u32::from_ne_bytes([id[0], id[1], flags, 0]),
            u32::from_ne_bytes([self.ttl, self.protocol, 0, 0]),
            u32::from_ne_bytes(self.source),
            u32::from_ne_bytes(self.destination),
        ]);
        let checksum = (!checksum::fold(header.sum())).to_ne_bytes();
        header.0[LIFE] = u32::from_ne_bytes([self.ttl, self.protocol, checksum[0], checksum[1]]);
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6864 §4.1: the more there are, the later one comes again.
    #[test]
    fn an_identification_is_any_number_but_zero() {
        let mut seen: alloc::vec::Vec<u16> = (0..=u16::MAX).map(identification).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!((seen.len(), seen[0], seen[65_534]), (65_535, 1, u16::MAX));
    }
}
