//! Addresses of the little network, and the frames that pass in it.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rvs_abi::proto;
use rvs_wire::builder::{Ipv4, Ipv6, Mac, Payload, Sctp, Tcp, Udp};
use rvs_wire::{eth, gre, gue, icmp, ipv4, ipv6, tcp, udp};

/// Link address of the director on the clients' side.
pub(crate) const DIRECTOR_CLIENT_MAC: Mac = [2, 0, 0, 0, 1, 1];
/// Link address of the director on the servers' side.
pub(crate) const DIRECTOR_SERVER_MAC: Mac = [2, 0, 0, 0, 9, 1];
/// Numbers of the director's own addresses on its wires.
pub(crate) const DIRECTOR: u8 = 1;
/// Numbers of clients and servers.
pub(crate) const HOSTS: std::ops::RangeInclusive<u8> = 2..=21;

/// Number of the clients' router, behind which there are more of them.
pub(crate) const GATEWAY: u8 = 19;

/// SYN and ACK.
pub(crate) const SYN_ACK: u8 = tcp::SYN | tcp::ACK;
/// FIN and ACK, as stacks send it.
pub(crate) const FIN_ACK: u8 = tcp::FIN | tcp::ACK;

/// Version of IP. All that is in the network has an address of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    pub(crate) const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }

    /// Client `192.0.2.number` or `2001:db8:2::number`.
    pub(crate) const fn client(self, number: u8) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(192, 0, 2, number)),
            Self::V6 => host_v6(2, number),
        }
    }

    /// Real server `192.168.9.number` or `2001:db8:9::number`.
    pub(crate) const fn server(self, number: u8) -> IpAddr {
        match self {
            Self::V4 => IpAddr::V4(Ipv4Addr::new(192, 168, 9, number)),
            Self::V6 => host_v6(9, number),
        }
    }

    /// Bytes of the IP header.
    pub(crate) const fn header_len(self) -> usize {
        match self {
            Self::V4 => ipv4::LEN,
            Self::V6 => ipv6::LEN,
        }
    }
}

/// A client behind the router, of 131 072.
pub(crate) const fn remote_client(family: Family, number: u32) -> IpAddr {
    let [_, a, b, c] = (number & 0x1_ffff).to_be_bytes();
    match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(198, 18 + a, b, c)),
        Family::V6 => {
            let (high, low) = (a as u16, (b as u16) << 8 | c as u16);
            IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, high, low))
        }
    }
}

/// A host of IPv6 whose address ends as that of IPv4 reads, in decimal digits.
const fn host_v6(net: u16, number: u8) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, (number / 10 * 16 + number % 10) as u16))
}

/// Link address of a client, the same for both its addresses.
pub(crate) const fn client_mac(number: u8) -> Mac {
    [2, 1, 192, 0, 2, number]
}

/// Link address of a server.
pub(crate) const fn server_mac(number: u8) -> Mac {
    [2, 1, 192, 168, 9, number]
}

/// Link address of a client by either of its addresses.
fn mac_of_client(address: IpAddr) -> Mac {
    HOSTS
        .map(|number| (number, client_mac(number)))
        .find(|&(number, _)| Family::of(address).client(number) == address)
        .map_or([2, 1, 0, 0, 0, 0], |(_, mac)| mac)
}

/// The header of a packet, of the family that its addresses are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
    /// Type of service, or traffic class.
    pub(crate) tos: u8,
    /// Only in IPv4.
    pub(crate) id: u16,
    /// Only in IPv4.
    pub(crate) dont_fragment: bool,
}

impl Head {
    /// As a host sends it.
    pub(crate) const fn new(source: IpAddr, destination: IpAddr) -> Self {
        Self { source, destination, ttl: 64, tos: 0, id: 0x1234, dont_fragment: true }
    }

