//! Whether a frame's checksums are right.

use core::fmt;

use super::pseudo_sum;
use crate::{checksum, eth, ipv4, tcp, udp};

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
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lengths => "lengths in the frame disagree",
            Self::Ipv4 => "IPv4 header checksum wrong",
            Self::Tcp => "TCP checksum wrong",
            Self::Udp => "UDP checksum wrong",
        })
    }
}

impl core::error::Error for Fault {}

/// Checks every checksum in a frame by full computation: the IPv4 header's, TCP's, UDP's unless it is 0, and those of a
/// packet within the packet. Other protocols and parts of fragmented packets carry nothing that could be checked.
///
/// # Errors
/// The first thing that is wrong.
pub fn checksums_ok(frame: &[u8]) -> Result<(), Fault> {
    if frame.get(12..eth::LEN).ok_or(Fault::Lengths)? != eth::TYPE_IPV4 {
        return Ok(());
    }
    packet_ok(&frame[eth::LEN..])
}

fn packet_ok(packet: &[u8]) -> Result<(), Fault> {
    let header: &[u8; ipv4::LEN] = packet.first_chunk().ok_or(Fault::Lengths)?;
    let header = ipv4::Header::from_bytes(header);
    let total = usize::from(header.total_len());
    if header.version() != 4 || header.header_len() < ipv4::LEN || total < header.header_len() {
        return Err(Fault::Lengths);
    }
    // Behind the packet there may be padding.
    let packet = packet.get(..total).ok_or(Fault::Lengths)?;
    let (head, payload) = packet.split_at(header.header_len());
    if checksum::full(0, head) != [0, 0] {
        return Err(Fault::Ipv4);
    }
    let pseudo = pseudo_sum(header.source(), header.destination(), header.protocol(), payload.len());
    match header.protocol() {
        _ if header.is_fragment() => Ok(()),
        4 => packet_ok(payload),
        6 if payload.len() < tcp::LEN => Err(Fault::Lengths),
        6 if checksum::full(pseudo, payload) != [0, 0] => Err(Fault::Tcp),
        17 if payload.len() < udp::LEN => Err(Fault::Lengths),
        17 if payload[udp::CHECKSUM..][..2] == [0, 0] => Ok(()),
        17 if checksum::full(pseudo, payload) != [0, 0] => Err(Fault::Udp),
        _ => Ok(()),
    }
}
