//! Frames for tests and tools: built field by field, every checksum computed in full over the finished bytes.
//!
//! Nothing here shares code with the incremental updates of [`crate::checksum::Delta`] or with [`crate::ipv4::Outer`], so
//! that what those make can be compared with what this builds.

use alloc::vec::Vec;

use crate::{checksum, eth, ipv4};

mod ipv6;
pub mod malformed;
mod payload;
mod transport;
mod verify;

pub use ipv6::{Extension, Ipv6};
pub use payload::{Ends, Gre, Payload};
pub use transport::{Chunk, Sctp, Tcp, Udp};
pub use verify::{Fault, checksums_ok, checksums_ok_with_gue, quoted_checksum_ok};

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

/// A VLAN tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tag {
    /// EtherType that announces it, [`eth::TYPE_VLAN`] or [`eth::TYPE_SERVICE_VLAN`]; network order.
    pub kind: [u8; 2],
    /// Priority (3 bits), eligible to be dropped (1 bit), number of the VLAN (12 bits); host order.
    pub control: u16,
}

impl Tag {
    /// A tag of a customer's VLAN (IEEE 802.1Q).
    #[must_use]
    pub const fn customer(vlan: u16) -> Self {
        Self { kind: eth::TYPE_VLAN, control: vlan }
    }

    /// A tag of a provider's VLAN (IEEE 802.1ad), which stands outside of a customer's.
    #[must_use]
    pub const fn service(vlan: u16) -> Self {
        Self { kind: eth::TYPE_SERVICE_VLAN, control: vlan }
    }
}

/// A frame with tags put in behind the link addresses, the outermost first.
///
/// # Panics
/// When the frame is shorter than two addresses.
#[must_use]
pub fn tagged(frame: &[u8], tags: &[Tag]) -> Vec<u8> {
    let (addresses, rest) = frame.split_at(2 * size_of::<Mac>());
    let mut tagged = addresses.to_vec();
    for tag in tags {
        tagged.extend(tag.kind);
        tagged.extend(tag.control.to_be_bytes());
    }
    tagged.extend(rest);
    tagged
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
        let payload_bytes = payload.bytes(Ends::V4(self.source, self.destination));
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
    /// The packet in fragments that carry `size` bytes each, the last one what is left. "Don't fragment" is left out.
    ///
    /// # Panics
    /// When `size` is 0 or no multiple of 8, or a fragment would begin past byte 65528.
    #[must_use]
    pub fn fragments(&self, payload: &Payload, size: usize) -> Vec<Vec<u8>> {
        payload::parts(&payload.bytes(Ends::V4(self.source, self.destination)), size)
            .map(|(offset, more_fragments, part)| {
                let header = Self {
                    fragment_offset: self.fragment_offset + offset / 8,
                    more_fragments: self.more_fragments || more_fragments,
                    dont_fragment: false,
                    ..self.clone()
                };
                header.packet(&Payload::Other(payload.protocol(), part.to_vec()))
            })
            .collect()
    }
}
