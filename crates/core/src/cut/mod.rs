//! Packets that are too large for their way and may be fragmented (RFC 791 §3.2, ipvs.md §3.2).
//!
//! Such a packet is made into fragments before anything of it is counted or changed. They are sent to the interface that it
//! came in on, where the program meets them as if it had come so: the first goes as any packet, the others follow it.
//! Under TC only, to which XDP hands over. What leaves through a tunnel is cut when it is in there: `outer`.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; ids and flags are cut on purpose"
)]

pub(crate) mod outer;

use rvs_abi::{Event, Method, Outcome, limits, proto};
use rvs_wire::{checksum, eth, ipv4, tcp, udp};

use crate::forward::tunnel::pseudo;
use crate::packet::Encap;
use crate::parse::Signal;
use crate::pipeline::Way;
use crate::{Link, NextHop, Packet, Parsed, Step, Tables, sum};

/// Bytes behind the Ethernet header that are taken off and put back to be rid of a checksum left to the device: more than
/// all headers up to that of the transport protocol.
const HEAD: u32 = 64;
/// Where the data of a packet without options begin in its frame.
const DATA: u32 = (eth::LEN + ipv4::LEN) as u32;

/// Before a packet is counted: whether it is to be cut first. A bundle of segments is not: [`crate::forward::check`] finds it
/// too big. What goes into a tunnel is cut there; XDP hands over what may have to be.
///
/// # Errors
/// [`Outcome::ForwardCut`]: it is; [`Outcome::HandOverFragment`]: likewise, under TC.
#[inline(always)]
pub(crate) fn check<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &Parsed,
    hop: &NextHop,
    method: u8,
) -> Result<(), Outcome> {
    // Veiled: what follows is verified once for all methods then.
    let tunnel = tables.veiled(u64::from(method)) as u8 == Method::TUNNEL;
    if tunnel && tables.holds() {
        return Ok(());
    }
    let added = tables.veiled(u64::from(u32::from(tunnel) * outer::ENCAP_MAX)) as u32;
    let mtu = tables.veiled(u64::from(hop.mtu)) as u32;
    if parsed.len.wrapping_add(added) <= mtu || mtu == 0 || parsed.ttl() <= 1 {
        return Ok(());
    }
    if !(if tunnel { outer::is_allowed(tables, parsed) } else { !parsed.dont_fragment() }) {
        return Ok(());
    }
    // This host learns by an error about it what its packets have to be like, and cuts them itself.
    if packet.wire_len(parsed) != parsed.len || tables.is_local() {
        return Ok(());
    }
    Err(if tables.holds() { Outcome::ForwardCut } else { Outcome::HandOverFragment })
}

/// Sends the fragments of a packet. [`Outcome::ForwardCut`]: all of them; none is left.
#[inline(always)]
pub(crate) fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    way: &mut Way,
) -> Outcome {
    way.hop.link = Link::default();
    match pieces(packet, tables, parsed, way.notice.mtu) {
        Some(Cut::<P>::DONE) => Outcome::ForwardCut,
        _ => Outcome::CutFailed,
    }
}

/// The state in which the loop ended.
#[inline(always)]
fn pieces<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, mtu: u32) -> Option<u32> {
    let frame_len = eth::LEN as u32 + parsed.len;
    // Options would have to be looked through, as not all are in each fragment.
    if parsed.ip.header_len() != ipv4::LEN || frame_len > limits::HOLD_FRAME || parsed.len < 2 * HEAD {
        return None;
    }
    if parsed.is(Signal::TRANSLATED) {
        sum_datagram(packet, tables, parsed)?;
    }
    complete(packet, tables, parsed, &Sum { added: 0, head: HEAD, is_v4: true })?;
    packet.reach(frame_len);
    tables.with_saved(|frame| packet.copy_to(frame, frame_len))??;
    let head = packet.get::<{ ipv4::LEN }>(eth::LEN)?;
    let base = u32::from(u16::from_be_bytes([head[6], head[7]]));
    let mut cut = Cut {
        packet,
        head: ipv4::Header::from_bytes(&head),
        base: u64::from(base & 0x1fff) * 8,
        rest: Rest::new(frame_len - DATA, mtu.saturating_sub(ipv4::LEN as u32)),
        more: u64::from(base & 0x2000 != 0),
        state: Cut::<P>::FAILED,
    };
    tables.repeat(limits::PIECES_MAX, &mut cut);
    Some(cut.state)
}

/// A datagram without a checksum gets one while it is whole: in IPv6 there is none without (RFC 7915 §4.5).
#[inline(always)]
fn sum_datagram<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed) -> Option<()> {
    let at = parsed.transport() + udp::CHECKSUM;
    let is_whole = !parsed.is(Signal::FRAGMENT | Signal::LATER);
    if !is_whole || parsed.protocol != proto::UDP || packet.get::<2>(at)? != [0, 0] {
        return Some(());
    }
    let (sum, len) = sum::datagram(packet, tables, u32::from(parsed.l4))?;
    let (from, to) = (parsed.source.v4_bytes(), parsed.destination.v4_bytes());
    let pseudo = checksum::pseudo_v4(from, to, proto::UDP, len as u16);
    packet.set(at, &udp::checksum(sum + pseudo))
}

/// Of a packet whose checksum may have been left to the device.
struct Sum {
    /// Bytes that were put in front of it.
    added: u32,
    /// As [`HEAD`].
    head: u32,
    /// Whether the frame has an IPv4 header first.
    is_v4: bool,
}

