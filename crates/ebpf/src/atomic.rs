//! Atomic operations on map memory. `core::sync::atomic` has no read-modify-write on this target.

use core::intrinsics::{AtomicOrdering, atomic_cxchg, atomic_or, atomic_xadd};

/// Adds, without order.
///
/// # Safety
/// `word` points to a live, aligned word of a map.
#[inline(always)]
pub unsafe fn add(word: *mut u64, delta: u64) {
    // SAFETY: the caller's promise is what the intrinsic asks for.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, delta) };
}

/// Adds to a word of 32 bits, without order.
///
/// # Safety
/// `word` points to a live, aligned word of a map.
#[inline(always)]
pub unsafe fn add_u32(word: *mut u32, delta: u32) {
    // SAFETY: the caller's promise is what the intrinsic asks for.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(word, delta) };
}

/// Sets bits, without order.
///
/// # Safety
/// `word` points to a live, aligned word of a map.
#[inline(always)]
pub unsafe fn or(word: *mut u64, bits: u64) {
    // SAFETY: the caller's promise is what the intrinsic asks for.
    unsafe { atomic_or::<u64, u64, { AtomicOrdering::Relaxed }>(word, bits) };
}

/// Replaces `old` by `new`, as a full barrier; says whether it did.
///
/// # Safety
/// `word` points to a live, aligned word of a map.
#[inline(always)]
pub unsafe fn swap(word: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller's promise is what the intrinsic asks for.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::AcqRel }, { AtomicOrdering::Relaxed }>(word, old, new).1 }
}

/// A number that is known to be at most `max`, which is a power of two less one, as one whose own bits show it: the
/// comparison that proved it may have been of another copy, which the verifier of older kernels does not connect.
#[inline(always)]
#[must_use]
pub fn bounded(number: usize, max: usize) -> usize {
    if core::intrinsics::is_val_statically_known(number) {
        number
    } else {
        opaque(number as u64) as usize & max
    }
}

/// The same number; the compiler no longer knows anything about it. The optimizer removes checks that it can prove, and
/// the verifier, which can't, refuses the access.
#[inline(always)]
#[must_use]
pub fn opaque(number: u64) -> u64 {
    let mut number = number;
    // SAFETY: a move of a register to itself.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) number, options(pure, nomem, nostack));
    }
    number
}
