//! Frames for tests and tools: built field by field, every checksum computed in full over the finished bytes.
//!
//! Nothing here shares code with the incremental updates of [`crate::checksum::Delta`] or with [`crate::ipv4::Outer`], so
//! that what those make can be compared with what this builds.

use alloc::vec::Vec;

use crate::{checksum, eth, ipv4, tcp, udp};

pub mod malformed;
mod verify;

pub use verify::{Fault, checksums_ok};

/// A link address.
pub type Mac = [u8; 6];

/// An Ethernet frame around a packet. `kind` is the EtherType in network order.
#[must_use]
pub fn ethernet(destination: Mac, source: Mac, kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(eth::LEN + packet.len());
    frame.extend(destination);
    frame.extend(source);
    frame.extend(kind);
    frame.extend(packet);
    frame
}

/// The header of an IPv4 packet. Numbers in host order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv4 {
    /// Type of service.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// "Don't fragment".
    pub dont_fragment: bool,
    /// More fragments follow.
    pub more_fragments: bool,
    /// Where this fragment begins, in units of 8 bytes (13 bits).
    pub fragment_offset: u16,
    /// Time to live.
    pub ttl: u8,
    /// Source address.
    pub source: [u8; 4],
    /// Destination address.
    pub destination: [u8; 4],
    /// Options, a whole number of words; at most 40 bytes.
    pub options: Vec<u8>,
}

impl Ipv4 {
    /// A header as a host sends it: time to live 64, not to be fragmented, no options.
    #[must_use]
    pub const fn new(source: [u8; 4], destination: [u8; 4]) -> Self {
        Self {
            tos: 0,
            id: 0x1234,
            dont_fragment: true,
            more_fragments: false,
            fragment_offset: 0,
            ttl: 64,
            source,
            destination,
            options: Vec::new(),
        }
    }

    /// The packet.
    ///
    /// # Panics
    /// When options are no whole number of words or too many, or the packet is longer than 65535 bytes.
    #[must_use]
    pub fn packet(&self, payload: &Payload) -> Vec<u8> {
        let header_len = ipv4::LEN + self.options.len();
        assert!(header_len.is_multiple_of(4) && header_len <= 60, "{} bytes of options", self.options.len());
        let payload_bytes = payload.bytes(self.source, self.destination);
        let total = u16::try_from(header_len + payload_bytes.len()).expect("a packet of at most 65535 bytes");
        let fragment =
            self.fragment_offset | u16::from(self.more_fragments) << 13 | u16::from(self.dont_fragment) << 14;
        #[allow(clippy::cast_possible_truncation, reason = "at most 15")]
        let mut packet = alloc::vec![0x40 | (header_len / 4) as u8, self.tos];
        packet.extend(total.to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(fragment.to_be_bytes());
        packet.extend([self.ttl, payload.protocol(), 0, 0]);
        packet.extend(self.source);
        packet.extend(self.destination);
        packet.extend(&self.options);
        let checksum = checksum::full(0, &packet);
        packet[10..12].copy_from_slice(&checksum);
        packet.extend(payload_bytes);
        packet
    }

    /// The packet in a frame between the two link addresses.
    ///
    /// # Panics
    /// As [`packet`](Self::packet).
    #[must_use]
    pub fn frame(&self, destination: Mac, source: Mac, payload: &Payload) -> Vec<u8> {
        ethernet(destination, source, eth::TYPE_IPV4, &self.packet(payload))
    }
}

/// What an IPv4 packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A TCP segment.
    Tcp(Tcp),
    /// A UDP datagram.
    Udp(Udp),
    /// An IPv4 packet (RFC 2003).
    Ipip(Vec<u8>),
    /// An ICMP message: its type, its code and all behind the checksum.
    Icmp(u8, u8, Vec<u8>),
    /// Bytes of a protocol.
    Other(u8, Vec<u8>),
}

impl Payload {
    /// Protocol number.
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        match self {
            Self::Icmp(..) => 1,
            Self::Ipip(_) => 4,
            Self::Tcp(_) => 6,
            Self::Udp(_) => 17,
            Self::Other(protocol, _) => *protocol,
        }
    }

    fn bytes(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        match self {
            Self::Tcp(segment) => segment.bytes(source, destination),
            Self::Udp(datagram) => datagram.bytes(source, destination),
            Self::Ipip(bytes) | Self::Other(_, bytes) => bytes.clone(),
            Self::Icmp(kind, code, rest) => {
                let mut message = alloc::vec![*kind, *code, 0, 0];
                message.extend(rest);
                let checksum = checksum::full(0, &message);
                message[2..4].copy_from_slice(&checksum);
                message
            }
        }
    }
}

/// A TCP segment. Numbers in host order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tcp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number.
    pub acknowledgement: u32,
    /// Flags, [`tcp::SYN`] and others.
    pub flags: u8,
    /// Options, a whole number of words; at most 40 bytes.
    pub options: Vec<u8>,
    /// What it carries.
    pub data: Vec<u8>,
}

impl Tcp {
    /// A segment without data.
    #[must_use]
    pub fn new(sport: u16, dport: u16, flags: u8) -> Self {
        Self { sport, dport, flags, sequence: 1000, ..Self::default() }
    }

    fn bytes(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let header_len = tcp::LEN + self.options.len();
        assert!(header_len.is_multiple_of(4) && header_len <= 60, "{} bytes of options", self.options.len());
        let mut segment = Vec::with_capacity(header_len + self.data.len());
        segment.extend(self.sport.to_be_bytes());
        segment.extend(self.dport.to_be_bytes());
        segment.extend(self.sequence.to_be_bytes());
        segment.extend(self.acknowledgement.to_be_bytes());
        #[allow(clippy::cast_possible_truncation, reason = "at most 15")]
        segment.extend([((header_len / 4) as u8) << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(&self.options);
        segment.extend(&self.data);
        let checksum = checksum::full(pseudo_sum(source, destination, 6, segment.len()), &segment);
        segment[tcp::CHECKSUM..][..2].copy_from_slice(&checksum);
        segment
    }
}

/// A UDP datagram. Numbers in host order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Udp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sent without a checksum: the field is 0 (RFC 768).
    pub no_checksum: bool,
    /// What it carries.
    pub data: Vec<u8>,
}

impl Udp {
    /// A datagram with a checksum.
    #[must_use]
    pub fn new(sport: u16, dport: u16, data: &[u8]) -> Self {
        Self { sport, dport, no_checksum: false, data: data.to_vec() }
    }

    fn bytes(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let len = udp::LEN + self.data.len();
        let mut datagram = Vec::with_capacity(len);
        datagram.extend(self.sport.to_be_bytes());
        datagram.extend(self.dport.to_be_bytes());
        datagram.extend(u16::try_from(len).expect("a datagram of at most 65535 bytes").to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(&self.data);
        if !self.no_checksum {
            let checksum = match checksum::full(pseudo_sum(source, destination, 17, len), &datagram) {
                [0, 0] => [0xff, 0xff],
                computed => computed,
            };
            datagram[udp::CHECKSUM..][..2].copy_from_slice(&checksum);
        }
        datagram
    }
}

/// The sum over the pseudo header (RFC 9293 §3.1), of words as they stand in memory.
fn pseudo_sum(source: [u8; 4], destination: [u8; 4], protocol: u8, len: usize) -> u32 {
    let len = u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes();
    let [a, b, c, d] = source;
    let [e, f, g, h] = destination;
    let pseudo = [a, b, c, d, e, f, g, h, 0, protocol, len[0], len[1]];
    u32::from(!u16::from_ne_bytes(checksum::full(0, &pseudo)))
}
