//! What a segment of a control connection becomes: its sequence numbers follow what was made longer or shorter before it, and
//! an address in it becomes another.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "offsets and lengths in a frame are below 2^17; differences of them are small"
)]

use rvs_abi::{Event, Outcome, limits};
use rvs_wire::checksum::Delta;
use rvs_wire::{eth, ipv6, tcp};

use crate::ftp::record::{FROM_CLIENT, FROM_SERVER, Record};
use crate::ftp::sequence::Shift;
use crate::ftp::{Work, text};
use crate::pipeline::Scratch;
use crate::{Packet, Parsed, Step, Tables, parse, sum};

/// The stage that rewrites a segment, which then is parsed anew. [`Outcome::Balanced`]: it goes on.
#[inline(always)]
pub fn rewrite<P: Packet, T: Tables>(packet: &mut P, tables: &T, step: Outcome) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        // If a data connection was made: not by a packet of its own.
        scratch.is_fresh = 0;
        let Scratch { parsed, ftp, request, .. } = scratch;
        let Some(record) = Record::of(ftp.record) else { return Outcome::Balanced };
        if ftp.port == [0; 2] {
            ftp.port = request.entry.lport.to_ne_bytes();
        }
        let (own, other) =
            if step == Outcome::FtpRequest { (FROM_CLIENT, FROM_SERVER) } else { (FROM_SERVER, FROM_CLIENT) };
        let shifts = (record.shift(tables, own), record.shift(tables, other));
        if ftp.form == 0 && shifts.0.0 | shifts.1.0 == 0 {
            return Outcome::Balanced;
        }
        let changed = match change(packet, tables, parsed, ftp, shifts) {
            Ok(shift) => shift,
            Err(outcome) => return outcome,
        };
        if ftp.form != 0 {
            tables.note(Event::FtpRewritten);
            record.set_shift(tables, own, changed);
            if step != Outcome::FtpRequest {
                record.set_asked(tables, 0);
            }
        }
        parse(packet, tables, parsed)
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Rewrites it. The shift of its direction afterwards.
#[inline(always)]
fn change<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    ftp: &Work,
    (own, other): (Shift, Shift),
) -> Result<Shift, Outcome> {
    let l4 = u32::from(parsed.l4);
    let [offset] = packet.get::<1>(parsed.transport() + tcp::DATA_OFFSET).ok_or(Outcome::RewriteFailed)?;
    let header_end = l4 + u32::from(offset >> 4) * 4;
    let end = eth::LEN as u32 + parsed.len;
    // Of a bundle only the headers are changed, which the kernel then gives each of its segments.
    let touched = if ftp.form == 0 { header_end } else { end };
    if header_end > end || header_end < l4 + tcp::LEN as u32 {
        return Ok(own);
    }
    if ftp.form != 0 && (packet.wire_len(parsed) != parsed.len || end > text::AT - MARGIN) {
        return Err(Outcome::FtpBundle);
    }
    packet.reach(touched);
    let before = sum::bytes(packet, tables, l4, touched).ok_or(Outcome::RewriteFailed)?;
    let sequence =
        shift_numbers(packet, tables, parsed, header_end, (own, other)).ok_or(Outcome::RewriteFailed)?;
    let mut after = own;
    let mut by = 0;
    if ftp.form != 0 {
        by = replace(packet, tables, ftp, end).ok_or(Outcome::RewriteFailed)?;
        if ftp.again == 0 {
            after = own.after(sequence, by).ok_or(Outcome::FtpShifted)?;
        }
    }
    finish(packet, tables, parsed, before, (touched, by)).ok_or(Outcome::RewriteFailed)?;
    Ok(after)
}

/// By how many bytes a segment may grow.
const MARGIN: u32 = 64;
const _: () = assert!(limits::HOLD_FRAME > 2 * MARGIN);

