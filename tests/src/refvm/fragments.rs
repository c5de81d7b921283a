//! Fragments of IPv6 put together again, to compare what IPVS and rvs make of them.
//!
//! IPVS gets packets whole and fragments them anew: with an identification of the kernel's, and not at all where the whole
//! is no longer than the longest fragment was. rvs sends each fragment on as it came.

use std::ops::Range;

use rvs_wire::builder::malformed;
use rvs_wire::ipv6::{self, fragment, next};
use rvs_wire::{eth, icmp, ipv4};

use super::frames::{self, Family};

/// A fragment in a frame.
struct Part {
    /// Where the fragment header stands in the frame.
    header: Range<usize>,
    /// Where its number stands: the field that says what comes next.
    number: usize,
    /// Offset in the packet, in bytes.
    offset: usize,
    more: bool,
    id: [u8; 4],
}

impl Part {
    fn of(frame: &[u8]) -> Option<Self> {
        let packet = frames::packet(frame);
        if frames::family(packet)? != Family::V6 {
            return None;
        }
        let (mut number, mut at) = (eth::LEN + 6, eth::LEN + ipv6::LEN);
        loop {
            let kind = *frame.get(number)?;
            let head: &[u8; fragment::LEN] = frame.get(at..)?.first_chunk()?;
            if kind == next::FRAGMENT {
                let offset = usize::from(fragment::offset(head));
                let more = fragment::more(head);
                let [.., a, b, c, d] = *head;
                let header = at..at + fragment::LEN;
                return Some(Self { header, number, offset, more, id: [a, b, c, d] });
            }
            if !ipv6::is_extension(kind) {
                return None;
            }
            (number, at) = (at, at + ipv6::extension_len(kind, head[1]));
        }
    }

    fn payload<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(self.header.end..).unwrap_or_default()
    }
}

/// The frames, with packets in the place of all their fragments, where all are there.
pub(crate) fn whole(frames: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut done: Vec<Vec<u8>> = Vec::new();
    let mut rest = frames;
    while !rest.is_empty() {
        let first = rest.remove(0);
        let Some(part) = Part::of(&first) else {
            done.push(first);
            continue;
        };
        let is_same = |frame: &Vec<u8>| {
            frames::addresses(frames::packet(frame)) == frames::addresses(frames::packet(&first))
                && Part::of(frame).is_some_and(|other| other.id == part.id)
        };
        let (mut parts, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(is_same);
        rest = others;
        parts.insert(0, first);
        match join(&parts) {
            Some(packet) => done.push(packet),
            None => done.append(&mut parts),
        }
    }
    done
}

/// The packet of these fragments; `None` if some are missing.
fn join(frames: &[Vec<u8>]) -> Option<Vec<u8>> {
    let mut parts: Vec<(Part, &Vec<u8>)> =
        frames.iter().map(|frame| Some((Part::of(frame)?, frame))).collect::<Option<_>>()?;
    parts.sort_by_key(|(part, _)| part.offset);
    let mut payload: Vec<u8> = Vec::new();
    for (part, frame) in &parts {
        if part.offset != payload.len() {
            return None;
        }
        payload.extend(part.payload(frame));
    }
    let ((first, frame), (last, _)) = (parts.first()?, parts.last()?);
    if last.more {
        return None;
    }
    let mut packet = frame.get(..first.header.start)?.to_vec();
    packet[first.number] = frame[first.header.start];
    packet.extend(payload);
    let len = u16::try_from(packet.len() - eth::LEN - ipv6::LEN).ok()?;
    packet[eth::LEN + 4..][..2].copy_from_slice(&len.to_be_bytes());
    Some(packet)
}

/// Whether a packet is the first of several fragments.
pub(crate) fn is_first(frame: &[u8]) -> bool {
    let packet = frames::packet(frame);
    match frames::family(packet) {
        Some(Family::V4) => packet.get(6..8).is_some_and(|word| word[0] & 0x3f == 0x20 && word[1] == 0),
        Some(Family::V6) => Part::of(frame).is_some_and(|part| part.more && part.offset == 0),
        None => false,
    }
}

/// An error about a packet, as one about its first fragment, which had as far to go.
pub(crate) fn about_first(error: &[u8], first: &[u8]) -> Option<Vec<u8>> {
    let packet = frames::packet(error);
    let (_, _, quoted) = frames::error(packet)?;
    let mut first = first.to_vec();
    let ttl = if frames::family(quoted)? == Family::V4 { 8 } else { 7 };
    *first.get_mut(eth::LEN + ttl)? = *quoted.get(ttl)?;
    if frames::family(quoted)? == Family::V4 {
        malformed::set_checksum(&mut first);
    }
    let (head, longest) = match frames::family(packet)? {
        // RFC 1812 §4.3.2.3, RFC 4443 §2.4.
        Family::V4 => (ipv4::LEN + icmp::LEN, 576),
        Family::V6 => (ipv6::LEN + icmp::LEN, 1280),
    };
    let mut about = error.get(..error.len() - quoted.len())?.to_vec();
    about.extend(frames::packet(&first).iter().take(longest - head));
    let (at, len) = match frames::family(packet)? {
        Family::V4 => (2, about.len() - eth::LEN),
        Family::V6 => (4, about.len() - eth::LEN - ipv6::LEN),
    };
    about[eth::LEN + at..][..2].copy_from_slice(&u16::try_from(len).ok()?.to_be_bytes());
    malformed::set_checksums(&mut about);
    Some(about)
}
