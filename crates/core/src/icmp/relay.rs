//! Errors about balanced packets, sent on to the end they are for (ipvs.md §2.8).

use rvs_abi::{Addr, ConnFlags, Method, Outcome, Stats};
use rvs_wire::checksum::{self, Delta};
use rvs_wire::{eth, icmp, ipv6};

use crate::conn::Found;
use crate::forward::full_nat::{NewEnds, rewrite_addresses};
use crate::forward::{address, check, local};
use crate::icmp::pseudo;
use crate::pipeline::{Context, Way, method};
use crate::{DestRecord, NextHop, Packet, Parsed, Tables, bypass, sum};

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
    let method = method(found.flags());
    if method != Method::MASQ && method != Method::FULL_NAT {
        return Ok(unchanged(context, outer, found));
    }
    if method == Method::FULL_NAT && found.client().0.is_v4() != outer.is_v4() {
        return Ok(Outcome::TranslateError);
    }
    let vip = found.vip();
    way.outer.source = vip;
    way.outer.destination = outer.destination;
    way.ends.source = vip;
    (way.ends.sport, _) = found.ports();
    way.ends.destination = quoted.destination;
    way.ends.dport = quoted.dport;
    if method == Method::FULL_NAT {
        (way.ends.destination, way.ends.dport) = found.client();
        way.outer.destination = way.ends.destination;
    }
    let is_from_here = context.tables.is_local();
    let stays = is_from_here || found.flags() & ConnFlags::LOCAL_CLIENT != 0;
    let hop = if stays {
        let hop = context.hop_to_self()?;
        if is_from_here { hop } else { local::to_stack() }
    } else {
        let from = if method == Method::FULL_NAT { vip } else { context.reply_from(outer, vip) };
        let hop = context.hop_to_client(way.outer.destination, from, false)?;
        check(packet, outer, &hop, 0)?;
        hop
    };
    check_sum(packet, context.tables, outer)?;
    let bytes = u64::from(outer.len);
    context.count(found.ids(), &Stats { out_packets: 1, out_bytes: bytes, ..Stats::default() });
    rewrite(packet, outer, quoted, way, !stays)?;
    way.hop = hop;
    address(packet, &hop.link)?;
    Ok(Outcome::IcmpToClient)
}

/// An error about a request that was sent on as it was: it is the stack's, and counted.
#[inline(always)]
fn unchanged<T: Tables>(context: &Context<'_, T>, outer: &Parsed, found: &Found<T::Bucket>) -> Outcome {
    // Under TC after XDP it has been seen already.
    if !context.tables.is_second_look() {
        let bytes = u64::from(outer.len);
        context.count(found.ids(), &Stats { out_packets: 1, out_bytes: bytes, ..Stats::default() });
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
    let (dest_id, _) = found.ids();
    let method = method(found.flags());
    if method == Method::BYPASS {
        way.bypass = bypass::ERROR;
        return Ok(Outcome::Bypass);
    }
    let dest = context.tables.dest(dest_id).ok_or(Outcome::Inconsistent)?;
    if method == Method::FULL_NAT && dest.addr().is_v4() != outer.is_v4() {
        return Ok(Outcome::TranslateError);
    }
    let local = found.local(context.tables, dest);
    if method == Method::FULL_NAT && (local == Addr::default() || found.has_moved(context.tables)) {
        return Err(Outcome::NoLocalAddress);
    }
    let stays = context.is_here(dest);
    let hop = if stays { NextHop::default() } else { context.hop_to(dest, dest_id, false)? };
    let is_nat = method == Method::MASQ || method == Method::FULL_NAT;
    if is_nat {
        check_sum(packet, context.tables, outer)?;
    }
    let bytes = u64::from(outer.len);
    context.count(found.ids(), &Stats { in_packets: 1, in_bytes: bytes, ..Stats::default() });
    found.count_packet();
    way.hop = hop;
    if stays && !is_nat {
        return Ok(Outcome::IcmpToServer);
    }
    if !is_nat {
        return match Context::<T>::transmit(packet, outer, dest, method, way)? {
            Outcome::Tunnel => Ok(Outcome::Tunnel),
            _ => Ok(Outcome::IcmpToServer),
        };
    }
    if !stays {
        check(packet, outer, &hop, 0)?;
    }
    way.outer.source = outer.source;
    way.outer.destination = dest.addr();
    way.ends.source = quoted.source;
    way.ends.sport = quoted.sport;
    way.ends.destination = dest.addr();
    (_, way.ends.dport) = found.ports();
    if method == Method::FULL_NAT {
        way.ends.source = local;
        way.ends.sport = found.lport();
        way.outer.source = local;
    }
    rewrite(packet, outer, quoted, way, !stays)?;
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

/// Rewrites the error's addresses, and the ends of the packet that it quotes: there they are exchanged. The quoted
/// transport checksum stays as it is (ipvs.md §2.8). `hops`: it makes a hop here.
#[inline(always)]
fn rewrite<P: Packet>(
    packet: &mut P,
    outer: &Parsed,
    quoted: &Parsed,
    way: &Way,
    hops: bool,
) -> Result<(), Outcome> {
    let outside = rewrite_addresses(packet, outer, &way.outer, hops)?;
    let inside = rewrite_quoted(packet, outer, quoted, &way.ends).ok_or(Outcome::RewriteFailed)?;
    // ICMPv6 covers the addresses outside too (RFC 4443 §2.3).
    let delta = if outer.is_v4() { inside } else { inside.and(outside) };
    let at = outer.transport() + icmp::CHECKSUM;
    let field = packet.get::<2>(at).ok_or(Outcome::RewriteFailed)?;
    packet.set(at, &delta.apply(field)).ok_or(Outcome::RewriteFailed)
}

/// The quoted packet's part: what it adds to the message's checksum. `quoted` and `new` have its ends exchanged.
#[inline(always)]
fn rewrite_quoted<P: Packet>(
    packet: &mut P,
    outer: &Parsed,
    quoted: &Parsed,
    new: &NewEnds,
) -> Option<Delta> {
    let at = outer.transport() + icmp::LEN;
    let delta = if quoted.is_v4() {
        let (ip, source) = quoted.ip.with_source(new.destination.v4_bytes());
        let (ip, destination) = ip.with_destination(new.source.v4_bytes());
        let pseudo = source.and(destination);
        let ip = ip.update_checksum(pseudo);
        packet.set(at, &ip.to_bytes())?;
        pseudo.word(quoted.ip.checksum(), ip.checksum())
    } else {
        packet.set(at + ipv6::at::SOURCE, &new.destination.to_bytes())?;
        packet.set(at + ipv6::at::DESTINATION, &new.source.to_bytes())?;
        let source = Delta::new().address(quoted.destination.words(), new.destination.words());
        source.address(quoted.source.words(), new.source.words())
    };
    let has_ports = quoted.protocol == quoted.key_protocol();
    if !has_ports {
        return Some(delta);
    }
    let ([s0, s1], [d0, d1]) = (new.dport, new.sport);
    packet.set(quoted.transport(), &[s0, s1, d0, d1])?;
    Some(delta.word(quoted.dport, new.dport).word(quoted.sport, new.sport))
}
