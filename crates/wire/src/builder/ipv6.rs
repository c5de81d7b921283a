//! IPv6 packets and their extension headers.

use alloc::vec::Vec;

use super::{Ends, Mac, Payload, ethernet, payload};
use crate::eth;
use crate::ipv6::next;

/// The headers of an IPv6 packet. Numbers in host order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ipv6 {
    /// Traffic class.
    pub traffic_class: u8,
    /// Flow label (20 bits).
    pub flow_label: u32,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: [u8; 16],
    /// Destination address. Checksums are computed with it, even if a routing header has segments left.
    pub destination: [u8; 16],
    /// Extension headers, in order.
    pub extensions: Vec<Extension>,
}

/// An extension header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options: the options without padding, at most 2046 bytes.
    HopByHop(Vec<u8>),
    /// Destination options: the same.
    DestinationOptions(Vec<u8>),
    /// A routing header.
    Routing {
        /// Routing type.
        kind: u8,
        /// Segments left.
        segments_left: u8,
        /// What stands behind these fields, at most 2044 bytes.
        data: Vec<u8>,
    },
    /// A fragment header. With more than a first fragment's beginning the payload is best [`Payload::Other`].
    Fragment {
        /// Where the fragment begins, in bytes; a multiple of 8.
        offset: u16,
        /// More fragments follow.
        more: bool,
        /// Identification.
        id: u32,
    },
    /// An authentication header (RFC 4302).
    Ah {
        /// Security parameters index.
        spi: u32,
        /// Sequence number.
        sequence: u32,
        /// Integrity check value, a whole number of words.
        value: Vec<u8>,
    },
}

impl Extension {
    /// Its number.
    #[must_use]
    pub const fn number(&self) -> u8 {
        match self {
            Self::HopByHop(_) => next::HOP_BY_HOP,
            Self::DestinationOptions(_) => next::DESTINATION_OPTIONS,
            Self::Routing { .. } => next::ROUTING,
            Self::Fragment { .. } => next::FRAGMENT,
            Self::Ah { .. } => next::AH,
        }
    }

    fn bytes(&self, next_header: u8) -> Vec<u8> {
        match self {
            Self::HopByHop(options) | Self::DestinationOptions(options) => padded(next_header, options),
            Self::Routing { kind, segments_left, data } => {
                padded(next_header, &[&[*kind, *segments_left][..], data].concat())
            }
            Self::Fragment { offset, more, id } => {
                let [a, b] = (offset & 0xfff8 | u16::from(*more)).to_be_bytes();
                [&[next_header, 0, a, b][..], &id.to_be_bytes()].concat()
            }
            Self::Ah { spi, sequence, value } => {
                assert!(value.len().is_multiple_of(4), "{} bytes of check value", value.len());
                let len = u8::try_from((12 + value.len()) / 4 - 2).expect("a header of at most 1028 bytes");
                [&[next_header, len, 0, 0][..], &spi.to_be_bytes(), &sequence.to_be_bytes(), value].concat()
            }
        }
    }
}

/// A header that counts units of 8 bytes, filled up with zeros: as options they are padding (RFC 8200 §4.2).
fn padded(next_header: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = alloc::vec![next_header, 0];
    bytes.extend(rest);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes[1] = u8::try_from(bytes.len() / 8 - 1).expect("a header of at most 2048 bytes");
    bytes
}

impl Ipv6 {
    /// A header as a host sends it: hop limit 64, no extension headers.
    #[must_use]
    pub const fn new(source: [u8; 16], destination: [u8; 16]) -> Self {
        let extensions = Vec::new();
        Self { traffic_class: 0, flow_label: 0, hop_limit: 64, source, destination, extensions }
    }

    /// The packet.
    ///
    /// # Panics
    /// When an extension header is too long for its length field, or what is behind the fixed header is longer than 65535
    /// bytes.
    #[must_use]
    pub fn packet(&self, payload: &Payload) -> Vec<u8> {
        // From the last header to the first, as each says what comes behind it.
        let mut behind = payload.bytes(Ends::V6(self.source, self.destination));
        let mut next_header = payload.protocol();
        for extension in self.extensions.iter().rev() {
            behind = [extension.bytes(next_header), behind].concat();
            next_header = extension.number();
        }
        let len = u16::try_from(behind.len()).expect("a packet of at most 65535 bytes behind its header");
        let first = 6 << 28 | u32::from(self.traffic_class) << 20 | self.flow_label & 0x000f_ffff;
        let mut packet = first.to_be_bytes().to_vec();
        packet.extend(len.to_be_bytes());
        packet.extend([next_header, self.hop_limit]);
        packet.extend(self.source);
        packet.extend(self.destination);
        packet.extend(behind);
        packet
    }

    /// The packet in a frame between the two link addresses.
    ///
    /// # Panics
    /// As [`packet`](Self::packet).
    #[must_use]
    pub fn frame(&self, destination: Mac, source: Mac, payload: &Payload) -> Vec<u8> {
        ethernet(destination, source, eth::TYPE_IPV6, &self.packet(payload))
    }

    /// The packet in fragments that carry `size` bytes each, the last one what is left: each with the extension headers
    /// that are there and a fragment header of that identification.
    ///
    /// # Panics
    /// When `size` is 0 or no multiple of 8, or a fragment would begin past byte 65528.
    #[must_use]
    pub fn fragments(&self, payload: &Payload, size: usize, id: u32) -> Vec<Vec<u8>> {
        payload::parts(&payload.bytes(Ends::V6(self.source, self.destination)), size)
            .map(|(offset, more, part)| {
                let mut header = self.clone();
                header.extensions.push(Extension::Fragment { offset, more, id });
                header.packet(&Payload::Other(payload.protocol(), part.to_vec()))
            })
            .collect()
    }
}
