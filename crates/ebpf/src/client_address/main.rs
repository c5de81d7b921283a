//! Programs of a real server behind directors that put their own address before the client's: they read the client's
//! address from a TCP option and show it to whoever asks a socket for its peer. Servers need no change and no module.
//!
//! They hang on a cgroup. Sockets are those of the cgroup of the process that opened them, and accepted ones those of
//! their listener's.
#![no_std]
#![no_main]

mod client;
mod name;
mod segment;

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_PARSE_HDR_OPT_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_TCP_LISTEN_CB,
};
use aya_ebpf::macros::{btf_map, cgroup_sock_addr, map, sock_ops};
use aya_ebpf::maps::{LpmTrie, PerCpuArray};
use aya_ebpf::programs::{SockAddrContext, SockOpsContext};
use rvs_abi::{ClientAddress, ClientOutcome, limits};
use rvs_ebpf::atomic;

/// What `aya_ebpf` declares a socket storage with; the programs call the helper themselves.
type SkStorage<T> = aya_ebpf::btf_maps::SkStorage<T>;

/// Clients of connections, as long as their sockets live.
#[btf_map]
static CLIENTS: SkStorage<ClientAddress> = SkStorage::new();
/// Addresses that may say who a client is: `rvs_abi::DirectorPrefix`, whose first word is the length of the prefix.
#[map]
static DIRECTORS: LpmTrie<[u32; 5], u32> = LpmTrie::with_max_entries(limits::DIRECTORS_MAX, 0);
/// How many options ended in each outcome.
#[map]
static CLIENT_OUTCOMES: PerCpuArray<u64> = PerCpuArray::with_max_entries(ClientOutcome::ALL.len() as u32, 0);

/// What happens to TCP sockets.
#[sock_ops]
pub fn rvs_client_ops(context: SockOpsContext) -> u32 {
    match context.op() {
        BPF_SOCK_OPS_TCP_LISTEN_CB => segment::keep_syns(context.ops),
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => client::established(context.ops),
        BPF_SOCK_OPS_PARSE_HDR_OPT_CB => client::later(context.ops),
        _ => {}
    }
    // There is no other answer to these events.
    1
}

/// `accept` and `getpeername` on IPv4 sockets.
#[cgroup_sock_addr(getpeername4)]
pub fn rvs_client_name4(context: SockAddrContext) -> i32 {
    name::show4(&context);
    1
}

/// `accept` and `getpeername` on IPv6 sockets.
#[cgroup_sock_addr(getpeername6)]
pub fn rvs_client_name6(context: SockAddrContext) -> i32 {
    name::show6(&context);
    1
}

#[inline(always)]
fn count(outcome: ClientOutcome) {
    if let Some(counter) = CLIENT_OUTCOMES.get_ptr_mut(outcome as u32) {
        // SAFETY: a value of the map. Atomic: a softirq may come between on this CPU.
        unsafe { atomic::add(counter, 1) };
    }
}
