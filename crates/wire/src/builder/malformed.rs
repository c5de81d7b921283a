//! Frames that nobody should send.

use alloc::vec::Vec;

use super::{Extension, Ipv6, Payload, verify};
use crate::{checksum, eth, icmp, ipv4, ipv6, sctp};

mod anything;

pub use anything::anything;

/// Every frame that begins like this one and is cut short, the empty one first.
pub fn truncations(frame: &[u8]) -> impl Iterator<Item = &[u8]> {
    (0..frame.len()).map(|len| &frame[..len])
}

/// Ways to damage the header of an IPv4 packet in a frame. Except where the checksum is what is wrong, it is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// The version field says this (0 to 15).
    Version(u8),
    /// The header length field says that many words (0 to 15).
    HeaderWords(u8),
    /// The total length field says that many bytes.
    TotalLen(u16),
    /// This bit of the header is turned (0 to 159), checksum and all.
    Bit(u8),
}

/// The frame with that damage.
///
/// # Panics
/// When the frame holds no IPv4 header.
#[must_use]
pub fn damaged(frame: &[u8], damage: Damage) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let header = &mut frame[eth::LEN..];
    match damage {
        Damage::Version(version) => header[0] = header[0] & 15 | version << 4,
        Damage::HeaderWords(words) => header[0] = header[0] & 0xf0 | words & 15,
        Damage::TotalLen(len) => header[2..4].copy_from_slice(&len.to_be_bytes()),
        Damage::Bit(bit) => {
            header[usize::from(bit / 8)] ^= 1 << (bit % 8);
            return frame;
        }
    }
    set_checksum(&mut frame);
    frame
}

/// Ways to damage the fixed header of an IPv6 packet in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage6 {
    /// The version field says this (0 to 15).
    Version(u8),
    /// The payload length field says that many bytes.
    PayloadLen(u16),
    /// This is said to come behind.
    NextHeader(u8),
    /// This bit of the header is turned (0 to 319).
    Bit(u16),
}

/// The frame with that damage.
///
/// # Panics
/// When the frame holds no IPv6 header.
#[must_use]
pub fn damaged6(frame: &[u8], damage: Damage6) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let header = &mut frame[eth::LEN..][..ipv6::LEN];
    match damage {
        Damage6::Version(version) => header[0] = header[0] & 15 | version << 4,
        Damage6::PayloadLen(len) => header[4..6].copy_from_slice(&len.to_be_bytes()),
        Damage6::NextHeader(number) => header[6] = number,
        Damage6::Bit(bit) => header[usize::from(bit / 8)] ^= 1 << (bit % 8),
    }
    frame
}

/// The frame with a packet that ends after `len` bytes behind its IPv4 header with options, or behind its fixed IPv6
/// header. Lengths and the IPv4 header checksum say so: the transport header is what is cut.
///
/// # Panics
/// When the frame holds no packet of either, or the packet carries less.
#[must_use]
pub fn carrying_less(frame: &[u8], len: usize) -> Vec<u8> {
    let is_v4 = frame[12..eth::LEN] == eth::TYPE_IPV4;
    let header_len = if is_v4 { usize::from(frame[eth::LEN] & 15) * 4 } else { ipv6::LEN };
    let mut frame = frame[..eth::LEN + header_len + len].to_vec();
    let (at, value) = if is_v4 { (2, header_len + len) } else { (4, len) };
    let value = u16::try_from(value).expect("a packet of at most 65535 bytes");
    frame[eth::LEN + at..][..2].copy_from_slice(&value.to_be_bytes());
    if is_v4 {
        set_checksum(&mut frame);
    }
    frame
}

/// The frame with extension headers put in directly behind its fixed IPv6 header, the length grown by them as far as it
/// can be; unchanged, if there is no such header.
#[must_use]
pub fn insert_extensions(frame: &[u8], extensions: &[Extension]) -> Vec<u8> {
    let split = eth::LEN + ipv6::LEN;
    let is_v6 = frame.get(12..eth::LEN) == Some(&eth::TYPE_IPV6);
    let (Some((head, behind)), true) = (frame.split_at_checked(split), is_v6) else { return frame.to_vec() };
    let carrier = Ipv6 { extensions: extensions.to_vec(), ..Ipv6::new([0; 16], [0; 16]) };
    let chain = carrier.packet(&Payload::Other(head[eth::LEN + 6], Vec::new()));
    let mut frame = [head, &chain[ipv6::LEN..], behind].concat();
    let [a, b] = [head[eth::LEN + 4], head[eth::LEN + 5]];
    let len = usize::from(u16::from_be_bytes([a, b])) + chain.len() - ipv6::LEN;
    frame[eth::LEN + 4..][..2].copy_from_slice(&u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes());
    frame[eth::LEN + 6] = chain[6];
    frame
}