    pub(crate) fn packet(&self, payload: &Payload) -> Vec<u8> {
        let Self { ttl, tos, id, dont_fragment, .. } = *self;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let ip = Ipv4::new(source.octets(), destination.octets());
                Ipv4 { ttl, tos, id, dont_fragment, ..ip }.packet(payload)
            }
            (source, destination) => {
                let ip = Ipv6::new(octets_v6(source), octets_v6(destination));
                Ipv6 { hop_limit: ttl, traffic_class: tos, ..ip }.packet(payload)
            }
        }
    }

    pub(crate) fn frame(&self, to: Mac, from: Mac, payload: &Payload) -> Vec<u8> {
        self.in_frame(to, from, &self.packet(payload))
    }

    fn in_frame(&self, to: Mac, from: Mac, packet: &[u8]) -> Vec<u8> {
        let kind = if self.source.is_ipv4() { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 };
        rvs_wire::builder::ethernet(to, from, kind, packet)
    }

    /// The packet in fragments of that identification, which carry `size` bytes each.
    pub(crate) fn fragments(&self, payload: &Payload, size: usize, id: u16) -> Vec<Vec<u8>> {
        let Self { ttl, tos, .. } = *self;
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let ip = Ipv4::new(source.octets(), destination.octets());
                Ipv4 { ttl, tos, id, ..ip }.fragments(payload, size)
            }
            (source, destination) => {
                let ip = Ipv6::new(octets_v6(source), octets_v6(destination));
                Ipv6 { hop_limit: ttl, traffic_class: tos, ..ip }.fragments(payload, size, id.into())
            }
        }
    }
}

/// An address of IPv6, or the form in which IPv4 is written in it.
fn octets_v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// What an ICMP error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nobody listens at the port.
    Port,
    /// The protocol is not known. IPv6 has a parameter problem for it (RFC 4443 §3.4).
    Protocol,
    /// The time to live was used up.
    Time,
    /// The packet is too big for a link with that MTU.
    TooBig(u16),
}

/// Whether an address of IPv4 is one from which only the director's own clients and servers send to real servers.
pub(crate) fn is_directors(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.octets()[..2] == [10, 0])
        || address == Family::V4.server(DIRECTOR)
}

impl Trouble {
    /// Type, code, and what stands behind the checksum.
    pub(crate) const fn message(self, family: Family) -> ([u8; 2], u32) {
        use icmp::{v4, v6};
        match (self, family) {
            (Self::Port, Family::V4) => ([v4::UNREACHABLE, v4::PORT], 0),
            (Self::Protocol, Family::V4) => ([v4::UNREACHABLE, v4::PROTOCOL_UNREACHABLE], 0),
            (Self::Time, Family::V4) => ([v4::TIME_EXCEEDED, v4::TTL], 0),
            (Self::TooBig(mtu), Family::V4) => ([v4::UNREACHABLE, v4::FRAGMENTATION_NEEDED], mtu as u32),
            (Self::Port, Family::V6) => ([v6::UNREACHABLE, v6::PORT], 0),
            (Self::Protocol, Family::V6) => ([v6::PARAMETER_PROBLEM, 1], 6),
            (Self::Time, Family::V6) => ([v6::TIME_EXCEEDED, v6::HOP_LIMIT], 0),
            (Self::TooBig(mtu), Family::V6) => ([v6::PACKET_TOO_BIG, 0], mtu as u32),
        }
    }

    /// The error about a packet.
    pub(crate) fn about(self, packet: &[u8]) -> Payload {
        let family = family(packet).unwrap_or(Family::V4);
        let ([kind, code], word) = self.message(family);
        let rest = [&word.to_be_bytes()[..], packet].concat();
        match family {
            Family::V4 => Payload::Icmp(kind, code, rest),
            Family::V6 => Payload::Icmp6(kind, code, rest),
        }
    }
}

/// Client and virtual service of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) cip: IpAddr,
    pub(crate) cport: u16,
    pub(crate) vip: IpAddr,
    pub(crate) vport: u16,
}

impl Flow {
    pub(crate) const fn family(&self) -> Family {
        Family::of(self.vip)
    }

    /// The same to another port of the virtual address.
    pub(crate) const fn to_port(self, vport: u16) -> Self {
        Self { vport, ..self }
    }

    /// The same from another port of the client.
    pub(crate) const fn with_client_port(self, cport: u16) -> Self {
        Self { cport, ..self }
    }

    /// The same from another client.
    pub(crate) const fn with_client(self, number: u8) -> Self {
        Self { cip: self.family().client(number), ..self }
    }

    /// The header of a packet of the client.
    pub(crate) const fn ip(&self) -> Head {
        Head::new(self.cip, self.vip)
    }

