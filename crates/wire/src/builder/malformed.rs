//! Frames that nobody should send.

use alloc::vec::Vec;

use crate::{checksum, eth, ipv4};

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
