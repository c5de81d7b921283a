//! Errors made here, for packets that can't go on: the dropped packet becomes the error that tells its sender (ipvs.md
//! §2.6, §3.1, §3.2). What they look like is what Linux sends (RFC 1812 §4.3.2, RFC 4443 §2.4).

use rvs_abi::{Addr, Event, Outcome, proto};
use rvs_wire::{checksum, eth, icmp, ipv4, ipv6, tcp, udp};

use crate::forward::{address, decrement_ttl, local};
use crate::icmp::{budget, pseudo};
use crate::packet::Encap;
use crate::parse::Signal;
use crate::pipeline::Notice;
use crate::{Flow, Link, Packet, Parsed, Tables, sum};

/// Largest error in IPv4 (RFC 1812 §4.3.2.3), and so how much is quoted.
const QUOTE_V4: u32 = 576 - (ipv4::LEN + icmp::LEN) as u32;
/// The same in IPv6 (RFC 4443 §2.4).
const QUOTE_V6: u32 = ipv6::MTU_MIN as u32 - (ipv6::LEN + icmp::LEN) as u32;
/// Time to live of what this host sends: Linux's default.
const TTL: u8 = 64;

/// Whether the sender of a packet with that end is told.
#[inline(always)]
pub(crate) const fn is_for(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::NoDestination
            | Outcome::TtlExceeded
            | Outcome::TooBig
            | Outcome::NoRoute
            | Outcome::ServerUnknown
            | Outcome::TranslateHeader
    )
}

/// Type and code.
#[inline(always)]
const fn kind(outcome: Outcome, is_v4: bool) -> [u8; 2] {
    use icmp::{v4, v6};
    match (outcome, is_v4) {
        (Outcome::TtlExceeded, true) => [v4::TIME_EXCEEDED, v4::TTL],
        (Outcome::TtlExceeded, false) => [v6::TIME_EXCEEDED, v6::HOP_LIMIT],
        (Outcome::TooBig, true) => [v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED],
        (Outcome::TooBig, false) => [v6::PACKET_TOO_BIG, 0],
        // RFC 7915 §4.1: source route failed; §5.1: an erroneous field, to which the next word points.
        (Outcome::TranslateHeader, true) => [v4::UNREACHABLE, v4::SOURCE_ROUTE],
        (Outcome::TranslateHeader, false) => [v6::PARAMETER_PROBLEM, v6::ERRONEOUS_FIELD],
        (Outcome::NoRoute, true) => [v4::UNREACHABLE, v4::HOST],
        (Outcome::NoRoute, false) => [v6::UNREACHABLE, v6::ADDRESS],
        (_, true) => [v4::UNREACHABLE, v4::PORT],
        (_, false) => [v6::UNREACHABLE, v6::PORT],
    }
}

/// Turns the packet into the error for its sender, and writes down where that leaves. `None`: nobody is told.
#[inline(always)]
pub(crate) fn send<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    outcome: Outcome,
    notice: &Notice,
    now: u64,
    link: &mut Link,
) -> Option<()> {
    let is_too_big = outcome as u32 == Outcome::TooBig as u32;
    // Never about an error or a fragment behind the first (RFC 1122 §3.2.2; in IPv6 the first one's is enough, as in IPVS, which
    // reassembles), nor where somebody on the way may fragment: this host itself is to do so.
    if matches!(parsed.protocol, proto::ICMP | proto::ICMPV6)
        || parsed.is(Signal::LATER)
        || is_too_big && !parsed.dont_fragment() && !tables.is_local()
    {
        return None;
    }
    if notice.from == Addr::default() || is_too_big && notice.mtu == 0 {
        return None;
    }
    // Path MTU discovery is not to be slowed down; Linux makes the same exception.
    if !is_too_big && !budget::take(tables, parsed.source, now) {
        tables.note(Event::ErrorLimited);
        return None;
    }
    // The stack has taken one off a real server's packet when IPVS refuses it.
    let is_decremented = is_too_big || outcome as u32 == Outcome::ServerUnknown as u32;
    if is_decremented && notice.hops != 0 {
        decrement_ttl(packet, parsed).ok()?;
    }
    let has_word = is_too_big || outcome as u32 == Outcome::TranslateHeader as u32;
    let mtu = if has_word { notice.mtu } else { 0 };
    let error = Error { from: notice.from, kind: kind(outcome, parsed.is_v4()), mtu };
    compose(packet, tables, parsed, &error, now, link)?;
    tables.note(Event::ErrorSent);
    Some(())
}

/// What an error says.
#[derive(Clone, Copy)]
pub(crate) struct Error {
    /// Who says it.
    pub(crate) from: Addr,
    /// Type and code.
    pub(crate) kind: [u8; 2],
    /// The MTU that it tells, or the offset that it points to, host order; 0 if none.
    pub(crate) mtu: u32,
}

/// What is quoted of a packet.
#[derive(Clone, Copy)]
struct Quote {
    /// Bytes.
    len: u32,
    /// The sum over them.
    sum: u32,
}

/// Makes the packet an error about itself, and writes down where that leaves.
#[inline(always)]
pub(crate) fn compose<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    error: &Error,
    now: u64,
    link: &mut Link,
) -> Option<()> {
    if !way_back(
        packet,
        tables,
        &Flow { to: parsed.source, from: error.from, dest: None, begins: false, now },
        link,
    ) {
        return None;
    }
    let len = cut(packet, parsed)?;
    let quote = Quote { len, sum: quoted_sum(packet, tables, parsed, len)? };
    packet.push(&Encap::icmp(parsed.family))?;
    if !store(packet, tables, parsed, error, &quote) {
        return None;
    }
    address(packet, link).ok()
}

