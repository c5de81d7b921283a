//! The segment size that the ends of a TCP connection announce to each other in their first segments is lowered, where the
//! service asks for it: so nothing too large for a tunnel, or for a way whose routers' ICMP errors are lost, is ever sent.
//!
//! The stages that send a segment find out whether it is such a one, before they count or change anything; a program of its
//! own calls that stage once more and lowers the size behind it, so that what XDP hands over is as it came. Only segments with
//! SYN are asked, and they ask a bit of the connection.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets in a frame are below 2^17; a TCP header has at most 60 bytes"
)]

use rvs_abi::{ConnFlags, Outcome, proto};
use rvs_wire::checksum::Delta;
use rvs_wire::{eth, tcp};

use crate::parse::Signal;
use crate::pipeline::{About, Scratch, Way};
use crate::{Packet, Parsed, ServiceRecord, Step, Tables};

/// The stage that calls for it, and goes on behind it. A number: it is kept in scratch memory.
pub(crate) type Behind = u32;
/// Stage 2b.
const REQUEST: Behind = 0;
/// Stage 2a.
pub(crate) const REPLY: Behind = 1;
/// Stage 2a for packets to the director's ports.
pub(crate) const LOCAL_REPLY: Behind = 2;
/// Stage 2b for what is from or for this host's own stack.
const REQUEST_HERE: Behind = 3;
/// Stage 2a for that.
pub(crate) const REPLY_HERE: Behind = 4;

/// Stage 2b, in either place.
#[inline(always)]
pub(crate) const fn request(is_near: bool) -> Behind {
    if is_near { REQUEST_HERE } else { REQUEST }
}

/// What a connection that this packet begins has of [`ConnFlags`], with the size that its service allows.
#[inline(always)]
pub(crate) const fn flag(parsed: &Parsed, mss: u16) -> u16 {
    if mss != 0 && parsed.protocol == proto::TCP { ConnFlags::CLAMPED } else { 0 }
}

/// Whether a segment of a connection with those flags is as its service wants it.
///
/// # Errors
/// [`Outcome::Clamp`]: it is to be seen to first.
#[inline(always)]
pub(crate) fn check(parsed: &Parsed, flags: u16, way: &mut Way, behind: Behind) -> Result<(), Outcome> {
    if parsed.signal & (Signal::RENEWS | Signal::CLAMPED) != Signal::RENEWS || flags & ConnFlags::CLAMPED == 0
    {
        return Ok(());
    }
    way.behind_clamp = behind;
    Err(Outcome::Clamp)
}

/// Begins with a segment that is to be seen to: finds its service, and which stage decides about it. [`Outcome::Balanced`] 2b,
/// [`Outcome::FromServer`] and [`Outcome::LocalPort`] 2a; [`Outcome::Local`] and [`Outcome::LocalReply`] those of [`crate::here`].
#[inline(always)]
pub(crate) fn begin<T: Tables>(tables: &T) -> Outcome {
    let behind = tables.with_scratch(|scratch| scratch.way.behind_clamp).unwrap_or(REQUEST);
    // Once more: the stage that sent it here has no room to keep what it found.
    let (is_found, stage) = match behind {
        REPLY => (tables.ftp_find(Outcome::FtpReply), Outcome::FromServer),
        LOCAL_REPLY => (tables.find_local(About::Packet), Outcome::LocalPort),
        REQUEST_HERE => (tables.ftp_find(Outcome::FtpRequest), Outcome::Local),
        REPLY_HERE => (tables.ftp_find(Outcome::FtpReply), Outcome::LocalReply),
        _ => (tables.ftp_find(Outcome::FtpRequest), Outcome::Balanced),
    };
    let is_known = tables.with_scratch(|scratch| {
        let Some(found) = scratch.found.get(tables) else { return false };
        (_, scratch.way.service) = found.ids();
        scratch.parsed.signal |= Signal::CLAMPED;
        true
    });
    if is_found && is_known.unwrap_or(false) { stage } else { Outcome::ConnContended }
}

