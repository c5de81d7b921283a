//! Whether a frame's checksums are right.

use core::fmt;
use core::ops::Range;

use super::Ends;
use crate::{checksum, eth, gre, gue, icmp, ipv4, ipv6, sctp, tcp, udp};

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is cut short, or lengths in it disagree.
    Lengths,
    /// The checksum of an IPv4 header.
    Ipv4,
    /// The checksum of a TCP segment.
    Tcp,
    /// The checksum of a UDP datagram.
    Udp,
    /// The checksum of an SCTP packet.
    Sctp,
    /// The checksum of an ICMP message.
    Icmp,
    /// The checksum of an `ICMPv6` message.
    Icmp6,
    /// The checksum of a GRE header.
    Gre,
    /// The checksum of the IPv4 header that an ICMP error quotes.
    Quoted,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lengths => "lengths in the frame disagree",
            Self::Ipv4 => "IPv4 header checksum wrong",
            Self::Tcp => "TCP checksum wrong",
            Self::Udp => "UDP checksum wrong",
            Self::Sctp => "SCTP checksum wrong",
            Self::Icmp => "ICMP checksum wrong",
            Self::Icmp6 => "ICMPv6 checksum wrong",
            Self::Gre => "GRE checksum wrong",
            Self::Quoted => "checksum of the quoted IPv4 header wrong",
        })
    }
}

impl core::error::Error for Fault {}

/// Checks every checksum in a frame by full computation, and those of a packet within the packet: of IPv4 headers, TCP,
/// UDP and SCTP unless it is 0, ICMP, `ICMPv6`, and GRE if it has one. A UDP checksum of 0 in IPv6 is wrong, but for GUE.
///
/// Tags are stepped over, and in IPv6 extension headers and AH. A packet within a packet stands behind protocol 4 or 41, GRE
/// without a key, or GUE of version 0, which is what goes to UDP port [`gue::PORT`]. What an ICMP error quotes is left alone:
/// see [`quoted_checksum_ok`]. Other protocols and parts of fragmented packets carry nothing that could be checked. Of a
/// packet with a routing header the address in the fixed header counts.
///
/// # Errors
/// The first thing that is wrong.
pub fn checksums_ok(frame: &[u8]) -> Result<(), Fault> {
    checksums_ok_with_gue(frame, gue::PORT)
}

/// As [`checksums_ok`], where GUE is what goes to that UDP port, host order.
///
/// # Errors
/// The first thing that is wrong.
pub fn checksums_ok_with_gue(frame: &[u8], port: u16) -> Result<(), Fault> {
    let (kind, packet) = packet_of(frame)?;
    packet_ok(kind, packet, port)
}

/// Checks the IPv4 header that is quoted in an ICMP error in IPv4, also within an IPv4 packet within the packet.
///
/// # Errors
/// [`Fault::Quoted`] when its checksum is wrong; [`Fault::Lengths`] when it is cut short or there is none.
pub fn quoted_checksum_ok(frame: &[u8]) -> Result<(), Fault> {
    let (kind, mut packet) = packet_of(frame)?;
    if kind != eth::TYPE_IPV4 {
        return Err(Fault::Lengths);
    }
    loop {
        let (header, payload) = ipv4_parts(packet)?;
        match header.protocol() {
            4 => packet = payload,
            icmp::v4::PROTOCOL if quotes(payload) => {
                break packet = payload.get(icmp::LEN..).ok_or(Fault::Lengths)?;
            }
            _ => return Err(Fault::Lengths),
        }
    }
    // A quote ends where it ends, so the total length says nothing.
    let header = ipv4::Header::from_bytes(packet.first_chunk().ok_or(Fault::Lengths)?);
    let head = packet.get(..header.header_len()).ok_or(Fault::Lengths)?;
    if header.version() != 4 || head.len() < ipv4::LEN {
        return Err(Fault::Lengths);
    }
    right(0, head, Fault::Quoted)
}

/// Whether an ICMP message is of a type that quotes a packet (RFC 1122 §3.2.2).
fn quotes(message: &[u8]) -> bool {
    use icmp::v4::{PARAMETER_PROBLEM, REDIRECT, SOURCE_QUENCH, TIME_EXCEEDED, UNREACHABLE};
    matches!(message, [UNREACHABLE | SOURCE_QUENCH | REDIRECT | TIME_EXCEEDED | PARAMETER_PROBLEM, ..])
}

