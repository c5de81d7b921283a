//! Forwarding methods: what is done to a packet before it leaves (ipvs.md §3). A file each.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; ids and flags are cut on purpose"
)]

pub(crate) mod client_option;
pub(crate) mod direct_route;
pub(crate) mod full_nat;
pub(crate) mod local;
pub(crate) mod masq;
pub(crate) mod ports;
pub(crate) mod tunnel;

use rvs_abi::Outcome;
use rvs_wire::checksum::Delta;
use rvs_wire::{eth, ipv4};

use crate::{Link, NextHop, Packet, Parsed};

/// Offset of the hop limit in a frame with an IPv6 packet.
const HOP_LIMIT: usize = eth::LEN + 7;

/// Time to live and MTU, in IPVS's order, for a packet with `overhead` bytes added on the way (ipvs.md §3.2).
#[inline(always)]
pub(crate) fn check<P: Packet>(
    packet: &P,
    parsed: &Parsed,
    hop: &NextHop,
    overhead: u32,
) -> Result<(), Outcome> {
    if parsed.ttl() <= 1 {
        return Err(Outcome::TtlExceeded);
    }
    if hop.mtu != 0 && packet.wire_len(parsed) + overhead > hop.mtu {
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
pub(crate) const fn macs(link: &Link) -> [u8; 12] {
    let (a, b, c) = (link.macs[0].to_ne_bytes(), link.macs[1].to_ne_bytes(), link.macs[2].to_ne_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3]]
}

/// Writes the packet's time to live, one less than it came with.
#[inline(always)]
pub(crate) fn decrement_ttl<P: Packet>(packet: &mut P, parsed: &Parsed) -> Result<(), Outcome> {
    if parsed.is_v4() {
        let (ip, delta) = parsed.ip.decrement_ttl();
        return store_ip(packet, ip, delta);
    }
    packet.set(HOP_LIMIT, &[parsed.ttl().wrapping_sub(1)]).ok_or(Outcome::RewriteFailed)
}

/// Writes an IPv4 header back with its checksum updated.
#[inline(always)]
pub(crate) fn store_ip<P: Packet>(packet: &mut P, ip: ipv4::Header, delta: Delta) -> Result<(), Outcome> {
    packet.set(eth::LEN, &ip.update_checksum(delta).to_bytes()).ok_or(Outcome::RewriteFailed)
}
