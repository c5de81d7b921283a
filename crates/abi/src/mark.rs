//! Services by firewall mark (ipvs.md §1.1): their keys, the classifier's rules in the map `CLASSIFIER`, and the bits of the
//! map `MARKED`, which keep what no mark concerns away from both.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Addr, ServiceKey, family, limits};

/// Protocol number in the key of a service by mark: that of IPVS's templates for them (ipvs.md §7.1).
pub const PROTOCOL: u8 = 0;

/// The address in the key of a service by mark: the mark as IPVS's templates have it (ipvs.md §7.1), `0.0.0.7` for 7; in
/// IPv6 the last word, `::7`.
#[inline(always)]
#[must_use]
pub const fn address(mark: u32, is_v4: bool) -> Addr {
    let m = mark.to_be_bytes();
    if is_v4 { Addr::v4(m) } else { Addr([0, u64::from_ne_bytes([0, 0, 0, 0, m[0], m[1], m[2], m[3]])]) }
}

/// The key of a service by mark.
#[inline(always)]
#[must_use]
pub const fn key(mark: u32, is_v4: bool) -> ServiceKey {
    ServiceKey {
        vip: address(mark, is_v4),
        vport: 0,
        protocol: PROTOCOL,
        family: if is_v4 { family::V4 } else { family::V6 },
        zero: 0,
    }
}

/// A rule of the classifier: which packets get which mark. What is not asked for is zero, and its mask or range takes all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Rule {
    /// The source's prefix; zero behind its mask.
    pub source: Addr,
    /// Which bits of the source count.
    pub source_mask: Addr,
    /// The destination's prefix; zero behind its mask.
    pub destination: Addr,
    /// Which bits of the destination count.
    pub destination_mask: Addr,
    /// First and last source port, host order.
    pub source_ports: [u16; 2],
    /// First and last destination port, host order.
    pub destination_ports: [u16; 2],
    /// IP protocol number; 0: any.
    pub protocol: u8,
    /// [`crate::family`]; 0: either.
    pub family: u8,
    /// Which of source, destination, source ports and ports were asked for: bits 0 to 3. For listings only.
    pub given: u16,
    /// The mark that they get; not 0.
    pub mark: u32,
    /// For later use; zero.
    pub spare: u64,
}

/// The value of [`crate::Config::rules`]: the first rule of the list in force, and how many it has. One word, so that a
/// list takes another's place at once.
#[inline(always)]
#[must_use]
pub const fn list(first: u32, count: u32) -> u32 {
    first << 16 | count
}

/// First rule and count, from [`crate::Config::rules`].
#[inline(always)]
#[must_use]
pub const fn list_parts(word: u32) -> (u32, u32) {
    (word >> 16, word & 0xffff)
}

/// Where in `MARKED` the addresses stand to which connections were made by mark. The programs set the bits, and nobody
/// clears one while there is a service by mark: a packet of such a connection need not have a mark (ipvs.md §2.2).
pub const LEARNED: u32 = 0;
/// Where in `MARKED` the destinations stand that some rule may concern, IPv4: a bit for the first 16 bits of the address.
pub const RULED_V4: u32 = limits::FILTER_WORDS;
/// The same for IPv6: a bit for the first 32 bits of the address, folded to 16.
pub const RULED_V6: u32 = 2 * limits::FILTER_WORDS;

/// Bits of an address that choose its bit among those of rules.
#[must_use]
pub const fn ruled_bits(is_v4: bool) -> u32 {
    if is_v4 { 16 } else { 32 }
}

/// Word of `MARKED`, and bit, that say whether some rule may concern packets to an address.
#[inline(always)]
#[must_use]
pub const fn ruled_bit(address: Addr) -> (u32, u32) {
    let b = address.to_bytes();
    let (start, index) = if address.is_v4() {
        (RULED_V4, u16::from_be_bytes([b[12], b[13]]) as u32)
    } else {
        (RULED_V6, u16::from_be_bytes([b[0] ^ b[2], b[1] ^ b[3]]) as u32)
    };
    (start + (index >> 6), index & 63)
}

const _: () = assert!(size_of::<Rule>() == 88 && limits::FILTER_WORDS * 64 == 1 << 16);
const _: () = assert!(limits::RULES_MAX * limits::RULE_LISTS <= 1 << 16, "a list's first rule has 16 bits");
