//! Packets of a history: what they carry, and how their headers are.

use std::net::IpAddr;

use rvs_abi::proto;
use rvs_wire::builder::{Chunk, Ends, Extension, Ipv4, Ipv6, Payload, Sctp, Tcp, Udp, ethernet};
use rvs_wire::sctp::chunk;
use rvs_wire::{eth, ipv4, ipv6, sctp, tcp, udp};

use super::numbers::Random;
use crate::refvm::frames::{
    DIRECTOR_CLIENT_MAC, DIRECTOR_SERVER_MAC, FIN_ACK, GATEWAY, SYN_ACK, client_mac, server_mac,
};

/// Payload of a fragment, a multiple of 8: the shortest has all that is looked at, as rvs does not put packets together, the
/// longest fits into every way.
const PARTS: [usize; 4] = [40, 64, 512, 1232];
/// Options of IPv4 that no host acts on: "no operation", router alert (RFC 2113), a stream, security (RFC 1108), one that
/// nobody knows.
const OPTIONS: [&[u8]; 5] = [
    &[1, 1, 1, 0],
    &[148, 4, 0, 0],
    &[136, 4, 0, 7],
    &[130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    &[158, 8, 1, 2, 3, 4, 5, 6, 1, 1, 1, 0],
];

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// Bytes of the shortest payload, of which SCTP's has a chunk of data.
    const fn header_len(self) -> usize {
        match self {
            Self::Tcp => tcp::LEN,
            Self::Udp => udp::LEN,
            Self::Sctp => sctp::LEN + sctp::CHUNK_LEN,
        }
    }

    /// What a packet can mean: flags, or the type of a chunk.
    pub(super) const fn meanings(self) -> &'static [u8] {
        match self {
            Self::Tcp => &[tcp::ACK, tcp::ACK, FIN_ACK, FIN_ACK, tcp::RST, SYN_ACK, tcp::SYN, 0],
            Self::Udp => &[0],
            Self::Sctp => &[
                chunk::INIT,
                chunk::INIT_ACK,
                chunk::COOKIE_ECHO,
                chunk::COOKIE_ECHO,
                chunk::COOKIE_ACK,
                chunk::SHUTDOWN,
                chunk::SHUTDOWN_ACK,
                chunk::SHUTDOWN_COMPLETE,
                chunk::ABORT,
                chunk::DATA,
                chunk::HEARTBEAT,
                // ERROR, and one that nobody knows.
                9,
                77,
            ],
        }
    }

    /// What begins a connection.
    pub(super) const fn beginning(self) -> u8 {
        match self {
            Self::Tcp => tcp::SYN,
            Self::Udp => 0,
            Self::Sctp => chunk::INIT,
        }
    }

    /// A payload that means this and carries so many bytes.
    pub(super) fn payload(self, (sport, dport): (u16, u16), meaning: u8, len: usize) -> Payload {
        let data: Vec<u8> = (0..len).map(|at| (at * 7).to_le_bytes()[0]).collect();
        match self {
            Self::Tcp => Payload::Tcp(Tcp { data, ..Tcp::new(sport, dport, meaning) }),
            Self::Udp => Payload::Udp(Udp::new(sport, dport, &data)),
            Self::Sctp if len == 0 => Payload::Sctp(Sctp::new(sport, dport, &[meaning])),
            Self::Sctp => {
                let chunk = Chunk { value: data, ..Chunk::new(chunk::DATA) };
                Payload::Sctp(Sctp { chunks: vec![chunk], ..Sctp::new(sport, dport, &[]) })
            }
        }
    }
}

/// A packet without its payload.
#[derive(Clone)]
pub(super) struct Shape {
    ttl: u8,
    tos: u8,
    dont_fragment: bool,
    id: u16,
    options: &'static [u8],
    extensions: Vec<Extension>,
    /// In fragments that carry that much.
    part: Option<usize>,
}

impl Shape {
    /// As a host sends it, if it has only few wishes.
    pub(super) fn plain(id: u16) -> Self {
        Self { ttl: 64, tos: 0, dont_fragment: true, id, options: &[], extensions: Vec::new(), part: None }
    }

    /// Of a packet that carries so many bytes.
    pub(super) fn any(random: &mut Random, id: u16, len: usize, may_be_parted: bool) -> Self {
        let mut shape = Self::plain(id);
        shape.tos = random.of(&[0, 0xb9, 3, 0x48, 1, 2]);
        // What is too big may not be fragmented on the way: tests of their own are for that (§13.3, 62).
        shape.dont_fragment = len > 1000 || random.one_in(2);
        if may_be_parted && len > 8 && random.one_in(5) {
            let parts: Vec<usize> =
                PARTS.into_iter().filter(|part| (*part < len) && len / part < 16).collect();
            shape.part = random.choose(&parts).copied();
            shape.dont_fragment = false;
        }
        // Whose time is up, or what has more than a header, comes whole: rvs says so of the first fragment alone.
        if shape.part.is_none() {
            shape.ttl = random.of(&[64, 64, 64, 64, 255, 128, 3, 2, 1]);
            if len < 1000 && random.one_in(6) {
                shape.options = random.of(&OPTIONS);
                shape.extensions = extensions(random);
            }
        }
        shape
    }

