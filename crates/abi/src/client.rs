//! Clients' addresses at a real server: whom to believe, what was learnt, and counters of what became of it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{Addr, family};

/// Name of the map from sockets to [`ClientAddress`].
pub const CLIENTS: &str = "CLIENTS";
/// Name of the map of [`DirectorPrefix`].
pub const DIRECTORS: &str = "DIRECTORS";
/// Name of the map with a counter per CPU and [`ClientOutcome`].
pub const CLIENT_OUTCOMES: &str = "CLIENT_OUTCOMES";

/// The client of a connection that a director's address stands before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ClientAddress {
    /// The client's address.
    pub addr: Addr,
    /// The client's port, in network order. 0: not known yet; it may come with a later segment.
    pub port: u16,
    /// Zero.
    pub zero: [u16; 3],
}

/// Addresses that are directors': the key of a longest-prefix map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct DirectorPrefix {
    /// How many bits behind this field count.
    pub bits: u32,
    /// One of [`family`]: the network of all IPv6 addresses holds no IPv4 address in its mapped form.
    pub family: u32,
    /// The address.
    pub addr: Addr,
}

impl DirectorPrefix {
    /// Bits of an IPv6 address, and of any in its mapped form.
    const ADDR_BITS: u32 = 128;
    /// Bits of an IPv4 address.
    const V4_BITS: u32 = 32;

    /// The addresses whose first `len` bits are those of `addr`: up to 32 of an IPv4 address, 128 of an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn new(addr: Addr, len: u32) -> Self {
        let (family, skipped) =
            if addr.is_v4() { (family::V4, Self::ADDR_BITS - Self::V4_BITS) } else { (family::V6, 0) };
        Self { bits: u32::BITS + skipped + len, family: family as u32, addr }
    }

    /// One address: what a connection's is looked up by.
    #[inline(always)]
    #[must_use]
    pub const fn host(addr: Addr) -> Self {
        Self::new(addr, if addr.is_v4() { Self::V4_BITS } else { Self::ADDR_BITS })
    }
}

/// What became of a connection's option with the client's address. Connections that no director's address stands before
/// and that have no option are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ClientOutcome {
    /// The server is shown the client's address from the beginning.
    Shown = 0,
    /// A director's connection began without; a later segment brought the option. Counted as [`ClientOutcome::Missing`] or
    /// [`ClientOutcome::Malformed`] before.
    ShownLate = 1,
    /// A director's connection began without the option.
    Missing = 2,
    /// Ignored: the option came from an address that is no director's.
    NotDirector = 3,
    /// Ignored: what a director sent is malformed.
    Malformed = 4,
    /// Ignored: an IPv6 client at a socket that can only show IPv4 addresses.
    NotShowable = 5,
    /// Ignored: the kernel had no memory for it.
    NoMemory = 6,
}

impl ClientOutcome {
    /// Every outcome, in the order of their counters.
    pub const ALL: [Self; 7] = [
        Self::Shown,
        Self::ShownLate,
        Self::Missing,
        Self::NotDirector,
        Self::Malformed,
        Self::NotShowable,
        Self::NoMemory,
    ];
}

#[cfg(test)]
mod tests {
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn bits_are_those_behind_the_first_field() {
        let v4 = Addr::from_ip(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)));
        let v6 = Addr::from_ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        assert_eq!(DirectorPrefix::new(v4, 8).bits, 32 + 96 + 8);
        assert_eq!(DirectorPrefix::host(v4).bits, 32 + 128);
        assert_eq!(DirectorPrefix::new(v6, 0), DirectorPrefix { bits: 32, family: 6, addr: v6 });
        assert_eq!(DirectorPrefix::host(v6).bits, 32 + 128);
    }
}
