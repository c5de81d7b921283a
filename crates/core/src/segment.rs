//! TCP segments whose data become longer or shorter, and the numbers of others that follow from that.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "offsets and lengths in a frame are below 2^17; differences of them are small"
)]

use rvs_wire::checksum::Delta;
use rvs_wire::{eth, ipv6, tcp};

use crate::{Packet, Parsed, Step, Tables, sum};

/// Checksums and lengths of a segment that has been changed up to `end`, and become so much longer.
#[inline(always)]
pub(crate) fn finish<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    before: u32,
    (end, by): (u32, i32),
) -> Option<()> {
    let l4 = u32::from(parsed.l4);
    let after = sum::bytes(packet, tables, l4, end.wrapping_add(by as u32))?;
    // Complements are taken of folded sums: of 16 bits.
    let fields = Delta::new().word(fold(before), fold(after));
    let mut pseudo = Delta::new();
    if by != 0 {
        pseudo = lengthen(packet, parsed, by)?;
    }
    packet.update_tcp_checksum(parsed.transport() + tcp::CHECKSUM, pseudo, fields)
}

/// Makes the IP packet of a segment so much longer; what that adds to the checksum over the pseudo header.
#[inline(always)]
pub(crate) fn lengthen<P: Packet>(packet: &mut P, parsed: &Parsed, by: i32) -> Option<Delta> {
    let len = parsed.len.wrapping_add(by as u32);
    let before = parsed.transport() as u32 - eth::LEN as u32;
    let segment = |len: u32| (len.wrapping_sub(before) as u16).to_be_bytes();
    if parsed.is_v4() {
        let (old, new) = ((parsed.len as u16).to_be_bytes(), (len as u16).to_be_bytes());
        packet.set(eth::LEN + TOTAL_LEN, &new)?;
        let field = packet.get::<2>(eth::LEN + CHECKSUM)?;
        packet.set(eth::LEN + CHECKSUM, &Delta::new().word(old, new).apply(field))?;
    } else {
        let len = (len.wrapping_sub(ipv6::LEN as u32)) as u16;
        packet.set(eth::LEN + PAYLOAD_LEN, &len.to_be_bytes())?;
    }
    Some(Delta::new().word(segment(parsed.len), segment(len)))
}

/// Offsets in the IPv4 header.
const TOTAL_LEN: usize = 2;
const CHECKSUM: usize = 10;
/// Offset of the payload's length in the IPv6 header.
const PAYLOAD_LEN: usize = 4;

#[inline(always)]
const fn fold(sum: u32) -> [u8; 2] {
    rvs_wire::checksum::fold(sum).to_ne_bytes()
}

/// How numbers that the other end acknowledges become those that this one sent.
pub(crate) trait Renumber: Copy {
    /// One of them.
    fn acknowledged<T: Tables>(self, tables: &T, seen: u32) -> u32;
}

/// Rewrites what a segment acknowledges selectively (RFC 2018 §3); its header ends at `end`.
#[inline(always)]
pub(crate) fn renumber<P: Packet, T: Tables, R: Renumber>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    end: u32,
    by: R,
) {
    let at = tables.veiled((parsed.transport() + tcp::LEN) as u64);
    let mut options = Options { packet, by, at, end: u64::from(end), edges: tables.veiled(0) };
    tables.repeat(STEPS, &mut options);
}

/// Options, and edges of a selective acknowledgement.
const STEPS: u32 = 40;

/// Goes through a header's options.
struct Options<'a, P, R> {
    packet: &'a mut P,
    by: R,
    at: u64,
    end: u64,
    /// Edges that follow.
    edges: u64,
}

impl<P: Packet, T: Tables, R: Renumber> Step<T> for Options<'_, P, R> {
    #[inline(always)]
    fn step(&mut self, tables: &T, _round: u32) -> bool {
        let (at, end) = (tables.veiled(self.at), tables.veiled(self.end));
        let edges = tables.veiled(self.edges);
        if edges != 0 {
            self.edges = edges - 1;
            self.at = at + 4;
            return self.edge(tables, at as usize).is_none();
        }
        if at + 2 > end {
            return true;
        }
        let Some([kind, len]) = self.packet.get::<2>(at as usize) else { return true };
        let span = tcp::option::span(kind, len, end - at);
        if kind == tcp::option::SACK && span != 0 {
            self.edges = (span - 2) / 4;
            self.at = at + 2;
        } else {
            self.at = at + span;
        }
        span == 0
    }
}

impl<P: Packet, R: Renumber> Options<'_, P, R> {
    #[inline(always)]
    fn edge<T: Tables>(&mut self, tables: &T, at: usize) -> Option<()> {
        let seen = u32::from_be_bytes(self.packet.get::<4>(at)?);
        self.packet.set(at, &self.by.acknowledged(tables, seen).to_be_bytes())
    }
}