    /// A segment of the client.
    pub(crate) fn segment(&self, flags: u8) -> Tcp {
        Tcp::new(self.cport, self.vport, flags)
    }

    /// A segment of the client in a frame.
    pub(crate) fn tcp(&self, flags: u8) -> Vec<u8> {
        self.frame(&self.ip(), Payload::Tcp(self.segment(flags)))
    }

    pub(crate) fn syn(&self) -> Vec<u8> {
        self.tcp(tcp::SYN)
    }

    pub(crate) fn ack(&self) -> Vec<u8> {
        self.tcp(tcp::ACK)
    }

    pub(crate) fn fin(&self) -> Vec<u8> {
        self.tcp(FIN_ACK)
    }

    pub(crate) fn rst(&self) -> Vec<u8> {
        self.tcp(tcp::RST)
    }

    /// A datagram of the client in a frame.
    pub(crate) fn udp(&self, data: &[u8]) -> Vec<u8> {
        self.frame(&self.ip(), Payload::Udp(Udp::new(self.cport, self.vport, data)))
    }

    /// An SCTP packet of the client with these chunks, in a frame.
    pub(crate) fn sctp(&self, kinds: &[u8]) -> Vec<u8> {
        self.frame(&self.ip(), Payload::Sctp(Sctp::new(self.cport, self.vport, kinds)))
    }

    /// Packets of the client, each in a frame.
    pub(crate) fn in_frames(&self, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let macs = (DIRECTOR_CLIENT_MAC, mac_of_client(self.cip));
        packets.iter().map(|packet| self.ip().in_frame(macs.0, macs.1, packet)).collect()
    }

    /// Anything of the client in a frame.
    pub(crate) fn frame(&self, ip: &Head, payload: Payload) -> Vec<u8> {
        ip.frame(DIRECTOR_CLIENT_MAC, mac_of_client(self.cip), &payload)
    }

    /// A packet of the service as it reaches the client, a few hops later.
    pub(crate) fn answered(&self, payload: &Payload) -> Vec<u8> {
        Head { ttl: 61, ..Head::new(self.vip, self.cip) }.packet(payload)
    }

    /// The client's error about what the service sent it, which is `payload`.
    pub(crate) fn error(&self, trouble: Trouble, payload: &Payload) -> Vec<u8> {
        self.frame(&self.ip(), trouble.about(&self.answered(payload)))
    }

    /// An error of the director's to the client, in a frame. In IPv4 it is one for the control of the network (RFC 1812
    /// §4.3.2.5) and may be fragmented.
    pub(crate) fn told(&self, payload: &Payload) -> Vec<u8> {
        let tos = if self.vip.is_ipv4() { 0xc0 } else { 0 };
        Head { tos, dont_fragment: false, ..Head::new(self.vip, self.cip) }.frame(
            mac_of_client(self.cip),
            DIRECTOR_CLIENT_MAC,
            payload,
        )
    }

    /// The server's part of a connection that it got by NAT.
    pub(crate) const fn at(&self, number: u8, rport: u16) -> Replies {
        let (rip, cip, cport) = (self.family().server(number), self.cip, self.cport);
        Replies { number, rip, rport, cip, cport }
    }
}

/// What a real server sends to a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replies {
    number: u8,
    pub(crate) rip: IpAddr,
    rport: u16,
    cip: IpAddr,
    cport: u16,
}

impl Replies {
    /// The header of its packets.
    pub(crate) const fn ip(&self) -> Head {
        Head::new(self.rip, self.cip)
    }

    /// A segment in a frame.
    pub(crate) fn tcp(&self, flags: u8) -> Vec<u8> {
        self.frame(&self.ip(), Payload::Tcp(Tcp::new(self.rport, self.cport, flags)))
    }

    /// A datagram in a frame.
    pub(crate) fn udp(&self, data: &[u8]) -> Vec<u8> {
        self.frame(&self.ip(), Payload::Udp(Udp::new(self.rport, self.cport, data)))
    }

    /// An SCTP packet with these chunks, in a frame.
    pub(crate) fn sctp(&self, kinds: &[u8]) -> Vec<u8> {
        self.frame(&self.ip(), Payload::Sctp(Sctp::new(self.rport, self.cport, kinds)))
    }

    /// The same to another address, of either family.
    pub(crate) const fn to(self, cip: IpAddr) -> Self {
        Self { cip, rip: Family::of(cip).server(self.number), ..self }
    }

