//! From a frame to addresses, ports, and what the packet means to a connection.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; ids and flags are cut on purpose"
)]

use rvs_abi::{Addr, Outcome, family, proto};
use rvs_wire::{checksum, eth, icmp, ipv4, ipv6, sctp, tcp, udp};

use crate::{Packet, Tables, state};

/// What a packet means to the connection that it belongs to: bits of [`Parsed::signal`].
#[derive(Debug)]
pub struct Signal;

impl Signal {
    /// It may begin a connection: TCP with SYN, SCTP with INIT, every UDP datagram.
    pub const BEGINS: u8 = 1;
    /// It begins one between ends that may have had another before: TCP with SYN, SCTP with INIT.
    pub const RENEWS: u8 = 2;
    /// It ends one: TCP with RST, SCTP with ABORT.
    pub const RESETS: u8 = 4;
    /// It is the first of several fragments.
    pub const FRAGMENT: u8 = 8;
    /// It is a fragment behind the first.
    pub const LATER: u8 = 16;
    /// It is of an FTP control connection, and has been listened to.
    pub const HEARD: u8 = 32;
    /// The segment size that it announces has been seen to.
    pub const CLAMPED: u8 = 64;
    /// It goes between families, and is made into fragments for that.
    pub const TRANSLATED: u8 = 128;
}

/// An IP packet of a balanced protocol, or an ICMP error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parsed {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub destination: Addr,
    /// Its IPv4 header without options. Of an IPv6 header the first two words, in words 0 and 1.
    pub ip: ipv4::Header,
    /// Bytes of the IP packet.
    pub len: u32,
    /// Identification of a fragment, as it stands in the packet; of IPv4 in the lower half.
    pub fragment_id: u32,
    /// Offset of the transport header in the frame. 16 bits, so that the verifier knows a bound.
    pub l4: u16,
    /// Source port, network order; of an ICMP error its type and code.
    pub sport: [u8; 2],
    /// Destination port, network order.
    pub dport: [u8; 2],
    /// Protocol number of the transport header.
    pub protocol: u8,
    /// [`family`].
    pub family: u8,
    /// [`Signal`].
    pub signal: u8,
    /// Its row in the table of states.
    pub row: u8,
}

impl Parsed {
    /// Offset of the transport header in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn transport(&self) -> usize {
        self.l4 as usize
    }

    /// Protocol number in the key of its connection: AH and ESP follow one of UDP (ipvs.md §4.2).
    #[inline(always)]
    #[must_use]
    pub const fn key_protocol(&self) -> u8 {
        match self.protocol {
            proto::AH | proto::ESP => proto::UDP,
            protocol => protocol,
        }
    }

    /// Whether it is IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.family == family::V4
    }

    /// Whether it has one of those [`Signal`]s.
    #[inline(always)]
    #[must_use]
    pub const fn is(&self, signal: u8) -> bool {
        self.signal & signal != 0
    }

    /// Time to live, or hop limit.
    #[inline(always)]
    #[must_use]
    pub const fn ttl(&self) -> u8 {
        if self.is_v4() { self.ip.ttl() } else { self.ip.0[1].to_ne_bytes()[3] }
    }

    /// Type of service, or traffic class.
    #[inline(always)]
    #[must_use]
    pub const fn tos(&self) -> u8 {
        let b = self.ip.0[0].to_ne_bytes();
        if self.is_v4() { b[1] } else { b[0] << 4 | b[1] >> 4 }
    }

    /// Whether nobody on the way may fragment it.
    #[inline(always)]
    #[must_use]
    pub const fn dont_fragment(&self) -> bool {
        !self.is_v4() || self.ip.dont_fragment()
    }
}

/// Bytes of a frame in which its headers are looked for: of all but the largest frames, all.
const REACH: u32 = 2048;

/// Parses a packet whose headers need not all be readable at once: if they are not, once more when they are. See [`parse`].
#[inline(always)]
pub(crate) fn parse_all<P: Packet, T: Tables>(packet: &mut P, tables: &T, parsed: &mut Parsed) -> Outcome {
    let outcome = parse(packet, tables, parsed);
    if outcome != Outcome::TruncatedTransport || !packet.is_short_of(REACH) {
        return outcome;
    }
    packet.reach(REACH);
    parse(packet, tables, parsed)
}

