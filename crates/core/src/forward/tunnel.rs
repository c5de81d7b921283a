//! Tunnels (ipvs.md §3.5, §3.6): the packet goes to the real server inside of another one, by IP in IP (RFC 2003,
//! RFC 2473, RFC 4213), GRE (RFC 2784) or GUE, in IPv4 or IPv6 whatever is inside.

use rvs_abi::{Addr, Event, Outcome, TunnelFlags, TunnelType, family, proto};
use rvs_wire::{checksum, eth, gre, gue, ipv4, ipv6, udp};

use crate::cut::outer;
use crate::forward::{address, check, decrement_ttl};
use crate::packet::Encap;
use crate::parse::Signal;
use crate::pipeline::Way;
use crate::{Packet, Parsed, Tables, sum};

/// A tunnel to a real server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tunnel {
    /// [`TunnelType`].
    pub kind: u8,
    /// [`TunnelFlags`].
    pub flags: u8,
    /// UDP port of the real server, network order.
    pub port: u16,
    /// The director's address.
    pub source: Addr,
    /// The real server's address.
    pub destination: Addr,
}

/// Source ports of GUE tunnels: the first, and how many; Linux's default `ip_local_port_range`.
const PORTS_FIRST: u32 = 32768;
const PORTS: u32 = 60999 - 32768;

/// Smallest MTU of IPv4 (RFC 791 §3.2).
const MTU_MIN_V4: u32 = 68;

/// Outer type of service: as inside, but "congestion experienced" becomes ECT(0) (ipvs.md §3.6, point 4).
#[inline(always)]
const fn outer_tos(tos: u8) -> u8 {
    if tos & 3 == 3 { tos & !3 | 2 } else { tos }
}

/// Encapsulates and sends. The MTU that the sender would be told becomes what is left of the way's for the packet inside.
#[inline(always)]
pub(crate) fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    way: &mut Way,
) -> Result<(), Outcome> {
    let Way { hop, tunnel, notice, is_cut, .. } = way;
    tunnel.source = source(tables, tunnel, parsed);
    // The kernel cuts a bundle of segments later, and would give each the same checksum: they go without.
    let is_bundle = packet.wire_len(parsed) != parsed.len;
    let is_summed = tunnel.flags & (TunnelFlags::CSUM | TunnelFlags::REMCSUM) != 0;
    let encap = encap(tables, tunnel, is_summed && !is_bundle);
    let usable = hop.mtu.saturating_sub(encap.size());
    let is_narrow = usable < if encap.is_v4() { MTU_MIN_V4 } else { ipv6::MTU_MIN as u32 };
    let may_be_cut = outer::is_allowed(tables, parsed);
    // Of a bundle's segments that are cut nowhere its sender has to know.
    notice.mtu = if is_narrow || may_be_cut && !is_bundle { 0 } else { told_mtu(usable, parsed.is_v4()) };
    let fits = check(packet, parsed, hop, encap.size());
    *is_cut = u64::from(fits == Err(Outcome::TooBig) && may_be_cut && !is_bundle && tables.holds());
    if *is_cut == 0 {
        fits?;
    }
    // Not even a small packet goes into such a tunnel (ipvs.md §3.2).
    if hop.mtu != 0 && is_narrow {
        return Err(Outcome::TooBig);
    }
    // A bundle gets its lengths when it is cut.
    let len = parsed.len + encap.size();
    if len > u32::from(u16::MAX) && !is_bundle {
        return Err(Outcome::TooBig);
    }
    decrement_ttl(packet, parsed)?;
    if is_summed && is_bundle {
        tables.note(Event::TunnelUnsummed);
    }
    let inner = if encap.has_checksum() { inner_sum(packet, tables, parsed) } else { Some(0) };
    let inner = inner.ok_or(Outcome::RewriteFailed)?;
    let kind = if *is_cut == 0 { encap.kind } else { Encap::PLAIN };
    packet.push(&Encap { kind, ..encap }).ok_or(Outcome::RewriteFailed)?;
    let len = if len > u32::from(u16::MAX) { u16::MAX } else { len as u16 };
    store_outer(packet, tables, parsed, tunnel, &encap, len).ok_or(Outcome::RewriteFailed)?;
    store_rest(packet, parsed, tunnel, &encap, len, inner).ok_or(Outcome::RewriteFailed)?;
    address(packet, &hop.link)
}