/// Where the error leaves: by the route to the sender, or, where that is not known (XDP does not know the neighbour, or
/// no packet is routed here), to the neighbour that the packet came from. Not inlined, for its room on the stack.
#[inline(never)]
fn way_back<P: Packet, T: Tables>(packet: &P, tables: &T, flow: &Flow, link: &mut Link) -> bool {
    if tables.is_local() {
        *link = local::to_stack().link;
        return true;
    }
    if let Ok(hop) = tables.next_hop(flow) {
        *link = hop.link;
        return true;
    }
    let Some(m) = packet.get::<12>(0) else { return false };
    link.ifindex = tables.ingress();
    link.resolved = 1;
    link.macs = [
        u32::from_ne_bytes([m[6], m[7], m[8], m[9]]),
        u32::from_ne_bytes([m[10], m[11], m[0], m[1]]),
        u32::from_ne_bytes([m[2], m[3], m[4], m[5]]),
    ];
    true
}

/// Cuts the packet down to what is quoted of it, and says how much that is.
#[inline(always)]
fn cut<P: Packet>(packet: &mut P, parsed: &Parsed) -> Option<u32> {
    let most = if parsed.is_v4() { QUOTE_V4 } else { QUOTE_V6 };
    let len = if parsed.len < most { parsed.len } else { most };
    packet.reach(eth::LEN as u32 + len);
    if eth::LEN as u32 + len < packet.frame_len() {
        packet.resize(eth::LEN as u32 + len)?;
    }
    Some(len)
}

/// The sum over the quoted bytes as the sender of the packet would have sent them.
///
/// A checksum that was left to the device is computed when the error leaves, over what is then there: the transport part
/// sums up to the complement of what the field holds now, the sum over the pseudo header.
#[inline(always)]
fn quoted_sum<P: Packet, T: Tables>(packet: &P, tables: &T, parsed: &Parsed, len: u32) -> Option<u32> {
    let l4 = parsed.transport();
    let mut read_to = eth::LEN as u32 + len;
    let mut transport = 0;
    let has_checksum = parsed.protocol == proto::TCP || parsed.protocol == proto::UDP;
    if packet.may_lack_checksum() && has_checksum {
        let at = if parsed.protocol == proto::TCP { tcp::CHECKSUM } else { udp::CHECKSUM };
        // A packet that was quoted before may end in front of it.
        let field = packet.get::<2>(l4 + at).map(u16::from_ne_bytes);
        if let Some(field) = field
            && field == checksum::fold(transport_pseudo(parsed))
        {
            read_to = l4 as u32;
            transport = u32::from(!field);
        }
    }
    Some(sum::bytes(packet, tables, eth::LEN as u32, read_to)? + transport)
}

/// The sum over the pseudo header of the packet itself.
#[inline(always)]
fn transport_pseudo(parsed: &Parsed) -> u32 {
    let len = parsed.len + eth::LEN as u32 - u32::from(parsed.l4);
    let (source, destination) = (parsed.source, parsed.destination);
    if parsed.is_v4() {
        let len = len as u16;
        return checksum::pseudo_v4(source.v4_bytes(), destination.v4_bytes(), parsed.protocol, len);
    }
    checksum::pseudo_v6(source.words(), destination.words(), parsed.protocol, len)
}

/// The header of the message.
#[inline(always)]
fn message(parsed: &Parsed, error: &Error, quote: &Quote) -> [u8; icmp::LEN] {
    let ([kind, code], m) = (error.kind, error.mtu.to_be_bytes());
    let head = u32::from(u16::from_ne_bytes([kind, code]))
        + u32::from(u16::from_ne_bytes([m[0], m[1]]))
        + u32::from(u16::from_ne_bytes([m[2], m[3]]));
    let len = quote.len + icmp::LEN as u32;
    let sum = head + quote.sum + pseudo(error.from, parsed.source, parsed.is_v4(), len);
    let [c, d] = (!checksum::fold(sum)).to_ne_bytes();
    [kind, code, c, d, m[0], m[1], m[2], m[3]]
}

/// Writes both headers in front of the quoted bytes; `false` if there is no room. Not inlined, for its room on the stack.
#[inline(never)]
fn store<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    error: &Error,
    quote: &Quote,
) -> bool {
    let message = message(parsed, error, quote);
    let len = quote.len + icmp::LEN as u32;
    if parsed.is_v4() {
        let outer = ipv4::Outer {
            tos: parsed.tos() & TOS | INTERNETWORK_CONTROL,
            total_len: (len + ipv4::LEN as u32) as u16,
            id: ipv4::identification(tables.random() as u16),
            dont_fragment: false,
            ttl: TTL,
            protocol: proto::ICMP,
            source: error.from.v4_bytes(),
            destination: parsed.source.v4_bytes(),
        };
        return packet.set(eth::LEN, &outer.emit().to_bytes()).is_some()
            && packet.set(eth::LEN + ipv4::LEN, &message).is_some();
    }
    let outer = ipv6::Outer {
        traffic_class: 0,
        payload_len: len as u16,
        next_header: proto::ICMPV6,
        hop_limit: TTL,
        source: error.from.words(),
        destination: parsed.source.words(),
    };
    packet.set(eth::LEN, &outer.emit().to_bytes()).is_some()
        && packet.set(eth::LEN + ipv6::LEN, &message).is_some()
}

/// Bits of the type of service that an error takes over (RFC 1349), and the precedence that it gets (RFC 1812 §4.3.2.5).
const TOS: u8 = 0x1e;
const INTERNETWORK_CONTROL: u8 = 0xc0;