/// Parses a packet into `parsed`. The outcome is [`Outcome::Balanced`] if it is one of a protocol that is balanced,
/// [`Outcome::IcmpError`] for an error, and otherwise where it ends; [`Outcome::TruncatedTransport`] also if a header is there, but
/// can't be read before it was [reached](Packet::reach) for.
#[inline(never)]
pub fn parse<P: Packet, T: Tables>(packet: &P, tables: &T, parsed: &mut Parsed) -> Outcome {
    // Of what is not read to its end: nothing of the packet before.
    parsed.signal = 0;
    let Some(head) = packet.get::<{ eth::LEN }>(0) else { return Outcome::NotIp };
    let ether_type = [head[12], head[13]];
    let network = match ether_type {
        eth::TYPE_IPV4 => parse_v4(packet, parsed),
        eth::TYPE_IPV6 => parse_v6(packet, tables, parsed),
        _ if eth::is_tag(ether_type) => Err(Outcome::Vlan),
        _ => Err(Outcome::NotIp),
    };
    match network.and_then(|fragment| parse_transport(packet, parsed, fragment)) {
        Ok(()) => Outcome::Balanced,
        Err(outcome) => outcome,
    }
}

/// Whether the frame as such is for this host and no VLAN.
#[inline(always)]
fn check_frame<P: Packet>(packet: &P) -> Result<(), Outcome> {
    if packet.has_tag_aside() {
        return Err(Outcome::Vlan);
    }
    if packet.for_host() { Ok(()) } else { Err(Outcome::NotForHost) }
}

/// The IPv4 header: checked as the stack checks it, before anything else looks at the packet. [`Signal::FRAGMENT`] if it is
/// a first fragment, [`Signal::LATER`] for one behind it, 0 otherwise.
#[inline(always)]
fn parse_v4<P: Packet>(packet: &P, parsed: &mut Parsed) -> Result<u8, Outcome> {
    let bytes = packet.get::<{ ipv4::LEN }>(eth::LEN).ok_or(Outcome::BadIpHeader)?;
    check_frame(packet)?;
    let ip = ipv4::Header::from_bytes(&bytes);
    let header_len = ip.header_len();
    let mut total_len = ip.total_len() as usize;
    if total_len == 0 {
        total_len = packet.bundle_len() as usize;
    }
    if ip.version() != 4
        || header_len < ipv4::LEN
        || total_len < header_len
        || total_len + eth::LEN > packet.frame_len() as usize
    {
        return Err(Outcome::BadIpHeader);
    }
    let mut sum = ip.sum();
    if header_len > ipv4::LEN {
        sum = add_options(packet, sum, header_len).ok_or(Outcome::BadIpHeader)?;
    }
    if checksum::fold(sum) != 0xffff {
        return Err(Outcome::BadIpChecksum);
    }
    parsed.source = Addr::v4(ip.source());
    parsed.destination = Addr::v4(ip.destination());
    parsed.ip = ip;
    parsed.len = total_len as u32;
    let l4 = (eth::LEN + header_len) as u16;
    parsed.l4 = l4;
    parsed.protocol = ip.protocol();
    parsed.family = family::V4;
    if !ip.is_fragment() {
        return Ok(0);
    }
    parsed.fragment_id = ip.id();
    Ok(if ip.is_later_fragment() { Signal::LATER } else { Signal::FRAGMENT })
}

/// The checksum over options: up to ten words of 32 bits.
#[inline(always)]
fn add_options<P: Packet>(packet: &P, start: u32, header_len: usize) -> Option<u32> {
    let mut sum = start;
    for i in 0..10 {
        if ipv4::LEN + i * 4 >= header_len {
            break;
        }
        sum = checksum::sum(sum, &packet.get::<4>(eth::LEN + ipv4::LEN + i * 4)?);
    }
    Some(sum)
}

/// Extension headers that are looked behind; a packet with more is left to the stack.
const EXTENSIONS_MAX: usize = 8;

