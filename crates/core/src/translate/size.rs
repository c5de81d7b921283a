//! How large a packet becomes, and who is told when that is too large (RFC 7915 §4.1, §5.1).

use rvs_abi::Outcome;
use rvs_wire::{eth, ipv4, ipv6};

use crate::parse::Signal;
use crate::pipeline::Way;
use crate::{Packet, Parsed, Tables};

/// What the fixed headers differ by.
pub(crate) const DIFFERENCE: u32 = (ipv6::LEN - ipv4::LEN) as u32;
const MTU_MIN_V6: u32 = ipv6::MTU_MIN as u32;

/// Bytes of the IP headers that the packet has.
#[inline(always)]
pub(crate) const fn old_head(parsed: &Parsed) -> u32 {
    (parsed.l4 as u32).wrapping_sub(eth::LEN as u32)
}

/// Bytes of those that it gets.
#[inline(always)]
pub(crate) const fn new_head(parsed: &Parsed) -> u32 {
    if !parsed.is_v4() {
        return ipv4::LEN as u32;
    }
    let fragment = if parsed.is(Signal::FRAGMENT | Signal::LATER) { ipv6::fragment::LEN } else { 0 };
    (ipv6::LEN + fragment) as u32
}

/// Bytes of the largest packet that it becomes.
#[inline(always)]
fn new_len<P: Packet>(packet: &P, parsed: &Parsed) -> u32 {
    packet.wire_len(parsed).wrapping_sub(old_head(parsed)).wrapping_add(new_head(parsed))
}

/// The MTU of its way; a way of which it is not known takes all.
#[inline(always)]
const fn mtu(way: &Way) -> u32 {
    if way.hop.mtu == 0 { u32::MAX } else { way.hop.mtu }
}

/// Whether an IPv4 packet that may be fragmented is to be cut first: no packet of it may become larger than what every way
/// of IPv6 takes, since nobody on that may fragment it, and its sender does not ask (RFC 7915 §4.1).
///
/// # Errors
/// [`Outcome::ForwardCut`]: it is; [`Outcome::HandOverFragment`]: likewise, under TC.
#[inline(always)]
pub(crate) fn cut<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &Parsed,
    way: &mut Way,
) -> Result<(), Outcome> {
    // A bundle of segments can't be cut; its segments are as large as TCP wants them.
    if parsed.dont_fragment() || parsed.ttl() <= 1 || packet.wire_len(parsed) != parsed.len {
        return Ok(());
    }
    let most = if mtu(way) < MTU_MIN_V6 { mtu(way) } else { MTU_MIN_V6 };
    if new_len(packet, parsed) <= most {
        return Ok(());
    }
    way.notice.mtu = most.saturating_sub(DIFFERENCE + ipv6::fragment::LEN as u32);
    Err(if tables.holds() { Outcome::ForwardCut } else { Outcome::HandOverFragment })
}

/// Time to live, and whether what it becomes fits its way. The MTU that its sender would be told is in its own family.
#[inline(always)]
pub(crate) fn check<P: Packet>(packet: &P, parsed: &Parsed, way: &mut Way) -> Result<(), Outcome> {
    if parsed.ttl() <= 1 {
        return Err(Outcome::TtlExceeded);
    }
    let mtu = mtu(way);
    if new_len(packet, parsed) <= mtu {
        return Ok(());
    }
    if parsed.is_v4() {
        way.notice.mtu = mtu.saturating_sub(DIFFERENCE);
        return Err(Outcome::TooBig);
    }
    way.notice.mtu = told_in_v6(mtu);
    // A sender that is told so sends the same again.
    Err(if packet.wire_len(parsed) <= way.notice.mtu { Outcome::TranslateMtu } else { Outcome::TooBig })
}

/// The MTU that a sender in IPv6 is told of a way in IPv4: never less than IPv6's least (RFC 7915 §4.2).
#[inline(always)]
pub(crate) const fn told_in_v6(mtu: u32) -> u32 {
    let mtu = mtu.saturating_add(DIFFERENCE);
    if mtu < MTU_MIN_V6 { MTU_MIN_V6 } else { mtu }
}

#[cfg(test)]
mod tests {
    use super::told_in_v6;

    #[test]
    fn no_sender_in_ipv6_is_told_less_than_1280() {
        assert_eq!([68, 1259, 1260, 1261, 1480].map(told_in_v6), [1280, 1280, 1280, 1281, 1500]);
        assert_eq!(told_in_v6(u32::MAX), u32::MAX);
    }
}
