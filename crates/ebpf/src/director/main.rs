//! The director's programs: from a packet's context to the core, from its verdict to the kernel's codes.
#![no_std]
#![no_main]

mod bucket;
mod maps;
mod next_hop;
mod stage;
mod tables;

use aya_ebpf::bindings::{
    TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1, xdp_action,
};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_neigh};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use rvs_abi::Class;
use rvs_core::{Link, pipeline};
use rvs_ebpf::skb::Skb;
use rvs_ebpf::xdp::Xdp;

use crate::tables::Tables;

/// `AF_INET`.
const AF_INET: u32 = 2;

/// Packets as the driver hands them in.
#[xdp]
pub fn rvs_xdp(context: XdpContext) -> u32 {
    let Some(tables) = Tables::of_xdp(context.ctx) else { return xdp_action::XDP_PASS };
    let mut packet = Xdp::new(context.ctx).from(tables::port(tables.ingress));
    let verdict = pipeline::ingress(&mut packet, &tables);
    tables.count_outcome(verdict.outcome);
    match verdict.outcome.class() {
        Class::Pass | Class::HandOver => xdp_action::XDP_PASS,
        Class::Drop => xdp_action::XDP_DROP,
        Class::Forward if verdict.link.ifindex == tables.ingress => xdp_action::XDP_TX,
        // SAFETY: a helper that takes numbers.
        Class::Forward => unsafe { bpf_redirect(verdict.link.ifindex, 0) as u32 },
    }
}

/// Packets of an interface without XDP.
#[classifier]
pub fn rvs_tc(context: TcContext) -> i32 {
    tc(&context, false)
}

/// Packets of an interface with XDP: what it passed on. Those it had no interest in have been counted there.
#[classifier]
pub fn rvs_tc_after_xdp(context: TcContext) -> i32 {
    tc(&context, true)
}

#[inline(always)]
fn tc(context: &TcContext, after_xdp: bool) -> i32 {
    let skb = context.skb.skb;
    let Some(tables) = Tables::of_skb(skb, after_xdp) else { return TC_ACT_UNSPEC };
    let verdict = pipeline::ingress(&mut Skb::new(skb), &tables);
    let class = verdict.outcome.class();
    if !(after_xdp && class == Class::Pass) {
        tables.count_outcome(verdict.outcome);
    }
    match class {
        Class::Pass | Class::HandOver => TC_ACT_UNSPEC,
        Class::Drop => TC_ACT_SHOT,
        Class::Forward => send(&verdict.link),
    }
}

/// Sends by the kernel's neighbour table, which resolves and confirms.
#[inline(always)]
fn send(link: &Link) -> i32 {
    let mut next_hop = bpf_redir_neigh {
        nh_family: AF_INET,
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 { ipv4_nh: u32::from_ne_bytes(link.gateway) },
    };
    // SAFETY: the structure is of the size that is given.
    unsafe {
        bpf_redirect_neigh(link.ifindex, &raw mut next_hop, size_of::<bpf_redir_neigh>() as i32, 0) as i32
    }
}
