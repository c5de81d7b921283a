//! ICMP errors about packets of a history.

use rvs_wire::builder::Payload;

use super::numbers::Random;
use crate::refvm::frames::{self, Family};

/// Types and codes of IPv4, of which IPVS takes 3, 4 and 11 (ipvs.md §2.8).
const V4: [(u8, u8); 13] = [
    (3, 0),
    (3, 1),
    (3, 2),
    (3, 3),
    (3, 3),
    (3, 4),
    (3, 4),
    (3, 13),
    (4, 0),
    (11, 0),
    (11, 0),
    (11, 1),
    (12, 0),
];
/// Those of IPv6, of which IPVS takes all below 128.
const V6: [(u8, u8); 13] = [
    (1, 0),
    (1, 1),
    (1, 3),
    (1, 4),
    (1, 4),
    (2, 0),
    (2, 0),
    (3, 0),
    (3, 0),
    (3, 1),
    (4, 0),
    (4, 1),
    (100, 0),
];

/// What an error says: type and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message(pub(super) u8, pub(super) u8, Family);

impl Message {
    pub(super) fn any(random: &mut Random, family: Family) -> Self {
        let (kind, code) = random.of(if family == Family::V4 { &V4 } else { &V6 });
        Self(kind, code, family)
    }

    /// Whether it says how wide a way is.
    pub(super) fn is_too_big(self) -> bool {
        matches!((self.0, self.1, self.2), (3, 4, Family::V4) | (2, _, Family::V6))
    }

    /// The message about a packet, of which it quotes some.
    pub(super) fn about(self, quoted: &[u8]) -> Payload {
        let word: u32 = if self.is_too_big() { 1300 } else { 0 };
        let rest = [&word.to_be_bytes()[..], quoted].concat();
        match self.2 {
            Family::V4 => Payload::Icmp(self.0, self.1, rest),
            Family::V6 => Payload::Icmp6(self.0, self.1, rest),
        }
    }
}

/// As much of a packet as hosts and routers quote: all, as RFC 1812 wants, the eight bytes of RFC 792; or too little.
pub(super) fn quote(random: &mut Random, packet: &[u8]) -> Vec<u8> {
    let header = header_len(packet);
    let len = match random.below(8) {
        0..=3 => packet.len(),
        4 => header + 8,
        5 => 128,
        6 => header + random.index(8),
        _ => header + 8 + random.index(64),
    };
    packet[..len.min(packet.len()).min(1200)].to_vec()
}

/// Now and then about a packet of another port: of no connection.
pub(super) fn spoil(random: &mut Random, quoted: &mut [u8]) {
    let header = header_len(quoted);
    // In a tunnel's packet there stands another header, of which the checksum would be wrong.
    if random.one_in(8) && frames::tunnelled(quoted).is_none() {
        let at = header + random.index(4);
        if let Some(byte) = quoted.get_mut(at) {
            *byte ^= 0x10;
        }
    }
}

/// Bytes of a packet in front of what it carries.
fn header_len(packet: &[u8]) -> usize {
    packet.len() - frames::transport(packet).map_or(packet.len(), |(_, rest)| rest.len())
}
