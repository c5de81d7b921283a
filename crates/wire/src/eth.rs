//! Ethernet II frames.

/// Bytes of the header.
pub const LEN: usize = 14;
/// EtherType of IPv4, network order.
pub const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// EtherType of IPv6, network order.
pub const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// EtherType of ARP, network order.
pub const TYPE_ARP: [u8; 2] = [0x08, 0x06];

/// Whether a destination address is multicast or broadcast: the group bit of its first byte.
#[inline(always)]
#[must_use]
pub const fn is_group(first_byte: u8) -> bool {
    first_byte & 1 != 0
}
