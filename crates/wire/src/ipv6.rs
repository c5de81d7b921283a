//! IPv6 headers (RFC 8200).

use crate::checksum::Delta;

/// Bytes of the fixed header.
pub const LEN: usize = 40;
/// The smallest MTU of a link, bytes (RFC 8200 §5).
pub const MTU_MIN: u16 = 1280;

/// Offsets of fields.
pub mod at {
    /// Bytes behind the fixed header.
    pub const PAYLOAD: usize = 4;
    /// Source address.
    pub const SOURCE: usize = 8;
    /// Destination address.
    pub const DESTINATION: usize = 24;
}

/// Numbers of the field "next header" that say what comes behind (IANA, "Protocol Numbers").
pub mod next {
    /// Hop-by-hop options; only directly behind the fixed header.
    pub const HOP_BY_HOP: u8 = 0;
    /// An IPv4 packet.
    pub const IPV4: u8 = 4;
    /// An IPv6 packet.
    pub const IPV6: u8 = 41;
    /// Routing header.
    pub const ROUTING: u8 = 43;
    /// Fragment header.
    pub const FRAGMENT: u8 = 44;
    /// Encapsulating security payload: nothing behind it can be read.
    pub const ESP: u8 = 50;
    /// Authentication header.
    pub const AH: u8 = 51;
    /// `ICMPv6`.
    pub const ICMP: u8 = 58;
    /// Nothing comes behind.
    pub const NONE: u8 = 59;
    /// Destination options.
    pub const DESTINATION_OPTIONS: u8 = 60;
    /// Mobility header (RFC 6275).
    pub const MOBILITY: u8 = 135;
}

/// Whether an extension header follows that says where it ends and what comes behind: options, routing, fragment.
///
/// AH has the same form but is a protocol of its own to who forwards (ipvs.md §5.8); [`extension_len`] knows its length
/// too.
#[inline(always)]
#[must_use]
pub const fn is_extension(next_header: u8) -> bool {
    matches!(next_header, next::HOP_BY_HOP | next::ROUTING | next::FRAGMENT | next::DESTINATION_OPTIONS)
}

/// Bytes of an extension header or AH, given its number and its second byte, the length field.
#[inline(always)]
#[must_use]
pub const fn extension_len(next_header: u8, length_field: u8) -> usize {
    match next_header {
        // Its second byte is reserved (RFC 8200 §4.5).
        next::FRAGMENT => fragment::LEN,
        // In words of four bytes, two less than there are (RFC 4302 §2.2).
        next::AH => (length_field as usize + 2) * 4,
        _ => (length_field as usize + 1) * 8,
    }
}

/// Fragment headers (RFC 8200 §4.5).
pub mod fragment {
    /// Bytes of the header.
    pub const LEN: usize = 8;

    /// Where the fragment begins in the packet behind the headers that each fragment has, in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn offset(b: &[u8; LEN]) -> u16 {
        u16::from_be_bytes([b[2], b[3]]) & 0xfff8
    }

    /// Whether more fragments follow. A fragment at offset 0 that none follows is a whole packet (RFC 6946).
    #[inline(always)]
    #[must_use]
    pub const fn more(b: &[u8; LEN]) -> bool {
        b[3] & 1 != 0
    }

    /// Identification, host order.
    #[inline(always)]
    #[must_use]
    pub const fn id(b: &[u8; LEN]) -> u32 {
        u32::from_be_bytes([b[4], b[5], b[6], b[7]])
    }
}

/// The 16 bytes of an address as four words that stand as in memory.
#[inline(always)]
#[must_use]
pub const fn words(b: [u8; 16]) -> [u32; 4] {
    [
        u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
        u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
        u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
        u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
    ]
}

