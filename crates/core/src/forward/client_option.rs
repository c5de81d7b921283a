//! Full NAT tells the server who the client is: a TCP option behind those that the segment has (`rvs_wire::toa`). Only in
//! segments without data, where the header is the packet's end: nothing has to be moved, and nothing becomes too large for
//! the way. The first segments of a connection are such: SYN and ACK.
//!
//! What a client says there itself is made blank in all of its segments: a server is to believe the director only, and may
//! wait for a word until the connection ends.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; a TCP header has at most 60 bytes"
)]

use rvs_abi::{Addr, ClientTold, ConnFlags, Event, Outcome, proto};
use rvs_wire::checksum::Delta;
use rvs_wire::tcp::option::{self, NO_OPERATION};
use rvs_wire::{eth, tcp, toa};

use crate::conn::{Bucket, Found};
use crate::parse::Signal;
use crate::segment::lengthen;
use crate::{Packet, Parsed, ServiceRecord, Step, Tables};

/// Segments of a connection that may tell the server: the SYN, the ACK behind it, and some that are sent again.
const SEGMENTS: u32 = 8;
/// What becomes of a request: nothing, as it is no segment.
pub(crate) const NOTHING: u64 = 0;
/// The option is made blank, if it is there.
const BLANK: u64 = 1;
/// And added.
const ADD: u64 = 2;
/// How the options of most segments begin that have any: timestamps, and nothing else in a header of this length.
const USUAL: [u8; 4] = [NO_OPERATION, NO_OPERATION, 8, 10];
const USUAL_LEN: usize = tcp::LEN + 12;
/// What becomes of a request of a connection, with which it is counted. FTP's servers are told nothing: they compare who
/// they are told with the address in a command, which is the director's, and with that of the data connection.
#[inline(always)]
pub(crate) fn of<B: Bucket>(parsed: &Parsed, found: &Found<B>) -> u64 {
    let is_ftp = found.flags() & ConnFlags::FTP != 0 || found.control() != 0;
    match (parsed.protocol == proto::TCP, !is_ftp && found.packets() <= SEGMENTS) {
        (false, _) => NOTHING,
        (true, false) => BLANK,
        (true, true) => ADD,
    }
}

/// Whether something is to be done with it, or looked for.
#[inline(always)]
pub(crate) fn concerns<P: Packet>(packet: &P, parsed: &Parsed, what: u64) -> bool {
    if what != BLANK {
        return what == ADD;
    }
    let l4 = parsed.transport();
    let Some([offset]) = packet.get::<1>(l4 + tcp::DATA_OFFSET) else { return true };
    match usize::from(offset >> 4) * 4 {
        tcp::LEN => false,
        USUAL_LEN => packet.get::<4>(l4 + tcp::LEN) != Some(USUAL),
        _ => true,
    }
}

/// Whether all options are in this packet, if something is to be done with them: of a fragment the next may have some.
///
/// # Errors
/// It has.
#[inline(always)]
pub(crate) fn check<P: Packet>(packet: &P, parsed: &Parsed, what: u64) -> Result<(), Outcome> {
    if what == NOTHING || !parsed.is(Signal::FRAGMENT) {
        return Ok(());
    }
    let [offset] =
        packet.get::<1>(parsed.transport() + tcp::DATA_OFFSET).ok_or(Outcome::TruncatedTransport)?;
    let header_end = parsed.transport() as u32 + u32::from(offset >> 4) * 4;
    if header_end > eth::LEN as u32 + parsed.len { Err(Outcome::TruncatedTransport) } else { Ok(()) }
}

/// Makes what the client says blank in a request whose addresses have been rewritten, and adds the option if it is early and
/// its service wants that; `parsed` is as it came.
///
/// # Errors
/// A part of the packet that was there is not, or the kernel made no room; of a first fragment, that options are in the next.
#[inline(always)]
pub(crate) fn add<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    (service, what): (u32, u64),
) -> Result<(), Outcome> {
    check(packet, parsed, what)?;
    let l4 = parsed.transport();
    let [offset] = packet.get::<1>(l4 + tcp::DATA_OFFSET).ok_or(Outcome::RewriteFailed)?;
    let header_len = u32::from(offset >> 4) * 4;
    let (header_end, end) = (l4 as u32 + header_len, eth::LEN as u32 + parsed.len);
    packet.reach(header_end);
    let fields = blank(packet, tables, l4, header_len);
    let option_len = if parsed.source.is_v4() { toa::LEN_V4 } else { toa::LEN_V6 } as u32;
    let is_told = tables.service(service).is_none_or(|s| s.client_address() == ClientTold::OPTION);
    let is_bare = is_told && what == ADD && end == header_end && !parsed.is(Signal::FRAGMENT);
    let has_room = header_len + option_len <= tcp::LEN_MAX as u32;
    if is_bare && !has_room {
        tables.note(Event::ClientOptionNoRoom);
    }
    let done = if is_bare && has_room {
        append(packet, parsed, offset, fields)
    } else {
        packet.update_tcp_checksum(l4 + tcp::CHECKSUM, Delta::new(), fields)
    };
    done.ok_or(Outcome::RewriteFailed)
}

