//! TCP, UDP and SCTP.

use alloc::vec::Vec;

use super::Ends;
use crate::{checksum, sctp, tcp, udp};

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

    pub(super) fn bytes(&self, ends: Ends) -> Vec<u8> {
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
        let checksum = checksum::full(ends.pseudo_sum(6, segment.len()), &segment);
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

    pub(super) fn bytes(&self, ends: Ends) -> Vec<u8> {
        let len = udp::LEN + self.data.len();
        let mut datagram = Vec::with_capacity(len);
        datagram.extend(self.sport.to_be_bytes());
        datagram.extend(self.dport.to_be_bytes());
        datagram.extend(u16::try_from(len).expect("a datagram of at most 65535 bytes").to_be_bytes());
        datagram.extend([0, 0]);
        datagram.extend(&self.data);
        if !self.no_checksum {
            let checksum = match checksum::full(ends.pseudo_sum(17, len), &datagram) {
                [0, 0] => [0xff, 0xff],
                computed => computed,
            };
            datagram[udp::CHECKSUM..][..2].copy_from_slice(&checksum);
        }
        datagram
    }
}

/// An SCTP packet. Numbers in host order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sctp {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Verification tag.
    pub tag: u32,
    /// Sent without a checksum: the field is 0, as Linux leaves it for the device.
    pub no_checksum: bool,
    /// What it carries.
    pub chunks: Vec<Chunk>,
}

impl Sctp {
    /// A packet with chunks of these types, each as [`Chunk::new`] makes it.
    #[must_use]
    pub fn new(sport: u16, dport: u16, kinds: &[u8]) -> Self {
        let chunks = kinds.iter().copied().map(Chunk::new).collect();
        Self { sport, dport, tag: 0x5eed_7a65, no_checksum: false, chunks }
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut packet = Vec::with_capacity(sctp::LEN);
        packet.extend(self.sport.to_be_bytes());
        packet.extend(self.dport.to_be_bytes());
        packet.extend(self.tag.to_be_bytes());
        packet.extend([0; 4]);
        for chunk in &self.chunks {
            packet.extend([chunk.kind, chunk.flags]);
            let len =
                u16::try_from(sctp::CHUNK_LEN + chunk.value.len()).expect("a chunk of at most 65535 bytes");
            packet.extend(len.to_be_bytes());
            packet.extend(&chunk.value);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        if !self.no_checksum {
            let checksum = sctp::checksum(&packet);
            packet[sctp::CHECKSUM..sctp::LEN].copy_from_slice(&checksum);
        }
        packet
    }
}

/// A chunk of an SCTP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Type, of [`sctp::chunk`].
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// What stands behind the chunk's header, without padding.
    pub value: Vec<u8>,
}

impl Chunk {
    /// A chunk as short as its type may be (RFC 9260 §3.3): fields are 0.
    #[must_use]
    pub fn new(kind: u8) -> Self {
        let (flags, value) = match kind {
            // One byte of data, all in this chunk.
            sctp::chunk::DATA => (3, alloc::vec![0; 13]),
            sctp::chunk::INIT => (0, alloc::vec![0; 16]),
            // With an empty cookie.
            sctp::chunk::INIT_ACK => (0, [&[0; 16][..], &[0, 7, 0, 4]].concat()),
            sctp::chunk::SACK => (0, alloc::vec![0; 12]),
            sctp::chunk::HEARTBEAT | sctp::chunk::HEARTBEAT_ACK => (0, alloc::vec![0, 1, 0, 4]),
            sctp::chunk::SHUTDOWN | sctp::chunk::ECNE | sctp::chunk::CWR => (0, alloc::vec![0; 4]),
            _ => (0, Vec::new()),
        };
        Self { kind, flags, value }
    }
}
