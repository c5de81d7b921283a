//! Errors about the packets of a tunnel: they come to this director, who sent those, and are for the client whose packet
//! was inside (ipvs.md §2.8). What the client gets is as if the tunnel were not there.

use rvs_abi::{Outcome, ServiceKey, Stats, TunnelType, proto};
use rvs_wire::{eth, gre, gue, icmp, ipv4, ipv6, udp};

use crate::conn::Found;
use crate::forward::tunnel::{is_source, told_mtu};
use crate::icmp::{answer, quoted, relay};
use crate::pipeline::Context;
use crate::{DestRecord, Link, Packet, Parsed, Tables};

/// Smallest MTU that is believed of a way in IPv4 (ipvs.md §2.8).
const MTU_V4_MIN: u32 = 68;

/// The quoted outer packet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quoted {
    /// Offset of its IP header.
    at: usize,
    /// Offset of the packet inside.
    inner: usize,
    /// It is IPv4 and may be fragmented.
    may_fragment: bool,
    /// [`TunnelType`].
    kind: u8,
    /// UDP port that it goes to, network order; 0 without one.
    port: u16,
    source: rvs_abi::Addr,
    destination: rvs_abi::Addr,
}

/// Turns an error about a tunnel's packet into one about the packet inside, for the client.
///
/// # Errors
/// Where it ends otherwise.
#[inline(always)]
pub(crate) fn error<P: Packet, T: Tables>(
    context: &Context<'_, T>,
    packet: &mut P,
    outer: &Parsed,
    quoted: &Quoted,
    inside: &mut Parsed,
    found: &Found<T::Bucket>,
    link: &mut Link,
) -> Result<Outcome, Outcome> {
    // The error does not go back to where it came from: if XDP does not know the client's neighbour, TC is to send it.
    context.hop_to_client(inside.source, inside.destination, false)?;
    relay::check_sum(packet, context.tables, outer)?;
    // An error that ends here is not counted (ipvs.md §2.8).
    let mtu = mtu(packet, outer, quoted)?;
    let bytes = u64::from(outer.len);
    context.count(found.ids(), &Stats { out_packets: 1, out_bytes: bytes, ..Stats::default() });
    let shift = quoted.inner - eth::LEN;
    packet.pull(shift as u32).ok_or(Outcome::RewriteFailed)?;
    inside.l4 = inside.l4.wrapping_sub(shift as u16);
    let error = answer::Error { from: inside.destination, kind: outer.sport, mtu };
    answer::compose(packet, context.tables, inside, &error, context.clock, link)
        .ok_or(Outcome::RewriteFailed)?;
    Ok(Outcome::IcmpFromTunnel)
}

/// Whether destinations are reached through such a tunnel. Of which connections is no matter, as in IPVS: this one's may have
/// been another until now.
#[inline(always)]
pub(crate) fn is_ours<T: Tables>(tables: &T, quoted: &Quoted) -> bool {
    let key = ServiceKey::tunnel(quoted.destination, quoted.kind, quoted.port);
    let Some(id) = tables.service_id(&key) else { return false };
    let Some(dest) = tables.dest(id) else { return false };
    dest.source() == quoted.source || is_source(tables, quoted.source)
}

