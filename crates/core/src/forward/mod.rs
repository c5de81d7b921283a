//! Forwarding methods: what is done to a packet before it leaves (ipvs.md §3). A file each.

pub(crate) mod direct_route;
pub(crate) mod masq;
pub(crate) mod tunnel;

use rvs_abi::Outcome;
use rvs_wire::{eth, ipv4};

use crate::{Link, NextHop, Packet};

/// Time to live and MTU, in IPVS's order, for a packet with `overhead` bytes added on the way (ipvs.md §3.2).
#[inline(always)]
pub(crate) fn check<P: Packet>(
    packet: &P,
    ip: &ipv4::Header,
    hop: &NextHop,
    overhead: u32,
) -> Result<(), Outcome> {
    if ip.ttl() <= 1 {
        return Err(Outcome::TtlExceeded);
    }
    let len = packet.wire_len(ip);
    if hop.mtu != 0 && len + overhead > hop.mtu {
        return Err(Outcome::TooBig);
    }
    Ok(())
}

/// Writes the link addresses, if they are known.
#[inline(always)]
pub(crate) fn address<P: Packet>(packet: &mut P, link: &Link) -> Result<(), Outcome> {
    if link.resolved != 0 {
        packet.set(0, &macs(link)).ok_or(Outcome::RewriteFailed)?;
    }
    Ok(())
}

/// The link addresses as bytes.
#[inline(always)]
const fn macs(link: &Link) -> [u8; 12] {
    let (a, b, c) = (link.macs[0].to_ne_bytes(), link.macs[1].to_ne_bytes(), link.macs[2].to_ne_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3]]
}

/// Writes a header back with its checksum updated.
#[inline(always)]
pub(crate) fn store_ip<P: Packet>(
    packet: &mut P,
    ip: ipv4::Header,
    delta: rvs_wire::checksum::Delta,
) -> Result<(), Outcome> {
    packet.set(eth::LEN, &ip.update_checksum(delta).to_bytes()).ok_or(Outcome::RewriteFailed)
}
