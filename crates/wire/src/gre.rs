//! GRE headers as tunnels to real servers have them (RFC 2784; ipvs.md §3.6): no key, no sequence number. The protocol
//! type is an EtherType, [`crate::eth::TYPE_IPV4`] or [`crate::eth::TYPE_IPV6`].

use crate::checksum;

/// Protocol number.
pub const PROTOCOL: u8 = 47;
/// Bytes of a header without a checksum.
pub const LEN: usize = 4;
/// Bytes of a header with a checksum.
pub const CHECKSUM_LEN: usize = 8;
/// Offset of the protocol type.
pub const PROTOCOL_TYPE: usize = 2;
/// Offset of the checksum, if there is one.
pub const CHECKSUM: usize = 4;
/// In the first byte: there is a checksum.
pub const HAS_CHECKSUM: u8 = 0x80;

/// A header without a checksum.
#[inline(always)]
#[must_use]
pub const fn plain(protocol_type: [u8; 2]) -> [u8; LEN] {
    [0, 0, protocol_type[0], protocol_type[1]]
}

/// A header with a checksum. `payload` is the one's complement sum over all that comes behind the header, of words as
/// they stand in memory.
#[inline(always)]
#[must_use]
pub const fn with_checksum(protocol_type: [u8; 2], payload: u32) -> [u8; CHECKSUM_LEN] {
    let head = u16::from_ne_bytes([HAS_CHECKSUM, 0]) as u32 + u16::from_ne_bytes(protocol_type) as u32;
    let [a, b] = (!checksum::fold(checksum::fold(payload) as u32 + head)).to_ne_bytes();
    [HAS_CHECKSUM, 0, protocol_type[0], protocol_type[1], a, b, 0, 0]
}

/// Bytes of a header, given its first two bytes, if it has no more than a checksum. With a key, a sequence number, a
/// route or another version it is not one of ours.
#[inline(always)]
#[must_use]
pub const fn header_len(flags: [u8; 2]) -> Option<usize> {
    match flags {
        [0, 0] => Some(LEN),
        [HAS_CHECKSUM, 0] => Some(CHECKSUM_LEN),
        _ => None,
    }
}