/// Adds it behind the header of a segment that has `offset` there; `fields` is what has been changed of that so far.
#[inline(always)]
fn append<P: Packet>(packet: &mut P, parsed: &Parsed, offset: u8, fields: Delta) -> Option<()> {
    let l4 = parsed.transport();
    let option_len = if parsed.source.is_v4() { toa::LEN_V4 } else { toa::LEN_V6 } as u32;
    let end = eth::LEN as u32 + parsed.len;
    packet.resize(end + option_len)?;
    let fields = fields.and(write(packet, parsed, end as usize)?);
    let [_, flags] = packet.get::<2>(l4 + tcp::DATA_OFFSET)?;
    let longer = offset + ((option_len as u8) << 2);
    packet.set(l4 + tcp::DATA_OFFSET, &[longer])?;
    let fields = fields.word([offset, flags], [longer, flags]);
    let pseudo = lengthen(packet, parsed, option_len.cast_signed())?;
    packet.update_tcp_checksum(l4 + tcp::CHECKSUM, pseudo, fields)
}

/// Writes the option at an offset; what that adds to the checksum.
#[inline(always)]
fn write<P: Packet>(packet: &mut P, parsed: &Parsed, at: usize) -> Option<Delta> {
    let [p, q] = parsed.sport;
    if parsed.source.is_v4() {
        let [a, b, c, d] = parsed.source.v4_bytes();
        packet.set(at, &[toa::KIND_V4, toa::LEN_V4 as u8, p, q, a, b, c, d])?;
        return Some(head(toa::KIND_V4, toa::LEN_V4, parsed.sport).words([0; 4], [a, b, c, d]));
    }
    packet.set(at, &[toa::KIND_V6, toa::LEN_V6 as u8, p, q])?;
    packet.set(at + 4, &parsed.source.to_bytes())?;
    let none = Addr::from_bytes(&[0; 16]);
    Some(head(toa::KIND_V6, toa::LEN_V6, parsed.sport).address(none.words(), parsed.source.words()))
}

/// What kind, length and port add to the checksum.
#[inline(always)]
const fn head(kind: u8, len: usize, port: [u8; 2]) -> Delta {
    Delta::new().word([0; 2], [kind, len as u8]).word([0; 2], port)
}

/// Makes blank what would be taken for the director's word, and the end of the list, behind which nobody would look. What
/// that adds to the checksum.
#[inline(always)]
fn blank<P: Packet, T: Tables>(packet: &mut P, tables: &T, l4: usize, header_len: u32) -> Delta {
    let mut walk = Walk {
        packet,
        l4: l4 as u64,
        header_len: u64::from(header_len),
        at: tables.veiled(tcp::LEN as u64),
        left: tables.veiled(0),
        is_blank: tables.veiled(0),
        sum: tables.veiled(0),
    };
    tables.repeat(option::MAX as u32, &mut walk);
    Delta::from_sum(walk.sum as u32)
}

/// A byte of the options after the other.
struct Walk<'a, P> {
    packet: &'a mut P,
    l4: u64,
    header_len: u64,
    /// The byte, from the header's beginning.
    at: u64,
    /// Bytes left of an option.
    left: u64,
    /// 1: its bytes become blanks.
    is_blank: u64,
    /// Of the changes.
    sum: u64,
}

impl<P: Packet, T: Tables> Step<T> for Walk<'_, P> {
    #[inline(always)]
    fn step(&mut self, tables: &T, _round: u32) -> bool {
        let at = tables.veiled(self.at);
        if at >= self.header_len {
            return true;
        }
        let place = (self.l4 + at) as usize;
        let Some([byte]) = self.packet.get::<1>(place) else { return true };
        if self.left == 0 {
            self.begin(byte, at, place);
        }
        self.left = self.left.wrapping_sub(1);
        if self.is_blank != 0 && byte != NO_OPERATION {
            let (old, new) =
                if at & 1 == 0 { ([byte, 0], [NO_OPERATION, 0]) } else { ([0, byte], [0, NO_OPERATION]) };
            if self.packet.set(place, &[NO_OPERATION]).is_some() {
                self.sum += u64::from(Delta::new().word(old, new).sum());
            }
        }
        self.at = at + 1;
        false
    }
}

impl<P: Packet> Walk<'_, P> {
    /// At the first byte of an option: how long it is, and whether it becomes blank. What is wrong becomes so to the end.
    #[inline(always)]
    fn begin(&mut self, kind: u8, at: u64, place: usize) {
        let len = self.packet.get::<1>(place + 1).map_or(0, |[len]| len);
        let span = option::span(kind, len, self.header_len - at);
        self.left = if span == 0 { option::MAX as u64 } else { span };
        self.is_blank = u64::from(span == 0 || kind == toa::KIND_V4 || kind == toa::KIND_V6);
    }
}
