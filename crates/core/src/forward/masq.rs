//! NAT (ipvs.md §3.3): requests get the real server's address and port, replies those of the service.

use rvs_abi::Outcome;
use rvs_wire::checksum::Delta;
use rvs_wire::{tcp, udp};

use crate::forward::{address, store_ip};
use crate::{NextHop, Packet, Parsed};

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
    new_address: [u8; 4],
    new_port: [u8; 2],
    hop: &NextHop,
) -> Result<(), Outcome> {
    let (ip, ttl) = parsed.ip.decrement_ttl();
    let ((ip, pseudo), old_port, port_at) = match end {
        End::Destination => (ip.with_destination(new_address), parsed.dport, parsed.transport() + 2),
        End::Source => (ip.with_source(new_address), parsed.sport, parsed.transport()),
    };
    store_ip(packet, ip, ttl.and(pseudo))?;
    let fields = Delta::new().word(old_port, new_port);
    packet.set(port_at, &new_port).ok_or(Outcome::RewriteFailed)?;
    if parsed.is_tcp() {
        packet.update_tcp_checksum(parsed.transport() + tcp::CHECKSUM, pseudo, fields)
    } else {
        packet.update_udp_checksum(parsed.transport() + udp::CHECKSUM, pseudo, fields)
    }
    .ok_or(Outcome::RewriteFailed)?;
    address(packet, &hop.link)
}
