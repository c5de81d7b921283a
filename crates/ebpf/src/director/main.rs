//! The director's programs: from a packet's context to the core, from its verdict to the kernel's codes.
#![no_std]
#![no_main]

mod behind;
mod bucket;
mod hooks;
mod maps;
mod next_hop;
mod records;
mod stage;
mod tables;

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_INGRESS, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_redir_neigh, bpf_redir_neigh__bindgen_ty_1,
    xdp_action,
};
use aya_ebpf::helpers::{bpf_redirect, bpf_redirect_neigh};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use rvs_abi::{Class, LOOPBACK, Outcome, Port, Program};
use rvs_core::program;
use rvs_core::{Link, Verdict, pipeline};
use rvs_ebpf::skb::Skb;
use rvs_ebpf::xdp::Xdp;

use crate::tables::{AFTER_XDP, MADE_HERE, SEEN, Tables};

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
    tc(&context, 0)
}

/// Packets of an interface with XDP: what it passed on. Those it had no interest in have been counted there.
#[classifier]
pub fn rvs_tc_after_xdp(context: TcContext) -> i32 {
    tc(&context, AFTER_XDP)
}

/// Packets on their way out, for those that this host made: replies of its own servers, requests of its own clients.
#[classifier]
pub fn rvs_local(context: TcContext) -> i32 {
    let skb = context.skb.skb;
    // SAFETY: the kernel's context is valid for the program's whole run.
    let (came_in, mark) = unsafe { ((*skb).ingress_ifindex, (*skb).tc_index) };
    // What came in somewhere was looked at there. What this host made passes here once for each interface that is above another.
    if came_in != 0 || mark == SEEN {
        return TC_ACT_UNSPEC;
    }
    let Some(tables) = Tables::of_own(skb, MADE_HERE) else { return TC_ACT_UNSPEC };
    leave_tc(&tables, &pipeline::egress(&mut Skb::new(skb), &tables))
}

#[inline(always)]
fn tc(context: &TcContext, look: u8) -> i32 {
    let skb = context.skb.skb;
    let Some(tables) = Tables::of_skb(skb, look) else { return TC_ACT_UNSPEC };
    leave_tc(&tables, &pipeline::ingress(&mut Skb::new(skb), &tables))
}

/// The programs behind the first, for both hooks.
macro_rules! behind {
    ($($program:ident: $under_xdp:ident, $under_tc:ident;)*) => {$(
        #[xdp]
        pub fn $under_xdp(context: XdpContext) -> u32 {
            let Some(tables) = Tables::of_xdp(context.ctx) else { return xdp_action::XDP_PASS };
            let Some((outcome, _)) = Tables::handed_over() else { return xdp_action::XDP_PASS };
            let mut packet = Xdp::new(context.ctx);
            leave_xdp(&tables, &program::run(Program::$program, &mut packet, &tables, outcome))
        }

        #[classifier]
        pub fn $under_tc(context: TcContext) -> i32 {
            let skb = context.skb.skb;
            let Some((outcome, look)) = Tables::handed_over() else { return TC_ACT_UNSPEC };
            let Some(tables) = Tables::of_skb(skb, look) else { return TC_ACT_UNSPEC };
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
    Ftp: rvs_xdp_listen, rvs_tc_listen;
    Heard: rvs_xdp_heard, rvs_tc_heard;
    Bypass: rvs_xdp_past, rvs_tc_past;
    Clamp: rvs_xdp_mss, rvs_tc_mss;
    Head: rvs_xdp_head, rvs_tc_head;
}

/// The program behind the first for what is from or for this host's own stack.
#[classifier]
pub fn rvs_tc_here(context: TcContext) -> i32 {
    let skb = context.skb.skb;
    let Some((outcome, look)) = Tables::handed_over() else { return TC_ACT_UNSPEC };
    let Some(tables) = Tables::of_own(skb, look) else { return TC_ACT_UNSPEC };
    leave_tc(&tables, &program::run(Program::Here, &mut Skb::new(skb), &tables, outcome))
}

#[inline(always)]
fn leave_xdp(tables: &Tables<true>, verdict: &Verdict) -> u32 {
    tables.count_outcome(verdict.outcome);
    // A dropped packet may leave too: as the error about it.
    let is_error = verdict.outcome.class() == Class::Drop;
    match verdict.link.ifindex {
        0 if is_error => xdp_action::XDP_DROP,
        0 => xdp_action::XDP_PASS,
        ifindex if ifindex == tables.ingress && turns(verdict, is_error) => xdp_action::XDP_TX,
        // SAFETY: a helper that takes numbers.
        ifindex => unsafe { bpf_redirect(ifindex, 0) as u32 },
    }
}

/// Whether a packet that leaves where it came in is sent back, which not every driver does. The link of an error does not say
/// so if it was taken from the packet.
#[inline(always)]
fn turns(verdict: &Verdict, is_error: bool) -> bool {
    let way = if is_error { tables::port(verdict.link.ifindex).xdp() } else { verdict.link.resolved };
    way != Port::BY_REDIRECTION
}

#[inline(always)]
fn leave_tc(tables: &Tables, verdict: &Verdict) -> i32 {
    let class = verdict.outcome.class();
    let skb: *mut __sk_buff = tables.context.cast();
    let is_own = tables.look & MADE_HERE != 0;
    if is_own && class == Class::Pass && verdict.outcome != Outcome::ReplyUnchanged {
        return TC_ACT_UNSPEC;
    }
    if !(tables.look & AFTER_XDP != 0 && class == Class::Pass) {
        tables.count_outcome(verdict.outcome);
    }
    match verdict.link.ifindex {
        0 if class == Class::Drop || is_gone(verdict.outcome) => TC_ACT_SHOT,
        // Passed on, or left to this host's own stack.
        0 => TC_ACT_UNSPEC,
        // SAFETY: as above. It is on the way there.
        LOOPBACK if unsafe { (*skb).ifindex } == LOOPBACK => TC_ACT_UNSPEC,
        _ => send(&verdict.link),
    }
}

/// Whether a packet has been sent on already, or is held.
const fn is_gone(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::ForwardCut | Outcome::FragmentHeld)
}

/// Sends by the kernel's neighbour table, which resolves and confirms, unless the link addresses are there already.
#[inline(always)]
fn send(link: &Link) -> i32 {
    if link.resolved != 0 {
        // The loopback interface is the way to this host's own stack.
        let flags = if link.ifindex == LOOPBACK { u64::from(BPF_F_INGRESS) } else { 0 };
        // SAFETY: a helper that takes numbers.
        return unsafe { bpf_redirect(link.ifindex, flags) as i32 };
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
