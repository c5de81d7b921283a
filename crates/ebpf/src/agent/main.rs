//! Programs of a real server that a tunnel ends at: they take the outer header off IP-in-IP packets (RFC 2003), on
//! kernels without an IPIP device too. Everything else passes untouched.
#![no_std]
#![no_main]

mod outer;

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_DECAP_L3_IPV4, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_adj_room_mode, xdp_action,
    xdp_md,
};
use aya_ebpf::helpers::{bpf_skb_adjust_room, bpf_xdp_adjust_head};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::PerCpuArray;
use aya_ebpf::programs::{TcContext, XdpContext};
use rvs_abi::DecapOutcome;
use rvs_core::Packet;
use rvs_ebpf::skb::Skb;
use rvs_ebpf::xdp::Xdp;
use rvs_wire::{eth, ipv4};

/// How many packets ended in each outcome.
#[map]
static DECAP_OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(DecapOutcome::ALL.len() as u32, 0);

/// Packets as the driver hands them in.
#[xdp]
pub fn rvs_decap_xdp(context: XdpContext) -> u32 {
    let outcome = match outer::judge(&Xdp::new(context.ctx)) {
        DecapOutcome::Decapsulated => pop_xdp(context.ctx),
        outcome => outcome,
    };
    count(outcome);
    if outcome == DecapOutcome::Failed { xdp_action::XDP_DROP } else { xdp_action::XDP_PASS }
}

/// Packets on their way from the driver to the network stack.
#[classifier]
pub fn rvs_decap_tc(context: TcContext) -> i32 {
    let skb = context.skb.skb;
    let outcome = match outer::judge(&Skb::new(skb)) {
        DecapOutcome::Decapsulated => pop_skb(skb),
        outcome => outcome,
    };
    count(outcome);
    if outcome == DecapOutcome::Failed { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
}

/// Moves the Ethernet header over the outer IP header.
#[inline(always)]
fn pop_xdp(context: *mut xdp_md) -> DecapOutcome {
    let mut packet = Xdp::new(context);
    let moved = packet.get::<{ eth::LEN }>(0).and_then(|header| packet.set(ipv4::LEN, &header));
    // SAFETY: a valid context; pointers into the packet are made anew for every access.
    if moved.is_some() && unsafe { bpf_xdp_adjust_head(context, ipv4::LEN as i32) } == 0 {
        DecapOutcome::Decapsulated
    } else {
        DecapOutcome::Failed
    }
}

/// Has the kernel do it, which also mends what it knows of segments and checksums.
#[inline(always)]
fn pop_skb(skb: *mut __sk_buff) -> DecapOutcome {
    let pop = |flags| {
        // SAFETY: a valid context; no pointer into the packet is used afterwards.
        unsafe { bpf_skb_adjust_room(skb, -(ipv4::LEN as i32), bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, flags) }
    };
    // Kernels before 6.3 don't know the flag and refuse it before they change anything.
    if pop(u64::from(BPF_F_ADJ_ROOM_DECAP_L3_IPV4)) == 0 || pop(0) == 0 {
        DecapOutcome::Decapsulated
    } else {
        DecapOutcome::Failed
    }
}

#[inline(always)]
fn count(outcome: DecapOutcome) {
    if let Some(counter) = DECAP_OUTCOMES.get_ptr_mut(outcome as u32) {
        // SAFETY: a value of this CPU's own part of the map.
        unsafe { *counter += 1 };
    }
}
