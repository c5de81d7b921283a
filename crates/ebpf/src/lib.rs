//! What the programs share: access to packet bytes under XDP and under TC, the panic handler, the licence.
#![no_std]
#![feature(core_intrinsics)]
#![feature(asm_experimental_arch)]
#![allow(internal_features, reason = "atomics that return a value exist for this target only as intrinsics")]

pub mod atomic;
pub mod skb;
pub mod xdp;

/// No program may reach this: the verifier refuses the endless loop, and the build fails on its symbol.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel lends some helpers only to programs that say they are GPL-compatible.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
pub static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
