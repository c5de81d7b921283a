//! Fragments: those behind the first have no ports, and follow it (ipvs.md §2.1, §2.7, §3.3).
//!
//! IPVS reassembles a packet and fragments it again. Here each fragment is sent on as it came: what was decided about the
//! first one is kept for a while, by addresses and identification. A fragment that comes before the first is held
//! ([`crate::hold`]).
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; ids and flags are cut on purpose"
)]

use rvs_abi::{Addr, Class, ConnFlags, Method, Outcome, Stats};

use crate::forward::full_nat::rewrite_addresses;
use crate::forward::masq::{End, rewrite_address};
use crate::forward::{address, check};
use crate::parse::Signal;
use crate::pipeline::{Context, Way};
use crate::{DestRecord, NextHop, Packet, Parsed, Tables, bypass, cut, hold, translate};

/// How long a first fragment is remembered, in ticks: 2 s. Identifications come again, those of IPv4 soon.
const LIFE_TICKS: u32 = 30;

/// In place of a [`Method`]: the first fragment was not balanced.
const PASSED: u8 = 0xff;
/// Likewise: it was dropped.
const DROPPED: u8 = 0xfe;

/// What the fragments of a packet have in common (RFC 791 §3.2, RFC 8200 §4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(C)]
pub struct Key {
    source: [u64; 2],
    destination: [u64; 2],
    /// Identification as it stands in the packet; of IPv4 in the lower half.
    id: u32,
    /// Protocol number of IPv4; 0 for IPv6, of which the identification is enough, and where the first fragment's transport
    /// protocol may stand behind another header (RFC 8200 §4.5).
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
            protocol: protocol(parsed),
        }
    }
}

/// As it stands in a key.
#[inline(always)]
const fn protocol(parsed: &Parsed) -> u32 {
    if parsed.is_v4() { parsed.protocol as u32 } else { 0 }
}

/// What was decided about the first fragment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Known {
    /// The connection's virtual address, for a reply; zero for a request.
    vip: Addr,
    /// Full NAT: the director's address for a request, the client's for a reply. Otherwise the packet's ports, in front.
    other: Addr,
    dest: u32,
    service: u32,
    /// [`Method`] and [`ConnFlags::LOCAL_CLIENT`], or that it was not balanced, or dropped.
    method: u32,
    /// When the first fragment came, in ticks, the lower half.
    since: u32,
}

impl Known {
    /// Source port and destination port of a packet that is not of full NAT.
    #[inline(always)]
    const fn ports(&self) -> ([u8; 2], [u8; 2]) {
        let [a, b, c, d, ..] = self.other.0[0].to_ne_bytes();
        ([a, b], [c, d])
    }
}

/// What is to be kept about a first fragment: in scratch memory, as a stack has no room for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keep {
    key: Key,
    known: Known,
    /// 1: it is kept, and what came before it goes on behind it, which for a tunnel's packet is done before that is in it.
    pub(crate) gathered: u64,
}

impl Keep {
    /// What it is kept by.
    #[inline(always)]
    pub(crate) const fn key(&self) -> &Key {
        &self.key
    }

    /// Writes down what a fragment is kept by.
    #[inline(always)]
    pub(crate) const fn set_key(&mut self, parsed: &Parsed) {
        // Field by field: a whole record would be put together on the stack.
        self.key.source = parsed.source.0;
        self.key.destination = parsed.destination.0;
        self.key.id = parsed.fragment_id;
        self.key.protocol = protocol(parsed);
    }

    /// Writes down where a first fragment goes; the program that gathers the others keeps it. `vip` is zero for a request;
    /// `now` in ticks.
    #[inline(always)]
    pub(crate) const fn write(
        &mut self,
        parsed: &Parsed,
        (dest, service): (u32, u32),
        method: u8,
        (vip, now): (Addr, u64),
    ) {
        self.set_key(parsed);
        self.gathered = 0;
        self.known.vip = vip;
        let ([a, b], [c, d]) = (parsed.sport, parsed.dport);
        self.known.other = Addr([u64::from_ne_bytes([a, b, c, d, 0, 0, 0, 0]), 0]);
        self.known.dest = dest;
        self.known.service = service;
        self.known.method = method as u32;
        self.known.since = now as u32;
    }

    /// For full NAT, which rewrites the other end too.
    #[inline(always)]
    pub(crate) const fn set_other_end(&mut self, other: Addr) {
        self.known.other = other;
    }

    /// Under XDP: keeps what was written down, and then asks whether others wait for this first fragment. In this order: who holds
    /// one looks for the first afterwards, so that one of both sees the other. TC does so when it gathers them.
    ///
    /// # Errors
    /// [`Outcome::HandOverFragment`]: some may wait, and TC sends them.
    #[inline(always)]
    pub(crate) fn announce<T: Tables>(&self, tables: &T, parsed: &Parsed, now: u64) -> Result<(), Outcome> {
        if tables.holds() {
            return Ok(());
        }
        tables.keep_fragment(&self.key, &self.known);
        if hold::is_handed_over(tables, parsed, now) { Err(Outcome::HandOverFragment) } else { Ok(()) }
    }

    /// Keeps what was written down; of a packet that is passed on or dropped, that it is.
    #[inline(always)]
    pub(crate) fn keep<T: Tables>(&mut self, tables: &T, parsed: &Parsed, outcome: Outcome, now: u64) {
        if outcome.class() != Class::Forward {
            let method = if outcome.class() == Class::Drop { DROPPED } else { PASSED };
            self.write(parsed, (0, 0), method, (Addr::default(), now));
        }
        tables.keep_fragment(&self.key, &self.known);
    }
}