/// The MTU that a sender of a family is told: in IPv6 none goes below 1280 (RFC 8201 §4, RFC 2473 §7.1).
#[inline(always)]
pub(crate) const fn told_mtu(usable: u32, is_v4: bool) -> u32 {
    if is_v4 || usable >= ipv6::MTU_MIN as u32 { usable } else { ipv6::MTU_MIN as u32 }
}

/// The outer source address. If the operator gave a prefix, each flow has one of its addresses: so servers whose cards choose
/// the receive queue by the outer addresses spread flows over all queues (IPVS lacks it, and always takes its own).
#[inline(always)]
fn source<T: Tables>(tables: &T, tunnel: &Tunnel, parsed: &Parsed) -> Addr {
    let (first, mask) = tables.tunnel_sources(tunnel.destination.is_v4());
    if first == Addr::default() {
        return tunnel.source;
    }
    let Addr([high, low]) = first;
    Addr([high, low | last_bytes(flow_hash(parsed) & mask)])
}

/// Whether tunnels of its family may come from an address that is not the one on the way to the server.
#[inline(always)]
pub(crate) fn is_source<T: Tables>(tables: &T, address: Addr) -> bool {
    let (first, mask) = tables.tunnel_sources(address.is_v4());
    let (Addr([high, low]), Addr([first_high, first_low])) = (address, first);
    first != Addr::default() && high == first_high && low & !last_bytes(mask) == first_low
}

/// Four bytes as the last of eight, memory order.
#[inline(always)]
const fn last_bytes(bytes: u32) -> u64 {
    let [a, b, c, d] = bytes.to_ne_bytes();
    u64::from_ne_bytes([0, 0, 0, 0, a, b, c, d])
}

/// What a tunnel puts in front of a packet. Its numbers are veiled, so that what follows is verified once for all kinds.
#[inline(always)]
fn encap<T: Tables>(tables: &T, tunnel: &Tunnel, is_summed: bool) -> Encap {
    let family = if tunnel.destination.is_v4() { family::V4 } else { family::V6 };
    let family = tables.veiled(u64::from(family)) as u8;
    let checksum = tables.veiled(u64::from(is_summed)) as u8;
    let encap = Encap::tunnel(family, tunnel.kind, checksum);
    Encap { rest: tables.veiled(u64::from(encap.rest)) as u32 & 15, ..encap }
}

/// Protocol number of a tunnel's outer header.
#[inline(always)]
const fn protocol(kind: u8, parsed: &Parsed) -> u8 {
    match kind {
        TunnelType::GUE => proto::UDP,
        TunnelType::GRE => proto::GRE,
        _ => inside(parsed),
    }
}

/// Protocol number of the packet inside.
#[inline(always)]
const fn inside(parsed: &Parsed) -> u8 {
    if parsed.is_v4() { proto::IPIP } else { proto::IPV6 }
}

/// Writes the outer IP header; `len` is that of the whole new packet.
#[inline(always)]
fn store_outer<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    tunnel: &Tunnel,
    encap: &Encap,
    len: u16,
) -> Option<()> {
    let (tos, ttl) = (outer_tos(parsed.tos()), parsed.ttl().wrapping_sub(1));
    let protocol = protocol(tunnel.kind, parsed);
    if encap.is_v4() {
        let dont_fragment = parsed.is_v4() && !outer::is_allowed(tables, parsed);
        let id = if dont_fragment { 0 } else { ipv4::identification(tables.random() as u16) };
        let (source, destination) = (tunnel.source.v4_bytes(), tunnel.destination.v4_bytes());
        let outer =
            ipv4::Outer { tos, total_len: len, id, dont_fragment, ttl, protocol, source, destination };
        return packet.set(eth::LEN, &outer.emit().to_bytes());
    }
    let outer = ipv6::Outer {
        traffic_class: tos,
        payload_len: len.saturating_sub(ipv6::LEN as u16),
        next_header: protocol,
        hop_limit: ttl,
        source: tunnel.source.words(),
        destination: tunnel.destination.words(),
    };
    packet.set(eth::LEN, &outer.emit().to_bytes())
}