/// The bytes of an address in four words: the reverse of [`words`].
#[inline(always)]
#[must_use]
pub const fn bytes(words: [u32; 4]) -> [u8; 16] {
    let (a, b) = (words[0].to_ne_bytes(), words[1].to_ne_bytes());
    let (c, d) = (words[2].to_ne_bytes(), words[3].to_ne_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
}

/// Words of a header by what is in them; an address begins at its word.
const CLASS: usize = 0;
const LENGTH: usize = 1;

/// A fixed header: 40 bytes as ten words, each as it stands in memory, for the reason of [`crate::ipv4::Header`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header(pub [u32; 10]);

impl Header {
    /// From its bytes.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(b: &[u8; LEN]) -> Self {
        let [s0, s1, s2, s3] = words([
            b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15], b[16], b[17], b[18], b[19], b[20], b[21],
            b[22], b[23],
        ]);
        let [d0, d1, d2, d3] = words([
            b[24], b[25], b[26], b[27], b[28], b[29], b[30], b[31], b[32], b[33], b[34], b[35], b[36], b[37],
            b[38], b[39],
        ]);
        let class = u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
        let length = u32::from_ne_bytes([b[4], b[5], b[6], b[7]]);
        Self([class, length, s0, s1, s2, s3, d0, d1, d2, d3])
    }

    /// Its bytes.
    #[inline(always)]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; LEN] {
        let (a, b) = (self.0[CLASS].to_ne_bytes(), self.0[LENGTH].to_ne_bytes());
        let (s, d) = (self.source(), self.destination());
        [
            a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7],
            s[8], s[9], s[10], s[11], s[12], s[13], s[14], s[15], d[0], d[1], d[2], d[3], d[4], d[5], d[6],
            d[7], d[8], d[9], d[10], d[11], d[12], d[13], d[14], d[15],
        ]
    }

    /// Version field.
    #[inline(always)]
    #[must_use]
    pub const fn version(&self) -> u8 {
        self.0[CLASS].to_ne_bytes()[0] >> 4
    }

    /// Traffic class: DSCP and ECN, as IPv4's type of service.
    #[inline(always)]
    #[must_use]
    pub const fn traffic_class(&self) -> u8 {
        let b = self.0[CLASS].to_ne_bytes();
        b[0] << 4 | b[1] >> 4
    }

    /// Flow label (20 bits), host order.
    #[inline(always)]
    #[must_use]
    pub const fn flow_label(&self) -> u32 {
        u32::from_be(self.0[CLASS]) & 0x000f_ffff
    }

    /// Bytes behind the fixed header, extension headers included.
    #[inline(always)]
    #[must_use]
    pub const fn payload_len(&self) -> u16 {
        let b = self.0[LENGTH].to_ne_bytes();
        u16::from_be_bytes([b[0], b[1]])
    }

    /// What comes behind the fixed header: an extension header or a protocol.
    #[inline(always)]
    #[must_use]
    pub const fn next_header(&self) -> u8 {
        self.0[LENGTH].to_ne_bytes()[2]
    }

    /// Hop limit.
    #[inline(always)]
    #[must_use]
    pub const fn hop_limit(&self) -> u8 {
        self.0[LENGTH].to_ne_bytes()[3]
    }

    /// Source address as words that stand as in memory.
    #[inline(always)]
    #[must_use]
    pub const fn source_words(&self) -> [u32; 4] {
        [self.0[2], self.0[3], self.0[4], self.0[5]]
    }

    /// Destination address as words that stand as in memory.
    #[inline(always)]
    #[must_use]
    pub const fn destination_words(&self) -> [u32; 4] {
        [self.0[6], self.0[7], self.0[8], self.0[9]]
    }

    /// Source address.
    #[inline(always)]
    #[must_use]
    pub const fn source(&self) -> [u8; 16] {
        bytes(self.source_words())
    }

    /// Destination address.
    #[inline(always)]
    #[must_use]
    pub const fn destination(&self) -> [u8; 16] {
        bytes(self.destination_words())
    }

    /// The same with another source address, in words that stand as in memory, and what that adds to checksums over the
    /// pseudo header. The header itself has none.
    #[inline(always)]
    #[must_use]
    pub const fn with_source(mut self, address: [u32; 4]) -> (Self, Delta) {
        let delta = Delta::new().address(self.source_words(), address);
        [self.0[2], self.0[3], self.0[4], self.0[5]] = address;
        (self, delta)
    }

    /// The same with another destination address, as [`with_source`](Self::with_source). Not for a packet with a routing
    /// header that has segments left: its pseudo header has the last address (RFC 8200 §8.1).
    #[inline(always)]
    #[must_use]
    pub const fn with_destination(mut self, address: [u32; 4]) -> (Self, Delta) {
        let delta = Delta::new().address(self.destination_words(), address);
        [self.0[6], self.0[7], self.0[8], self.0[9]] = address;
        (self, delta)
    }

    /// The same with a hop limit that is one less. No checksum covers it.
    #[inline(always)]
    #[must_use]
    pub const fn decrement_hop_limit(mut self) -> Self {
        let b = self.0[LENGTH].to_ne_bytes();
        self.0[LENGTH] = u32::from_ne_bytes([b[0], b[1], b[2], b[3].wrapping_sub(1)]);
        self
    }
}

/// What an outer header of a tunnel (RFC 2473) is made of. Its flow label is 0 (ipvs.md §3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outer {
    /// Traffic class.
    pub traffic_class: u8,
    /// Bytes behind the header, host order.
    pub payload_len: u16,
    /// Number of what comes behind.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address, words that stand as in memory.
    pub source: [u32; 4],
    /// Destination address, words that stand as in memory.
    pub destination: [u32; 4],
}

impl Outer {
    /// The header.
    #[inline(always)]
    #[must_use]
    pub const fn emit(&self) -> Header {
        let len = self.payload_len.to_be_bytes();
        let [s0, s1, s2, s3] = self.source;
        let [d0, d1, d2, d3] = self.destination;
        let class = u32::from_ne_bytes([0x60 | self.traffic_class >> 4, self.traffic_class << 4, 0, 0]);
        let length = u32::from_ne_bytes([len[0], len[1], self.next_header, self.hop_limit]);
        Header([class, length, s0, s1, s2, s3, d0, d1, d2, d3])
    }
}
