//! The sum over bytes of a packet (RFC 1071).

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_loop;
use rvs_core::Packet;
use rvs_wire::checksum;

use crate::veil::Veil;

/// Bytes that are added in one round.
const STRIDE: u32 = 32;
/// Rounds for the largest packet, and for the rest of two bytes each.
const ROUNDS: u32 = 65536 / STRIDE + STRIDE / 2;

struct Sum<'a, P> {
    packet: &'a P,
    veil: Veil,
    at: u32,
    end: u32,
    /// Folded.
    sum: u32,
    /// 1: all bytes are in it.
    is_complete: u32,
}

impl<P: Packet> Sum<'_, P> {
    /// Adds the next bytes; whether there may be more.
    #[inline(always)]
    fn step(&mut self) -> bool {
        let (at, end) = (self.veil.over(self.at), self.veil.over(self.end));
        if at >= end {
            self.is_complete = 1;
            return false;
        }
        let left = end - at;
        let word = |bytes| u32::from(u16::from_ne_bytes(bytes));
        let added = if left >= STRIDE {
            self.packet
                .get::<{ STRIDE as usize }>(at as usize)
                .map(|bytes| (checksum::sum(0, &bytes), STRIDE))
        } else if left >= 2 {
            self.packet.get::<2>(at as usize).map(|bytes| (word(bytes), 2))
        } else {
            self.packet.get::<1>(at as usize).map(|[last]| (word([last, 0]), 1))
        };
        let Some((sum, len)) = added else { return false };
        self.sum = u32::from(checksum::fold(self.veil.over(self.sum) + sum));
        self.at = at + len;
        true
    }
}

/// Body of the loop, as the kernel calls it.
#[inline(never)]
extern "C" fn round<P: Packet>(_round: u32, context: *mut Sum<'_, P>) -> i64 {
    // SAFETY: `bytes` passed a pointer to its own `Sum`, which lives until the loop ends.
    let sum = unsafe { &mut *context };
    i64::from(!sum.step())
}

/// The one's complement sum over the bytes of a frame from `start`, an even number of bytes behind where the checksum's
/// words begin, to `end`: words as they stand in memory, folded. `None`: they are not all there.
#[inline(always)]
pub(crate) fn bytes<P: Packet>(packet: &P, veil: Veil, start: u32, end: u32) -> Option<u32> {
    let mut sum = Sum { packet, veil, at: veil.over(start), end, sum: veil.over(0), is_complete: 0 };
    // SAFETY: the callback takes what is passed here, and the loop is over before `sum` is.
    unsafe {
        bpf_loop(ROUNDS, round::<P> as *mut c_void, (&raw mut sum).cast(), 0);
    }
    (sum.is_complete != 0).then_some(sum.sum)
}
