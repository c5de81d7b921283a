//! A packet becomes one of the other family: ports and checksum first, where they are, then the headers before them.

use rvs_abi::{Addr, family, proto};
use rvs_wire::checksum::{self, Delta};
use rvs_wire::{eth, ipv4, ipv6, udp};

use crate::forward::full_nat::NewEnds;
use crate::forward::ports::rewrite_ports;
use crate::forward::{address, client_option};
use crate::parse::Signal;
use crate::pipeline::Way;
use crate::translate::header::Fields;
use crate::translate::size::{new_head, old_head};
use crate::{Packet, Parsed, Tables, clamp, sum};

/// Rewrites it, with its link addresses. `None`: it is not all there, or the kernel made no room.
#[inline(always)]
pub(super) fn packet<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    way: &Way,
) -> Option<()> {
    let wire_len = packet.wire_len(parsed);
    let mut more = 0;
    if !parsed.is(Signal::LATER) {
        transport(packet, tables, parsed, &way.ends)?;
        if parsed.is(Signal::CLAMPED) {
            clamp::lower(packet, tables, parsed, way.service)?;
        }
        if client_option::concerns(packet, parsed, way.tells_client) {
            let before = packet_len(packet, parsed)?;
            client_option::add(packet, tables, parsed, (way.service, way.tells_client)).ok()?;
            more = packet_len(packet, parsed)?.wrapping_sub(before);
        }
    }
    let head = old_head(parsed);
    let fields = Fields {
        tos: parsed.tos(),
        ttl: parsed.ttl().wrapping_sub(1),
        protocol: parsed.protocol,
        payload: parsed.len.wrapping_sub(head).wrapping_add(more),
        on_wire: wire_len.wrapping_sub(head).wrapping_add(more),
        ..Fields::default()
    };
    let fields = fragment(packet, parsed, way.is_atomic, fields)?.veiled(tables);
    let to = if parsed.is_v4() { family::V6 } else { family::V4 };
    // A bundle may be longer than any packet of the other family: IPv4 counts its header too.
    let own = if parsed.is_v4() { ipv6::fragment::LEN } else { ipv4::LEN };
    if fields.payload > u32::from(u16::MAX) - own as u32 {
        return None;
    }
    packet.change_family(to, head, new_head(parsed))?;
    let ends = (way.ends.source, way.ends.destination);
    store(packet, &fields, eth::LEN, to == family::V4, ends, tables.random() as u16)?;
    address(packet, &way.hop.link).ok()
}

/// Which fragment it is, if it is one.
#[inline(always)]
fn fragment<P: Packet>(packet: &P, parsed: &Parsed, is_atomic: u64, fields: Fields) -> Option<Fields> {
    if !parsed.is(Signal::FRAGMENT | Signal::LATER) {
        // Whole, but its sender lets IPv4 fragment it (RFC 7915 §5.1.1).
        let (is_fragment, id) = (is_atomic as u8, u32::from_be(parsed.fragment_id));
        return Some(Fields { is_fragment, id, ..fields });
    }
    if parsed.is_v4() {
        return Some(fields.fragment_of_v4(&parsed.ip));
    }
    // The last of the headers, as `extra` saw to.
    let at = parsed.transport().wrapping_sub(ipv6::fragment::LEN);
    Some(fields.fragment_of_v6(&packet.get(at)?))
}

/// Writes the headers of a packet between two addresses at an offset; `random` as in [`Fields::v4`].
#[inline(always)]
pub(super) fn store<P: Packet>(
    packet: &mut P,
    fields: &Fields,
    at: usize,
    is_v4: bool,
    (source, destination): (Addr, Addr),
    random: u16,
) -> Option<()> {
    if is_v4 {
        let header = fields.v4(source.v4_bytes(), destination.v4_bytes(), random);
        return packet.set(at, &header.to_bytes());
    }
    packet.set(at, &fields.v6(source.words(), destination.words()).to_bytes())?;
    if fields.is_fragment != 0 {
        packet.set(at + ipv6::LEN, &fields.fragment_v6())?;
    }
    Some(())
}

/// The length of the IP packet, as its header says now.
#[inline(always)]
fn packet_len<P: Packet>(packet: &P, parsed: &Parsed) -> Option<u32> {
    let at = eth::LEN + if parsed.is_v4() { 2 } else { 4 };
    let field = u32::from(u16::from_be_bytes(packet.get(at)?));
    Some(if parsed.is_v4() { field } else { field + ipv6::LEN as u32 })
}

/// Writes ports and checksum. An IPv4 address in its mapped form adds to a sum what its four bytes do: its other words are 0,
/// of either sign.
#[inline(always)]
fn transport<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, new: &NewEnds) -> Option<()> {
    if parsed.is_v4() && parsed.protocol == proto::UDP {
        let at = parsed.transport() + udp::CHECKSUM;
        if packet.get::<2>(at)? == [0, 0] {
            return datagram(packet, tables, parsed, new);
        }
    }
    let source = Delta::new().address(parsed.source.words(), new.source.words());
    let pseudo = source.address(parsed.destination.words(), new.destination.words());
    rewrite_ports(packet, parsed, (new.sport, new.dport), pseudo)
}

/// A datagram that came without a checksum gets one: in IPv6 there is none without (RFC 7915 §4.5).
#[inline(always)]
fn datagram<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &Parsed, new: &NewEnds) -> Option<()> {
    let ([a, b], [c, d]) = (new.sport, new.dport);
    packet.set(parsed.transport(), &[a, b, c, d])?;
    let (sum, len) = sum::datagram(packet, tables, u32::from(parsed.l4))?;
    let (source, destination) = (new.source.words(), new.destination.words());
    let pseudo = checksum::pseudo_v6(source, destination, proto::UDP, len);
    packet.set(parsed.transport() + udp::CHECKSUM, &udp::checksum(sum + pseudo))
}
