//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! A checksum field `HC` over data in which the 16-bit word `m` becomes `m'` is, by RFC 1624 equation 3,
//! `HC' = ~(~HC + ~m + m')` in one's complement arithmetic. A [`Delta`] collects the part `~m + m'` for any number of
//! words. Words are taken from memory as they stand (`from_ne_bytes`): one's complement sums do not depend on the byte
//! order as long as all words are read alike (RFC 1071 §2(B)).

/// What rewritten words add to a checksum: a one's complement sum that is not folded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delta(u32);

impl Delta {
    /// Nothing changed.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// A 16-bit word becomes another.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, old: [u8; 2], new: [u8; 2]) -> Self {
        // Each word adds less than 2^17 and of a packet less than 64 are rewritten: no overflow before 2^15 of them.
        Self(self.0 + (!u16::from_ne_bytes(old)) as u32 + u16::from_ne_bytes(new) as u32)
    }

    /// Two 16-bit words become others.
    #[inline(always)]
    #[must_use]
    pub const fn words(self, old: [u8; 4], new: [u8; 4]) -> Self {
        self.word([old[0], old[1]], [new[0], new[1]]).word([old[2], old[3]], [new[2], new[3]])
    }

    /// An IPv6 address becomes another; both in words that stand as in memory.
    #[inline(always)]
    #[must_use]
    pub const fn address(self, old: [u32; 4], new: [u32; 4]) -> Self {
        let removed = halves(!old[0]) + halves(!old[1]) + halves(!old[2]) + halves(!old[3]);
        Self(self.0 + removed + sum_address(new))
    }

    /// The sum as the kernel's checksum helpers take it.
    #[inline(always)]
    #[must_use]
    pub const fn sum(self) -> u32 {
        self.0
    }

    /// Both together.
    #[inline(always)]
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// From sums that [`Self::sum`] gave, added.
    #[inline(always)]
    #[must_use]
    pub const fn from_sum(sum: u32) -> Self {
        Self(sum)
    }

    /// The new value of a checksum field.
    #[inline(always)]
    #[must_use]
    pub const fn apply(self, field: [u8; 2]) -> [u8; 2] {
        let sum = (!u16::from_ne_bytes(field)) as u32 + fold(self.0) as u32;
        (!fold(sum)).to_ne_bytes()
    }

    /// The new value of a UDP checksum field: 0 means "none" and stays (RFC 768), a computed 0 becomes 0xffff.
    #[inline(always)]
    #[must_use]
    pub const fn apply_udp(self, field: [u8; 2]) -> [u8; 2] {
        if u16::from_ne_bytes(field) == 0 {
            return field;
        }
        let new = self.apply(field);
        if u16::from_ne_bytes(new) == 0 { [0xff, 0xff] } else { new }
    }
}

/// Folds a sum of 16-bit words to 16 bits with end-around carry.
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "two folds leave no more than 16 bits")]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// The two 16-bit words of a word that stands as in memory, added.
#[inline(always)]
const fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// The sum over an IPv6 address in words that stand as in memory: less than 2^19.
#[inline(always)]
const fn sum_address(words: [u32; 4]) -> u32 {
    halves(words[0]) + halves(words[1]) + halves(words[2]) + halves(words[3])
}

/// The sum over the pseudo header of a packet in IPv4 (RFC 9293 §3.1), where `len` is the bytes of the transport header
/// and all behind it, host order. Less than 2^19.
#[inline(always)]
#[must_use]
pub const fn pseudo_v4(source: [u8; 4], destination: [u8; 4], protocol: u8, len: u16) -> u32 {
    let rest = u16::from_ne_bytes([0, protocol]) as u32 + u16::from_ne_bytes(len.to_be_bytes()) as u32;
    halves(u32::from_ne_bytes(source)) + halves(u32::from_ne_bytes(destination)) + rest
}

/// The same in IPv6 (RFC 8200 §8.1): addresses in words that stand as in memory; `protocol` is the transport protocol,
/// not what the fixed header says where extension headers follow. Less than 2^21.
#[inline(always)]
#[must_use]
pub const fn pseudo_v6(source: [u32; 4], destination: [u32; 4], protocol: u8, len: u32) -> u32 {
    let rest = u16::from_ne_bytes([0, protocol]) as u32 + halves(len.to_be());
    sum_address(source) + sum_address(destination) + rest
}

/// Adds the words of a header to a sum.
#[inline(always)]
#[must_use]
pub fn sum<const N: usize>(start: u32, bytes: &[u8; N]) -> u32 {
    let mut sum = start;
    let mut i = 0;
    while i + 1 < N {
        sum += u32::from(u16::from_ne_bytes([bytes[i], bytes[i + 1]]));
        i += 2;
    }
    sum
}

/// The checksum of bytes of any length, computed in full: for the host, and as the reference in tests.
#[must_use]
pub fn full(start: u32, bytes: &[u8]) -> [u8; 2] {
    let mut sum = u64::from(start);
    let mut chunks = bytes.chunks_exact(2);
    for chunk in &mut chunks {
        sum += u64::from(u16::from_ne_bytes([chunk[0], chunk[1]]));
    }
    if let [last] = chunks.remainder() {
        sum += u64::from(u16::from_ne_bytes([*last, 0]));
    }
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    #[allow(clippy::cast_possible_truncation, reason = "the loop leaves 16 bits")]
    let sum = sum as u16;
    (!sum).to_ne_bytes()
}
