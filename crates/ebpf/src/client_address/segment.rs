//! The TCP headers that a program can see: of the segment at hand, and of the SYN if the listener kept it.

use core::ffi::c_void;
use core::mem::size_of;
use core::ptr::read_volatile;

use aya_ebpf::bindings::bpf_sock_ops;
use aya_ebpf::helpers::{bpf_getsockopt, bpf_loop, bpf_setsockopt};
use rvs_ebpf::atomic::{bounded, opaque};
use rvs_wire::tcp;
use rvs_wire::toa::{Client, Found, Header, Walk};

/// `IPPROTO_TCP`, as a level of socket options.
const LEVEL_TCP: i32 = 6;
/// `TCP_SAVE_SYN` of `linux/tcp.h`.
const TCP_SAVE_SYN: i32 = 27;
/// `TCP_BPF_SYN` of `linux/bpf.h`: the SYN from its TCP header on.
const TCP_BPF_SYN: i32 = 1005;

/// Every offset in a header, and no more bits.
const OFFSET_MASK: usize = 63;
/// Bytes of the longest field that is read at once: an IPv6 address.
const FIELD_LEN_MAX: usize = 16;
/// Room for a SYN's header and for what the verifier holds possible behind it.
const SYN_LEN: usize = OFFSET_MASK + 1 + FIELD_LEN_MAX;

/// Has a listener keep the SYN of each connection, until that is closed. The setting outlives the program.
#[inline(always)]
pub(crate) fn keep_syns(ops: *mut bpf_sock_ops) {
    let mut wanted = 0_i32;
    let len = size_of::<i32>() as i32;
    // SAFETY: a valid context, and the address of a number of the length given.
    let asked = unsafe { bpf_getsockopt(ops.cast(), LEVEL_TCP, TCP_SAVE_SYN, (&raw mut wanted).cast(), len) };
    // The server may have asked for it, and for more: with the headers before TCP's.
    if asked == 0 && wanted != 0 {
        return;
    }
    wanted = 1;
    // SAFETY: as above. Without it, what comes in later segments still counts.
    unsafe { bpf_setsockopt(ops.cast(), LEVEL_TCP, TCP_SAVE_SYN, (&raw mut wanted).cast(), len) };
}

/// Looks for the client in a header. Each option is one call of a function, which the verifier goes through once for all that
/// it holds possible. If it knew where the first option begins, it would go through it again for each of the 40.
#[inline(always)]
pub(crate) fn find<H: Header>(ops: *mut bpf_sock_ops, header: H) -> (Found, Client) {
    // SAFETY: a field of a valid context.
    let any = u64::from(unsafe { read_volatile(&raw const (*ops).skb_len) });
    let start = (tcp::LEN as u64 + any).wrapping_sub(opaque(any)) as usize;
    let mut context = Context { header, walk: Walk::new(start) };
    // SAFETY: the function is one of two arguments, of which the second is the address of the context.
    unsafe { bpf_loop(tcp::option::MAX as u32, step::<H> as *mut c_void, (&raw mut context).cast(), 0) };
    (context.walk.found, context.walk.client)
}

/// What [`step`] works on.
struct Context<H> {
    header: H,
    walk: Walk,
}

/// The next option; 1: no more.
#[inline(never)]
extern "C" fn step<H: Header>(_index: u32, context: *mut Context<H>) -> i64 {
    // SAFETY: the context of `find`, which nobody else uses until the loop is over.
    let context = unsafe { &mut *context };
    i64::from(!context.walk.step(&context.header))
}

/// The header of the segment that the program is called for.
pub(crate) struct Segment {
    start: usize,
    end: usize,
}

impl Segment {
    #[inline(always)]
    pub(crate) fn new(ops: *mut bpf_sock_ops) -> Self {
        // SAFETY: fields of a valid context. Read volatile, or LLVM joins them with others, which the verifier refuses.
        let (start, end) = unsafe {
            (
                read_volatile((&raw const (*ops).__bindgen_anon_3.skb_data).cast::<usize>()),
                read_volatile((&raw const (*ops).__bindgen_anon_4.skb_data_end).cast::<usize>()),
            )
        };
        Self { start, end }
    }
}

impl Header for Segment {
    #[inline(always)]
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > tcp::LEN_MAX - N {
            return None;
        }
        let at = self.start + bounded(offset, OFFSET_MASK);
        if at + N > self.end {
            return None;
        }
        // SAFETY: `N` bytes from `at` end before the header does, as was just checked.
        Some(unsafe { (at as *const [u8; N]).read() })
    }
}

/// A copy of a SYN's header.
pub(crate) struct Syn {
    bytes: [u8; SYN_LEN],
    len: usize,
}

impl Syn {
    /// The connection's. `None` if the listener did not keep it, as with SYN cookies.
    #[inline(always)]
    pub(crate) fn of(ops: *mut bpf_sock_ops) -> Option<Self> {
        let mut bytes = [0; SYN_LEN];
        // SAFETY: a valid context, and no less writable bytes than are said.
        let len = unsafe {
            bpf_getsockopt(ops.cast(), LEVEL_TCP, TCP_BPF_SYN, (&raw mut bytes).cast(), tcp::LEN_MAX as i32)
        };
        (len > 0).then_some(Self { bytes, len: len as usize })
    }
}

impl Header for Syn {
    #[inline(always)]
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // A copy of the length: what the verifier learns of it by comparing must not stay, or no two calls are alike to it.
        if offset > tcp::LEN_MAX - N || offset + N > bounded(self.len, OFFSET_MASK) {
            return None;
        }
        let offset = bounded(offset, OFFSET_MASK);
        // SAFETY: `N` bytes from `offset` are within the array, as was just checked. Volatile, or LLVM joins them: on the
        // stack, the verifier wants words to be aligned.
        Some(core::array::from_fn(|index| unsafe { read_volatile(self.bytes.as_ptr().add(offset + index)) }))
    }
}
