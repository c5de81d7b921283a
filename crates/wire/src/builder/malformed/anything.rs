//! Frames of both families that may be anything.

use alloc::vec::Vec;

use super::{any, insert_extensions, set_checksums};
use crate::builder::{Extension, Tag, tagged};
use crate::{eth, ipv6};

/// Numbers of protocols and extension headers that a parser knows, and some that none does.
const NUMBERS: [u8; 18] = [0, 1, 4, 6, 17, 41, 43, 44, 47, 50, 51, 58, 59, 60, 132, 135, 200, 255];
/// Most extension headers that are put into a packet: more than any host sends.
const EXTENSIONS_MAX: usize = 12;

/// A frame that may be anything, of either family and whatever it carries: as [`any`], but half of the time with one thing
/// done on purpose, which is a length that disagrees, another protocol, extension headers, tags, or damage to the
/// transport header. Half of the time the checksums of [`set_checksums`] are right, so that it is looked at further.
/// `random` gives 64 random bits at a time.
#[must_use]
pub fn anything(frame: &[u8], random: &mut impl FnMut() -> u64) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    match below(random, 10) {
        0 => length(&mut bytes, random),
        1 => number(&mut bytes, random),
        2 => {
            let count = 1 + below(random, EXTENSIONS_MAX);
            let chain: Vec<Extension> = (0..count).map(|_| extension(random)).collect();
            bytes = insert_extensions(&bytes, &chain);
        }
        3 if bytes.len() >= eth::LEN => {
            let tags = [Tag::service(5), Tag::customer(6), Tag::customer(7)];
            bytes = tagged(&bytes, &tags[below(random, 3)..]);
        }
        4 => transport(&mut bytes, random),
        _ => {}
    }
    if below(random, 2) == 0 {
        bytes = any(&bytes, random);
    }
    if below(random, 2) == 0 {
        set_checksums(&mut bytes);
    }
    bytes
}

fn below(random: &mut impl FnMut() -> u64, end: usize) -> usize {
    usize::try_from(random() >> 33).unwrap_or(0) % end.max(1)
}

fn byte(random: &mut impl FnMut() -> u64) -> u8 {
    random().to_le_bytes()[5]
}

/// Another total length or payload length: some bytes more or less than there are, or any number.
fn length(frame: &mut [u8], random: &mut impl FnMut() -> u64) {
    let is_v4 = frame.get(12..14) == Some(&eth::TYPE_IPV4);
    let at = eth::LEN + if is_v4 { 2 } else { 4 };
    let Some(field) = frame.get_mut(at..).and_then(<[u8]>::first_chunk_mut) else { return };
    let near = u16::from_be_bytes(*field).wrapping_add(u16::from(byte(random) % 64)).wrapping_sub(32);
    let new = if below(random, 2) == 0 { near } else { u16::from_le_bytes([byte(random), byte(random)]) };
    *field = new.to_be_bytes();
}

/// Another protocol, or another next header.
fn number(frame: &mut [u8], random: &mut impl FnMut() -> u64) {
    let is_v4 = frame.get(12..14) == Some(&eth::TYPE_IPV4);
    let at = eth::LEN + if is_v4 { 9 } else { 6 };
    if let Some(field) = frame.get_mut(at) {
        *field = NUMBERS[below(random, NUMBERS.len())];
    }
}

fn extension(random: &mut impl FnMut() -> u64) -> Extension {
    match below(random, 5) {
        0 => Extension::HopByHop(alloc::vec![0; below(random, 30)]),
        1 => Extension::DestinationOptions(alloc::vec![byte(random); below(random, 30)]),
        2 => Extension::Routing { kind: byte(random) % 5, segments_left: byte(random) % 3, data: Vec::new() },
        3 => Extension::Fragment {
            offset: if below(random, 2) == 0 { 0 } else { u16::from(byte(random)) * 8 },
            more: below(random, 2) == 0,
            id: u32::from(byte(random)),
        },
        _ => Extension::Ah { spi: 1, sequence: 1, value: alloc::vec![0; below(random, 4) * 4] },
    }
}

/// Other bytes where the transport header begins, if the IP header is as short as can be: ports, lengths and types of
/// chunks, types of ICMP.
fn transport(frame: &mut [u8], random: &mut impl FnMut() -> u64) {
    let is_v4 = frame.get(12..14) == Some(&eth::TYPE_IPV4);
    let at = eth::LEN + if is_v4 { crate::ipv4::LEN } else { ipv6::LEN };
    for _ in 0..=below(random, 3) {
        let new = if below(random, 2) == 0 { byte(random) } else { byte(random) % 16 };
        if let Some(byte) = frame.get_mut(at + below(random, 20)) {
            *byte = new;
        }
    }
}
