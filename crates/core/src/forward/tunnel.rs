//! IP-in-IP tunnels (ipvs.md §3.5, RFC 2003).

use rvs_abi::{Outcome, proto};
use rvs_wire::ipv4;

use crate::forward::{address, check, store_ip};
use crate::{NextHop, Packet};

/// Ends of a tunnel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    /// The director's address.
    pub(crate) source: [u8; 4],
    /// The real server's address.
    pub(crate) destination: [u8; 4],
}

/// Outer type of service: as inside, but "congestion experienced" becomes ECT(0) (ipvs.md §3.6, point 4).
#[inline(always)]
const fn outer_tos(tos: u8) -> u8 {
    if tos & 3 == 3 { tos & !3 | 2 } else { tos }
}

/// Encapsulates and sends. `id` is the identification of an outer header that may be fragmented.
#[inline(always)]
pub(crate) fn send<P: Packet>(
    packet: &mut P,
    ip: &ipv4::Header,
    hop: &NextHop,
    ends: &Ends,
    id: u16,
) -> Result<(), Outcome> {
    check(packet, ip, hop, 20)?;
    // A bundle of segments gets its lengths when it is cut.
    let total_len = ip.total_len().checked_add(20);
    if total_len.is_none() && packet.wire_len(ip) == u32::from(ip.total_len()) {
        return Err(Outcome::TooBig);
    }
    let (inner, delta) = ip.decrement_ttl();
    store_ip(packet, inner, delta)?;
    let outer = ipv4::Outer {
        tos: outer_tos(ip.tos()),
        total_len: total_len.unwrap_or(u16::MAX),
        id: if ip.dont_fragment() { 0 } else { id },
        dont_fragment: ip.dont_fragment(),
        ttl: inner.ttl(),
        protocol: proto::IPIP,
        source: ends.source,
        destination: ends.destination,
    };
    packet.push_ipv4(&outer.emit().to_bytes()).ok_or(Outcome::RewriteFailed)?;
    address(packet, &hop.link)
}
