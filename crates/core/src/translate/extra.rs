//! IPv4 options and IPv6 extension headers. They are left out, but for those without which the packet would go another way
//! (RFC 7915 §4.1, §5.1).

use rvs_abi::{Outcome, proto};
use rvs_wire::{eth, ipv4, ipv6};

use crate::parse::Signal;
use crate::pipeline::Notice;
use crate::{Packet, Parsed, Step, Tables};

/// Headers, or options, that are looked at: forty bytes of options of one byte each, and eight headers.
const ROUNDS: u32 = 40;

/// What was found, as numbers.
const NOTHING: u64 = 0;
const REFUSED: u64 = 1;
const HAS_NO_PORTS: u64 = 2;

/// Whether they may be left out; 1: one of them is the fragment header of an IPv6 packet that is whole. What a refusal points to
/// is in `notice`.
///
/// # Errors
/// [`Outcome::TranslateHeader`], or [`Outcome::FullNatProtocol`] for AH.
#[inline(always)]
pub(super) fn check<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &Parsed,
    notice: &mut Notice,
) -> Result<u64, Outcome> {
    let fixed = eth::LEN + if parsed.is_v4() { ipv4::LEN } else { ipv6::LEN };
    if parsed.transport() == fixed {
        return Ok(0);
    }
    let end = u64::from(parsed.l4);
    let at = tables.veiled(fixed as u64);
    let (result, pointer, is_atomic) = if parsed.is_v4() {
        let mut walk = Options { packet, at, end, result: NOTHING };
        tables.repeat(ROUNDS, &mut walk);
        (walk.result, 0, 0)
    } else {
        let next = tables.veiled(u64::from(parsed.ip.0[1].to_ne_bytes()[2]));
        let is_fragment = u64::from(parsed.is(Signal::FRAGMENT));
        let mut walk =
            Headers { packet, at, end, next, is_fragment, result: NOTHING, pointer: 0, is_atomic: 0 };
        tables.repeat(ROUNDS, &mut walk);
        (walk.result, walk.pointer, walk.is_atomic)
    };
    notice.mtu = pointer as u32;
    match tables.veiled(result) {
        NOTHING => Ok(tables.veiled(is_atomic)),
        HAS_NO_PORTS => Err(Outcome::FullNatProtocol),
        _ => Err(Outcome::TranslateHeader),
    }
}

/// Option after option of IPv4.
struct Options<'a, P> {
    packet: &'a P,
    /// Offsets in the frame: of the option, and of their end.
    at: u64,
    end: u64,
    result: u64,
}

/// Options of one byte (RFC 791 §3.1).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
/// Loose and strict source route: kind, length, and a pointer that is beyond the length when the route is used up.
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;

impl<P: Packet, T: Tables> Step<T> for Options<'_, P> {
    #[inline(always)]
    fn step(&mut self, tables: &T, _round: u32) -> bool {
        let at = tables.veiled(self.at);
        if at >= self.end {
            return true;
        }
        let Some([kind]) = self.packet.get::<1>(at as usize) else { return true };
        if kind == NO_OPERATION {
            self.at = at + 1;
            return false;
        }
        if kind == END {
            return true;
        }
        let Some([len, pointer]) = self.packet.get::<2>(at as usize + 1) else { return true };
        if len < 2 {
            return true;
        }
        if (kind == LOOSE_ROUTE || kind == STRICT_ROUTE) && pointer <= len {
            self.result = REFUSED;
            return true;
        }
        self.at = at + u64::from(len);
        false
    }
}

/// Header after header of IPv6.
struct Headers<'a, P> {
    packet: &'a P,
    /// Offsets in the frame: of the header, and of the transport header.
    at: u64,
    end: u64,
    /// The header's number.
    next: u64,
    /// 1: the packet is a first fragment.
    is_fragment: u64,
    result: u64,
    /// From the packet's beginning.
    pointer: u64,
    /// 1: there is a fragment header, and yet it is no fragment.
    is_atomic: u64,
}

/// Offset of "segments left" in a routing header (RFC 8200 §4.4).
const SEGMENTS_LEFT: usize = 3;

impl<P: Packet, T: Tables> Step<T> for Headers<'_, P> {
    #[inline(always)]
    fn step(&mut self, tables: &T, _round: u32) -> bool {
        let (at, next) = (tables.veiled(self.at), tables.veiled(self.next) as u8);
        if at >= self.end {
            return true;
        }
        let Some(header) = self.packet.get::<8>(at as usize) else { return true };
        let len = ipv6::extension_len(next, header[1]) as u64;
        if next == proto::AH {
            self.result = HAS_NO_PORTS;
            return true;
        }
        let is_route = next == ipv6::next::ROUTING && header[SEGMENTS_LEFT] != 0;
        // What stands behind the fragment header is part of what is fragmented: leaving it out would move the fragments behind.
        let is_inside =
            next == ipv6::next::FRAGMENT && tables.veiled(self.is_fragment) != 0 && at + len != self.end;
        if is_route || is_inside {
            self.result = REFUSED;
            let field = if is_route { SEGMENTS_LEFT } else { 0 };
            self.pointer = at + (field as u64) - eth::LEN as u64;
            return true;
        }
        if next == ipv6::next::FRAGMENT && tables.veiled(self.is_fragment) == 0 {
            self.is_atomic = 1;
        }
        self.next = u64::from(header[0]);
        self.at = at + len;
        false
    }
}
