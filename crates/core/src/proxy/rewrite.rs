//! What becomes of a segment.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "offsets and lengths in a frame are below 2^17"
)]

use rvs_abi::{Addr, ConnFlags, Event, Outcome};
use rvs_wire::{eth, ipv4, ipv6, proxy, tcp};

use crate::conn::{Bucket, Found};
use crate::forward::check;
use crate::parse::Signal;
use crate::pipeline::Scratch;
use crate::proxy::state::{DUE, Numbers, Plan, SENT, UNKNOWN};
use crate::segment::{Renumber, finish, renumber};
use crate::{Packet, Parsed, Tables, state, sum};

/// A packet of so many bytes fits any way (RFC 8200 §5), also if it becomes one of IPv6. A header that would make it longer
/// is sent alone.
const FITS: u32 = 1280 - (ipv6::LEN - ipv4::LEN) as u32;

/// The stage before full NAT's own, and before translation. The packet is still as it came; it goes on as
/// [`Outcome::FullNat`], [`Outcome::FullNatReply`], or by the translation it came for: that comes with all its packets.
#[inline(always)]
pub fn rewrite<P: Packet, T: Tables>(packet: &mut P, tables: &T, step: Outcome) -> Outcome {
    let is_request = matches!(step, Outcome::Proxied | Outcome::ForwardTranslated);
    let outcome = tables.with_scratch(|scratch| {
        let Scratch { parsed, found, way, .. } = scratch;
        let is_translated = !matches!(step, Outcome::Proxied | Outcome::ProxiedReply);
        if is_translated && (way.is_proxied == 0 || parsed.is(Signal::LATER)) {
            return step;
        }
        // As full NAT does behind this: what it drops, and an error about it quotes, is as it came.
        if step == Outcome::Proxied
            && let Err(outcome) = check(packet, parsed, &way.hop, 0)
        {
            return outcome;
        }
        let Some(found) = found.get(tables) else { return Outcome::Inconsistent };
        // It ended in this very moment: what is noted is another's, or soon.
        if !found.now().same_live(found.word()) {
            return Outcome::ConnContended;
        }
        let Some(segment) = Segment::of(packet, tables, parsed) else { return Outcome::TruncatedTransport };
        let done = if is_request {
            request(packet, tables, parsed, &found, &Segment { most: most(way.hop.mtu), ..segment })
        } else {
            reply(packet, tables, parsed, &found, &segment)
        };
        match done {
            Ok(by) if by != 0 && lengthen(packet, parsed, by).is_none() => Outcome::RewriteFailed,
            Ok(_) => match step {
                Outcome::Proxied => Outcome::FullNat,
                Outcome::ProxiedReply => Outcome::FullNatReply,
                step => step,
            },
            Err(outcome) => outcome,
        }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// What stages behind this one are to know of the packet.
#[inline(always)]
fn lengthen<P: Packet>(packet: &P, parsed: &mut Parsed, by: i32) -> Option<()> {
    parsed.len = parsed.len.wrapping_add_signed(by);
    if parsed.is_v4() {
        parsed.ip = ipv4::Header::from_bytes(&packet.get(eth::LEN)?);
    }
    Some(())
}

/// What its TCP header says.
#[derive(Debug, Clone, Copy)]
struct Segment {
    sequence: u32,
    acknowledgement: u32,
    flags: u8,
    /// Where the header ends in the frame, and the segment.
    header_end: u32,
    end: u32,
    /// Of a client's: bytes of the packet that it may be made longer to.
    most: u32,
}

/// Bytes that fit, on a way that takes packets of `mtu` bytes; 0: of any.
#[inline(always)]
const fn most(mtu: u32) -> u32 {
    if mtu != 0 && mtu < FITS { mtu } else { FITS }
}

impl Segment {
    #[inline(always)]
    fn of<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed) -> Option<Self> {
        let l4 = parsed.transport();
        let [offset, flags] = packet.get::<2>(l4 + tcp::DATA_OFFSET)?;
        let header_end = u32::from(parsed.l4) + u32::from(offset >> 4) * 4;
        let end = eth::LEN as u32 + parsed.len;
        if usize::from(offset >> 4) * 4 < tcp::LEN || header_end > end {
            return None;
        }
        packet.reach(header_end);
        let number = |at| packet.get::<4>(l4 + at).map(u32::from_be_bytes);
        // Veiled: what follows is verified once for all headers then.
        let veiled = |number: u32| tables.veiled(u64::from(number)) as u32;
        Some(Self {
            sequence: number(tcp::SEQUENCE)?,
            acknowledgement: number(tcp::ACKNOWLEDGEMENT)?,
            flags: veiled(u32::from(flags)) as u8,
            header_end: veiled(header_end),
            end: veiled(end),
            most: 0,
        })
    }

    #[inline(always)]
    const fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// What is noted of its connection.
#[inline(always)]
pub(super) fn numbers<T: Tables>(found: &Found<T::Bucket>) -> Numbers {
    let (syn, stage) = found.proxied();
    let (client, _) = found.client();
    let len = if client.is_v4() { proxy::LEN_V4 } else { proxy::LEN_V6 } as u32;
    Numbers { syn, len, stage }
}

/// A client's segment; how much longer it became.
#[inline(always)]
fn request<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    found: &Found<T::Bucket>,
    segment: &Segment,
) -> Result<i32, Outcome> {
    let numbers = numbers::<T>(found);
    if segment.has(tcp::SYN) {
        // Only of a connection that has just been made: whether another begins in its place, its server says.
        if numbers.stage == UNKNOWN && found.now().state() == state::tcp::SYN_RECV {
            begin(found, segment.sequence);
        } else if segment.sequence != numbers.syn {
            found.set_proxied(numbers.stage | ConnFlags::PROXY_AGAIN);
        }
        return Ok(0);
    }
    let is_first = parsed.is(Signal::FRAGMENT);
    let has_data = is_first || segment.end != segment.header_end;
    match numbers.plan(segment.sequence, has_data, segment.has(tcp::RST)) {
        // A fragment's data can't be moved, and may not take the header's place.
        Plan::Insert if !is_first => insert(packet, tables, parsed, found, segment),
        Plan::Insert | Plan::Drop => Err(Outcome::ProxyPlace),
        Plan::Leave => Ok(0),
        Plan::Shift => {
            let sequence = segment.sequence.wrapping_add(numbers.len);
            let before = sum::bytes(packet, tables, u32::from(parsed.l4), segment.header_end);
            packet
                .set(parsed.transport() + tcp::SEQUENCE, &sequence.to_be_bytes())
                .and_then(|()| finish(packet, tables, parsed, before?, (segment.header_end, 0)))
                .ok_or(Outcome::RewriteFailed)?;
            Ok(0)
        }
    }
}

/// From now on the header is due, behind a SYN of that number.
#[inline(always)]
fn begin<B: Bucket>(found: &Found<B>, syn: u32) {
    let (known, _) = found.proxied();
    if known != syn {
        found.set_syn(syn);
    }
    found.set_proxied(DUE);
}

/// Puts the header in front of its data, if they then fit any way; else in their place. How much longer it became.
#[inline(always)]
fn insert<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    found: &Found<T::Bucket>,
    segment: &Segment,
) -> Result<i32, Outcome> {
    let len = tables.veiled(u64::from(numbers::<T>(found).len)) as u32;
    if packet.wire_len(parsed) != parsed.len {
        return Err(Outcome::ProxyBundle);
    }
    packet.reach(segment.end);
    let has_room = parsed.len + len <= segment.most;
    let rest = if has_room { segment.end.wrapping_sub(segment.header_end) } else { 0 };
    let rest = tables.veiled(u64::from(rest)) as u32;
    let before =
        sum::bytes(packet, tables, u32::from(parsed.l4), segment.end).ok_or(Outcome::RewriteFailed)?;
    let end = segment.header_end.wrapping_add(len).wrapping_add(rest);
    make_room(packet, tables, segment, len, rest).ok_or(Outcome::RewriteFailed)?;
    write(packet, found, segment.header_end as usize).ok_or(Outcome::RewriteFailed)?;
    if !has_room && segment.end != segment.header_end {
        tables.note(Event::ProxyAlone);
        // What the data end with is not said yet.
        let flags = segment.flags & !tcp::FIN;
        packet.set(parsed.transport() + tcp::FLAGS, &[flags]).ok_or(Outcome::RewriteFailed)?;
    }
    let by = end.cast_signed().wrapping_sub(segment.end.cast_signed());
    finish(packet, tables, parsed, before, (segment.end, by)).ok_or(Outcome::RewriteFailed)?;
    found.set_proxied(SENT);
    tables.note(Event::ProxySent);
    Ok(by)
}

/// Moves the `rest` of the data back by so many bytes.
#[inline(always)]
fn make_room<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    segment: &Segment,
    len: u32,
    rest: u32,
) -> Option<()> {
    let at = segment.header_end;
    if rest != 0 {
        tables.with_saved(|frame| packet.copy_to(frame, segment.end))??;
    }
    packet.resize(at.wrapping_add(len).wrapping_add(rest))?;
    if rest == 0 {
        return Some(());
    }
    tables.with_saved(|frame| packet.fill(frame, at, at.wrapping_add(len), rest))?
}

