//! Errors about balanced packets, sent on to the end they are for (ipvs.md §2.8).

use rvs_abi::{Addr, ConnFlags, Method, Outcome, Stats};
use rvs_wire::checksum::{self, Delta};
use rvs_wire::{eth, icmp, ipv6};

use crate::conn::Found;
use crate::forward::masq::{End, rewrite_address};
use crate::forward::{address, check, local};
use crate::icmp::pseudo;
use crate::pipeline::{Context, Way, method};
use crate::{DestRecord, NextHop, Packet, Parsed, Tables, sum};

/// An error about a request: whoever sent it, the client sees it come from the service.
///
/// # Errors
/// Where it ends otherwise.
#[inline(always)]
pub(crate) fn to_client<P: Packet, T: Tables>(
    context: &Context<'_, T>,
    packet: &mut P,
    outer: &Parsed,
    quoted: &Parsed,
    found: &Found<T::Bucket>,
    way: &mut Way,
) -> Result<Outcome, Outcome> {
    if method(found.flags()) != Method::MASQ {
        return Ok(unchanged(context, outer, found));
    }
    let (dest, service) = found.ids();
    let vip = found.vip();
    let is_from_here = context.tables.is_local();
    let stays = is_from_here || found.flags() & ConnFlags::LOCAL_CLIENT != 0;
    let hop = if stays {
        let hop = context.hop_to_self()?;
        if is_from_here { hop } else { local::to_stack() }
    } else {
        let hop = context.hop_to_client(outer.destination, vip, false)?;
        check(packet, outer, &hop, 0)?;
        hop
    };
    check_sum(packet, context.tables, outer)?;
    let bytes = u64::from(outer.len);
    context.tables.count(service, dest, &Stats { out_packets: 1, out_bytes: bytes, ..Stats::default() });
    let (vport, _) = found.ports();
    rewrite(packet, outer, quoted, (End::Source, !stays), vip, vport)?;
    way.hop = hop;
    address(packet, &hop.link)?;
    Ok(Outcome::IcmpToClient)
}

/// An error about a request that was sent on as it was: it is the stack's, and counted.
#[inline(always)]
fn unchanged<T: Tables>(context: &Context<'_, T>, outer: &Parsed, found: &Found<T::Bucket>) -> Outcome {
    // Under TC after XDP it has been seen already.
    if !context.tables.is_second_look() {
        let (dest, service) = found.ids();
        let bytes = u64::from(outer.len);
        context.tables.count(service, dest, &Stats { out_packets: 1, out_bytes: bytes, ..Stats::default() });
    }
    Outcome::ReplyUnchanged
}

/// An error about a reply.
///
/// # Errors
/// Where it ends otherwise.
#[inline(always)]
pub(crate) fn to_server<P: Packet, T: Tables>(
    context: &Context<'_, T>,
    packet: &mut P,
    outer: &Parsed,
    quoted: &Parsed,
    found: &Found<T::Bucket>,
    way: &mut Way,
) -> Result<Outcome, Outcome> {
    let (dest_id, service) = found.ids();
    let dest = context.tables.dest(dest_id).ok_or(Outcome::Inconsistent)?;
    let stays = context.is_here(dest);
    let hop = if stays { NextHop::default() } else { context.hop_to(dest, dest_id, false)? };
    let method = method(found.flags());
    if method == Method::MASQ {
        check_sum(packet, context.tables, outer)?;
    }
    let bytes = u64::from(outer.len);
    context.tables.count(service, dest_id, &Stats { in_packets: 1, in_bytes: bytes, ..Stats::default() });
    found.count_packet();
    way.hop = hop;
    if stays && method != Method::MASQ {
        return Ok(Outcome::IcmpToServer);
    }
    if method != Method::MASQ {
        return match Context::<T>::transmit(packet, outer, dest, method, way)? {
            Outcome::Tunnel => Ok(Outcome::Tunnel),
            _ => Ok(Outcome::IcmpToServer),
        };
    }
    if !stays {
        check(packet, outer, &hop, 0)?;
    }
    let (_, dport) = found.ports();
    rewrite(packet, outer, quoted, (End::Destination, !stays), dest.addr(), dport)?;
    address(packet, &hop.link)?;
    Ok(Outcome::IcmpToServer)
}

/// Whether the message's checksum is right: what is rewritten would otherwise hide that it is not.
#[inline(always)]
pub(crate) fn check_sum<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Parsed,
) -> Result<(), Outcome> {
    let (l4, end) = (u32::from(outer.l4), eth::LEN as u32 + outer.len);
    packet.reach(end);
    let sum = sum::bytes(packet, tables, l4, end).ok_or(Outcome::BadIcmpChecksum)?;
    let sum = sum + pseudo(outer.source, outer.destination, outer.is_v4(), end - l4);
    if checksum::fold(sum) == 0xffff { Ok(()) } else { Err(Outcome::BadIcmpChecksum) }
}

/// Rewrites one end of the error, and the other end of the packet that it quotes: there they are exchanged. The quoted
/// transport checksum stays as it is (ipvs.md §2.8). `hops`: it makes a hop here.
#[inline(always)]
fn rewrite<P: Packet>(
    packet: &mut P,
    outer: &Parsed,
    quoted: &Parsed,
    (end, hops): (End, bool),
    new_address: Addr,
    new_port: [u8; 2],
) -> Result<(), Outcome> {
    let outside = rewrite_address(packet, outer, end, new_address, hops)?;
    let inside = rewrite_quoted(packet, outer, quoted, end, new_address, new_port);
    let inside = inside.ok_or(Outcome::RewriteFailed)?;
    // ICMPv6 covers the addresses outside too (RFC 4443 §2.3).
    let delta = if outer.is_v4() { inside } else { inside.and(outside) };
    let at = outer.transport() + icmp::CHECKSUM;
    let field = packet.get::<2>(at).ok_or(Outcome::RewriteFailed)?;
    packet.set(at, &delta.apply(field)).ok_or(Outcome::RewriteFailed)
}

/// The quoted packet's part: what it adds to the message's checksum.
#[inline(always)]
fn rewrite_quoted<P: Packet>(
    packet: &mut P,
    outer: &Parsed,
    quoted: &Parsed,
    end: End,
    new_address: Addr,
    new_port: [u8; 2],
) -> Option<Delta> {
    let at = outer.transport() + icmp::LEN;
    // `quoted` has its ends exchanged: the end that is rewritten outside is the same one there.
    let (old_address, old_port) = match end {
        End::Source => (quoted.source, quoted.sport),
        End::Destination => (quoted.destination, quoted.dport),
    };
    let delta = if quoted.is_v4() {
        let (ip, pseudo) = match end {
            End::Source => quoted.ip.with_destination(new_address.v4_bytes()),
            End::Destination => quoted.ip.with_source(new_address.v4_bytes()),
        };
        let ip = ip.update_checksum(pseudo);
        packet.set(at, &ip.to_bytes())?;
        pseudo.word(quoted.ip.checksum(), ip.checksum())
    } else {
        let field = if end == End::Source { ipv6::at::DESTINATION } else { ipv6::at::SOURCE };
        packet.set(at + field, &new_address.to_bytes())?;
        Delta::new().address(old_address.words(), new_address.words())
    };
    let has_ports = quoted.protocol == quoted.key_protocol();
    if !has_ports {
        return Some(delta);
    }
    let port_at = if end == End::Source { quoted.transport() + 2 } else { quoted.transport() };
    packet.set(port_at, &new_port)?;
    Some(delta.word(old_port, new_port))
}