/// The IPv6 header and the extension headers (RFC 8200 §4).
#[inline(always)]
fn parse_v6<P: Packet, T: Tables>(packet: &P, tables: &T, parsed: &mut Parsed) -> Result<u8, Outcome> {
    let head = packet.get::<8>(eth::LEN).ok_or(Outcome::BadIpHeader)?;
    let source = packet.get::<16>(eth::LEN + ipv6::at::SOURCE).ok_or(Outcome::BadIpHeader)?;
    let destination = packet.get::<16>(eth::LEN + ipv6::at::DESTINATION).ok_or(Outcome::BadIpHeader)?;
    check_frame(packet)?;
    let mut len = ipv6::LEN as u32 + u32::from(u16::from_be_bytes([head[4], head[5]]));
    let bundle_len = if len == ipv6::LEN as u32 { packet.bundle_len() } else { 0 };
    if bundle_len != 0 {
        len = bundle_len;
    }
    if head[0] >> 4 != 6 || len + eth::LEN as u32 > packet.frame_len() {
        return Err(Outcome::BadIpHeader);
    }
    parsed.source = Addr::from_bytes(&source);
    parsed.destination = Addr::from_bytes(&destination);
    parsed.ip = ipv4::Header([
        u32::from_ne_bytes([head[0], head[1], head[2], head[3]]),
        u32::from_ne_bytes([head[4], head[5], head[6], head[7]]),
        0,
        0,
        0,
    ]);
    parsed.len = len;
    parsed.family = family::V6;
    let fragment = skip_extensions(packet, tables, head[6], (eth::LEN + ipv6::LEN) as u16, parsed)?;
    if parsed.l4 as u32 > len + eth::LEN as u32 {
        return Err(Outcome::TruncatedTransport);
    }
    Ok(fragment)
}

/// Finds the transport protocol and its header, from the first header behind the fixed one, its number and its offset in
/// the frame. [`Signal::FRAGMENT`] for a first fragment, [`Signal::LATER`] for one behind.
///
/// AH counts as an extension header, as for IPVS, which takes a packet for what is behind it.
#[inline(always)]
pub(crate) fn skip_extensions<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    first: u8,
    offset: u16,
    parsed: &mut Parsed,
) -> Result<u8, Outcome> {
    let mut next = first;
    let mut at = offset;
    let mut fragment = 0;
    for _ in 0..=EXTENSIONS_MAX {
        if fragment == Signal::LATER || !ipv6::is_extension(next) && next != proto::AH {
            parsed.protocol = next;
            parsed.l4 = at;
            return Ok(fragment);
        }
        let b = packet.get::<8>(at as usize).ok_or(Outcome::TruncatedTransport)?;
        // A fragment at offset 0 behind which none follows is a whole packet (RFC 6946).
        if next == ipv6::next::FRAGMENT {
            parsed.fragment_id = u32::from_ne_bytes([b[4], b[5], b[6], b[7]]);
            fragment = if ipv6::fragment::offset(&b) != 0 {
                Signal::LATER
            } else if ipv6::fragment::more(&b) {
                Signal::FRAGMENT
            } else {
                // What an outer header says stays true.
                fragment
            };
        }
        let end = at + ipv6::extension_len(next, b[1]) as u16;
        // Veiled, so that a round is verified once and not for each kind of header before it.
        at = tables.veiled(u64::from(end)) as u16 & 0x3fff;
        next = tables.veiled(u64::from(b[0])) as u8;
        fragment = tables.veiled(u64::from(fragment)) as u8;
    }
    Err(Outcome::OtherProtocol)
}

/// Ports, and what the packet means.
#[inline(always)]
fn parse_transport<P: Packet>(packet: &P, parsed: &mut Parsed, fragment: u8) -> Result<(), Outcome> {
    let l4 = parsed.transport();
    // Bytes behind the IP header; the sum of both is below 2^17.
    let payload = parsed.len + eth::LEN as u32 - l4 as u32;
    parsed.row = state::STATELESS;
    if fragment == Signal::LATER {
        parsed.signal = Signal::LATER;
        return Err(Outcome::LaterFragment);
    }
    let transport = parse_ports(packet, parsed, l4, payload);
    parsed.signal |= fragment;
    transport
}

