//! Generic UDP encapsulation (draft-ietf-intarea-gue; ipvs.md §3.6): a header behind that of UDP.

/// Bytes of a header without optional fields.
pub const LEN: usize = 4;

/// The UDP port assigned to it (IANA), host order.
pub const PORT: u16 = 6080;

/// A header of version 0 without flags in front of a packet of that protocol, 4 or 41.
#[inline(always)]
#[must_use]
pub const fn plain(protocol: u8) -> [u8; LEN] {
    [0, protocol, 0, 0]
}

/// Version. In version 1 there is no header at all: the packet begins here.
#[inline(always)]
#[must_use]
pub const fn version(b: &[u8; LEN]) -> u8 {
    b[0] >> 6
}

/// Whether a control message follows, and no packet.
#[inline(always)]
#[must_use]
pub const fn is_control(b: &[u8; LEN]) -> bool {
    b[0] & 0x20 != 0
}

/// Bytes of the header with its optional fields: 4 to 128.
#[inline(always)]
#[must_use]
pub const fn header_len(b: &[u8; LEN]) -> usize {
    LEN + (b[0] & 0x1f) as usize * 4
}

/// Protocol number of the packet, or type of the control message.
#[inline(always)]
#[must_use]
pub const fn protocol(b: &[u8; LEN]) -> u8 {
    b[1]
}

/// Flags, which say what optional fields there are; host order.
#[inline(always)]
#[must_use]
pub const fn flags(b: &[u8; LEN]) -> u16 {
    u16::from_be_bytes([b[2], b[3]])
}
