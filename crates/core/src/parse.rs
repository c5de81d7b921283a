//! From a frame to addresses, ports and flags.

use rvs_abi::{Outcome, proto};
use rvs_wire::{checksum, eth, ipv4, tcp, udp};

use crate::Packet;

/// An IPv4 packet of a balanced protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parsed {
    /// Its IPv4 header without options.
    pub ip: ipv4::Header,
    /// Offset of the TCP or UDP header in the frame. 16 bits, so that the verifier knows a bound.
    pub l4: u16,
    /// Source port, network order.
    pub sport: [u8; 2],
    /// Destination port, network order.
    pub dport: [u8; 2],
    /// TCP flags; 0 for UDP.
    pub tcp_flags: u8,
}

impl Parsed {
    /// Offset of the TCP or UDP header in the frame.
    #[inline(always)]
    #[must_use]
    pub const fn transport(&self) -> usize {
        self.l4 as usize
    }

    /// Whether it is TCP; it is UDP otherwise.
    #[inline(always)]
    #[must_use]
    pub const fn is_tcp(&self) -> bool {
        self.ip.protocol() == proto::TCP
    }
}

/// The network layer: checked as the stack checks it, before anything else looks at the packet.
#[inline(always)]
fn parse_ip<P: Packet>(packet: &P) -> Result<ipv4::Header, Outcome> {
    let Some(frame) = packet.get::<{ eth::LEN + ipv4::LEN }>(0) else {
        // Too short for IPv4; whether it claims to be IPv4 decides what it is called.
        let ether_type = packet.get::<2>(12).unwrap_or_default();
        return Err(if ether_type == eth::TYPE_IPV4 { Outcome::BadIpHeader } else { Outcome::NotIp });
    };
    let ether_type = [frame[12], frame[13]];
    if ether_type != eth::TYPE_IPV4 {
        return Err(if eth::is_tag(ether_type) { Outcome::Vlan } else { Outcome::NotIp });
    }
    if packet.has_tag_aside() {
        return Err(Outcome::Vlan);
    }
    if !packet.for_host() {
        return Err(Outcome::NotForHost);
    }
    let f = &frame;
    let ip = ipv4::Header::from_bytes(&[
        f[14], f[15], f[16], f[17], f[18], f[19], f[20], f[21], f[22], f[23], f[24], f[25], f[26], f[27],
        f[28], f[29], f[30], f[31], f[32], f[33],
    ]);
    let header_len = ip.header_len();
    let total_len = ip.total_len() as usize;
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
    Ok(ip)
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

/// Parses an IPv4 packet into `parsed`. The outcome is [`Outcome::Balanced`] if it is one that is balanced, and
/// otherwise where it ends.
#[inline(never)]
pub fn parse<P: Packet>(packet: &P, parsed: &mut Parsed) -> Outcome {
    match parse_transport(packet, parsed) {
        Ok(()) => Outcome::Balanced,
        Err(outcome) => outcome,
    }
}

#[inline(always)]
fn parse_transport<P: Packet>(packet: &P, parsed: &mut Parsed) -> Result<(), Outcome> {
    let ip = parse_ip(packet)?;
    let protocol = ip.protocol();
    if protocol != proto::TCP && protocol != proto::UDP {
        return Err(Outcome::OtherProtocol);
    }
    if ip.is_fragment() {
        return Err(Outcome::Fragment);
    }
    parsed.ip = ip;
    let l4 = eth::LEN + ip.header_len();
    #[allow(clippy::cast_possible_truncation, reason = "at most 74")]
    let short = l4 as u16;
    parsed.l4 = short;
    let payload_len = ip.total_len() as usize - ip.header_len();
    if protocol == proto::TCP {
        if payload_len < tcp::LEN {
            return Err(Outcome::TruncatedTransport);
        }
        let h = packet.get::<{ tcp::LEN }>(l4).ok_or(Outcome::TruncatedTransport)?;
        parsed.sport = [h[0], h[1]];
        parsed.dport = [h[2], h[3]];
        parsed.tcp_flags = h[tcp::FLAGS];
    } else {
        if payload_len < udp::LEN {
            return Err(Outcome::TruncatedTransport);
        }
        let h = packet.get::<{ udp::LEN }>(l4).ok_or(Outcome::TruncatedTransport)?;
        parsed.sport = [h[0], h[1]];
        parsed.dport = [h[2], h[3]];
        parsed.tcp_flags = 0;
    }
    Ok(())
}
