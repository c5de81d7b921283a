//! Programs of a real server that tunnels end at: they take the outer headers off (RFC 2003, RFC 2473, RFC 2784, GUE), on
//! kernels without devices for that too. Everything else passes untouched.
#![no_std]
#![no_main]

mod inner;
mod outer;
mod sum;
mod veil;

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_DECAP_L3_IPV4, BPF_F_ADJ_ROOM_DECAP_L3_IPV6, BPF_F_ADJ_ROOM_FIXED_GSO,
    TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_adj_room_mode, xdp_action, xdp_md,
};
use aya_ebpf::helpers::{bpf_skb_adjust_room, bpf_skb_change_proto};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::{TcContext, XdpContext};
use rvs_abi::DecapOutcome;
use rvs_core::Packet;
use rvs_ebpf::skb::Skb;
use rvs_ebpf::xdp::Xdp;
use rvs_wire::{eth, ipv4, ipv6};

use crate::outer::Headers;
use crate::veil::Veil;

/// How many packets ended in each outcome.
#[map]
static DECAP_OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(DecapOutcome::ALL.len() as u32, 0);

/// Packets as the driver hands them in.
#[xdp]
pub fn rvs_decap_xdp(context: XdpContext) -> u32 {
    let Some(veil) = Veil::new() else { return xdp_action::XDP_PASS };
    let outcome = match outer::judge(&mut Xdp::new(context.ctx), veil, false) {
        Ok((kind, headers)) => counted(kind, pop_xdp(context.ctx, &headers)),
        Err(outcome) => outcome,
    };
    count(outcome);
    if outcome == DecapOutcome::Failed { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// Packets on their way from the driver to the network stack.
#[classifier]
pub fn rvs_decap_tc(context: TcContext) -> i32 {
    let skb = context.skb.skb;
    // SAFETY: a valid context.
    let is_bundle = unsafe { core::ptr::read_volatile(&raw const (*skb).gso_size) } != 0;
    let Some(veil) = Veil::new() else { return TC_ACT_UNSPEC };
    let outcome = match outer::judge(&mut Skb::new(skb), veil, is_bundle) {
        Ok((kind, headers)) => counted(kind, pop_skb(skb, &headers)),
        Err(outcome) => outcome,
    };
    count(outcome);
    if outcome == DecapOutcome::Failed { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
}

#[inline(always)]
const fn counted(kind: DecapOutcome, popped: bool) -> DecapOutcome {
    if popped { kind } else { DecapOutcome::Failed }
}

/// EtherType of the packet inside.
#[inline(always)]
const fn ether_type(headers: &Headers) -> [u8; 2] {
    if headers.is_v4_inside { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 }
}

/// Moves the Ethernet addresses over the outer headers; whether that was possible.
#[inline(always)]
fn pop_xdp(context: *mut xdp_md, headers: &Headers) -> bool {
    let mut packet = Xdp::new(context);
    packet.pull(headers.len).and_then(|()| packet.set(eth::LEN - 2, &ether_type(headers))).is_some()
}

/// Has the kernel do it, which also mends what it knows of segments and checksums.
#[inline(always)]
fn pop_skb(skb: *mut __sk_buff, headers: &Headers) -> bool {
    let flags =
        if headers.is_v4_inside { BPF_F_ADJ_ROOM_DECAP_L3_IPV4 } else { BPF_F_ADJ_ROOM_DECAP_L3_IPV6 };
    // Kernels before 6.3 don't know the flags and refuse them before they change anything.
    let popped = shrink(skb, headers.len, flags) || pop_skb_before_6_3(skb, headers);
    popped && Skb::new(skb).set(eth::LEN - 2, &ether_type(headers)).is_some()
}

/// Without those flags the family must be the right one before, and changing it adds or takes what one header is longer
/// than the other.
#[inline(always)]
fn pop_skb_before_6_3(skb: *mut __sk_buff, headers: &Headers) -> bool {
    const LONGER: u32 = (ipv6::LEN - ipv4::LEN) as u32;
    if headers.is_v4 == headers.is_v4_inside {
        return shrink(skb, headers.len, 0);
    }
    let family = u16::from_ne_bytes(ether_type(headers));
    // SAFETY: a valid context; no pointer into the packet is used afterwards.
    if unsafe { bpf_skb_change_proto(skb, family, 0) } != 0 {
        return false;
    }
    shrink(skb, if headers.is_v4 { headers.len + LONGER } else { headers.len - LONGER }, 0)
}

/// Takes bytes away behind the Ethernet header. Segments of a bundle stay as long as they are.
#[inline(always)]
fn shrink(skb: *mut __sk_buff, len: u32, flags: u32) -> bool {
    let (less, mode) = ((len as i32).wrapping_neg(), bpf_adj_room_mode::BPF_ADJ_ROOM_MAC);
    // SAFETY: a valid context; no pointer into the packet is used afterwards.
    unsafe { bpf_skb_adjust_room(skb, less, mode, u64::from(flags | BPF_F_ADJ_ROOM_FIXED_GSO)) == 0 }
}

#[inline(always)]
fn count(outcome: DecapOutcome) {
    if let Some(counter) = DECAP_OUTCOMES.get_ptr_mut(outcome as u32) {
        // SAFETY: a value of this CPU's own part of the map.
        unsafe { *counter += 1 };
    }
}