/// Whether a packet is a first fragment that others are still to be gathered behind. Of one that is passed on nothing has been
/// written down yet: what stands there is another's.
#[inline(always)]
pub(crate) fn is_to_be_gathered<T: Tables>(tables: &T, outcome: Outcome) -> bool {
    let passes = outcome != Outcome::Tunnel && outcome.class() == Class::Pass;
    let is_first = tables.with_scratch(|scratch| {
        scratch.parsed.is(Signal::FRAGMENT) && (passes || scratch.way.keep.gathered == 0)
    });
    is_first.unwrap_or(false)
}

/// Whether a packet is a first fragment.
#[inline(always)]
pub(crate) fn is_first<T: Tables>(tables: &T) -> bool {
    tables.with_scratch(|scratch| scratch.parsed.is(Signal::FRAGMENT)).unwrap_or(false)
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

/// Bytes that a packet counts for, which may be a first fragment.
#[inline(always)]
pub(crate) fn counted(parsed: &Parsed) -> u64 {
    if parsed.is(Signal::FRAGMENT) { bytes(parsed) } else { u64::from(parsed.len) }
}

/// What becomes of a fragment of which no first one is known. [`Outcome::FragmentHeld`]: it is to be held.
#[inline(always)]
fn unknown<T: Tables>(context: &Context<'_, T>, parsed: &Parsed) -> Outcome {
    // What this host makes comes in order.
    match (hold::is_for(parsed) && !context.tables.is_local(), context.tables.holds()) {
        (false, _) => Outcome::Fragment,
        (true, false) => Outcome::HandOverFragment,
        (true, true) => Outcome::FragmentHeld,
    }
}

/// Whether a first fragment is known; `now` in ticks.
#[inline(always)]
pub(crate) fn is_known<T: Tables>(tables: &T, key: &Key, now: u64) -> bool {
    tables.fragment(key).is_some_and(|known| hold::is_recent(known.since, now as u32, LIFE_TICKS))
}

/// Sends a fragment after the first. [`Outcome::Tunnel`]: that stage is to send it.
///
/// # Errors
/// Where it ends otherwise.
#[inline(always)]
pub(crate) fn follow<P: Packet, T: Tables>(
    context: &Context<'_, T>,
    packet: &mut P,
    parsed: &mut Parsed,
    way: &mut Way,
) -> Result<Outcome, Outcome> {
    let known = context.tables.fragment(&Key::of(parsed)).ok_or_else(|| unknown(context, parsed))?;
    if !hold::is_recent(known.since, context.now as u32, LIFE_TICKS) {
        return Err(unknown(context, parsed));
    }
    if known.method == u32::from(PASSED) {
        return Err(Outcome::Fragment);
    }
    if known.method == u32::from(DROPPED) {
        return Err(Outcome::FragmentDropped);
    }
    if known.method == u32::from(Method::BYPASS) {
        way.bypass = bypass::UNKEPT;
        return Err(Outcome::Bypass);
    }
    if known.method == u32::from(Method::TUNNEL) {
        // What is around it is chosen by its flow (ipvs.md §3.6).
        (parsed.sport, parsed.dport) = known.ports();
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
    way.ends.source = known.other;
    way.ends.destination = dest.addr();
    if known.method as u8 == Method::FULL_NAT && dest.addr().is_v4() != parsed.is_v4() {
        let delta = Stats { in_bytes: bytes(parsed), ..Stats::default() };
        way.hop = context.hop_to(dest, known.dest, false)?;
        translate::follow(context, packet, parsed, way)?;
        context.tables.count(known.service, known.dest, &delta);
        return Ok(Outcome::ForwardTranslated);
    }
    let is_here = context.is_here(dest);
    let hop = if is_here { NextHop::default() } else { context.hop_to(dest, known.dest, false)? };
    if !is_here {
        way.notice.mtu = hop.mtu;
        cut::check(packet, context.tables, parsed, &hop, known.method as u8)?;
    }
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
        context.count((known.dest, known.service), &delta);
        way.local.reply(known.vip, [0; 2]);
        return Ok(Outcome::Local);
    }
    let is_full = known.method as u8 == Method::FULL_NAT;
    let client = if is_full { known.other } else { parsed.destination };
    let from = if is_full { known.vip } else { context.reply_from(parsed, known.vip) };
    let hop = context.hop_to_client(client, from, false)?;
    way.ends.source = known.vip;
    way.ends.destination = client;
    if client.is_v4() != parsed.is_v4() {
        let delta = Stats { out_bytes: bytes(parsed), ..Stats::default() };
        way.hop = hop;
        translate::follow(context, packet, parsed, way)?;
        context.count((known.dest, known.service), &delta);
        return Ok(Outcome::ReplyTranslated);
    }
    way.notice.mtu = hop.mtu;
    cut::check(packet, context.tables, parsed, &hop, Method::MASQ)?;
    check(packet, parsed, &hop, 0)?;
    context.count((known.dest, known.service), &delta);
    way.hop = hop;
    rewrite_addresses(packet, parsed, &way.ends, true)?;
    address(packet, &hop.link)?;
    Ok(if is_full { Outcome::ReplyFullNat } else { Outcome::ReplyMasq })
}
