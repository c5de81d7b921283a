//! Who the client of a connection is.

use core::ptr::{null_mut, read_volatile};

use aya_ebpf::bindings::{
    BPF_SK_STORAGE_GET_F_CREATE, BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG, bpf_sock, bpf_sock_ops,
};
use aya_ebpf::helpers::bpf_sock_ops_cb_flags_set;
use aya_ebpf::helpers::generated::{bpf_sk_storage_delete, bpf_sk_storage_get};
use aya_ebpf::maps::lpm_trie::Key;
use rvs_abi::{Addr, ClientAddress, ClientOutcome, DirectorPrefix};
use rvs_wire::toa::{Client, Found};

use crate::segment::{Segment, Syn, find};
use crate::{CLIENTS, DIRECTORS, count};

/// `AF_INET`.
const IPV4: u32 = 2;

/// A connection came to be, and nobody has seen it yet. Looks at the segment at hand (the third of the handshake, or the
/// first with data), then at the SYN.
#[inline(always)]
pub(crate) fn established(ops: *mut bpf_sock_ops) {
    let (found, client) = find(ops, Segment::new(ops));
    if found != Found::Client
        && let Some(syn) = Syn::of(ops)
    {
        let (in_syn, client) = find(ops, syn);
        if in_syn != Found::Nothing {
            settle(ops, in_syn, &client);
            return;
        }
    }
    settle(ops, found, &client);
}

/// Does what a connection's options say.
#[inline(never)]
fn settle(ops: *mut bpf_sock_ops, found: Found, client: &Client) {
    let outcome = match (found, is_director(peer(ops))) {
        (Found::Nothing | Found::Malformed, false) => return,
        (Found::Client, false) => ClientOutcome::NotDirector,
        (Found::Nothing, true) => {
            wait(ops);
            ClientOutcome::Missing
        }
        (Found::Malformed, true) => {
            wait(ops);
            ClientOutcome::Malformed
        }
        (Found::Client, true) => keep(ops, client, ClientOutcome::Shown),
    };
    count(outcome);
}

/// A segment with options that the kernel doesn't know came in on a connection that waits for one, or that another program
/// asked this for.
#[inline(always)]
pub(crate) fn later(ops: *mut bpf_sock_ops) {
    let Some(sk) = socket(ops) else { return };
    // SAFETY: the map is one of socket storage, and the socket a full one.
    let kept =
        unsafe { bpf_sk_storage_get((&raw const CLIENTS).cast_mut().cast(), sk.cast(), null_mut(), 0) };
    // SAFETY: what the helper returns is null or the socket's record.
    let Some(kept) = (unsafe { kept.cast::<ClientAddress>().as_ref() }) else { return };
    if kept.port != 0 {
        return;
    }
    let (found, client) = find(ops, Segment::new(ops));
    if found != Found::Client {
        return;
    }
    // In place of the old record, so that nobody reads half of the new one.
    // SAFETY: as above.
    unsafe { bpf_sk_storage_delete((&raw const CLIENTS).cast_mut().cast(), sk.cast()) };
    count(keep(ops, &client, ClientOutcome::ShownLate));
}

/// Has later segments looked at.
#[inline(always)]
fn wait(ops: *mut bpf_sock_ops) {
    if !store(ops, ClientAddress::default()) {
        return;
    }
    // SAFETY: a valid context. Flags that other programs have set stay.
    unsafe {
        let flags = read_volatile(&raw const (*ops).bpf_sock_ops_cb_flags);
        bpf_sock_ops_cb_flags_set(ops, (flags | BPF_SOCK_OPS_PARSE_UNKNOWN_HDR_OPT_CB_FLAG) as i32);
    }
}

/// Keeps what was found, if the socket can show it.
#[inline(always)]
fn keep(ops: *mut bpf_sock_ops, client: &Client, kept: ClientOutcome) -> ClientOutcome {
    let addr = Addr(client.address);
    if family(ops) == IPV4 && !addr.is_v4() {
        return ClientOutcome::NotShowable;
    }
    let client = ClientAddress { addr, port: client.port, zero: [0; 3] };
    if store(ops, client) { kept } else { ClientOutcome::NoMemory }
}

/// Makes the socket's record, which must not be there.
#[inline(always)]
fn store(ops: *mut bpf_sock_ops, client: ClientAddress) -> bool {
    let Some(sk) = socket(ops) else { return false };
    let flags = u64::from(BPF_SK_STORAGE_GET_F_CREATE);
    let mut client = client;
    // SAFETY: the map is one of socket storage, the socket a full one, and the value of the map's type.
    let kept = unsafe {
        bpf_sk_storage_get((&raw const CLIENTS).cast_mut().cast(), sk.cast(), (&raw mut client).cast(), flags)
    };
    !kept.is_null()
}

#[inline(always)]
fn socket(ops: *mut bpf_sock_ops) -> Option<*mut bpf_sock> {
    // SAFETY: a field of a valid context; see `Segment::new`.
    let sk = unsafe { read_volatile(&raw const (*ops).__bindgen_anon_2.sk) };
    (!sk.is_null()).then_some(sk)
}

#[inline(always)]
fn family(ops: *mut bpf_sock_ops) -> u32 {
    // SAFETY: as above.
    unsafe { read_volatile(&raw const (*ops).family) }
}

/// Who the segments come from.
#[inline(always)]
fn peer(ops: *mut bpf_sock_ops) -> Addr {
    if family(ops) == IPV4 {
        // SAFETY: as above.
        return Addr::v4(unsafe { read_volatile(&raw const (*ops).remote_ip4) }.to_ne_bytes());
    }
    // SAFETY: as above. Word by word, as the verifier wants it.
    let word = |index: usize| unsafe { read_volatile(&raw const (*ops).remote_ip6[index]) };
    Addr([two(word(0), word(1)), two(word(2), word(3))])
}

/// Two words as they lie one behind the other in memory.
#[inline(always)]
fn two(first: u32, second: u32) -> u64 {
    let (a, b) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
}

#[inline(always)]
fn is_director(peer: Addr) -> bool {
    let [bits, family, a, b, c, d]: [u32; 6] = zerocopy::transmute!(DirectorPrefix::host(peer));
    DIRECTORS.get(Key::new(bits, [family, a, b, c, d])).is_some()
}