    pub(super) const fn is_whole(&self) -> bool {
        self.part.is_none()
    }

    /// The packet, or its fragments.
    pub(super) fn packets(&self, (source, destination): (IpAddr, IpAddr), payload: &Payload) -> Vec<Vec<u8>> {
        let Self { ttl, tos, dont_fragment, id, .. } = *self;
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let options = self.options.to_vec();
                let ip = Ipv4::new(source.octets(), destination.octets());
                let ip = Ipv4 { ttl, tos, id, dont_fragment, options, ..ip };
                self.part.map_or_else(|| vec![ip.packet(payload)], |part| ip.fragments(payload, part))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let extensions = self.extensions.clone();
                let ip = Ipv6::new(source.octets(), destination.octets());
                let ip = Ipv6 { hop_limit: ttl, traffic_class: tos, extensions, ..ip };
                let fragments = |part| ip.fragments(payload, part, id.into());
                self.part.map_or_else(|| vec![ip.packet(payload)], fragments)
            }
            _ => Vec::new(),
        }
    }
}

/// Extension headers of IPv6 that no host acts on.
fn extensions(random: &mut Random) -> Vec<Extension> {
    let pad = vec![1, 4, 0, 0, 0, 0];
    let one = |random: &mut Random| match random.below(3) {
        0 => Extension::DestinationOptions(pad.clone()),
        1 => Extension::Routing { kind: 0, segments_left: 0, data: vec![0; 20] },
        // A whole packet (RFC 6946).
        _ => Extension::Ah { spi: 7, sequence: 1, value: vec![9; 12] },
    };
    match random.below(5) {
        0 => vec![Extension::HopByHop(pad.clone())],
        1 => vec![Extension::HopByHop(pad.clone()), one(random)],
        2 => vec![one(random), one(random)],
        _ => vec![one(random)],
    }
}

/// Bytes of data: none, few, or as many as some way is too narrow for.
pub(super) fn data_len(random: &mut Random, is_v4: bool, protocol: Protocol, may_be_long: bool) -> usize {
    let headers = if is_v4 { ipv4::LEN } else { ipv6::LEN } + protocol.header_len();
    match random.below(5) {
        // Where some way or other begins to be too narrow.
        0 if may_be_long => {
            let most = random.of(&[1500, 1400]);
            most - headers - random.of(&[0, 0, 3, 4, 8, 12, 20, 24, 28, 32, 40, 44, 48, 52, 56])
        }
        1 => 1 + random.index(64),
        2 => 64 + random.index(600),
        _ => 0,
    }
}

/// ESP, or AH around it or around what it was told.
pub(super) fn secured(random: &mut Random, is_v4: bool) -> Payload {
    let len = 24 + 4 * random.index(100);
    let esp: Vec<u8> = [&[0, 0, 1, 0, 0, 0, 0, 5][..], &vec![0xe5; len]].concat();
    if random.one_in(2) {
        return Payload::Other(proto::ESP, esp);
    }
    // Words less two, no more than the first of which counts for anybody (RFC 4302 §2). In IPv6 what is behind does.
    let ah = [&[proto::ESP, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 5][..], &[0xa4; 12]].concat();
    let behind = if is_v4 { esp[..16].to_vec() } else { esp };
    Payload::Other(proto::AH, [ah, behind].concat())
}

/// Bytes that a packet has behind its IP header.
pub(super) fn len_of(payload: &Payload) -> usize {
    payload.bytes(Ends::V6([0; 16], [0; 16])).len()
}

fn frame(to: [u8; 6], from: [u8; 6], packet: &[u8]) -> Vec<u8> {
    let is_v4 = packet.first().is_some_and(|first| first >> 4 == 4);
    ethernet(to, from, if is_v4 { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 }, packet)
}

/// Packets of clients, which are all behind one router.
pub(super) fn of_client(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| frame(DIRECTOR_CLIENT_MAC, client_mac(GATEWAY), packet)).collect()
}

/// Packets of a server, or of a router in their network.
pub(super) fn of_server(number: u8, packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets.iter().map(|packet| frame(DIRECTOR_SERVER_MAC, server_mac(number), packet)).collect()
}

/// Fragments in the order in which they are sent. Of AH, ESP and ICMP rvs holds none (docs/compatibility.md): they come as
/// they were made.
pub(super) fn in_some_order(random: &mut Random, payload: &Payload, packets: &mut [Vec<u8>]) {
    let is_held = matches!(payload, Payload::Tcp(_) | Payload::Udp(_) | Payload::Sctp(_));
    if is_held && packets.len() > 1 {
        let other = random.index(packets.len());
        packets.swap(0, other);
    }
}