/// Whether a segment that came to this outcome leaves, or is rewritten so that it does. One that becomes a packet of the other
/// family is lowered there.
#[inline(always)]
pub(crate) const fn is_for(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::ForwardMasq
            | Outcome::ForwardDr
            | Outcome::Tunnel
            | Outcome::FullNat
            | Outcome::FullNatReply
            | Outcome::Proxied
            | Outcome::ProxiedReply
            | Outcome::ReplyMasq
    )
}

/// The stage that lowers the size. `false`: the checksum that was there is not.
#[inline(always)]
pub fn clamp<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> bool {
    let is_done = tables.with_scratch(|scratch| {
        let Scratch { parsed, way, .. } = scratch;
        lower(packet, tables, parsed, way.service).is_some()
    });
    is_done.unwrap_or(false)
}

/// Lowers the size in a segment's option. Without one nothing is added: its sender takes 536 bytes, or 1220 in IPv6
/// (RFC 9293 §3.7.1). `None`: the checksum that was there is not.
#[inline(always)]
pub(crate) fn lower<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    service: u32,
) -> Option<()> {
    let mss = tables.service(service).map_or(0, ServiceRecord::mss);
    if mss == 0 {
        return Some(());
    }
    let l4 = parsed.transport();
    let Some([offset]) = packet.get::<1>(l4 + tcp::DATA_OFFSET) else { return Some(()) };
    let header_len = u32::from(offset >> 4) * 4;
    if l4 as u32 + header_len > eth::LEN as u32 + parsed.len {
        return Some(());
    }
    packet.reach(l4 as u32 + header_len);
    let mut walk = Walk {
        packet,
        l4: l4 as u64,
        end: u64::from(header_len),
        mss: u64::from(mss),
        at: tables.veiled(tcp::LEN as u64),
        sum: tables.veiled(0),
    };
    tables.repeat(tcp::option::MAX as u32, &mut walk);
    let sum = walk.sum as u32;
    if sum == 0 {
        return Some(());
    }
    packet.update_tcp_checksum(l4 + tcp::CHECKSUM, Delta::new(), Delta::from_sum(sum))
}

/// An option after the other, as far as a receiver would read them: the end of the list, or what is wrong, ends it.
struct Walk<'a, P> {
    packet: &'a mut P,
    l4: u64,
    /// The header's end, from its beginning.
    end: u64,
    mss: u64,
    /// The option, from the header's beginning.
    at: u64,
    /// Of the changes.
    sum: u64,
}

impl<P: Packet, T: Tables> Step<T> for Walk<'_, P> {
    #[inline(always)]
    fn step(&mut self, tables: &T, _round: u32) -> bool {
        let at = tables.veiled(self.at);
        if at >= self.end {
            return true;
        }
        let place = (self.l4 + at) as usize;
        let Some([kind]) = self.packet.get::<1>(place) else { return true };
        let len = self.packet.get::<1>(place + 1).map_or(0, |[len]| len);
        let span = tcp::option::span(kind, len, self.end - at);
        if kind == tcp::option::MSS && span == tcp::option::MSS_LEN as u64 {
            self.lower(place + 2, at & 1 != 0);
        }
        self.at = at + span;
        span == 0
    }
}

impl<P: Packet> Walk<'_, P> {
    /// Lowers the size at an offset.
    #[inline(always)]
    fn lower(&mut self, place: usize, is_odd: bool) {
        let Some(old) = self.packet.get::<2>(place) else { return };
        if u64::from(u16::from_be_bytes(old)) <= self.mss {
            return;
        }
        let new = (self.mss as u16).to_be_bytes();
        if self.packet.set(place, &new).is_none() {
            return;
        }
        // A sum over words that begin at the other byte is the same sum with its bytes in the other order (RFC 1071 §2(B)).
        let (before, after) = if is_odd { ([old[1], old[0]], [new[1], new[0]]) } else { (old, new) };
        self.sum += u64::from(Delta::new().word(before, after).sum());
    }
}
