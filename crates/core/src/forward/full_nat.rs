//! Full NAT: both ends of a packet are rewritten, so that the server's reply comes back to the director without a route
//! through it (IPVS lacks it).

use rvs_abi::{Addr, Outcome};
use rvs_wire::checksum::Delta;
use rvs_wire::{eth, ipv6};

use crate::forward::ports::rewrite_ports;
use crate::forward::{HOP_LIMIT, store_ip};
use crate::{Packet, Parsed};

/// The ends that a packet leaves with; ports in network order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NewEnds {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Source port.
    pub sport: [u8; 2],
    /// Destination port.
    pub dport: [u8; 2],
}

/// Rewrites addresses, ports and checksums, and takes one off the time to live.
#[inline(always)]
pub(crate) fn rewrite<P: Packet>(packet: &mut P, parsed: &Parsed, new: &NewEnds) -> Result<(), Outcome> {
    let pseudo = rewrite_addresses(packet, parsed, new, true)?;
    rewrite_ports(packet, parsed, (new.sport, new.dport), pseudo).ok_or(Outcome::RewriteFailed)
}

/// Writes both addresses and, of a packet that makes a hop here, a time to live that is one less. What the addresses add to
/// checksums over the pseudo header.
#[inline(always)]
pub(crate) fn rewrite_addresses<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    new: &NewEnds,
    hops: bool,
) -> Result<Delta, Outcome> {
    if parsed.is_v4() {
        let (ip, ttl) = if hops { parsed.ip.decrement_ttl() } else { (parsed.ip, Delta::new()) };
        let (ip, source) = ip.with_source(new.source.v4_bytes());
        let (ip, destination) = ip.with_destination(new.destination.v4_bytes());
        let pseudo = source.and(destination);
        store_ip(packet, ip, ttl.and(pseudo))?;
        return Ok(pseudo);
    }
    if hops {
        packet.set(HOP_LIMIT, &[parsed.ttl().wrapping_sub(1)]).ok_or(Outcome::RewriteFailed)?;
    }
    packet.set(eth::LEN + ipv6::at::SOURCE, &new.source.to_bytes()).ok_or(Outcome::RewriteFailed)?;
    packet
        .set(eth::LEN + ipv6::at::DESTINATION, &new.destination.to_bytes())
        .ok_or(Outcome::RewriteFailed)?;
    let source = Delta::new().address(parsed.source.words(), new.source.words());
    Ok(source.address(parsed.destination.words(), new.destination.words()))
}
