//! Next hops: the kernel's routes and neighbours, asked at most every 4 ms per CPU and address.
//!
//! The kernel's own tables are the truth, with or without a daemon; a change takes effect within one period. Only what it
//! will not tell a program (anything where forwarding is off, as direct routing allows, and a route's own MTU) comes from
//! the route that the director keeps in the destination's record.

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
    BPF_FIB_LKUP_RET_UNSUPP_LWT, bpf_fib_lookup,
};
use aya_ebpf::helpers::bpf_fib_lookup as fib_lookup;
use rvs_abi::{Addr, DestFlags, Outcome, limits};
use rvs_core::{Flow, Link, NextHop, Tables as _};

use crate::maps;
use crate::records::field;
use crate::tables::{self, Tables};

/// `AF_INET`.
const AF_INET: u8 = 2;
/// `AF_INET6`.
const AF_INET6: u8 = 10;
/// What was looked up stays true for 2^22 ns (4.2 ms).
const PERIOD_SHIFT: u32 = 22;
/// Neighbours are refreshed once in 2^8 periods (1.07 s) by a packet that begins a connection.
const REFRESH_SHIFT: u32 = PERIOD_SHIFT + 8;
/// After so many of these without one (17 s), any packet will do.
const REFRESH_LATE: u64 = 16;

/// A cached next hop.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cached {
    to: Addr,
    from: Addr,
    /// Period of the look-up plus one; 0: empty.
    period: u64,
    ifindex: u32,
    mtu: u32,
    /// As in [`Link`].
    resolved: u32,
    ingress: u32,
    gateway: Addr,
    macs: [u32; 3],
    zero: u32,
}

impl Cached {
    #[inline(always)]
    fn next_hop(&self) -> NextHop {
        let link =
            Link { ifindex: self.ifindex, resolved: self.resolved, macs: self.macs, gateway: self.gateway };
        NextHop { link, mtu: self.mtu }
    }
}

/// Where packets of `flow` leave.
#[inline(always)]
pub(crate) fn find<const XDP: bool>(tables: &Tables<XDP>, flow: &Flow) -> Result<NextHop, Outcome> {
    let now = flow.now;
    let period = (now >> PERIOD_SHIFT) + 1;
    let key = flow.to.folded() ^ flow.from.folded().rotate_left(16);
    let index = key.wrapping_mul(0x9e37_79b1) >> 20;
    let Some(cached) = maps::NEXT_HOPS.get_ptr_mut(index & (limits::NEXT_HOPS - 1)) else {
        return Err(Outcome::Inconsistent);
    };
    // SAFETY: a value of this CPU's own part of the map, and the program is not preempted by itself.
    let cached = unsafe { &mut *cached };
    let same = cached.to == flow.to && cached.from == flow.from && cached.ingress == tables.ingress;
    if !(same && cached.period == period) {
        look_up(tables, flow, cached)?;
        cached.period = period;
    }
    if XDP {
        if cached.resolved == 0 {
            return Err(Outcome::HandOverNeighbour);
        }
        if takes_stack(cached, flow) {
            return Err(Outcome::HandOverRefresh);
        }
    }
    let mut hop = cached.next_hop();
    if !XDP {
        // Here the kernel sends by its neighbour table, which keeps the neighbour fresh.
        hop.link.resolved = 0;
    }
    Ok(hop)
}

/// Whether this packet is to take the stack's way, where the kernel checks that the neighbour is still there.
///
/// There, packets that come behind it may overtake it. So it should be one that nothing of its connection came before:
/// out of order in a long transfer, one packet costs more than many.
#[inline(always)]
fn takes_stack(cached: &Cached, flow: &Flow) -> bool {
    let refresh = flow.now >> REFRESH_SHIFT;
    let neighbour = cached.gateway.folded() ^ cached.ifindex.rotate_left(16);
    // Two neighbours may share a mark; then it is chance which of them is refreshed in a period.
    let index = neighbour.wrapping_mul(0x9e37_79b1) >> 20 & (limits::NEIGHBOUR_MARKS - 1);
    let Some(mark) = maps::NEIGHBOUR_MARKS.get_ptr_mut(index) else { return false };
    // SAFETY: a value of this CPU's own part of the map, and the program is not preempted by itself.
    let mark = unsafe { &mut *mark };
    let age = refresh.wrapping_sub(*mark);
    let due = age >= if flow.begins { 1 } else { REFRESH_LATE };
    if due {
        *mark = refresh;
    }
    due
}

