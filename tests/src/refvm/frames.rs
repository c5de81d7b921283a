//! Addresses of the little network, and the frames that pass in it.

use std::fmt::Write as _;

use rvs_abi::proto;
use rvs_wire::builder::{Ipv4, Mac, Payload, Tcp, Udp};
use rvs_wire::{eth, ipv4, tcp};

/// An IPv4 address as in a packet.
pub(crate) type Address = [u8; 4];

/// The director on the clients' side.
pub(crate) const DIRECTOR_CLIENT_SIDE: Address = [192, 0, 2, 1];
/// The director on the servers' side.
pub(crate) const DIRECTOR_SERVER_SIDE: Address = [192, 168, 9, 1];
/// Link address of the director on the clients' side.
pub(crate) const DIRECTOR_CLIENT_MAC: Mac = [2, 0, 0, 0, 1, 1];
/// Link address of the director on the servers' side.
pub(crate) const DIRECTOR_SERVER_MAC: Mac = [2, 0, 0, 0, 9, 1];
/// Last bytes of the addresses of clients and servers.
pub(crate) const HOSTS: std::ops::RangeInclusive<u8> = 2..=20;

/// SYN and ACK.
pub(crate) const SYN_ACK: u8 = tcp::SYN | tcp::ACK;
/// FIN and ACK, as stacks send it.
pub(crate) const FIN_ACK: u8 = tcp::FIN | tcp::ACK;

/// Client `192.0.2.number`.
pub(crate) const fn client(number: u8) -> Address {
    [192, 0, 2, number]
}

/// Real server `192.168.9.number`.
pub(crate) const fn server(number: u8) -> Address {
    [192, 168, 9, number]
}

/// Link address of a client or a server.
pub(crate) const fn mac(address: Address) -> Mac {
    [2, 1, address[0], address[1], address[2], address[3]]
}

/// Client and virtual service of one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) cip: Address,
    pub(crate) cport: u16,
    pub(crate) vip: Address,
    pub(crate) vport: u16,
}

impl Flow {
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
        Self { cip: client(number), ..self }
    }

    /// The header of a packet of the client.
    pub(crate) const fn ip(&self) -> Ipv4 {
        Ipv4::new(self.cip, self.vip)
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

    /// Anything of the client in a frame.
    pub(crate) fn frame(&self, ip: &Ipv4, payload: Payload) -> Vec<u8> {
        ip.frame(DIRECTOR_CLIENT_MAC, mac(self.cip), &payload)
    }

    /// The server's part of a connection that it got by NAT.
    pub(crate) const fn at(&self, server: Address, rport: u16) -> Replies {
        Replies { rip: server, rport, cip: self.cip, cport: self.cport }
    }
}

/// What a real server sends to a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Replies {
    pub(crate) rip: Address,
    rport: u16,
    cip: Address,
    cport: u16,
}

impl Replies {
    /// The header of its packets.
    pub(crate) const fn ip(&self) -> Ipv4 {
        Ipv4::new(self.rip, self.cip)
    }

    /// A segment in a frame.
    pub(crate) fn tcp(&self, flags: u8) -> Vec<u8> {
        self.frame(&self.ip(), Payload::Tcp(Tcp::new(self.rport, self.cport, flags)))
    }

    /// A datagram in a frame.
    pub(crate) fn udp(&self, data: &[u8]) -> Vec<u8> {
        self.frame(&self.ip(), Payload::Udp(Udp::new(self.rport, self.cport, data)))
    }

    /// Anything in a frame.
    pub(crate) fn frame(&self, ip: &Ipv4, payload: Payload) -> Vec<u8> {
        ip.frame(DIRECTOR_SERVER_MAC, mac(self.rip), &payload)
    }
}

/// The IPv4 packet in a frame.
pub(crate) fn packet(frame: &[u8]) -> &[u8] {
    frame.get(eth::LEN..).unwrap_or_default()
}

/// What follows the header of an IPv4 packet without options.
pub(crate) fn payload(packet: &[u8]) -> &[u8] {
    packet.get(ipv4::LEN..).unwrap_or_default()
}

/// Time to live of a packet.
pub(crate) fn ttl(packet: &[u8]) -> Option<u8> {
    packet.get(8).copied()
}

/// Source and destination address of a packet.
pub(crate) fn addresses(packet: &[u8]) -> Option<(Address, Address)> {
    Some((*packet.get(12..)?.first_chunk()?, *packet.get(16..)?.first_chunk()?))
}

/// Source and destination port of a packet without options.
pub(crate) fn ports(packet: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *payload(packet).first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// What packets of one flow have in common: the addresses and, for TCP and UDP, the ports of the innermost IP packet.
pub(crate) fn flow(frame: &[u8]) -> Option<(Address, Address, u8, [u8; 4])> {
    let mut packet = packet(frame);
    if packet.get(9) == Some(&proto::IPIP) {
        packet = payload(packet);
    }
    let (source, destination) = addresses(packet)?;
    let protocol = *packet.get(9)?;
    let ports = payload(packet).first_chunk().filter(|_| matches!(protocol, proto::TCP | proto::UDP));
    Some((source, destination, protocol, ports.copied().unwrap_or_default()))
}

/// Whether it is a TCP segment with RST set.
pub(crate) fn is_reset(packet: &[u8]) -> bool {
    packet.get(9) == Some(&6) && payload(packet).get(tcp::FLAGS).is_some_and(|flags| flags & tcp::RST != 0)
}

/// A frame for people: what it is, and its bytes.
pub(crate) fn describe(frame: &[u8]) -> String {
    let mut text = String::new();
    let packet = packet(frame);
    if let (Some((from, to)), Some(protocol)) = (addresses(packet), packet.get(9)) {
        let dotted = |a: Address| std::net::Ipv4Addr::from(a);
        write!(text, "{} > {} protocol {protocol}, {} bytes: ", dotted(from), dotted(to), packet.len()).ok();
    }
    for (at, byte) in frame.iter().enumerate() {
        // Parted where headers begin.
        let gap = if matches!(at, 6 | 12 | 14 | 34 | 54) { " " } else { "" };
        write!(text, "{gap}{byte:02x}").ok();
    }
    text
}