/// By protocol.
#[inline(always)]
fn parse_ports<P: Packet>(packet: &P, parsed: &mut Parsed, l4: usize, payload: u32) -> Result<(), Outcome> {
    match parsed.protocol {
        proto::TCP => {
            let h = header::<P, { tcp::LEN }>(packet, l4, payload)?;
            (parsed.sport, parsed.dport) = ([h[0], h[1]], [h[2], h[3]]);
            let flags = h[tcp::FLAGS];
            parsed.row = state::tcp::row(flags);
            parsed.signal = if flags & tcp::RST != 0 {
                Signal::RESETS | if flags & tcp::SYN != 0 { Signal::RENEWS } else { 0 }
            } else if flags & tcp::SYN != 0 {
                Signal::BEGINS | Signal::RENEWS
            } else {
                0
            };
            Ok(())
        }
        proto::UDP => {
            let h = header::<P, { udp::LEN }>(packet, l4, payload)?;
            (parsed.sport, parsed.dport) = ([h[0], h[1]], [h[2], h[3]]);
            parsed.signal = Signal::BEGINS;
            Ok(())
        }
        proto::SCTP => parse_sctp(packet, parsed, l4, payload),
        // They follow an exchange of keys between the same ends (ipvs.md §4.2).
        proto::AH | proto::ESP => {
            (parsed.sport, parsed.dport) = (ISAKMP, ISAKMP);
            parsed.signal = 0;
            Ok(())
        }
        proto::ICMP if parsed.is_v4() => parse_icmp(packet, parsed, l4, payload),
        proto::ICMPV6 if !parsed.is_v4() => parse_icmp(packet, parsed, l4, payload),
        _ => Err(Outcome::OtherProtocol),
    }
}

/// Port 500, network order.
const ISAKMP: [u8; 2] = [1, 244];

/// The transport header, if packet and frame hold it.
#[inline(always)]
fn header<P: Packet, const N: usize>(packet: &P, l4: usize, payload: u32) -> Result<[u8; N], Outcome> {
    if payload < N as u32 {
        return Err(Outcome::TruncatedTransport);
    }
    packet.get::<N>(l4).ok_or(Outcome::TruncatedTransport)
}

/// An SCTP packet: its first chunk decides, and an ABORT that comes right behind a cookie (ipvs.md §5.7).
#[inline(always)]
fn parse_sctp<P: Packet>(packet: &P, parsed: &mut Parsed, l4: usize, payload: u32) -> Result<(), Outcome> {
    let h = header::<P, { sctp::LEN + sctp::CHUNK_LEN }>(packet, l4, payload)?;
    (parsed.sport, parsed.dport) = ([h[0], h[1]], [h[2], h[3]]);
    let mut kind = h[12];
    if matches!(kind, sctp::chunk::COOKIE_ECHO | sctp::chunk::COOKIE_ACK) {
        let len = (u32::from(u16::from_be_bytes([h[14], h[15]])) + 3) & !3;
        let next = l4 + sctp::LEN + len as usize;
        if len >= sctp::CHUNK_LEN as u32 && sctp::LEN as u32 + len + sctp::CHUNK_LEN as u32 <= payload {
            match packet.get::<1>(next) {
                Some([sctp::chunk::ABORT]) => kind = sctp::chunk::ABORT,
                None if next < REACH as usize && packet.is_short_of(next as u32 + 1) => {
                    return Err(Outcome::TruncatedTransport);
                }
                _ => {}
            }
        }
    }
    parsed.row = state::sctp::row(kind);
    parsed.signal = match h[12] {
        sctp::chunk::INIT => Signal::BEGINS | Signal::RENEWS,
        sctp::chunk::ABORT => Signal::RESETS,
        _ => 0,
    };
    Ok(())
}

/// An ICMP message: errors are looked into later, others are not for us.
#[inline(always)]
fn parse_icmp<P: Packet>(packet: &P, parsed: &mut Parsed, l4: usize, payload: u32) -> Result<(), Outcome> {
    let h = header::<P, { icmp::LEN }>(packet, l4, payload)?;
    let is_error = if parsed.is_v4() { icmp::v4::is_error(h[0]) } else { icmp::v6::is_error(h[0]) };
    if !is_error {
        return Err(Outcome::OtherProtocol);
    }
    // Nothing of the packet before it: what is around it in a tunnel is chosen by its ports.
    parsed.signal = 0;
    (parsed.sport, parsed.dport) = ([h[0], h[1]], [0; 2]);
    Err(Outcome::IcmpError)
}