/// Asks the kernel. Not inlined, for its query's room on the stack.
#[inline(never)]
fn look_up<const XDP: bool>(tables: &Tables<XDP>, flow: &Flow, cached: &mut Cached) -> Result<(), Outcome> {
    let Some(query) = maps::FIB_QUERY.get_ptr_mut(0) else { return Err(Outcome::Inconsistent) };
    // SAFETY: this CPU's own part of the map; all fields are integers.
    let query = unsafe {
        query.write(core::mem::zeroed());
        &mut *query
    };
    query.ifindex = tables.ingress;
    // A length that fits any MTU: the helper then tells the MTU, and judges nothing.
    query.__bindgen_anon_1.tot_len = 1;
    if flow.to.is_v4() {
        query.family = AF_INET;
        query.__bindgen_anon_3.ipv4_src = flow.from.words()[3];
        query.__bindgen_anon_4.ipv4_dst = flow.to.words()[3];
    } else {
        query.family = AF_INET6;
        query.__bindgen_anon_3.ipv6_src = flow.from.words();
        query.__bindgen_anon_4.ipv6_dst = flow.to.words();
    }
    // SAFETY: a valid context and a query of the size that is given.
    let result =
        unsafe { fib_lookup(tables.context, &raw mut *query, size_of::<bpf_fib_lookup>() as i32, 0) };
    cached.period = 0;
    cached.to = flow.to;
    cached.from = flow.from;
    cached.ingress = tables.ingress;
    match result as u32 {
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_NO_NEIGH => {
            let known = result as u32 == BPF_FIB_LKUP_RET_SUCCESS;
            answered(query, known, cached);
            limit_to_route(tables, flow, cached);
            Ok(())
        }
        BPF_FIB_LKUP_RET_FWD_DISABLED => from_record(tables, flow, cached),
        // A route with an encapsulation of its own, which only the stack can do.
        BPF_FIB_LKUP_RET_UNSUPP_LWT if XDP => Err(Outcome::HandOverRoute),
        _ => Err(no_route(tables, flow)),
    }
}

/// Why there is no way: under XDP there is none to this host itself.
#[inline(always)]
fn no_route<const XDP: bool>(tables: &Tables<XDP>, flow: &Flow) -> Outcome {
    let Some(dest) = flow.dest.and_then(|id| tables.dest(id)) else { return Outcome::NoRoute };
    let is_here = field!(dest.0, flags) & DestFlags::LOCAL != 0;
    if is_here && XDP { Outcome::HandOverRoute } else { Outcome::NoRoute }
}

/// Takes over the kernel's answer, for either hook: packets of both meet here; `known`: with the neighbour's link address.
#[inline(always)]
fn answered(query: &bpf_fib_lookup, known: bool, cached: &mut Cached) {
    cached.resolved = if known { tables::port(query.ifindex).xdp() } else { 0 };
    cached.ifindex = query.ifindex;
    // SAFETY: plain integers.
    unsafe {
        // The gateway of an IPv4 route may be one of IPv6 (RFC 5549): the helper then changes the family.
        let words = query.__bindgen_anon_4.ipv6_dst;
        cached.gateway =
            if query.family == AF_INET { Addr::v4(words[0].to_ne_bytes()) } else { Addr::from_words(words) };
        // Without a neighbour the helper ends before it tells the MTU.
        cached.mtu = if known { u32::from(query.__bindgen_anon_1.mtu_result) } else { 0 };
    }
    let (d, s) = (query.dmac, query.smac);
    cached.macs = [
        u32::from_ne_bytes([d[0], d[1], d[2], d[3]]),
        u32::from_ne_bytes([d[4], d[5], s[0], s[1]]),
        u32::from_ne_bytes([s[2], s[3], s[4], s[5]]),
    ];
}

/// The helper tells a route's own MTU only if it is locked, and the interface's otherwise. The director saw the route's.
#[inline(always)]
fn limit_to_route<const XDP: bool>(tables: &Tables<XDP>, flow: &Flow, cached: &mut Cached) {
    let Some(dest) = flow.dest.and_then(|id| tables.dest(id)) else { return };
    let mtu = field!(dest.0, mtu);
    let same_route = field!(dest.0, ifindex) == cached.ifindex && field!(dest.0, gateway) == cached.gateway;
    if same_route && mtu != 0 && (cached.mtu == 0 || mtu < cached.mtu) {
        cached.mtu = mtu;
    }
}

/// The route that the director last saw, for requests.
#[inline(always)]
fn from_record<const XDP: bool>(
    tables: &Tables<XDP>,
    flow: &Flow,
    cached: &mut Cached,
) -> Result<(), Outcome> {
    let dest = flow.dest.and_then(|id| tables.dest(id)).ok_or(Outcome::NoRoute)?;
    let ifindex = field!(dest.0, ifindex);
    if ifindex == 0 {
        return Err(no_route(tables, flow));
    }
    cached.resolved = 0;
    cached.ifindex = ifindex;
    cached.mtu = field!(dest.0, mtu);
    cached.gateway = field!(dest.0, gateway);
    cached.macs = [0; 3];
    Ok(())
}
