//! The director's programs: from a packet's context to the core, from its verdict to the kernel's codes.
#![no_std]
#![no_main]

mod bucket;
mod maps;
mod next_hop;
mod rule;
mod stage;
mod tables;

use aya_ebpf::bindings::{
    TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1, xdp_action,
};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_neigh};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use rvs_abi::{Class, Program};
use rvs_core::program;
use rvs_core::{Link, Verdict, pipeline};
use rvs_ebpf::skb::Skb;
use rvs_ebpf::xdp::Xdp;

use crate::tables::Tables;

/// `AF_INET`.
const AF_INET: u32 = 2;
/// `AF_INET6`.
const AF_INET6: u32 = 10;

/// Packets as the driver hands them in.
#[xdp]
pub fn rvs_xdp(context: XdpContext) -> u32 {
    let Some(tables) = Tables::of_xdp(context.ctx) else { return xdp_action::XDP_PASS };
    let mut packet = Xdp::new(context.ctx).from(tables::port(tables.ingress));
    leave_xdp(&tables, &pipeline::ingress(&mut packet, &tables))
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
    leave_tc(&tables, &pipeline::ingress(&mut Skb::new(skb), &tables))
}

/// The programs behind the first, for both hooks.
macro_rules! behind {
    ($($program:ident: $under_xdp:ident, $under_tc:ident;)*) => {$(
        #[xdp]
        pub fn $under_xdp(context: XdpContext) -> u32 {
            let Some(tables) = Tables::of_xdp(context.ctx) else { return xdp_action::XDP_PASS };
            let Some((outcome, _)) = tables.handed_over() else { return xdp_action::XDP_PASS };
            let mut packet = Xdp::new(context.ctx);
            leave_xdp(&tables, &program::run(Program::$program, &mut packet, &tables, outcome))
        }

        #[classifier]
        pub fn $under_tc(context: TcContext) -> i32 {
            let skb = context.skb.skb;
            let Some(mut tables) = Tables::of_skb(skb, false) else { return TC_ACT_UNSPEC };
            let Some((outcome, is_second_look)) = tables.handed_over() else { return TC_ACT_UNSPEC };
            tables.is_second_look = is_second_look;
            leave_tc(&tables, &program::run(Program::$program, &mut Skb::new(skb), &tables, outcome))
        }
    )*};
}

behind! {
    Connect: rvs_xdp_begin, rvs_tc_begin;
    Error: rvs_xdp_error, rvs_tc_error;
    Fragment: rvs_xdp_follow, rvs_tc_follow;
    Answer: rvs_xdp_tell, rvs_tc_tell;
    Gather: rvs_xdp_gather, rvs_tc_gather;
    Cut: rvs_xdp_cut, rvs_tc_cut_up;
    Translate: rvs_xdp_xlate, rvs_tc_xlate;
}

#[inline(always)]
fn leave_xdp(tables: &Tables, verdict: &Verdict) -> u32 {
    tables.count_outcome(verdict.outcome);
    // A dropped packet may leave too: as the error about it. Most leave where they came from, which a veth does only with a
    // program at its other end, unless told to redirect.
    let is_error = verdict.outcome.class() == Class::Drop;
    let redirects = is_error && tables::port(tables.ingress).takes_xdp();
    match verdict.link.ifindex {
        0 if is_error => xdp_action::XDP_DROP,
        0 => xdp_action::XDP_PASS,
        ifindex if ifindex == tables.ingress && !redirects => xdp_action::XDP_TX,
        // SAFETY: a helper that takes numbers.
        ifindex => unsafe { bpf_redirect(ifindex, 0) as u32 },
    }
}

#[inline(always)]
fn leave_tc(tables: &Tables, verdict: &Verdict) -> i32 {
    let class = verdict.outcome.class();
    if !(tables.is_second_look && class == Class::Pass) {
        tables.count_outcome(verdict.outcome);
    }
    match verdict.link.ifindex {
        // Dropped, held, or sent in fragments.
        0 if matches!(class, Class::Drop | Class::Forward) => TC_ACT_SHOT,
        0 => TC_ACT_UNSPEC,
        _ => send(&verdict.link),
    }
}

/// Sends by the kernel's neighbour table, which resolves and confirms, unless the link addresses are there already.
#[inline(always)]
fn send(link: &Link) -> i32 {
    if link.resolved != 0 {
        // SAFETY: a helper that takes numbers.
        return unsafe { bpf_redirect(link.ifindex, 0) as i32 };
    }
    let is_v4 = link.gateway.is_v4();
    let address = link.gateway.words();
    let mut next_hop = bpf_redir_neigh {
        nh_family: if is_v4 { AF_INET } else { AF_INET6 },
        __bindgen_anon_1: bpf_redir_neigh__bindgen_ty_1 {
            ipv6_nh: if is_v4 { [address[3], 0, 0, 0] } else { address },
        },
    };
    // SAFETY: the structure is of the size that is given.
    unsafe {
        bpf_redirect_neigh(link.ifindex, &raw mut next_hop, size_of::<bpf_redir_neigh>() as i32, 0) as i32
    }
}
