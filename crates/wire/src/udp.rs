//! UDP headers (RFC 768).

use crate::checksum::fold;

/// Bytes of a header.
pub const LEN: usize = 8;
/// Offset of the length, of header and data.
pub const LENGTH: usize = 4;
/// Offset of the checksum.
pub const CHECKSUM: usize = 6;

/// A header. Ports and length, which covers header and data, in host order; the checksum as it stands in the packet.
#[inline(always)]
#[must_use]
pub const fn header(sport: u16, dport: u16, len: u16, checksum: [u8; 2]) -> [u8; LEN] {
    let (s, d, l) = (sport.to_be_bytes(), dport.to_be_bytes(), len.to_be_bytes());
    [s[0], s[1], d[0], d[1], l[0], l[1], checksum[0], checksum[1]]
}

/// The checksum field that goes with a sum over pseudo header, header and data, of words as they stand in memory. A
/// computed 0 is sent as all ones, since 0 means "none".
#[inline(always)]
#[must_use]
pub const fn checksum(sum: u32) -> [u8; 2] {
    match fold(sum) {
        0xffff => [0xff, 0xff],
        folded => (!folded).to_ne_bytes(),
    }
}
