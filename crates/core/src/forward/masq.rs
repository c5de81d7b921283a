//! NAT (ipvs.md §3.3): requests get the real server's address and port, replies those of the service.

use rvs_abi::{Addr, Outcome};
use rvs_wire::checksum::Delta;
use rvs_wire::{eth, ipv6};

use crate::forward::ports::rewrite_ports;
use crate::forward::{HOP_LIMIT, address, store_ip};
use crate::{NextHop, Packet, Parsed, Signal};

/// Which end of the packet is rewritten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The destination, for requests.
    Destination,
    /// The source, for replies.
    Source,
}

/// Rewrites one end's address and port and sends a packet that has passed [`check`](super::check).
#[inline(always)]
pub(crate) fn send<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    end: End,
    new_address: Addr,
    new_port: [u8; 2],
    hop: &NextHop,
) -> Result<(), Outcome> {
    let pseudo = rewrite_address(packet, parsed, end, new_address, true)?;
    rewrite_port(packet, parsed, end, new_port, pseudo)?;
    address(packet, &hop.link)
}

/// Rewrites one end's address and port of a packet that comes from this host's stack or goes there: it makes no hop. Of a
/// fragment behind the first there is no port.
#[inline(always)]
pub(crate) fn rewrite<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    end: End,
    new_address: Addr,
    new_port: [u8; 2],
) -> Result<(), Outcome> {
    let pseudo = rewrite_address(packet, parsed, end, new_address, false)?;
    if parsed.is(Signal::LATER) {
        return Ok(());
    }
    rewrite_port(packet, parsed, end, new_port, pseudo)
}

/// Writes the new address and, of a packet that makes a hop here, a time to live that is one less. What the address adds to
/// checksums over the pseudo header.
#[inline(always)]
pub(crate) fn rewrite_address<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    end: End,
    new: Addr,
    hops: bool,
) -> Result<Delta, Outcome> {
    if parsed.is_v4() {
        let (ip, ttl) = if hops { parsed.ip.decrement_ttl() } else { (parsed.ip, Delta::new()) };
        let (ip, pseudo) = match end {
            End::Destination => ip.with_destination(new.v4_bytes()),
            End::Source => ip.with_source(new.v4_bytes()),
        };
        store_ip(packet, ip, ttl.and(pseudo))?;
        return Ok(pseudo);
    }
    let (old, at) = match end {
        End::Destination => (parsed.destination, ipv6::at::DESTINATION),
        End::Source => (parsed.source, ipv6::at::SOURCE),
    };
    if hops {
        packet.set(HOP_LIMIT, &[parsed.ttl().wrapping_sub(1)]).ok_or(Outcome::RewriteFailed)?;
    }
    packet.set(eth::LEN + at, &new.to_bytes()).ok_or(Outcome::RewriteFailed)?;
    Ok(Delta::new().address(old.words(), new.words()))
}

/// Writes the new port and makes the transport checksum right.
#[inline(always)]
fn rewrite_port<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    end: End,
    new: [u8; 2],
    pseudo: Delta,
) -> Result<(), Outcome> {
    let ports = match end {
        End::Destination => (parsed.sport, new),
        End::Source => (new, parsed.dport),
    };
    rewrite_ports(packet, parsed, ports, pseudo).ok_or(Outcome::RewriteFailed)
}