/// Writes what stands between the outer IP header and the packet inside, whose sum is `inner`.
#[inline(always)]
fn store_rest<P: Packet>(
    packet: &mut P,
    parsed: &Parsed,
    tunnel: &Tunnel,
    encap: &Encap,
    len: u16,
    inner: u32,
) -> Option<()> {
    let at = eth::LEN + encap.ip_len() as usize;
    match tunnel.kind {
        TunnelType::GRE => {
            let kind = if parsed.is_v4() { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 };
            if encap.has_checksum() {
                packet.set(at, &gre::with_checksum(kind, inner))
            } else {
                packet.set(at, &gre::plain(kind))
            }
        }
        TunnelType::GUE => {
            let header = gue::plain(inside(parsed));
            let len = len.wrapping_sub(encap.ip_len() as u16);
            let mut udp = udp::header(source_port(parsed), u16::from_be(tunnel.port), len, [0, 0]);
            if encap.has_checksum() {
                let pseudo = pseudo(tunnel.source, tunnel.destination, proto::UDP, u32::from(len));
                [udp[6], udp[7]] = udp::checksum(checksum::sum(checksum::sum(inner + pseudo, &header), &udp));
            }
            packet.set(at, &udp)?;
            packet.set(at + udp::LEN, &header)
        }
        _ => Some(()),
    }
}

/// The UDP source port of a flow, the same for all its packets, so that its packets stay in one receive queue and flows
/// spread over all (ipvs.md §3.6).
#[inline(always)]
fn source_port(parsed: &Parsed) -> u16 {
    let scaled = (u64::from(flow_hash(parsed)) * u64::from(PORTS)) >> 32;
    (PORTS_FIRST + scaled as u32) as u16
}

/// A number of a flow, the same for all its packets.
#[inline(always)]
fn flow_hash(parsed: &Parsed) -> u32 {
    let ([a, b], [c, d]) = (parsed.sport, parsed.dport);
    let ports = u32::from_ne_bytes([a, b, c, d]);
    let hash = (parsed.source.folded() ^ ports.rotate_left(7)).wrapping_mul(0x9e37_79b1)
        ^ parsed.destination.folded().wrapping_mul(0x85eb_ca6b);
    let hash = (hash ^ hash >> 15).wrapping_mul(0x2c1b_3c6d);
    hash ^ hash >> 16
}

/// The sum over a pseudo header, of either family.
#[inline(always)]
pub(crate) fn pseudo(source: Addr, destination: Addr, protocol: u8, len: u32) -> u32 {
    if source.is_v4() {
        let len = len as u16;
        return checksum::pseudo_v4(source.v4_bytes(), destination.v4_bytes(), protocol, len);
    }
    checksum::pseudo_v6(source.words(), destination.words(), protocol, len)
}

/// The sum over the packet inside, whose time to live is decremented already.
///
/// With a right checksum (or one that the device will make right), TCP and UDP sum up to the complement of their pseudo
/// header, whatever the data are: then no byte of them is read. With a wrong one the outer checksum becomes wrong too.
#[inline(always)]
fn inner_sum<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed) -> Option<u32> {
    let l4 = parsed.transport();
    let end = eth::LEN as u32 + parsed.len;
    let is_whole = match parsed.protocol {
        _ if parsed.is(Signal::FRAGMENT | Signal::LATER) => false,
        proto::TCP => true,
        // Its checksum is over no more than the datagram, which may end before the packet does (RFC 768, RFC 9868).
        proto::UDP => {
            let [a, b, c, d] = packet.get::<4>(l4 + udp::LENGTH)?;
            [c, d] != [0, 0] && u32::from(u16::from_be_bytes([a, b])) == end - l4 as u32
        }
        _ => false,
    };
    // An IPv4 header sums up to nothing.
    let read_to = match (is_whole, parsed.is_v4()) {
        (true, true) => eth::LEN as u32,
        (true, false) => l4 as u32,
        (false, _) => end,
    };
    let pseudo = pseudo(parsed.source, parsed.destination, parsed.protocol, end - l4 as u32);
    let transport = if is_whole { u32::from(!checksum::fold(pseudo)) } else { 0 };
    packet.reach(read_to);
    Some(sum::bytes(packet, tables, eth::LEN as u32, read_to)? + transport)
}
