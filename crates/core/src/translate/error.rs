//! ICMP errors about packets between families: the error, and what it quotes, become what the receiver would have been told
//! in its own family (RFC 7915 §4.2, §4.3, §5.2, §5.3).

use rvs_abi::{Addr, Outcome, Stats, family, proto};
use rvs_wire::checksum::{self, Delta};
use rvs_wire::{eth, icmp as wire, ipv4, ipv6, sctp, tcp, udp};

use crate::conn::Found;
use crate::forward::address;
use crate::forward::full_nat::NewEnds;
use crate::icmp::{pseudo, relay};
use crate::pipeline::{Context, Way};
use crate::translate::header::Fields;
use crate::translate::icmp::{Message, to_v4, to_v6};
use crate::translate::rewrite::store;
use crate::{DestRecord, Packet, Parsed, Tables, sum};

/// Largest error in IPv4 (RFC 1812 §4.3.2.3), and in IPv6 (RFC 4443 §2.4).
const MOST_V4: u32 = 576;
const MOST_V6: u32 = ipv6::MTU_MIN as u32;

/// Where an error goes, and what it says there: to the client, if it is of the other family, or else to the real server.
///
/// # Errors
/// Where it ends otherwise.
#[inline(always)]
pub(super) fn decide<P: Packet, T: Tables>(
    context: &Context<'_, T>,
    packet: &mut P,
    outer: &Parsed,
    quoted: &Parsed,
    found: &Found<T::Bucket>,
    way: &mut Way,
) -> Result<Outcome, Outcome> {
    relay::check_sum(packet, context.tables, outer)?;
    let (dest_id, _) = found.ids();
    let bytes = u64::from(outer.len);
    let is_to_client = found.client().0.is_v4() != outer.is_v4();
    let dest = context.tables.dest(dest_id).ok_or(Outcome::Inconsistent)?;
    let stats = if is_to_client {
        let vip = found.vip();
        way.ends.source = vip;
        (way.ends.sport, _) = found.ports();
        (way.ends.destination, way.ends.dport) = found.client();
        way.hop = context.hop_to_client(way.ends.destination, vip, false)?;
        Stats { out_packets: 1, out_bytes: bytes, ..Stats::default() }
    } else {
        way.ends.source = found.local(context.tables, dest);
        if way.ends.source == Addr::default() || found.has_moved(context.tables) {
            return Err(Outcome::NoLocalAddress);
        }
        way.ends.sport = found.lport();
        way.ends.destination = dest.addr();
        (_, way.ends.dport) = found.ports();
        way.hop = context.hop_to(dest, dest_id, false)?;
        Stats { in_packets: 1, in_bytes: bytes, ..Stats::default() }
    };
    if outer.ttl() <= 1 {
        return Err(Outcome::TtlExceeded);
    }
    let message = message(packet, outer, quoted, way.hop.mtu).ok_or(Outcome::TranslateIcmp)?;
    // In scratch memory, for the next stage: so that goes through once for all errors, and has room on its stack.
    way.error = [u32::from_be_bytes([message.kind, message.code, 0, 0]), message.word];
    way.quoted = quoted_fields(packet, outer, quoted).ok_or(Outcome::IcmpQuote)?;
    way.rest = rest(packet, outer, quoted, &way.quoted, way.hop.mtu).ok_or(Outcome::IcmpQuote)?;
    context.count(found.ids(), &stats);
    if !is_to_client {
        found.count_packet();
    }
    Ok(if is_to_client { Outcome::IcmpToClient } else { Outcome::IcmpToServer })
}

/// What the error says in the other family.
#[inline(always)]
fn message<P: Packet>(packet: &P, outer: &Parsed, quoted: &Parsed, mtu: u32) -> Option<Message> {
    let [kind, code] = outer.sport;
    let word = u32::from_be_bytes(packet.get(outer.transport() + 4)?);
    let message = Message { kind, code, word };
    if outer.is_v4() { to_v6(message, u32::from(quoted.ip.total_len()), mtu) } else { to_v4(message, mtu) }
}

/// Turns the packet into the error in the other family: all up to the quoted transport header becomes new.
#[inline(always)]
pub(super) fn rewrite<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Parsed,
    quoted: &Parsed,
    way: &Way,
) -> Option<()> {
    let is_v4 = !outer.is_v4();
    let rest = way.rest;
    let head = if is_v4 { ipv4::LEN } else { ipv6::LEN } as u32;
    let new = new_head(is_v4, &way.quoted);
    let (l4, end) = (u32::from(quoted.l4), u32::from(quoted.l4) + rest);
    transport(packet, quoted, &way.ends, &way.quoted, rest)?;
    if end < packet.frame_len() {
        packet.resize(end)?;
    }
    let to = if is_v4 { family::V4 } else { family::V6 };
    packet.change_family(to, l4.wrapping_sub(eth::LEN as u32), new)?;
    packet.reach(eth::LEN as u32 + new + rest);
    let payload = new - head + rest;
    let outside = Fields {
        tos: outer.tos(),
        ttl: outer.ttl().wrapping_sub(1),
        protocol: if is_v4 { proto::ICMP } else { proto::ICMPV6 },
        payload,
        on_wire: payload,
        ..Fields::default()
    };
    let ends = (way.ends.source, way.ends.destination);
    store(packet, &outside, eth::LEN, is_v4, ends, tables.random() as u16)?;
    let at = eth::LEN + head as usize;
    // It goes the way of the error, and the quoted packet went the other. What identification that had, nobody knows.
    store(packet, &way.quoted, at + wire::LEN, is_v4, (ends.1, ends.0), 0)?;
    let (head, word) = (way.error[0].to_be_bytes(), way.error[1].to_be_bytes());
    packet.set(at, &head)?;
    packet.set(at + 4, &word)?;
    let sum = sum::bytes(packet, tables, at as u32, at as u32 + payload)?;
    let sum = sum + pseudo(ends.0, ends.1, is_v4, payload);
    packet.set(at + wire::CHECKSUM, &(!checksum::fold(sum)).to_ne_bytes())?;
    address(packet, &way.hop.link).ok()
}