/// Checksums and lengths of a segment that has been changed up to `end`, and become so much longer.
#[inline(always)]
fn finish<P: Packet, T: Tables>(
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
        let len = parsed.len.wrapping_add(by as u32);
        let old = (parsed.len + eth::LEN as u32 - l4) as u16;
        let new = (len.wrapping_add(eth::LEN as u32).wrapping_sub(l4)) as u16;
        pseudo = pseudo.word(old.to_be_bytes(), new.to_be_bytes());
        if parsed.is_v4() {
            let (old, new) = ((parsed.len as u16).to_be_bytes(), (len as u16).to_be_bytes());
            packet.set(eth::LEN + TOTAL_LEN, &new)?;
            let field = packet.get::<2>(eth::LEN + CHECKSUM)?;
            packet.set(eth::LEN + CHECKSUM, &Delta::new().word(old, new).apply(field))?;
        } else {
            let len = (len.wrapping_sub(ipv6::LEN as u32)) as u16;
            packet.set(eth::LEN + PAYLOAD_LEN, &len.to_be_bytes())?;
        }
    }
    packet.update_tcp_checksum(parsed.transport() + tcp::CHECKSUM, pseudo, fields)
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

/// Shifts a segment's own number and those that it acknowledges. Its own as it came.
#[inline(always)]
fn shift_numbers<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    header_end: u32,
    (own, other): (Shift, Shift),
) -> Option<u32> {
    let l4 = parsed.transport();
    let sequence = u32::from_be_bytes(packet.get::<4>(l4 + tcp::SEQUENCE)?);
    packet.set(l4 + tcp::SEQUENCE, &own.sequence(sequence).to_be_bytes())?;
    let [flags] = packet.get::<1>(l4 + tcp::FLAGS)?;
    if flags & tcp::ACK == 0 || other.0 == 0 {
        return Some(sequence);
    }
    let seen = u32::from_be_bytes(packet.get::<4>(l4 + tcp::ACKNOWLEDGEMENT)?);
    packet.set(l4 + tcp::ACKNOWLEDGEMENT, &other.acknowledged(seen).to_be_bytes())?;
    let mut options = Options {
        packet,
        other: other.0,
        at: (l4 + tcp::LEN) as u64,
        end: u64::from(header_end),
        edges: tables.veiled(0),
    };
    tables.repeat(STEPS, &mut options);
    Some(sequence)
}

/// Options, and edges of a selective acknowledgement.
const STEPS: u32 = 40;

/// Goes through a header's options; what is selectively acknowledged is shifted (RFC 2018 §3).
struct Options<'a, P> {
    packet: &'a mut P,
    other: u64,
    at: u64,
    end: u64,
    /// Edges that follow.
    edges: u64,
}

impl<P: Packet, T: Tables> Step<T> for Options<'_, P> {
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
        if kind == tcp::option::NO_OPERATION {
            self.at = at + 1;
            return false;
        }
        let len = u64::from(len);
        if kind == tcp::option::END || len < 2 || at + len > end {
            return true;
        }
        if kind == tcp::option::SACK {
            self.edges = (len - 2) / 4;
            self.at = at + 2;
        } else {
            self.at = at + len;
        }
        false
    }
}

impl<P: Packet> Options<'_, P> {
    #[inline(always)]
    fn edge<T: Tables>(&mut self, tables: &T, at: usize) -> Option<()> {
        let other = Shift(tables.veiled(self.other));
        let seen = u32::from_be_bytes(self.packet.get::<4>(at)?);
        self.packet.set(at, &other.acknowledged(seen).to_be_bytes())
    }
}

/// Replaces the text in a segment that ends at `end`; by how much that became longer.
#[inline(always)]
fn replace<P: Packet, T: Tables>(packet: &mut P, tables: &T, ftp: &Work, end: u32) -> Option<i32> {
    let (start, stop) = (u32::from(ftp.start), u32::from(ftp.end));
    let (rest, len) = tables.with_saved(|frame| {
        packet.copy_to(frame, end)?;
        Some((end.checked_sub(stop)?, text::write(tables, frame, ftp.form, &ftp.address, ftp.port)))
    })??;
    packet.resize(start.wrapping_add(len).wrapping_add(rest))?;
    tables.with_saved(|frame| {
        packet.fill(frame, text::AT, start, len)?;
        if rest == 0 { Some(()) } else { packet.fill(frame, stop, start.wrapping_add(len), rest) }
    })??;
    Some(start.wrapping_add(len).wrapping_sub(stop) as i32)
}
