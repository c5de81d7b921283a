//! Who has which address. Networks of the documentation ranges (RFC 5737) for what a client sees, private ones behind. In
//! IPv6 all are of the documentation range (RFC 3849), with the same last number, read as hexadecimal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Bits of every network's prefix.
pub(super) const PREFIX_LEN: u8 = 24;
/// The same in IPv6.
pub(super) const PREFIX_LEN_V6: u8 = 64;
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

/// The IPv6 address of who has that IPv4 address: `2001:db8:113::10` for 203.0.113.10, and likewise with the third number
/// (clients: 2, servers: 10, on a network of their own with its number behind) and the last one.
pub(super) fn v6(address: Ipv4Addr) -> Ipv6Addr {
    let [first, _, network, host] = address.octets();
    // 10 becomes 0x10, as the text of both addresses says.
    let digits =
        |number: u8| u16::from(number / 100) << 8 | u16::from(number / 10 % 10) << 4 | u16::from(number % 10);
    let (site, link) = if first == 10 { (digits(10), network) } else { (digits(network), 0) };
    Ipv6Addr::new(0x2001, 0xdb8, site, digits(link), 0, 0, 0, digits(host))
}

/// Whether two addresses are of one of the cluster's networks.
pub(super) fn share_network(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
        (IpAddr::V6(a), IpAddr::V6(b)) => a.segments()[..4] == b.segments()[..4],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_numbered_alike() {
        let texts = [VIP, CLIENT, DIRECTOR_SERVER_SIDE, switched_server(1), routed_server(12)]
            .map(|a| v6(a).to_string());
        assert_eq!(
            texts,
            ["2001:db8:113::10", "2001:db8:2::10", "2001:db8:10::2", "2001:db8:10::11", "2001:db8:10:12::11"]
        );
    }
}