/// Writes the header at an offset.
#[inline(always)]
fn write<P: Packet, B: Bucket>(packet: &mut P, found: &Found<B>, at: usize) -> Option<()> {
    let (vip, (client, [a, b])) = (found.vip(), found.client());
    let ([c, d], _) = found.ports();
    let is_v4 = client.is_v4();
    packet.set(at, &proxy::head(is_v4))?;
    let at = at + proxy::HEAD;
    let len = address(packet, at, &client, is_v4)?;
    address(packet, at + len, &vip, is_v4)?;
    packet.set(at + 2 * len, &[a, b, c, d])
}

/// Writes an address; how long it is.
#[inline(always)]
fn address<P: Packet>(packet: &mut P, at: usize, address: &Addr, is_v4: bool) -> Option<usize> {
    if is_v4 {
        packet.set(at, &address.v4_bytes())?;
        return Some(4);
    }
    packet.set(at, &address.to_bytes())?;
    Some(16)
}

/// A server's segment.
#[inline(always)]
fn reply<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    found: &Found<T::Bucket>,
    segment: &Segment,
) -> Result<i32, Outcome> {
    let numbers = numbers::<T>(found);
    if segment.has(tcp::SYN | tcp::ACK) {
        // Later one that is sent again counts, and the answer to another SYN: any other is of a connection that was there
        // before, or nobody's.
        let syn = segment.acknowledgement.wrapping_sub(1);
        let is_again = found.flags() & ConnFlags::PROXY_AGAIN != 0 || syn == numbers.syn;
        if is_again || found.now().state() == state::tcp::SYN_RECV {
            begin(found, syn);
        }
        return Ok(0);
    }
    if numbers.stage == UNKNOWN || !segment.has(tcp::ACK) {
        return Ok(0);
    }
    let (acknowledgement, stage) = numbers.acknowledged(segment.acknowledgement);
    if stage != numbers.stage {
        found.set_proxied(stage);
    }
    if acknowledgement == segment.acknowledgement {
        return Ok(0);
    }
    let before = sum::bytes(packet, tables, u32::from(parsed.l4), segment.header_end);
    let at = parsed.transport() + tcp::ACKNOWLEDGEMENT;
    packet.set(at, &acknowledgement.to_be_bytes()).ok_or(Outcome::RewriteFailed)?;
    renumber(packet, tables, parsed, segment.header_end, numbers);
    finish(packet, tables, parsed, before.ok_or(Outcome::RewriteFailed)?, (segment.header_end, 0))
        .ok_or(Outcome::RewriteFailed)?;
    Ok(0)
}

impl Renumber for Numbers {
    #[inline(always)]
    fn acknowledged<T: Tables>(self, tables: &T, seen: u32) -> u32 {
        let syn = tables.veiled(u64::from(self.syn)) as u32;
        Self { syn, ..self }.edge(seen)
    }
}
