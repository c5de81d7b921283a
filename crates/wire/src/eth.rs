//! Ethernet II frames.

/// Bytes of the header.
pub const LEN: usize = 14;
/// EtherType of IPv4, network order.
pub const TYPE_IPV4: [u8; 2] = [0x08, 0x00];
/// EtherType of IPv6, network order.
pub const TYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// EtherType of ARP, network order.
pub const TYPE_ARP: [u8; 2] = [0x08, 0x06];

/// EtherType of an IP version, network order.
#[inline(always)]
#[must_use]
pub const fn type_of(is_v4: bool) -> [u8; 2] {
    if is_v4 { TYPE_IPV4 } else { TYPE_IPV6 }
}

/// EtherType of a VLAN tag (IEEE 802.1Q), network order.
pub const TYPE_VLAN: [u8; 2] = [0x81, 0x00];
/// EtherType of an outer VLAN tag (IEEE 802.1ad), network order.
pub const TYPE_SERVICE_VLAN: [u8; 2] = [0x88, 0xa8];

/// Whether what follows is a VLAN tag.
#[inline(always)]
#[must_use]
pub const fn is_tag(ether_type: [u8; 2]) -> bool {
    matches!(ether_type, TYPE_VLAN | TYPE_SERVICE_VLAN)
}

/// Whether a destination address is multicast or broadcast: the group bit of its first byte.
#[inline(always)]
#[must_use]
pub const fn is_group(first_byte: u8) -> bool {
    first_byte & 1 != 0
}