/// Bytes of all headers in front of the quoted transport header, in the new family.
#[inline(always)]
const fn new_head(is_v4: bool, inside: &Fields) -> u32 {
    if is_v4 {
        return (2 * ipv4::LEN + wire::LEN) as u32;
    }
    (ipv6::LEN + wire::LEN) as u32 + inside.len_v6()
}

/// What the quoted packet's header says. Its time to live stays as it was quoted.
#[inline(always)]
fn quoted_fields<P: Packet>(packet: &P, outer: &Parsed, quoted: &Parsed) -> Option<Fields> {
    let at = outer.transport() + wire::LEN;
    let head = u32::from(quoted.l4).wrapping_sub(at as u32);
    let fields = Fields { protocol: quoted.protocol, ..Fields::default() };
    if quoted.is_v4() {
        let payload = u32::from(quoted.ip.total_len()).saturating_sub(head);
        let (tos, ttl) = (quoted.ip.tos(), quoted.ip.ttl());
        let fields = Fields { tos, ttl, payload, on_wire: payload, ..fields };
        return Some(fields.fragment_of_v4(&quoted.ip));
    }
    let b = packet.get::<8>(at)?;
    let len = u32::from(u16::from_be_bytes([b[4], b[5]])) + ipv6::LEN as u32;
    let payload = len.saturating_sub(head);
    let (tos, ttl) = (b[0] << 4 | b[1] >> 4, b[7]);
    let fields = Fields { tos, ttl, payload, on_wire: payload, ..fields };
    if b[6] == ipv6::next::FRAGMENT && head == (ipv6::LEN + ipv6::fragment::LEN) as u32 {
        return Some(fields.fragment_of_v6(&packet.get(at + ipv6::LEN)?));
    }
    Some(fields)
}

/// Bytes of the quoted transport header and of what is behind it that go along: all, up to a largest number, so that the
/// error fits its way. Extensions (RFC 4884), which stand behind a quote that says its own length, stay behind.
#[inline(always)]
fn rest<P: Packet>(packet: &P, outer: &Parsed, quoted: &Parsed, inside: &Fields, mtu: u32) -> Option<u32> {
    let is_v4 = !outer.is_v4();
    let most = if is_v4 { MOST_V4 } else { MOST_V6 };
    let most = if mtu != 0 && mtu < most { mtu } else { most };
    let most = most.saturating_sub(new_head(is_v4, inside));
    let at = outer.transport();
    let [kind, _] = outer.sport;
    let [words_v6, words_v4] = packet.get::<2>(at + 4)?;
    let said = match (outer.is_v4(), kind) {
        (true, _) => u32::from(words_v4) * 4,
        (false, wire::v6::UNREACHABLE | wire::v6::TIME_EXCEEDED) => u32::from(words_v6) * 8,
        (false, _) => 0,
    };
    let all = (eth::LEN as u32 + outer.len).wrapping_sub((at + wire::LEN) as u32);
    let len = if said != 0 && said < all { said } else { all };
    let head = u32::from(quoted.l4).wrapping_sub((at + wire::LEN) as u32);
    let rest = len.checked_sub(head)?;
    Some(if rest < most { rest } else { most })
}

/// Writes the ports of the quoted packet and makes its checksum right, if the quote has it. `quoted` and `new` have its ends
/// exchanged.
#[inline(always)]
fn transport<P: Packet>(
    packet: &mut P,
    quoted: &Parsed,
    new: &NewEnds,
    inside: &Fields,
    rest: u32,
) -> Option<()> {
    let l4 = quoted.transport();
    let ([s0, s1], [d0, d1]) = (new.dport, new.sport);
    let ([o0, o1], [o2, o3]) = (quoted.dport, quoted.sport);
    let ports = Delta::new().words([o0, o1, o2, o3], [s0, s1, d0, d1]);
    let source = Delta::new().address(quoted.destination.words(), new.destination.words());
    let all = ports.and(source.address(quoted.source.words(), new.source.words()));
    packet.set(l4, &[s0, s1, d0, d1])?;
    match quoted.protocol {
        proto::TCP if rest >= tcp::CHECKSUM as u32 + 2 => {
            let at = l4 + tcp::CHECKSUM;
            let field = packet.get::<2>(at)?;
            packet.set(at, &all.apply(field))
        }
        proto::UDP if rest >= udp::CHECKSUM as u32 + 2 => {
            let at = l4 + udp::CHECKSUM;
            let field = packet.get::<2>(at)?;
            packet.set(at, &all.apply_udp(field))
        }
        proto::SCTP if rest >= sctp::CHECKSUM as u32 + 4 && inside.is_fragment == 0 => {
            let at = l4 + sctp::CHECKSUM;
            let field = packet.get::<4>(at)?;
            let len = inside.payload as u16;
            packet.set(at, &sctp::update_checksum(field, [o0, o1, o2, o3], [s0, s1, d0, d1], len))
        }
        _ => Some(()),
    }
}
