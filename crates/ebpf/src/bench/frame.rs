//! A frame of one flow, from a template. All of it is written each time: buffers come back as the last run left them.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::bpf_xdp_adjust_head;
use rvs_ebpf::atomic::opaque;
use rvs_wire::checksum;

/// Words of a frame: 64 bytes.
pub(crate) const WORDS: usize = 8;
const LEN: usize = WORDS * 8;
/// Bits of a flow's number that make its port; the rest makes its address.
const PORT_BITS: u32 = 14;
/// First port.
const PORT_MIN: u16 = 1 << PORT_BITS;

/// What varies from frame to frame: address and port of the client, and with them the checksums.
///
/// `rvs-bench` knows this layout as eight numbers.
#[repr(C)]
pub(crate) struct Plan {
    /// How many flows take turns; 0: each frame is a new one.
    flows: u32,
    /// Number of the first flow.
    first: u32,
    /// Address of flow 0.
    base: u32,
    /// 1: the client is the destination.
    is_reply: u32,
    /// Sum over the IPv4 header with the client's address and the checksum zero (RFC 1071).
    ip_sum: u32,
    /// The same over transport header, data and pseudo header, with the client's port zero too.
    transport_sum: u32,
    /// 1: TCP, 0: UDP.
    is_tcp: u32,
    zero: u32,
}

/// Offsets in halves of words, as all that varies lies on even addresses.
mod at {
    pub(super) const IP_CHECKSUM: usize = 24 / 2;
    pub(super) const SOURCE: usize = 26 / 2;
    pub(super) const DESTINATION: usize = 30 / 2;
    pub(super) const SPORT: usize = 34 / 2;
    pub(super) const DPORT: usize = 36 / 2;
    pub(super) const UDP_CHECKSUM: usize = 40 / 2;
    pub(super) const TCP_CHECKSUM: usize = 50 / 2;
}

/// Writes frame number `number`.
#[inline(always)]
pub(crate) fn write(context: *mut xdp_md, template: &[u64; WORDS], plan: &Plan, number: u64) -> Option<()> {
    let number = if plan.flows == 0 { number } else { number % u64::from(plan.flows) };
    let flow = plan.first.wrapping_add(number as u32);
    let address = plan.base.wrapping_add(flow >> PORT_BITS).to_be_bytes();
    let port = (PORT_MIN | (flow as u16 & (PORT_MIN - 1))).to_be_bytes();
    let address = [[address[0], address[1]], [address[2], address[3]]].map(u16::from_ne_bytes);
    let port = u16::from_ne_bytes(port);
    let sum = u32::from(address[0]) + u32::from(address[1]);
    let ip_checksum = !checksum::fold(plan.ip_sum + sum);
    let transport_checksum = !checksum::fold(plan.transport_sum + sum + u32::from(port));

    let frame = room(context)?;
    let (address_at, port_at) =
        if plan.is_reply == 0 { (at::SOURCE, at::SPORT) } else { (at::DESTINATION, at::DPORT) };
    let checksum_at = if plan.is_tcp == 0 { at::UDP_CHECKSUM } else { at::TCP_CHECKSUM };
    // SAFETY: `room` compared the end of the frame with the end of the packet; the kernel aligns what it makes for such
    // runs to words; all offsets are within.
    unsafe {
        *frame.cast() = *template;
        let halves = frame.cast::<u16>();
        *halves.add(at::IP_CHECKSUM) = ip_checksum;
        *halves.add(address_at) = address[0];
        *halves.add(address_at + 1) = address[1];
        *halves.add(port_at) = port;
        *halves.add(checksum_at) = transport_checksum;
    }
    Some(())
}

/// The packet, of exactly [`LEN`] bytes: what an earlier run put in front of it is taken away.
#[inline(always)]
fn room(context: *mut xdp_md) -> Option<*mut u8> {
    let (start, end) = bounds(context);
    let surplus = opaque((end - start) as u64) as i32 - LEN as i32;
    // SAFETY: a valid context; pointers are made anew afterwards.
    if surplus > 0 && unsafe { bpf_xdp_adjust_head(context, surplus) } != 0 {
        return None;
    }
    let (start, end) = bounds(context);
    (start + LEN <= end).then_some(start as *mut u8)
}

/// See `rvs_ebpf::xdp::Xdp`.
#[inline(always)]
fn bounds(context: *mut xdp_md) -> (usize, usize) {
    // SAFETY: the kernel's context is valid for the program's whole run.
    let (start, end) = unsafe {
        (
            core::ptr::read_volatile(&raw const (*context).data),
            core::ptr::read_volatile(&raw const (*context).data_end),
        )
    };
    (opaque(u64::from(start)) as usize, opaque(u64::from(end)) as usize)
}
