//! What packets carry.

use alloc::vec::Vec;

use super::{Sctp, Tcp, Udp};
use crate::{checksum, eth, gre, icmp};

/// The addresses of a packet, source first: checksums of what it carries cover them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// In IPv4.
    V4([u8; 4], [u8; 4]),
    /// In IPv6.
    V6([u8; 16], [u8; 16]),
}

impl Ends {
    /// The sum over the pseudo header (RFC 9293 §3.1, RFC 8200 §8.1), of words as they stand in memory, from its bytes.
    pub(super) fn pseudo_sum(self, protocol: u8, len: usize) -> u32 {
        let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        // With IPv4 the length has two bytes and the protocol one; zeros change no sum.
        let rest = [&len[..], &[0, 0, 0, protocol]].concat();
        let pseudo = match self {
            Self::V4(source, destination) => [&source[..], &destination, &rest].concat(),
            Self::V6(source, destination) => [&source[..], &destination, &rest].concat(),
        };
        u32::from(!u16::from_ne_bytes(checksum::full(0, &pseudo)))
    }
}

/// What a packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp(Udp),
    /// An SCTP packet.
    Sctp(Sctp),
    /// An IPv4 packet (RFC 2003).
    Ipip(Vec<u8>),
    /// An IPv6 packet (RFC 2473, RFC 4213).
    Ipip6(Vec<u8>),
    /// A packet behind a GRE header.
    Gre(Gre),
    /// An ICMP message: its type, its code and all behind the checksum.
    Icmp(u8, u8, Vec<u8>),
    /// The same of `ICMPv6`; only in IPv6.
    Icmp6(u8, u8, Vec<u8>),
    /// Bytes of a protocol.
    Other(u8, Vec<u8>),
}

impl Payload {
    /// Protocol number.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        match self {
            Self::Icmp(..) => icmp::v4::PROTOCOL,
            Self::Ipip(_) => 4,
            Self::Tcp(_) => 6,
            Self::Udp(_) => 17,
            Self::Ipip6(_) => 41,
            Self::Gre(_) => gre::PROTOCOL,
            Self::Icmp6(..) => icmp::v6::PROTOCOL,
            Self::Sctp(_) => 132,
            Self::Other(protocol, _) => *protocol,
        }
    }

    /// Its bytes in a packet between these addresses, checksum included.
    ///
    /// # Panics
    /// When options are no whole number of words or too many, a length does not fit into its field, or `ICMPv6` is not in
    /// IPv6.
    #[must_use]
    pub fn bytes(&self, ends: Ends) -> Vec<u8> {
        match self {
            Self::Tcp(segment) => segment.bytes(ends),
            Self::Udp(datagram) => datagram.bytes(ends),
            Self::Sctp(packet) => packet.bytes(),
            Self::Ipip(bytes) | Self::Ipip6(bytes) | Self::Other(_, bytes) => bytes.clone(),
            Self::Gre(tunnelled) => tunnelled.bytes(),
            Self::Icmp(kind, code, rest) => message(*kind, *code, rest, |_| 0),
            Self::Icmp6(kind, code, rest) => {
                assert!(matches!(ends, Ends::V6(..)), "ICMPv6 in IPv4");
                message(*kind, *code, rest, |len| ends.pseudo_sum(icmp::v6::PROTOCOL, len))
            }
        }
    }
}

/// A message of ICMP, whose checksum begins with `start` of its length.
fn message(kind: u8, code: u8, rest: &[u8], start: impl Fn(usize) -> u32) -> Vec<u8> {
    let mut message = alloc::vec![kind, code, 0, 0];
    message.extend(rest);
    let checksum = checksum::full(start(message.len()), &message);
    message[icmp::CHECKSUM..][..2].copy_from_slice(&checksum);
    message
}

/// A packet behind a GRE header (RFC 2784).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gre {
    /// With a checksum.
    pub checksum: bool,
    /// EtherType of what it carries, network order.
    pub protocol_type: [u8; 2],
    /// What it carries.
    pub data: Vec<u8>,
}

impl Gre {
    /// An IPv4 packet, without a checksum.
    #[must_use]
    pub const fn ipv4(packet: Vec<u8>) -> Self {
        Self { checksum: false, protocol_type: eth::TYPE_IPV4, data: packet }
    }

    /// An IPv6 packet, without a checksum.
    #[must_use]
    pub const fn ipv6(packet: Vec<u8>) -> Self {
        Self { checksum: false, protocol_type: eth::TYPE_IPV6, data: packet }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = alloc::vec![0, 0, self.protocol_type[0], self.protocol_type[1]];
        if self.checksum {
            bytes[0] = gre::HAS_CHECKSUM;
            bytes.extend([0; 4]);
        }
        bytes.extend(&self.data);
        if self.checksum {
            let checksum = checksum::full(0, &bytes);
            bytes[gre::CHECKSUM..][..2].copy_from_slice(&checksum);
        }
        bytes
    }
}

impl Udp {
    /// A packet of that protocol, 4 or 41, behind a GUE header of version 0 without flags.
    #[must_use]
    pub fn gue(sport: u16, dport: u16, protocol: u8, packet: &[u8]) -> Self {
        let mut data = alloc::vec![0, protocol, 0, 0];
        data.extend(packet);
        Self { sport, dport, no_checksum: false, data }
    }
}

/// Bytes cut into parts of `size`: where each begins, whether more follow, and the part.
pub(super) fn parts(bytes: &[u8], size: usize) -> impl Iterator<Item = (u16, bool, &[u8])> {
    assert!(size > 0 && size.is_multiple_of(8), "fragments of {size} bytes");
    bytes.chunks(size).enumerate().map(move |(index, part)| {
        let offset = u16::try_from(index * size).expect("a fragment that begins within 65535 bytes");
        (offset, index * size + part.len() < bytes.len(), part)
    })
}
