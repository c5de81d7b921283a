//! Fragments: those behind the first have no ports, and follow it (ipvs.md §2.1, §2.7, §3.3).
//!
//! IPVS reassembles a packet and fragments it again. Here each fragment is sent on as it came: what was decided about the
//! first one is kept for a while, by addresses and identification. A fragment that comes before the first is not known
//! and left to the stack.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; ids and flags are cut on purpose"
)]

use rvs_abi::{Addr, ConnFlags, Method, Outcome, Stats};

use crate::forward::full_nat::rewrite_addresses;
use crate::forward::masq::{End, rewrite_address};
use crate::forward::{address, check};
use crate::parse::Signal;
use crate::pipeline::{Context, Way};
use crate::{DestRecord, NextHop, Packet, Parsed, Tables};

/// How long a first fragment is remembered, in ticks: 2 s. Identifications come again, those of IPv4 soon.
const LIFE_TICKS: u32 = 30;

/// What the fragments of a packet have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct Key {
    source: [u64; 2],
    destination: [u64; 2],
    /// Identification as it stands in the packet; of IPv4 in the lower half.
    id: u32,
    /// Protocol number.
    protocol: u32,
}

impl Key {
    /// Of a fragment.
    #[inline(always)]
    #[must_use]
    pub const fn of(parsed: &Parsed) -> Self {
        Self {
            source: parsed.source.0,
            destination: parsed.destination.0,
            id: parsed.fragment_id,
            protocol: parsed.protocol as u32,
        }
    }
}

/// What was decided about the first fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Known {
    /// The connection's virtual address, for a reply; zero for a request.
    vip: Addr,
    /// Full NAT: the director's address for a request, the client's for a reply.
    other: Addr,
    dest: u32,
    service: u32,
    /// [`Method`], and [`ConnFlags::LOCAL_CLIENT`].
    method: u32,
    /// When the first fragment came, in ticks, the lower half.
    since: u32,
}

/// What is to be kept about a first fragment: in scratch memory, as a stack has no room for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep {
    key: Key,
    known: Known,
}

impl Keep {
    /// Keeps where a first fragment goes. `vip` is zero for a request; `now` in ticks.
    #[inline(always)]
    pub(crate) fn keep<T: Tables>(
        &mut self,
        tables: &T,
        parsed: &Parsed,
        (dest, service): (u32, u32),
        method: u8,
        (vip, now): (Addr, u64),
    ) {
        // Field by field: a whole record would be put together on the stack.
        self.key.source = parsed.source.0;
        self.key.destination = parsed.destination.0;
        self.key.id = parsed.fragment_id;
        self.key.protocol = u32::from(parsed.protocol);
        self.known.vip = vip;
        self.known.other = Addr::default();
        self.known.dest = dest;
        self.known.service = service;
        self.known.method = u32::from(method);
        self.known.since = now as u32;
        tables.keep_fragment(&self.key, &self.known);
    }

    /// The same for full NAT, which rewrites the other end too.
    #[inline(always)]
    pub(crate) fn with_other_end<T: Tables>(&mut self, tables: &T, other: Addr) {
        self.known.other = other;
        tables.keep_fragment(&self.key, &self.known);
    }
}

/// The method of a connection with those flags, and whether its client is this host.
#[inline(always)]
#[must_use]
pub(crate) const fn known_method(flags: u16) -> u8 {
    (flags & (ConnFlags::METHOD | ConnFlags::LOCAL_CLIENT)) as u8
}

/// Bytes that a fragment adds to those of its packet: for the first all but a fragment header, for others the payload.
#[inline(always)]
pub(crate) fn bytes(parsed: &Parsed) -> u64 {
    let headers = parsed.l4 as u32 - rvs_wire::eth::LEN as u32;
    let own = match (parsed.is(Signal::FRAGMENT), parsed.is_v4()) {
        (false, _) => headers,
        (true, true) => 0,
        (true, false) => rvs_wire::ipv6::fragment::LEN as u32,
    };
    u64::from(parsed.len - own)
}

/// Sends a fragment after the first. [`Outcome::Tunnel`]: that stage is to send it.
///
/// # Errors
/// Where it ends otherwise.
#[inline(always)]
pub(crate) fn follow<P: Packet, T: Tables>(
    context: &Context<'_, T>,
    packet: &mut P,
    parsed: &Parsed,
    way: &mut Way,
) -> Result<Outcome, Outcome> {
    let known = context.tables.fragment(&Key::of(parsed)).ok_or(Outcome::Fragment)?;
    if (context.now as u32).wrapping_sub(known.since) > LIFE_TICKS {
        return Err(Outcome::Fragment);
    }
    if known.vip == Addr::default() {
        request(context, packet, parsed, &known, way)
    } else {
        reply(context, packet, parsed, &known, way)
    }
}

#[inline(always)]
fn request<P: Packet, T: Tables>(
    context: &Context<'_, T>,
    packet: &mut P,
    parsed: &Parsed,
    known: &Known,
    way: &mut Way,
) -> Result<Outcome, Outcome> {
    let dest = context.tables.dest(known.dest).ok_or(Outcome::Inconsistent)?;
    let is_here = context.is_here(dest);
    let hop = if is_here { NextHop::default() } else { context.hop_to(dest, known.dest, false)? };
    let delta = Stats { in_bytes: bytes(parsed), ..Stats::default() };
    context.tables.count(known.service, known.dest, &delta);
    way.hop = hop;
    way.notice.mtu = hop.mtu;
    let method = known.method as u8;
    if is_here {
        way.local.request(method, dest.addr(), [0; 2]);
        return Ok(Outcome::Local);
    }
    if method == Method::FULL_NAT {
        check(packet, parsed, &hop, 0)?;
        way.ends.source = known.other;
        way.ends.destination = dest.addr();
        rewrite_addresses(packet, parsed, &way.ends, true)?;
        address(packet, &hop.link)?;
        return Ok(Outcome::ForwardFullNat);
    }
    if method != Method::MASQ {
        return Context::<T>::transmit(packet, parsed, dest, method, way);
    }
    check(packet, parsed, &hop, 0)?;
    rewrite_address(packet, parsed, End::Destination, dest.addr(), true)?;
    address(packet, &hop.link)?;
    Ok(Outcome::ForwardMasq)
}

#[inline(always)]
fn reply<P: Packet, T: Tables>(
    context: &Context<'_, T>,
    packet: &mut P,
    parsed: &Parsed,
    known: &Known,
    way: &mut Way,
) -> Result<Outcome, Outcome> {
    let delta = Stats { out_bytes: bytes(parsed), ..Stats::default() };
    if context.tables.is_local() || known.method & u32::from(ConnFlags::LOCAL_CLIENT) != 0 {
        context.hop_to_self()?;
        context.tables.count(known.service, known.dest, &delta);
        way.local.reply(known.vip, [0; 2]);
        return Ok(Outcome::Local);
    }
    let is_full = known.method as u8 == Method::FULL_NAT;
    let client = if is_full { known.other } else { parsed.destination };
    let from = if is_full { known.vip } else { context.reply_from(parsed, known.vip) };
    let hop = context.hop_to_client(client, from, false)?;
    check(packet, parsed, &hop, 0)?;
    context.tables.count(known.service, known.dest, &delta);
    way.hop = hop;
    way.ends.source = known.vip;
    way.ends.destination = client;
    rewrite_addresses(packet, parsed, &way.ends, true)?;
    address(packet, &hop.link)?;
    Ok(if is_full { Outcome::ReplyFullNat } else { Outcome::ReplyMasq })
}
