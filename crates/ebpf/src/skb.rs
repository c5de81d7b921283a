//! Packets under TC. They may be bundles of segments, and their checksums may be left to the device: the kernel's helpers
//! know both.

use aya_ebpf::bindings::{
    __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6, BPF_F_ADJ_ROOM_ENCAP_L4_GRE,
    BPF_F_ADJ_ROOM_ENCAP_L4_UDP, BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_INGRESS, BPF_F_INVALIDATE_HASH,
    BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, BPF_F_RECOMPUTE_CSUM, bpf_adj_room_mode,
};
use aya_ebpf::helpers::{
    bpf_clone_redirect, bpf_l4_csum_replace, bpf_skb_adjust_room, bpf_skb_change_proto, bpf_skb_change_tail,
    bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes,
};
use rvs_abi::{TunnelType, family, limits, proto};
use rvs_core::{Encap, Packet, Parsed, hold};
use rvs_wire::checksum::Delta;
use rvs_wire::{eth, ipv4, ipv6, tcp, udp};

use crate::atomic::{bounded, opaque};

const OFFSET_MAX: usize = 0x3fff;
/// `PACKET_HOST` of `linux/if_packet.h`.
const PACKET_HOST: u32 = 0;
/// Headers that should be in linear memory: Ethernet, IPv4 with all options (or IPv6 without extensions), TCP without.
const HEADERS_MAX: u32 = 14 + 60 + 20;

/// A packet in a socket buffer.
#[derive(Debug)]
pub struct Skb {
    context: *mut __sk_buff,
}

impl Skb {
    /// Of a program's context, with its headers in linear memory.
    #[inline(always)]
    #[must_use]
    pub fn new(context: *mut __sk_buff) -> Self {
        let skb = Self { context };
        let (start, end) = skb.bounds();
        let linear = opaque((end - start) as u64) as u32;
        let len = skb.frame_len();
        if linear < HEADERS_MAX && linear < len {
            let wanted = if len < HEADERS_MAX { len } else { HEADERS_MAX };
            // SAFETY: a valid context; pointers are made anew afterwards. If it fails, less can be read, no more.
            unsafe { bpf_skb_pull_data(context, wanted) };
        }
        skb
    }

    /// First byte and end of the linear part; see `Xdp::bounds`.
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