/// The frame with an SCTP packet whose first chunk says that it has that many bytes; the checksum is right.
///
/// # Panics
/// When the frame holds no SCTP packet with a chunk.
#[must_use]
pub fn first_chunk_len(frame: &[u8], len: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let found = verify::find_payload(&frame).filter(|found| found.protocol == 132).expect("an SCTP packet");
    frame[found.range][sctp::LEN + 2..][..2].copy_from_slice(&len.to_be_bytes());
    set_checksums(&mut frame);
    frame
}

/// A chain of that many extension headers of eight bytes that say nothing.
#[must_use]
pub fn chain(count: usize) -> Vec<Extension> {
    alloc::vec![Extension::DestinationOptions(Vec::new()); count]
}

/// Makes checksums right that are looked at before a packet is forwarded: those of the IPv4 header, ICMP, `ICMPv6` and
/// SCTP, as far as lengths let them be found. Tags are stepped over, packets within the packet left alone.
pub fn set_checksums(frame: &mut [u8]) {
    set_checksum(frame);
    let Some(found) = verify::find_payload(frame) else { return };
    let payload = &mut frame[found.range];
    let (at, start) = match found.protocol {
        icmp::v4::PROTOCOL => (icmp::CHECKSUM, 0),
        icmp::v6::PROTOCOL => (icmp::CHECKSUM, found.ends.pseudo_sum(found.protocol, payload.len())),
        132 if payload.len() >= sctp::LEN => {
            let checksum = sctp::checksum(payload);
            payload[sctp::CHECKSUM..sctp::LEN].copy_from_slice(&checksum);
            return;
        }
        _ => return,
    };
    if payload.len() >= icmp::LEN {
        payload[at..][..2].fill(0);
        let checksum = checksum::full(start, payload);
        payload[at..][..2].copy_from_slice(&checksum);
    }
}

/// Makes the IPv4 header checksum right, as far as the header lies in the frame.
pub fn set_checksum(frame: &mut [u8]) {
    let Some(packet) = frame.get_mut(eth::LEN..) else { return };
    let Some(first) = packet.first() else { return };
    let header_len = usize::from(first & 15) * 4;
    let end = header_len.min(packet.len());
    if end >= ipv4::LEN {
        packet[10..12].fill(0);
        let checksum = checksum::full(0, &packet[..end]);
        packet[10..12].copy_from_slice(&checksum);
    }
}

/// A frame that may be anything: `frame` with bytes changed, cut off, added or thrown away altogether, half of the time
/// with a right header checksum, so that it is looked at further. `random` gives 64 random bits at a time.
#[must_use]
pub fn any(frame: &[u8], random: &mut impl FnMut() -> u64) -> Vec<u8> {
    let mut below = |end: usize| usize::try_from(random() >> 33).unwrap_or(0) % end.max(1);
    let mut bytes = frame.to_vec();
    match below(8) {
        0 => bytes.clear(),
        1 => bytes.truncate(below(frame.len() + 1)),
        2 => bytes.truncate(eth::LEN),
        _ => {}
    }
    // Of the changed bytes most are in the headers, where they change what happens.
    for _ in 0..below(6) {
        let reach = if below(4) == 0 { bytes.len() } else { bytes.len().min(eth::LEN + 40) };
        if let Some(byte) = bytes.get_mut(below(reach)) {
            *byte = if below(2) == 0 { below(256).to_le_bytes()[0] } else { *byte ^ 1 << below(8) };
        }
    }
    if below(3) == 0 {
        for _ in 0..below(64) {
            bytes.push(below(256).to_le_bytes()[0]);
        }
    }
    if below(2) == 0 {
        set_checksum(&mut bytes);
    }
    bytes
}