    /// Anything in a frame.
    pub(crate) fn frame(&self, ip: &Head, payload: Payload) -> Vec<u8> {
        ip.frame(DIRECTOR_SERVER_MAC, server_mac(self.number), &payload)
    }

    /// Packets of the server, each in a frame.
    pub(crate) fn in_frames(&self, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let macs = (DIRECTOR_SERVER_MAC, server_mac(self.number));
        packets.iter().map(|packet| self.ip().in_frame(macs.0, macs.1, packet)).collect()
    }

    /// An error about a packet of the connection as the server got it, sent by the server itself or another host of its
    /// network.
    pub(crate) fn error(&self, from: u8, trouble: Trouble, got: &[u8]) -> Vec<u8> {
        let from = Self { number: from, rip: Family::of(self.rip).server(from), ..*self };
        from.frame(&from.ip(), trouble.about(got))
    }
}

/// Where the identification of an IPv6 fragment is in its packet.
pub(crate) fn fragment_id_at(packet: &[u8]) -> Option<usize> {
    let is_fragment = packet.first()? >> 4 == 6 && *packet.get(6)? == ipv6::next::FRAGMENT;
    (is_fragment && packet.len() >= ipv6::LEN + ipv6::fragment::LEN).then_some(ipv6::LEN + 4)
}

/// Where the data of a fragment begin in their packet, in bytes; 0 of what is no fragment.
pub(crate) fn fragment_offset(packet: &[u8]) -> u16 {
    let word = |at: usize| packet.get(at..at + 2).map_or(0, |b| u16::from_be_bytes([b[0], b[1]]));
    match fragment_id_at(packet) {
        Some(at) => word(at - 2) & !7,
        None if packet.first().is_some_and(|b| b >> 4 == 4) => (word(6) & 0x1fff) * 8,
        None => 0,
    }
}

/// The packet in a frame.
pub(crate) fn packet(frame: &[u8]) -> &[u8] {
    frame.get(eth::LEN..).unwrap_or_default()
}

/// What a packet is of.
pub(crate) fn family(packet: &[u8]) -> Option<Family> {
    match packet.first()? >> 4 {
        4 => Some(Family::V4),
        6 => Some(Family::V6),
        _ => None,
    }
}

/// A field of a packet, by its offset in either family.
fn byte(packet: &[u8], v4: usize, v6: usize) -> Option<u8> {
    packet.get(if family(packet)? == Family::V4 { v4 } else { v6 }).copied()
}

/// What follows the header of a packet without options.
pub(crate) fn payload(packet: &[u8]) -> &[u8] {
    family(packet).and_then(|family| packet.get(family.header_len()..)).unwrap_or_default()
}

/// Protocol number of what a packet carries.
pub(crate) fn protocol(packet: &[u8]) -> Option<u8> {
    byte(packet, 9, 6)
}

/// Time to live of a packet.
pub(crate) fn ttl(packet: &[u8]) -> Option<u8> {
    byte(packet, 8, 7)
}

/// Type of service of a packet.
pub(crate) fn tos(packet: &[u8]) -> Option<u8> {
    match family(packet)? {
        Family::V4 => packet.get(1).copied(),
        Family::V6 => Some(packet.first()? << 4 | packet.get(1)? >> 4),
    }
}

/// Whether a packet of IPv4 is not to be fragmented.
pub(crate) fn dont_fragment(packet: &[u8]) -> bool {
    family(packet) == Some(Family::V4) && packet.get(6).is_some_and(|flags| flags & ipv4::DF != 0)
}

/// Source and destination address of a packet.
pub(crate) fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    let v4 = |at| packet.get(at..)?.first_chunk::<4>().copied().map(IpAddr::from);
    let v6 = |at| packet.get(at..)?.first_chunk::<16>().copied().map(IpAddr::from);
    match family(packet)? {
        Family::V4 => Some((v4(12)?, v4(16)?)),
        Family::V6 => Some((v6(ipv6::at::SOURCE)?, v6(ipv6::at::DESTINATION)?)),
    }
}

