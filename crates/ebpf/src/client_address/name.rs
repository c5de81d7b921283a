//! The answer to who a socket's peer is. What was not learnt from an option stays as it is.

use core::ptr::write_volatile;

use aya_ebpf::programs::SockAddrContext;
use rvs_abi::ClientAddress;

use crate::CLIENTS;

/// The socket's client, if it is known.
#[inline(always)]
fn client(context: &SockAddrContext) -> Option<&ClientAddress> {
    // SAFETY: null, or the record of the context's socket, which nobody changes.
    let client = unsafe { CLIENTS.get_ptr_mut(context).as_ref() }?;
    (client.port != 0).then_some(client)
}

/// On an IPv4 socket.
#[inline(always)]
pub(crate) fn show4(context: &SockAddrContext) {
    let Some(client) = client(context) else { return };
    // A socket may have become one (`IPV6_ADDRFORM`).
    if !client.addr.is_v4() {
        return;
    }
    let to = context.sock_addr;
    // SAFETY: fields of a valid context that this hook may write. Volatile, or LLVM joins the stores, which the verifier
    // refuses.
    unsafe {
        write_volatile(&raw mut (*to).user_ip4, u32::from_ne_bytes(client.addr.v4_bytes()));
        write_volatile(&raw mut (*to).user_port, u32::from(client.port));
    }
}

/// On an IPv6 socket, which shows IPv4 addresses in their mapped form: that of the record.
#[inline(always)]
pub(crate) fn show6(context: &SockAddrContext) {
    let Some(client) = client(context) else { return };
    let words: [u32; 4] = zerocopy::transmute!(client.addr);
    let to = context.sock_addr;
    // SAFETY: as above.
    unsafe {
        write_volatile(&raw mut (*to).user_ip6[0], words[0]);
        write_volatile(&raw mut (*to).user_ip6[1], words[1]);
        write_volatile(&raw mut (*to).user_ip6[2], words[2]);
        write_volatile(&raw mut (*to).user_ip6[3], words[3]);
        write_volatile(&raw mut (*to).user_port, u32::from(client.port));
    }
}