    #[inline(always)]
    fn at<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        let (start, end) = self.bounds();
        if offset > OFFSET_MAX {
            return None;
        }
        let pointer = start + bounded(offset, OFFSET_MAX);
        (pointer + N <= end).then_some(pointer as *mut [u8; N])
    }

    #[inline(always)]
    fn replace(&mut self, offset: usize, pseudo: Delta, fields: Delta, flags: u64) -> Option<()> {
        // SAFETY: a valid context; the helper checks the offset. Size 0 means that the last argument is a difference.
        let results = unsafe {
            bpf_l4_csum_replace(
                self.context,
                offset as u32,
                0,
                u64::from(pseudo.sum()),
                flags | u64::from(BPF_F_PSEUDO_HDR),
            ) | bpf_l4_csum_replace(self.context, offset as u32, 0, u64::from(fields.sum()), flags)
        };
        (results == 0).then_some(())
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn frame_len(&self) -> u32 {
        // SAFETY: a valid context.
        unsafe { core::ptr::read_volatile(&raw const (*self.context).len) }
    }

    #[inline(always)]
    fn wire_len(&self, parsed: &Parsed) -> u32 {
        // SAFETY: a valid context.
        let segment = unsafe { core::ptr::read_volatile(&raw const (*self.context).gso_size) };
        if segment == 0 {
            return parsed.len;
        }
        // So long are the packets that the kernel will cut the bundle into.
        let l4 = parsed.transport();
        let transport = if parsed.protocol == proto::TCP {
            let offset = self.get::<1>(l4 + tcp::DATA_OFFSET).unwrap_or_default();
            u32::from(offset[0] >> 4) * 4
        } else {
            udp::LEN as u32
        };
        l4 as u32 - eth::LEN as u32 + transport + segment
    }

    #[inline(always)]
    fn bundle_len(&self) -> u32 {
        // SAFETY: a valid context.
        let segment = unsafe { core::ptr::read_volatile(&raw const (*self.context).gso_size) };
        if segment == 0 { 0 } else { self.frame_len() - eth::LEN as u32 }
    }

    #[inline(always)]
    fn for_host(&self) -> bool {
        // SAFETY: a valid context.
        unsafe { core::ptr::read_volatile(&raw const (*self.context).pkt_type) == PACKET_HOST }
    }

    #[inline(always)]
    fn has_tag_aside(&self) -> bool {
        // SAFETY: a valid context.
        unsafe { core::ptr::read_volatile(&raw const (*self.context).vlan_present) != 0 }
    }

    #[inline(always)]
    fn may_lack_checksum(&self) -> bool {
        true
    }

    #[inline(always)]
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: `at` compared the end of these bytes with the end of the linear part.
        self.at::<N>(offset).map(|bytes| unsafe { *bytes })
    }

    #[inline(always)]
    fn set<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> Option<()> {
        // SAFETY: as above; the kernel made the packet's head writable before the program ran.
        self.at::<N>(offset).map(|to| unsafe { *to = *bytes })
    }

    #[inline(always)]
    fn update_tcp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()> {
        self.replace(offset, pseudo, fields, 0)
    }

    #[inline(always)]
    fn update_udp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()> {
        self.replace(offset, pseudo, fields, u64::from(BPF_F_MARK_MANGLED_0))
    }

    #[inline(always)]
    fn push(&mut self, header: &Encap) -> Option<()> {
        let flags = match header.kind {
            Encap::ICMP | Encap::PLAIN => 0,
            kind => encap_flags(header.is_v4(), kind),
        };
        let mut len = header.size();
        if header.kind == Encap::PLAIN && !header.is_v4() {
            // What is cut is IPv4 inside, and the kernel has to know that it is IPv6 from now on.
            // SAFETY: a valid context; pointers are made anew afterwards.
            if unsafe { bpf_skb_change_proto(self.context, u16::from_ne_bytes(eth::TYPE_IPV6), 0) } != 0 {
                return None;
            }
            len -= (ipv6::LEN - ipv4::LEN) as u32;
        }
        // SAFETY: a valid context; pointers are made anew afterwards.
        let result = unsafe {
            bpf_skb_adjust_room(self.context, len as i32, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, flags)
        };
        if result != 0 {
            return None;
        }
        self.set(12, &if header.is_v4() { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 })
    }

    #[inline(always)]
    fn pull(&mut self, len: u32) -> Option<()> {
        let less = (len as i32).wrapping_neg();
        // SAFETY: a valid context; pointers are made anew afterwards.
        let result =
            unsafe { bpf_skb_adjust_room(self.context, less, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, 0) };
        (result == 0).then_some(())
    }

    #[inline(always)]
    fn change_family(&mut self, to: u8, old: u32, new: u32) -> Option<()> {
        let kind = eth::type_of(to == family::V4);
        // The helper takes away, or puts in, what the fixed headers differ by. A bundle of TCP segments becomes one of the
        // other family, of segments as long as before.
        // SAFETY: a valid context; pointers are made anew afterwards.
        if unsafe { bpf_skb_change_proto(self.context, u16::from_ne_bytes(kind), 0) } != 0 {
            return None;
        }
        let difference = (ipv6::LEN - ipv4::LEN) as u32;
        let now = if to == family::V4 { old.wrapping_sub(difference) } else { old + difference };
        let more = new.wrapping_sub(now) as i32;
        if more != 0 {
            // SAFETY: as above.
            let result =
                unsafe { bpf_skb_adjust_room(self.context, more, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC, 0) };
            if result != 0 {
                return None;
            }
        }
        self.set(12, &kind)
    }

    #[inline(always)]
    fn resize(&mut self, frame_len: u32) -> Option<()> {
        // SAFETY: a valid context; pointers are made anew afterwards. The helper also undoes a bundle.
        (unsafe { bpf_skb_change_tail(self.context, frame_len, 0) } == 0).then_some(())
    }

    #[inline(always)]
    fn reach(&mut self, len: u32) {
        if self.is_short_of(len) {
            let frame_len = self.frame_len();
            let wanted = if frame_len < len { frame_len } else { len };
            // SAFETY: a valid context; pointers are made anew afterwards. If it fails, less can be read, no more.
            unsafe { bpf_skb_pull_data(self.context, wanted) };
        }
    }

    #[inline(always)]
    fn is_short_of(&self, end: u32) -> bool {
        let (first, last) = self.bounds();
        let linear = opaque((last - first) as u64) as u32;
        let frame_len = self.frame_len();
        linear < if frame_len < end { frame_len } else { end }
    }

    #[inline(always)]
    fn resend(&mut self) -> Option<()> {
        // SAFETY: a valid context; pointers are made anew afterwards.
        let sent = unsafe {
            let ingress = core::ptr::read_volatile(&raw const (*self.context).ifindex);
            bpf_clone_redirect(self.context, ingress, u64::from(BPF_F_INGRESS))
        };
        (sent == 0).then_some(())
    }

    #[inline(always)]
    fn send_to(&mut self, ifindex: u32) -> Option<()> {
        // SAFETY: a valid context; pointers are made anew afterwards.
        (unsafe { bpf_clone_redirect(self.context, ifindex, 0) } == 0).then_some(())
    }

    #[inline(always)]
    fn copy_to<const N: usize>(&self, frame: &mut [u8; N], len: u32) -> Option<()> {
        let len = frame_len(len)?;
        // SAFETY: a valid context, and room for what is read: `frame_len` compared it.
        let result = unsafe { bpf_skb_load_bytes(self.context.cast(), 0, frame.as_mut_ptr().cast(), len) };
        (result == 0).then_some(())
    }

    #[inline(always)]
    fn fill(&mut self, frame: &hold::Saved, from: u32, offset: u32, len: u32) -> Option<()> {
        let (from, len) = (between(0, from)?, between(1, len)?);
        // SAFETY: a valid context, pointers into which are made anew afterwards, and two numbers that are at most half of
        // the bytes that are there.
        let result = unsafe {
            bpf_skb_store_bytes(
                self.context,
                offset,
                frame.as_ptr().add(from as usize).cast(),
                len,
                u64::from(BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH),
            )
        };
        (result == 0).then_some(())
    }

    #[inline(always)]
    fn replace<const N: usize>(&mut self, frame: &[u8; N], len: u32) -> Option<()> {
        let len = frame_len(len)?;
        // SAFETY: a valid context, pointers into which are made anew afterwards, and as many bytes as are written.
        let results = unsafe {
            bpf_skb_change_tail(self.context, len, 0)
                | bpf_skb_store_bytes(
                    self.context,
                    0,
                    frame.as_ptr().cast(),
                    len,
                    u64::from(BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH),
                )
        };
        (results == 0).then_some(())
    }
}

