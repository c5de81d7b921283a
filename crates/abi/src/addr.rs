//! One form for addresses of both families.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv4 or IPv6 address: 16 bytes in network order, IPv4 in its mapped form (`::ffff:a.b.c.d`, RFC 4291 §2.5.5.2).
/// Two machine words, so that comparing is two instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Addr(pub [u64; 2]);

impl Addr {
    /// An IPv4 address from its four bytes as they stand in a packet.
    #[inline(always)]
    #[must_use]
    pub const fn v4(b: [u8; 4]) -> Self {
        Self([0, u64::from_ne_bytes([0, 0, 0xff, 0xff, b[0], b[1], b[2], b[3]])])
    }

    /// From its 16 bytes as they stand in an IPv6 packet.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(b: &[u8; 16]) -> Self {
        Self([
            u64::from_ne_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]),
            u64::from_ne_bytes([b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]]),
        ])
    }

    /// Its 16 bytes as they stand in an IPv6 packet.
    #[inline(always)]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        let (h, l) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        [h[0], h[1], h[2], h[3], h[4], h[5], h[6], h[7], l[0], l[1], l[2], l[3], l[4], l[5], l[6], l[7]]
    }

    /// From four words that stand as in memory.
    #[inline(always)]
    #[must_use]
    pub const fn from_words(w: [u32; 4]) -> Self {
        let (a, b) = (w[0].to_ne_bytes(), w[1].to_ne_bytes());
        let (c, d) = (w[2].to_ne_bytes(), w[3].to_ne_bytes());
        Self([
            u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]]),
            u64::from_ne_bytes([c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]),
        ])
    }

    /// Four words that stand as in memory.
    #[inline(always)]
    #[must_use]
    pub const fn words(self) -> [u32; 4] {
        let (h, l) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        [
            u32::from_ne_bytes([h[0], h[1], h[2], h[3]]),
            u32::from_ne_bytes([h[4], h[5], h[6], h[7]]),
            u32::from_ne_bytes([l[0], l[1], l[2], l[3]]),
            u32::from_ne_bytes([l[4], l[5], l[6], l[7]]),
        ]
    }

    /// The last four bytes: the address, if it is IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn v4_bytes(self) -> [u8; 4] {
        let b = self.0[1].to_ne_bytes();
        [b[4], b[5], b[6], b[7]]
    }

    /// Whether it is IPv4, in its mapped form.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(self) -> bool {
        let b = self.0[1].to_ne_bytes();
        self.0[0] == 0
            && u32::from_ne_bytes([b[0], b[1], b[2], b[3]]) == u32::from_ne_bytes([0, 0, 0xff, 0xff])
    }

    /// One number for it, in host order: an IPv4 address itself, of IPv6 its four words combined by XOR (ipvs.md §6.13).
    #[inline(always)]
    #[must_use]
    pub const fn folded(self) -> u32 {
        if self.is_v4() {
            return u32::from_be_bytes(self.v4_bytes());
        }
        let b = (self.0[0] ^ self.0[1]).to_ne_bytes();
        u32::from_be_bytes([b[0] ^ b[4], b[1] ^ b[5], b[2] ^ b[6], b[3] ^ b[7]])
    }

    /// From the host's form.
    #[must_use]
    pub const fn from_ip(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => Self::v4(v4.octets()),
            IpAddr::V6(v6) => Self::from_bytes(&v6.octets()),
        }
    }

    /// To the host's form; mapped addresses become IPv4.
    #[must_use]
    pub const fn to_ip(self) -> IpAddr {
        let (h, l) = (self.0[0].to_ne_bytes(), self.0[1].to_ne_bytes());
        if self.is_v4() {
            return IpAddr::V4(Ipv4Addr::new(l[4], l[5], l[6], l[7]));
        }
        IpAddr::V6(Ipv6Addr::from_bits(
            ((u64::from_be_bytes(h) as u128) << 64) | u64::from_be_bytes(l) as u128,
        ))
    }
}

impl From<[u8; 4]> for Addr {
    fn from(bytes: [u8; 4]) -> Self {
        Self::v4(bytes)
    }
}

impl From<[u8; 16]> for Addr {
    fn from(bytes: [u8; 16]) -> Self {
        Self::from_bytes(&bytes)
    }
}