/// The MTU that the client is told; 0 for errors that tell none.
#[inline(always)]
fn mtu<P: Packet>(packet: &P, outer: &Parsed, quoted: &Quoted) -> Result<u32, Outcome> {
    let is_too_big = if outer.is_v4() {
        outer.sport == [icmp::v4::UNREACHABLE, icmp::v4::FRAGMENTATION_NEEDED]
    } else {
        outer.sport[0] == icmp::v6::PACKET_TOO_BIG
    };
    if !is_too_big {
        return Ok(0);
    }
    let field = packet.get::<4>(outer.transport() + icmp::v6::MTU).ok_or(Outcome::IcmpQuote)?;
    let told = if outer.is_v4() {
        u32::from(u16::from_be_bytes([field[2], field[3]]))
    } else {
        u32::from_be_bytes(field)
    };
    let mtu = told.saturating_sub((quoted.inner - quoted.at) as u32);
    if !outer.is_v4() {
        let field = packet.get::<2>(quoted.inner + ipv6::at::PAYLOAD).ok_or(Outcome::IcmpQuote)?;
        // Its sender makes none smaller (RFC 2473 §8.2).
        let is_small = u16::from_be_bytes(field) <= ipv6::MTU_MIN - ipv6::LEN as u16;
        return if is_small { Err(Outcome::TunnelMtu) } else { Ok(told_mtu(mtu, false)) };
    }
    // What may be fragmented outside is no concern of the client's.
    if quoted.may_fragment || mtu <= MTU_V4_MIN { Err(Outcome::TunnelMtu) } else { Ok(mtu) }
}

/// Parses the packet inside into `inside`, as it came from the client. Only where it is of the same family: IPVS does not
/// more, and under TC the kernel would go on to take the new error for one of the family outside.
#[inline(always)]
pub(crate) fn parse<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Parsed,
    inside: &mut Parsed,
    quoted: &mut Quoted,
) -> Option<()> {
    let at = outer.transport() + icmp::LEN;
    *quoted = if outer.is_v4() { outer_v4(packet, at)? } else { outer_v6(packet, at)? };
    let end = eth::LEN as u32 + outer.len;
    quoted::packet(packet, tables, quoted.inner, end, outer.is_v4(), inside).ok()?;
    // As it came, not as it would go back.
    core::mem::swap(&mut inside.source, &mut inside.destination);
    core::mem::swap(&mut inside.sport, &mut inside.dport);
    Some(())
}

#[inline(always)]
fn outer_v4<P: Packet>(packet: &P, at: usize) -> Option<Quoted> {
    let ip = ipv4::Header::from_bytes(&packet.get::<{ ipv4::LEN }>(at)?);
    if ip.version() != 4 || ip.header_len() < ipv4::LEN || ip.is_later_fragment() {
        return None;
    }
    let (inner, kind, port) = skip(packet, at + ip.header_len(), ip.protocol(), proto::IPIP)?;
    let (source, destination) = (rvs_abi::Addr::v4(ip.source()), rvs_abi::Addr::v4(ip.destination()));
    Some(Quoted { at, inner, may_fragment: !ip.dont_fragment(), kind, port, source, destination })
}

#[inline(always)]
fn outer_v6<P: Packet>(packet: &P, at: usize) -> Option<Quoted> {
    let head = packet.get::<8>(at)?;
    let source = rvs_abi::Addr::from_bytes(&packet.get::<16>(at + ipv6::at::SOURCE)?);
    let destination = rvs_abi::Addr::from_bytes(&packet.get::<16>(at + ipv6::at::DESTINATION)?);
    let (inner, kind, port) = skip(packet, at + ipv6::LEN, head[6], proto::IPV6)?;
    Some(Quoted { at, inner, may_fragment: false, kind, port, source, destination })
}

/// Offset of the packet behind a tunnel's header of that protocol, the tunnel's type, and its UDP port.
#[inline(always)]
fn skip<P: Packet>(packet: &P, at: usize, protocol: u8, ip_in_ip: u8) -> Option<(usize, u8, u16)> {
    match protocol {
        proto::GRE => {
            let flags = packet.get::<2>(at)?;
            Some((at + gre::header_len(flags)?, TunnelType::GRE, 0))
        }
        proto::UDP => {
            let head = packet.get::<{ gue::LEN }>(at + udp::LEN)?;
            // Version 0, no message, no optional field.
            let is_plain = head[0] == 0 && head[2] == 0 && head[3] == 0;
            let port = u16::from_ne_bytes(packet.get::<2>(at + 2)?);
            is_plain.then_some((at + udp::LEN + gue::LEN, TunnelType::GUE, port))
        }
        _ => (protocol == ip_in_ip).then_some((at, TunnelType::IPIP, 0)),
    }
}
