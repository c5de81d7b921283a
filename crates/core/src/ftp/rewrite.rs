//! What a segment of a control connection becomes: its sequence numbers follow what was made longer or shorter before it, and
//! an address in it becomes another.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "offsets and lengths in a frame are below 2^17; differences of them are small"
)]

use rvs_abi::{Event, Outcome, limits};
use rvs_wire::{eth, tcp};

use crate::ftp::record::{FROM_CLIENT, FROM_SERVER, Record};
use crate::ftp::sequence::Shift;
use crate::ftp::{Work, text};
use crate::pipeline::Scratch;
use crate::segment::{Renumber, finish, renumber};
use crate::{Packet, Parsed, Tables, parse, sum};

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
            if step != Outcome::FtpRequest && ftp.again == 0 {
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

impl Renumber for Shift {
    #[inline(always)]
    fn acknowledged<T: Tables>(self, tables: &T, seen: u32) -> u32 {
        Self(tables.veiled(self.0)).acknowledged(seen)
    }
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
    renumber(packet, tables, parsed, header_end, other);
    Some(sequence)
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
