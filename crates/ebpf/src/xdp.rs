//! Packets under XDP.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use rvs_abi::{Port, family};
use rvs_core::{Encap, Packet, Parsed, hold};
use rvs_wire::checksum::Delta;
use rvs_wire::eth;

use crate::atomic::{bounded, opaque};

/// Offsets beyond this are refused: the verifier follows a packet's offsets only so far (ebpf-notes §3.1).
const OFFSET_MAX: usize = 0x3fff;

/// A packet in an XDP context.
#[derive(Debug)]
pub struct Xdp {
    context: *mut xdp_md,
    port: Port,
}

impl Xdp {
    /// Of a program's context.
    #[inline(always)]
    #[must_use]
    pub fn new(context: *mut xdp_md) -> Self {
        Self { context, port: Port::default() }
    }

    /// As it came in on an interface of which this is known.
    #[inline(always)]
    #[must_use]
    pub const fn from(self, port: Port) -> Self {
        Self { port, ..self }
    }

    /// First byte and end. Read anew each time, and volatile (ebpf-notes §3.1, point 1); behind a veil, since the
    /// optimizer would compare these as the 32-bit numbers that they are in the context, and the verifier does not.
    #[inline(always)]
    fn bounds(&self) -> (usize, usize) {
        // SAFETY: the kernel's context is valid for the program's whole run.
        let (start, end) = unsafe {
            (
                core::ptr::read_volatile(&raw const (*self.context).data),
                core::ptr::read_volatile(&raw const (*self.context).data_end),
            )
        };
        (opaque(u64::from(start)) as usize, opaque(u64::from(end)) as usize)
    }

    /// `N` bytes from `offset`, if they are all there.
    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        let (start, end) = self.bounds();
        if offset > OFFSET_MAX {
            return None;
        }
        let pointer = start + bounded(offset, OFFSET_MAX);
        (pointer + N <= end).then_some(pointer as *mut [u8; N])
    }
}

impl Packet for Xdp {
    #[inline(always)]
    fn frame_len(&self) -> u32 {
        let (start, end) = self.bounds();
        // Behind a veil: the difference of pointers must be taken in 64 bits.
        opaque((end - start) as u64) as u32
    }

    #[inline(always)]
    fn wire_len(&self, parsed: &Parsed) -> u32 {
        parsed.len
    }

    #[inline(always)]
    fn bundle_len(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn for_host(&self) -> bool {
        self.get::<8>(0).is_some_and(|head| !eth::is_group(head[0]) && !self.port.is_for_another(head))
    }

    #[inline(always)]
    fn has_tag_aside(&self) -> bool {
        false
    }

    #[inline(always)]
    fn may_lack_checksum(&self) -> bool {
        false
    }

    #[inline(always)]
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: `at` compared the end of these bytes with the end of the packet.
        self.at::<N>(offset).map(|bytes| unsafe { *bytes })
    }

    #[inline(always)]
    fn set<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> Option<()> {
        // SAFETY: as above; nothing else refers to the packet's bytes.
        self.at::<N>(offset).map(|to| unsafe { *to = *bytes })
    }

    #[inline(always)]
    fn update_tcp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()> {
        let field = self.get::<2>(offset)?;
        self.set(offset, &pseudo.and(fields).apply(field))
    }

    #[inline(always)]
    fn update_udp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()> {
        let field = self.get::<2>(offset)?;
        self.set(offset, &pseudo.and(fields).apply_udp(field))
    }

    #[inline(always)]
    fn push(&mut self, header: &Encap) -> Option<()> {
        let macs = self.get::<12>(0)?;
        // SAFETY: a valid context; all pointers into the packet are made anew afterwards.
        if unsafe { bpf_xdp_adjust_head(self.context, -(header.size() as i32)) } != 0 {
            return None;
        }
        self.set(0, &macs)?;
        self.set(12, &if header.is_v4() { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 })
    }

    #[inline(always)]
    fn pull(&mut self, len: u32) -> Option<()> {
        let macs = self.get::<12>(0)?;
        // SAFETY: a valid context; all pointers into the packet are made anew afterwards.
        if unsafe { bpf_xdp_adjust_head(self.context, len as i32) } != 0 {
            return None;
        }
        self.set(0, &macs)
    }

    #[inline(always)]
    fn change_family(&mut self, to: u8, old: u32, new: u32) -> Option<()> {
        let macs = self.get::<12>(0)?;
        // SAFETY: a valid context; all pointers into the packet are made anew afterwards.
        if unsafe { bpf_xdp_adjust_head(self.context, old.wrapping_sub(new) as i32) } != 0 {
            return None;
        }
        self.set(0, &macs)?;
        self.set(12, &eth::type_of(to == family::V4))
    }

    #[inline(always)]
    fn resize(&mut self, frame_len: u32) -> Option<()> {
        let more = self.frame_len().wrapping_sub(frame_len) as i32;
        // SAFETY: a valid context; all pointers into the packet are made anew afterwards.
        (unsafe { bpf_xdp_adjust_tail(self.context, more.wrapping_neg()) } == 0).then_some(())
    }

    #[inline(always)]
    fn reach(&mut self, _len: u32) {}

    #[inline(always)]
    fn resend(&mut self) -> Option<()> {
        None
    }

    #[inline(always)]
    fn send_to(&mut self, _ifindex: u32) -> Option<()> {
        None
    }

    #[inline(always)]
    fn copy_to<const N: usize>(&self, _frame: &mut [u8; N], _len: u32) -> Option<()> {
        None
    }

    #[inline(always)]
    fn fill(&mut self, _frame: &hold::Saved, _from: u32, _offset: u32, _len: u32) -> Option<()> {
        None
    }

    #[inline(always)]
    fn replace<const N: usize>(&mut self, _frame: &[u8; N], _len: u32) -> Option<()> {
        None
    }
}
