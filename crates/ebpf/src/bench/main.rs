//! Programs of the benchmarks: what makes packets, what bounces them at once, and what counts them at the end.
#![no_std]
#![no_main]

mod frame;

use aya_ebpf::bindings::{xdp_action, xdp_md};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::{map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::programs::XdpContext;
use rvs_core::Packet;
use rvs_ebpf::xdp::Xdp;
use rvs_wire::eth;

use crate::frame::{Plan, WORDS};

/// The frame that all others are made from.
#[map]
static TEMPLATE: Array<[u64; WORDS]> = Array::with_max_entries(1, 0);
/// What varies in them.
#[map]
static PLAN: Array<Plan> = Array::with_max_entries(1, 0);
/// How many frames were made; set to begin anew.
#[map]
static MADE: Array<u64> = Array::with_max_entries(1, 0);
/// How many frames arrived.
#[map]
static ARRIVED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
/// The program that [`bench_feed`] feeds.
#[map]
static FED: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Interface that [`bench_redirect`] sends to. Set when the program is loaded.
#[unsafe(no_mangle)]
static EGRESS: u32 = 0;

/// Makes the next frame and sends it: run by the kernel on frames that are sent (`BPF_F_TEST_XDP_LIVE_FRAMES`).
#[xdp]
pub fn bench_generate(context: XdpContext) -> u32 {
    match make(context.ctx) {
        Some(()) => xdp_action::XDP_TX,
        None => xdp_action::XDP_ABORTED,
    }
}

/// Makes the next frame and runs a program on it.
#[xdp]
pub fn bench_feed(context: XdpContext) -> u32 {
    if make(context.ctx).is_some() {
        // Comes back only if there is no program.
        // SAFETY: the context is this program's own.
        unsafe { FED.tail_call(&context, 0) };
    }
    xdp_action::XDP_ABORTED
}

/// Sends every frame back.
#[xdp]
pub fn bench_return(_context: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Sends every frame on.
#[xdp]
pub fn bench_redirect(_context: XdpContext) -> u32 {
    // SAFETY: a static. Read volatile: the compiler must not take the value in the source for the one at run time.
    let egress = unsafe { core::ptr::read_volatile(&raw const EGRESS) };
    // SAFETY: a helper that takes numbers.
    unsafe { bpf_redirect(egress, 0) as u32 }
}

/// Counts and discards IPv4 frames.
#[xdp]
pub fn bench_count(context: XdpContext) -> u32 {
    if Xdp::new(context.ctx).get::<2>(eth::LEN - 2) != Some(eth::TYPE_IPV4) {
        return xdp_action::XDP_PASS;
    }
    if let Some(arrived) = ARRIVED.get_ptr_mut(0) {
        // SAFETY: a value of this CPU's own part of the map.
        unsafe { *arrived += 1 };
    }
    xdp_action::XDP_DROP
}

#[inline(always)]
fn make(context: *mut xdp_md) -> Option<()> {
    let (template, plan, made) = (TEMPLATE.get(0)?, PLAN.get(0)?, MADE.get_ptr_mut(0)?);
    // SAFETY: a value of a map. One generator runs at a time; were there two, they would make the same frame twice.
    let number = unsafe {
        *made += 1;
        *made - 1
    };
    frame::write(context, template, plan, number)
}