/// The packet in a frame, and the EtherType in front of it.
fn packet_of(frame: &[u8]) -> Result<([u8; 2], &[u8]), Fault> {
    let mut rest = frame.get(eth::LEN - 2..).ok_or(Fault::Lengths)?;
    loop {
        let (kind, packet) = rest.split_first_chunk().ok_or(Fault::Lengths)?;
        if !eth::is_tag(*kind) {
            return Ok((*kind, packet));
        }
        rest = packet.get(2..).ok_or(Fault::Lengths)?;
    }
}

fn packet_ok(kind: [u8; 2], packet: &[u8], gue_port: u16) -> Result<(), Fault> {
    match kind {
        eth::TYPE_IPV4 => ipv4_ok(packet, gue_port),
        eth::TYPE_IPV6 => ipv6_ok(packet, gue_port),
        _ => Ok(()),
    }
}

/// Whether a checksum that stands in what it covers is right.
fn right(start: u32, bytes: &[u8], fault: Fault) -> Result<(), Fault> {
    if checksum::full(start, bytes) == [0, 0] { Ok(()) } else { Err(fault) }
}

/// The header of a packet and what it carries, without padding behind it.
fn ipv4_parts(packet: &[u8]) -> Result<(ipv4::Header, &[u8]), Fault> {
    let header = ipv4::Header::from_bytes(packet.first_chunk().ok_or(Fault::Lengths)?);
    let total = usize::from(header.total_len());
    if header.version() != 4 || header.header_len() < ipv4::LEN || total < header.header_len() {
        return Err(Fault::Lengths);
    }
    Ok((header, packet.get(header.header_len()..total).ok_or(Fault::Lengths)?))
}

fn ipv4_ok(packet: &[u8], gue_port: u16) -> Result<(), Fault> {
    let (header, payload) = ipv4_parts(packet)?;
    right(0, &packet[..header.header_len()], Fault::Ipv4)?;
    if header.is_fragment() {
        return Ok(());
    }
    payload_ok(Ends::V4(header.source(), header.destination()), header.protocol(), payload, gue_port)
}

/// What an IPv6 packet carries.
struct Carried<'a> {
    ends: Ends,
    protocol: u8,
    payload: &'a [u8],
}

/// What an IPv6 packet carries behind its extension headers, without padding; `None` for a part of a fragmented packet.
fn ipv6_carried(packet: &[u8]) -> Result<Option<Carried<'_>>, Fault> {
    let (head, behind) = packet.split_first_chunk().ok_or(Fault::Lengths)?;
    let header = ipv6::Header::from_bytes(head);
    if header.version() != 6 {
        return Err(Fault::Lengths);
    }
    let mut payload = behind.get(..usize::from(header.payload_len())).ok_or(Fault::Lengths)?;
    let mut protocol = header.next_header();
    while ipv6::is_extension(protocol) || protocol == ipv6::next::AH {
        let extension: &[u8; ipv6::fragment::LEN] = payload.first_chunk().ok_or(Fault::Lengths)?;
        let is_fragment = ipv6::fragment::more(extension) || ipv6::fragment::offset(extension) != 0;
        if protocol == ipv6::next::FRAGMENT && is_fragment {
            return Ok(None);
        }
        payload = payload.get(ipv6::extension_len(protocol, extension[1])..).ok_or(Fault::Lengths)?;
        protocol = extension[0];
    }
    Ok(Some(Carried { ends: Ends::V6(header.source(), header.destination()), protocol, payload }))
}

fn ipv6_ok(packet: &[u8], gue_port: u16) -> Result<(), Fault> {
    let Some(Carried { ends, protocol, payload }) = ipv6_carried(packet)? else { return Ok(()) };
    payload_ok(ends, protocol, payload, gue_port)
}

/// Where in a frame the payload of its packet is.
pub(super) struct Found {
    pub(super) ends: Ends,
    pub(super) protocol: u8,
    pub(super) range: Range<usize>,
}

