//! A program of a real server whose answers go past the director: its listeners announce no larger TCP segments than they are
//! told, so that what clients send fits the tunnel to it.
//!
//! It hangs on a cgroup, and is asked when a socket begins to listen. The size is the socket's own option `TCP_MAXSEG`: the
//! kernel announces it in the answer to each SYN, with SYN cookies too, and keeps to it in what it sends.
#![no_std]
#![no_main]

use core::mem::size_of;
use core::ptr::read_volatile;

use aya_ebpf::bindings::{BPF_SOCK_OPS_TCP_LISTEN_CB, bpf_sock_ops};
use aya_ebpf::helpers::bpf_setsockopt;
use aya_ebpf::macros::{map, sock_ops};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::SockOpsContext;
use rvs_abi::{Addr, ListenerKey, limits};
// The handler of panics, of which there are none.
use rvs_ebpf as _;

/// `AF_INET`.
const IPV4: u32 = 2;
/// `IPPROTO_TCP`, as a level of socket options.
const LEVEL_TCP: i32 = 6;
/// `TCP_MAXSEG` of `linux/tcp.h`.
const TCP_MAXSEG: i32 = 2;

/// What listeners announce, by where they listen.
#[map]
static SEGMENT_SIZES: HashMap<ListenerKey, u32> = HashMap::with_max_entries(limits::LISTENER_KEYS_MAX, 0);

/// What happens to TCP sockets.
#[sock_ops]
pub fn rvs_segment_ops(context: SockOpsContext) -> u32 {
    if context.op() == BPF_SOCK_OPS_TCP_LISTEN_CB
        && let Some(mss) = size(context.ops)
    {
        bound(context.ops, mss);
    }
    // There is no other answer to these events.
    1
}

/// What a socket that begins to listen is to announce.
#[inline(always)]
fn size(ops: *mut bpf_sock_ops) -> Option<u32> {
    let addr = local(ops);
    // SAFETY: a field of a valid context.
    let port = unsafe { read_volatile(&raw const (*ops).local_port) };
    for key in [ListenerKey::new(addr, port), ListenerKey::new(addr, 0), ListenerKey::ALL] {
        // SAFETY: the value is one word, and is read at once.
        if let Some(mss) = unsafe { SEGMENT_SIZES.get(&key) } {
            return Some(*mss);
        }
    }
    None
}

/// Sets the socket's option. It outlives the program.
#[inline(always)]
fn bound(ops: *mut bpf_sock_ops, mss: u32) {
    let mut mss = mss as i32;
    let len = size_of::<i32>() as i32;
    // SAFETY: a valid context, and the address of a number of the length given.
    unsafe { bpf_setsockopt(ops.cast(), LEVEL_TCP, TCP_MAXSEG, (&raw mut mss).cast(), len) };
}

/// The socket's own address.
#[inline(always)]
fn local(ops: *mut bpf_sock_ops) -> Addr {
    // SAFETY: fields of a valid context. Word by word, as the verifier wants it.
    unsafe {
        if read_volatile(&raw const (*ops).family) == IPV4 {
            return Addr::v4(read_volatile(&raw const (*ops).local_ip4).to_ne_bytes());
        }
        let word = |index: usize| read_volatile(&raw const (*ops).local_ip6[index]);
        Addr::from_words([word(0), word(1), word(2), word(3)])
    }
}