/// Computes a checksum that was left to the device: no device does that for fragments.
#[inline(always)]
fn complete<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, of: &Sum) -> Option<()> {
    if !packet.may_lack_checksum() || parsed.is(Signal::FRAGMENT | Signal::LATER) {
        return Some(());
    }
    let l4 = u32::from(parsed.l4) + of.added;
    let at = l4 as usize
        + match parsed.protocol {
            proto::TCP => tcp::CHECKSUM,
            proto::UDP => udp::CHECKSUM,
            _ => return Some(()),
        };
    let end = eth::LEN as u32 + parsed.len + of.added;
    packet.reach(end);
    let field = packet.get::<2>(at)?;
    let pseudo = pseudo(parsed.source, parsed.destination, parsed.protocol, end - l4);
    let is_left = checksum::fold(u32::from(u16::from_ne_bytes(field)) + u32::from(!checksum::fold(pseudo)));
    if field == [0, 0] || is_left != 0xffff {
        return Some(());
    }
    // The field is the sum over the pseudo header.
    let sum = sum::bytes(packet, tables, l4, end)?;
    packet.set(at, &udp::checksum(sum))?;
    tables.with_saved(|frame| packet.copy_to(frame, end))??;
    // By this the kernel forgets that a device is to compute it.
    packet.pull(of.head)?;
    packet.push(&Encap::room(of.head, of.is_v4))?;
    tables.with_saved(|frame| packet.replace(frame, end))?
}

/// The words of an IPv4 header without options, of a fragment with so many bytes behind it; `offset` with its flags.
#[inline(always)]
fn fragment(head: &ipv4::Header, offset: u16, len: u32) -> [u32; 5] {
    let [a, b, c, d, e] = head.0;
    let [x, y, ..] = a.to_ne_bytes();
    let [p, q] = ((len + ipv4::LEN as u32) as u16).to_be_bytes();
    let first = u32::from_ne_bytes([x, y, p, q]);
    let [x, y, ..] = b.to_ne_bytes();
    let [p, q] = offset.to_be_bytes();
    let second = u32::from_ne_bytes([x, y, p, q]);
    let [x, y, ..] = c.to_ne_bytes();
    let third = u32::from_ne_bytes([x, y, 0, 0]);
    let sum = [first, second, third, d, e].iter().fold(0, |sum, word| sum + (word & 0xffff) + (word >> 16));
    let [p, q] = (!checksum::fold(sum)).to_ne_bytes();
    [first, second, u32::from_ne_bytes([x, y, p, q]), d, e]
}

/// What is left of a packet's data. Numbers are words, as rounds of a loop hand them on.
struct Rest {
    /// Where those of the next fragment begin.
    at: u64,
    /// Bytes that are left.
    left: u64,
    /// Bytes of each fragment but the last: whole words of eight. 0: the MTU has no room for one.
    size: u64,
}

/// The data of one fragment.
#[derive(Clone, Copy)]
struct Piece {
    at: u32,
    len: u32,
    /// Bytes that are left with it. Not asked for again: what the verifier was kept from knowing, it need not know behind it.
    left: u32,
    is_last: bool,
}

impl Rest {
    /// Of so many bytes, for fragments that have room for `size` at most.
    #[inline(always)]
    fn new(len: u32, size: u32) -> Self {
        Self { at: 0, left: u64::from(len), size: u64::from(size & !7) }
    }

    /// The next fragment's.
    #[inline(always)]
    fn next<T: Tables>(&self, tables: &T) -> Option<Piece> {
        let (at, left) = (tables.veiled(self.at) as u32, tables.veiled(self.left) as u32);
        let size = tables.veiled(self.size) as u32;
        if size == 0 {
            return None;
        }
        let is_last = left <= size;
        Some(Piece { at, len: if is_last { left } else { size }, left, is_last })
    }

    /// Goes on behind it.
    #[inline(always)]
    fn take(&mut self, piece: Piece) {
        self.at = u64::from(piece.at + piece.len);
        self.left = u64::from(piece.left - piece.len);
    }
}

/// A packet that is being cut. Numbers are words, as in [`Rest`].
struct Cut<'a, P> {
    packet: &'a mut P,
    /// The header that it came with.
    head: ipv4::Header,
    /// Where its data begin in the packet that it is a fragment of, if it is one.
    base: u64,
    rest: Rest,
    /// 1: the packet is itself a fragment, and others follow.
    more: u64,
    state: u32,
}

impl<P: Packet> Cut<'_, P> {
    const FAILED: u32 = 0;
    const DONE: u32 = 1;

    /// Becomes a fragment of so many bytes.
    #[inline(always)]
    fn store<T: Tables>(&mut self, tables: &T, Piece { at, len, .. }: Piece, more: bool) -> Option<()> {
        let offset = (self.base as u32 + at) / 8;
        let offset = offset as u16 & 0x1fff | if more { 0x2000 } else { 0 };
        self.packet.resize(DATA + len)?;
        for (i, word) in fragment(&self.head, offset, len).into_iter().enumerate() {
            self.packet.set(eth::LEN + i * 4, &word.to_ne_bytes())?;
        }
        tables.with_saved(|frame| self.packet.fill(frame, DATA + at, DATA, len))?
    }
}

impl<P: Packet, T: Tables> Step<T> for Cut<'_, P> {
    #[inline(always)]
    fn step(&mut self, tables: &T, _round: u32) -> bool {
        let Some(piece) = self.rest.next(tables) else { return true };
        let more = !piece.is_last || tables.veiled(self.more) != 0;
        if self.store(tables, piece, more).is_none() || self.packet.resend().is_none() {
            return true;
        }
        tables.note(Event::PieceMade);
        if piece.is_last {
            self.state = Self::DONE;
            return true;
        }
        self.rest.take(piece);
        false
    }
}