/// The length of a frame that can be held.
#[inline(always)]
fn frame_len(len: u32) -> Option<u32> {
    between(eth::LEN as u32, len)
}

/// A number of bytes, not below a least one, in a frame that can be held. Two comparisons, which the compiler is kept from
/// making one of, or others than "less": older verifiers see no range in those.
#[inline(always)]
fn between(least: u32, number: u32) -> Option<u32> {
    let number = opaque(u64::from(number));
    if number > u64::from(limits::HOLD_FRAME) {
        return None;
    }
    let number = opaque(number);
    if number < opaque(u64::from(least)) { None } else { Some(number as u32) }
}

/// What the kernel is to know of the new headers, so that it cuts bundles of segments rightly. That these fit with the
/// headers has been checked; they stay as long as they are, as datagrams must (the kernel refuses to do else with them).
#[inline(always)]
fn encap_flags(is_v4: bool, kind: u8) -> u64 {
    let network = if is_v4 { BPF_F_ADJ_ROOM_ENCAP_L3_IPV4 } else { BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 };
    let transport = match kind {
        TunnelType::GUE => BPF_F_ADJ_ROOM_ENCAP_L4_UDP,
        TunnelType::GRE => BPF_F_ADJ_ROOM_ENCAP_L4_GRE,
        _ => 0,
    };
    u64::from(network | transport | BPF_F_ADJ_ROOM_FIXED_GSO)
}
