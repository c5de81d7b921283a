//! The sum over bytes of a packet, for checksums that can't be had from another (RFC 1071).

use rvs_wire::{checksum, udp};

use crate::{Packet, Step, Tables};

/// Bytes that are added in one round.
const STRIDE: u32 = 16;
/// Rounds for the largest packet.
const ROUNDS: u32 = 65536 / STRIDE;

struct Sum<'a, P> {
    packet: &'a P,
    at: u32,
    end: u32,
    /// Folded: less than 2^17.
    sum: u64,
    /// 1: a byte was not there.
    failed: u64,
}

impl<P: Packet, T: Tables> Step<T> for Sum<'_, P> {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "numbers below 2^32 behind a veil")]
    fn step(&mut self, tables: &T, _round: u32) -> bool {
        let at = tables.veiled(u64::from(self.at)) as u32;
        if at >= self.end {
            return true;
        }
        let (added, len) = match self.packet.get::<{ STRIDE as usize }>(at as usize) {
            Some(bytes) if self.end - at >= STRIDE => (checksum::sum(0, &bytes), STRIDE),
            _ if self.end - at == 1 => match self.packet.get::<1>(at as usize) {
                Some([last]) => (u32::from(u16::from_ne_bytes([last, 0])), 1),
                None => (0, 0),
            },
            _ => match self.packet.get::<2>(at as usize) {
                Some(bytes) => (u32::from(u16::from_ne_bytes(bytes)), 2),
                None => (0, 0),
            },
        };
        if len == 0 {
            self.failed = 1;
            return true;
        }
        let sum = tables.veiled(self.sum) as u32;
        self.sum = u64::from(checksum::fold(sum)) + u64::from(checksum::fold(added));
        self.at = at + len;
        false
    }
}

/// The one's complement sum over the bytes of a frame from `start`, an even number of bytes behind where the checksum's
/// words begin, to `end`. Words as they stand in memory; less than 2^17. `None`: they are not all there.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "less than 2^17")]
pub(crate) fn bytes<P: Packet, T: Tables>(packet: &P, tables: &T, start: u32, end: u32) -> Option<u32> {
    let mut sum = Sum { packet, at: start, end, sum: 0, failed: 0 };
    tables.repeat(ROUNDS + 8, &mut sum);
    (sum.failed == 0).then_some(sum.sum as u32)
}

/// The sum over a UDP datagram whose header is there, and its length, which may be less than its packet has (RFC 768).
#[inline(always)]
pub(crate) fn datagram<P: Packet, T: Tables>(packet: &mut P, tables: &T, l4: u32) -> Option<(u32, u32)> {
    let len = u32::from(u16::from_be_bytes(packet.get::<2>(l4 as usize + udp::LENGTH)?));
    let end = l4.wrapping_add(len);
    packet.reach(end);
    Some((bytes(packet, tables, l4, end)?, len))
}