/// The payload of a packet that is whole and no fragment.
pub(super) fn find_payload(frame: &[u8]) -> Option<Found> {
    let (kind, packet) = packet_of(frame).ok()?;
    let (ends, protocol, packet_len, payload) = match kind {
        eth::TYPE_IPV4 => {
            let (header, payload) = ipv4_parts(packet).ok().filter(|(header, _)| !header.is_fragment())?;
            let ends = Ends::V4(header.source(), header.destination());
            (ends, header.protocol(), usize::from(header.total_len()), payload)
        }
        eth::TYPE_IPV6 => {
            let Carried { ends, protocol, payload } = ipv6_carried(packet).ok()??;
            let len = ipv6::Header::from_bytes(packet.first_chunk()?).payload_len();
            (ends, protocol, ipv6::LEN + usize::from(len), payload)
        }
        _ => return None,
    };
    let end = frame.len() - packet.len() + packet_len;
    Some(Found { ends, protocol, range: end - payload.len()..end })
}

fn payload_ok(ends: Ends, protocol: u8, payload: &[u8], gue_port: u16) -> Result<(), Fault> {
    let pseudo = ends.pseudo_sum(protocol, payload.len());
    let header_len = match protocol {
        icmp::v4::PROTOCOL | icmp::v6::PROTOCOL => icmp::LEN,
        6 => tcp::LEN,
        17 => udp::LEN,
        gre::PROTOCOL => gre::LEN,
        132 => sctp::LEN,
        _ => 0,
    };
    if payload.len() < header_len {
        return Err(Fault::Lengths);
    }
    match (protocol, ends) {
        (icmp::v4::PROTOCOL, Ends::V4(..)) => right(0, payload, Fault::Icmp),
        (icmp::v6::PROTOCOL, Ends::V6(..)) => right(pseudo, payload, Fault::Icmp6),
        (4, _) => ipv4_ok(payload, gue_port),
        (41, _) => ipv6_ok(payload, gue_port),
        (6, _) => right(pseudo, payload, Fault::Tcp),
        (17, _) => udp_ok(ends, datagram(payload), gue_port),
        (gre::PROTOCOL, _) => gre_ok(payload, gue_port),
        (132, _) => match payload[sctp::CHECKSUM..sctp::LEN] {
            [0, 0, 0, 0] => Ok(()),
            ref field if *field == sctp::checksum(payload) => Ok(()),
            _ => Err(Fault::Sctp),
        },
        _ => Ok(()),
    }
}

/// The datagram in a payload, which may be longer (RFC 768): all of it, if the length says nothing that could be.
fn datagram(payload: &[u8]) -> &[u8] {
    let len = usize::from(u16::from_be_bytes([payload[udp::LENGTH], payload[udp::LENGTH + 1]]));
    if len < udp::LEN { payload } else { payload.get(..len).unwrap_or(payload) }
}

fn udp_ok(ends: Ends, datagram: &[u8], gue_port: u16) -> Result<(), Fault> {
    let pseudo = ends.pseudo_sum(17, datagram.len());
    let is_gue = datagram[2..4] == gue_port.to_be_bytes();
    let may_be_0 = is_gue || matches!(ends, Ends::V4(..));
    if !(may_be_0 && datagram[udp::CHECKSUM..udp::LEN] == [0, 0]) {
        right(pseudo, datagram, Fault::Udp)?;
    }
    if !is_gue {
        return Ok(());
    }
    let data = &datagram[udp::LEN..];
    let header: &[u8; gue::LEN] = data.first_chunk().ok_or(Fault::Lengths)?;
    if gue::version(header) != 0 || gue::is_control(header) {
        return Ok(());
    }
    let packet = data.get(gue::header_len(header)..).ok_or(Fault::Lengths)?;
    match gue::protocol(header) {
        4 => ipv4_ok(packet, gue_port),
        41 => ipv6_ok(packet, gue_port),
        _ => Ok(()),
    }
}

fn gre_ok(payload: &[u8], gue_port: u16) -> Result<(), Fault> {
    let Some(header_len) = gre::header_len([payload[0], payload[1]]) else { return Ok(()) };
    let packet = payload.get(header_len..).ok_or(Fault::Lengths)?;
    if header_len == gre::CHECKSUM_LEN {
        right(0, payload, Fault::Gre)?;
    }
    packet_ok([payload[2], payload[3]], packet, gue_port)
}