/// Protocol number and bytes of what a packet carries behind options and extension headers; `None` for a fragment behind
/// the first.
pub(crate) fn transport(packet: &[u8]) -> Option<(u8, &[u8])> {
    if family(packet)? == Family::V4 {
        let header: &[u8; ipv4::LEN] = packet.first_chunk()?;
        let is_later = u16::from_be_bytes([header[6], header[7]]) & 0x1fff != 0;
        return (!is_later).then_some((header[9], packet.get(usize::from(header[0] & 15) * 4..)?));
    }
    let (mut next, mut rest) = (protocol(packet)?, payload(packet));
    while ipv6::is_extension(next) || next == ipv6::next::AH {
        let head: &[u8; ipv6::fragment::LEN] = rest.first_chunk()?;
        if next == ipv6::next::FRAGMENT && ipv6::fragment::offset(head) != 0 {
            return None;
        }
        rest = rest.get(ipv6::extension_len(next, head[1])..)?;
        next = head[0];
    }
    Some((next, rest))
}

/// Source and destination port of a packet.
pub(crate) fn ports(packet: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *transport(packet)?.1.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// Whether it is a packet to a GUE tunnel.
pub(crate) fn is_gue(packet: &[u8]) -> bool {
    protocol(packet) == Some(proto::UDP) && ports(packet).is_some_and(|(_, to)| to == gue::PORT)
}

/// The packet in a tunnel's packet.
pub(crate) fn tunnelled(packet: &[u8]) -> Option<&[u8]> {
    let rest = payload(packet);
    match protocol(packet)? {
        proto::IPIP | proto::IPV6 => Some(rest),
        proto::GRE => rest.get(gre::header_len(*rest.first_chunk()?)?..),
        proto::UDP if is_gue(packet) => rest.get(udp::LEN + gue::LEN..),
        _ => None,
    }
}

/// The packet as it was before a tunnel.
pub(crate) fn innermost(packet: &[u8]) -> &[u8] {
    tunnelled(packet).unwrap_or(packet)
}

/// Addresses, protocol number and ports.
type Same = ((IpAddr, IpAddr), u8, Option<(u16, u16)>);

/// What packets of one flow have in common: the addresses and, for those that have them, the ports of the innermost IP
/// packet.
pub(crate) fn flow(frame: &[u8]) -> Option<Same> {
    let packet = innermost(packet(frame));
    let (source, destination) = addresses(packet)?;
    let protocol = transport(packet).map(|(protocol, _)| protocol).or(protocol(packet))?;
    let ports = ports(packet).filter(|_| matches!(protocol, proto::TCP | proto::UDP | proto::SCTP));
    Some(((source, destination), protocol, ports))
}

/// Whether it is a TCP segment with RST set.
pub(crate) fn is_reset(packet: &[u8]) -> bool {
    protocol(packet) == Some(proto::TCP)
        && payload(packet).get(tcp::FLAGS).is_some_and(|flags| flags & tcp::RST != 0)
}

/// Type and code, the word behind the checksum, and the quoted packet of an ICMP error.
pub(crate) fn error(packet: &[u8]) -> Option<([u8; 2], u32, &[u8])> {
    let is_icmp = matches!(protocol(packet)?, proto::ICMP | proto::ICMPV6);
    let (head, quoted) = payload(packet).split_first_chunk::<{ icmp::LEN }>()?;
    let [kind, code, _, _, word @ ..] = *head;
    let is_error = match family(packet)? {
        Family::V4 => icmp::v4::is_error(kind),
        Family::V6 => icmp::v6::is_error(kind),
    };
    (is_icmp && is_error).then(|| ([kind, code], u32::from_be_bytes(word), quoted))
}

/// A frame for people: what it is, and its bytes.
pub(crate) fn describe(frame: &[u8]) -> String {
    let mut text = String::new();
    let packet = packet(frame);
    let mut headers = vec![6, 12, eth::LEN];
    if let (Some((from, to)), Some(protocol)) = (addresses(packet), protocol(packet)) {
        write!(text, "{from} > {to} protocol {protocol}, {} bytes: ", packet.len()).ok();
        headers
            .extend([packet, tunnelled(packet).unwrap_or_default()].map(|p| frame.len() - payload(p).len()));
    }
    for (at, byte) in frame.iter().enumerate() {
        // Parted where headers begin.
        let gap = if headers.contains(&at) { " " } else { "" };
        write!(text, "{gap}{byte:02x}").ok();
    }
    text
}
