//! Packets that are too large for their way once they are in a tunnel: what is around them is sent in fragments
//! (ipvs.md §3.2; RFC 791 §3.2, RFC 8200 §4.5).
//!
//! All but the last go to the interface by the link addresses that the kernel told; the last leaves as any packet, so that
//! a neighbour that is not known is asked for. Under TC only, to which XDP hands over.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; ids and flags are cut on purpose"
)]

use rvs_abi::{Event, Outcome, Settings, limits};
use rvs_wire::{eth, ipv4, ipv6};

use super::{Piece, Rest, Sum, complete, fragment};
use crate::forward::macs;
use crate::packet::Encap;
use crate::pipeline::Way;
use crate::{Packet, Parsed, Step, Tables};

/// The most that a tunnel puts around a packet.
pub(super) const ENCAP_MAX: u32 = Encap::tunnel(rvs_abi::family::V6, rvs_abi::TunnelType::GUE, 1).size();
/// As in [`super::HEAD`]: more than all headers up to that of the transport protocol, with a tunnel's.
const HEAD: u32 = 128;

/// Whether what is around a packet may be fragmented: if that itself may be, or if none is told that it must not (`pmtu_disc`
/// 0); in IPv6 if its sender makes none smaller (RFC 2473 §7.1, RFC 4213 §3.2).
#[inline(always)]
pub(crate) fn is_allowed<T: Tables>(tables: &T, parsed: &Parsed) -> bool {
    if !parsed.is_v4() {
        return parsed.len <= u32::from(ipv6::MTU_MIN);
    }
    !parsed.ip.dont_fragment() || tables.settings() & Settings::PMTU_DISC == 0
}

/// Sends the fragments of a packet that is in its tunnel: all but the last, which the packet becomes.
/// [`Outcome::ForwardTunnelCut`]: so it is.
#[inline(always)]
pub(crate) fn send<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, way: &Way) -> Outcome {
    match pieces(packet, tables, parsed, way) {
        Some(Pieces::<P>::DONE) => Outcome::ForwardTunnelCut,
        _ => Outcome::CutFailed,
    }
}

/// The state in which the loop ended.
#[inline(always)]
fn pieces<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, way: &Way) -> Option<u32> {
    let is_v6 = u64::from(!way.tunnel.destination.is_v4());
    let added = packet.frame_len().checked_sub(eth::LEN as u32 + parsed.len)?;
    if packet.frame_len() > limits::HOLD_FRAME || parsed.len < 2 * HEAD {
        return None;
    }
    complete(packet, tables, parsed, &Sum { added, head: HEAD, is_v4: is_v6 == 0 })?;
    let frame_len = packet.frame_len();
    let link = &way.hop.link;
    packet.set(0, &macs(link))?;
    packet.reach(frame_len);
    tables.with_saved(|frame| packet.copy_to(frame, frame_len))??;
    let is_known = link.macs[0] | link.macs[1] & u32::from_ne_bytes([0xff, 0xff, 0, 0]) != 0;
    let head = packet.get::<{ ipv4::LEN }>(eth::LEN)?;
    let headers = if is_v6 == 0 { ipv4::LEN } else { ipv6::LEN + ipv6::fragment::LEN };
    let data = if is_v6 == 0 { ipv4::LEN } else { ipv6::LEN };
    let mut pieces = Pieces {
        packet,
        head: ipv4::Header::from_bytes(&head),
        next_header: u64::from(head[6]),
        id: u64::from(tables.random()),
        is_v6,
        rest: Rest::new(
            frame_len - eth::LEN as u32 - data as u32,
            way.hop.mtu.saturating_sub(headers as u32),
        ),
        ifindex: if is_known { u64::from(link.ifindex) } else { 0 },
        state: Pieces::<P>::FAILED,
    };
    tables.repeat(limits::PIECES_MAX, &mut pieces);
    Some(pieces.state)
}

/// A tunnel's packet that is being cut. Numbers are words, as in [`Rest`].
struct Pieces<'a, P> {
    packet: &'a mut P,
    /// The outer header, of IPv4.
    head: ipv4::Header,
    /// IPv6: what is behind its header, and the identification of all fragments.
    next_header: u64,
    id: u64,
    is_v6: u64,
    rest: Rest,
    /// Where they leave; 0: the neighbour is not known.
    ifindex: u64,
    state: u32,
}

impl<P: Packet> Pieces<'_, P> {
    const FAILED: u32 = 0;
    const DONE: u32 = 1;

    /// Gets so many bytes, of which the Ethernet header is what it was. The kernel makes no frame end before the place where
    /// it knows a transport header to be, which the tunnel's headers have moved.
    #[inline(always)]
    fn resize(&mut self, len: u32) -> Option<()> {
        if len >= HEAD {
            return self.packet.resize(len);
        }
        self.packet.resize(HEAD)?;
        self.packet.pull(HEAD - len)
    }

    /// Becomes a fragment of so many bytes.
    #[inline(always)]
    fn store<T: Tables>(&mut self, tables: &T, piece: Piece) -> Option<()> {
        if tables.veiled(self.is_v6) != 0 {
            return self.store_v6(tables, piece);
        }
        const DATA: u32 = (eth::LEN + ipv4::LEN) as u32;
        let Piece { at, len, is_last, .. } = piece;
        self.resize(DATA + len)?;
        let offset = (at / 8) as u16 | if is_last { 0 } else { 0x2000 };
        for (i, word) in fragment(&self.head, offset, len).into_iter().enumerate() {
            self.packet.set(eth::LEN + i * 4, &word.to_ne_bytes())?;
        }
        tables.with_saved(|frame| self.packet.fill(frame, DATA + at, DATA, len))?
    }

    #[inline(always)]
    fn store_v6<T: Tables>(&mut self, tables: &T, Piece { at, len, is_last, .. }: Piece) -> Option<()> {
        const WAS: u32 = (eth::LEN + ipv6::LEN) as u32;
        const DATA: u32 = WAS + ipv6::fragment::LEN as u32;
        self.resize(DATA + len)?;
        tables.with_saved(|frame| {
            self.packet.fill(frame, eth::LEN as u32, eth::LEN as u32, ipv6::LEN as u32)
        })??;
        let payload = (len + ipv6::fragment::LEN as u32) as u16;
        self.packet.set(eth::LEN + 4, &payload.to_be_bytes())?;
        self.packet.set(eth::LEN + 6, &[ipv6::next::FRAGMENT])?;
        let [p, q] = (at as u16 | u16::from(!is_last)).to_be_bytes();
        let [a, b, c, d] = (self.id as u32).to_ne_bytes();
        self.packet.set(WAS as usize, &[self.next_header as u8, 0, p, q, a, b, c, d])?;
        tables.with_saved(|frame| self.packet.fill(frame, WAS + at, DATA, len))?
    }
}

impl<P: Packet, T: Tables> Step<T> for Pieces<'_, P> {
    #[inline(always)]
    fn step(&mut self, tables: &T, _round: u32) -> bool {
        let Some(piece) = self.rest.next(tables) else { return true };
        if self.store(tables, piece).is_none() {
            return true;
        }
        tables.note(Event::PieceMade);
        if piece.is_last {
            self.state = Self::DONE;
            return true;
        }
        let ifindex = tables.veiled(self.ifindex) as u32;
        if ifindex != 0 && self.packet.send_to(ifindex).is_none() {
            return true;
        }
        self.rest.take(piece);
        false
    }
}
