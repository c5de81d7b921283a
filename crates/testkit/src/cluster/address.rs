//! Who has which address. Networks of the documentation ranges (RFC 5737) for what a client sees, private ones behind.

use std::net::Ipv4Addr;

/// Bits of every network's prefix.
pub(super) const PREFIX_LEN: u8 = 24;
/// The virtual address.
pub(super) const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
/// The client, in 192.0.2.0/24.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);
/// The director on the client's network.
pub(super) const DIRECTOR_CLIENT_SIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The fabric's router on the client's network.
pub(super) const FABRIC_CLIENT_SIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// The director on the servers' common network.
pub(super) const DIRECTOR_SERVER_SIDE: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 2);
/// The fabric's router on the servers' common network.
pub(super) const FABRIC_SERVER_SIDE: Ipv4Addr = Ipv4Addr::new(10, 10, 0, 1);

/// Most real servers in a cluster: what the last byte of an address holds, with room below.
pub(super) const SERVERS_MAX: usize = 200;

/// Real server `number` (from 1) on the common network: 10.10.0.11, .12, ...
pub(super) fn switched_server(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, 0, 10 + number)
}

/// Real server `number` (from 1) on a network of its own: 10.10.NUMBER.11.
pub(super) fn routed_server(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, number, 11)
}

/// The director on that network.
pub(super) fn routed_director(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, number, 2)
}
