//! A packet's bytes and the few ways to change them.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; ids and flags are cut on purpose"
)]

use rvs_abi::{TunnelType, family};
use rvs_wire::checksum::Delta;
use rvs_wire::{gre, gue, ipv4, ipv6, udp};

use crate::{Parsed, hold};

/// A frame that starts with its Ethernet header.
///
/// Implemented over an XDP context, a socket buffer under TC, and plain memory. Offsets count from the first byte of the
/// frame. Every access is checked; outside of the frame there is nothing (`None`).
pub trait Packet {
    /// Bytes of the whole frame. Under TC this may be a bundle of segments (GSO) and larger than any MTU.
    fn frame_len(&self) -> u32;

    /// Bytes of the largest IP packet that this frame puts on the wire: of one segment with its headers, if the frame is
    /// a bundle of them.
    fn wire_len(&self, parsed: &Parsed) -> u32;

    /// Bytes of the IP packet of a bundle of segments that is longer than its header can tell; 0 if it is no bundle.
    fn bundle_len(&self) -> u32;

    /// Whether the frame was addressed to this host at link level.
    fn for_host(&self) -> bool;

    /// Whether it came with a VLAN tag that is kept beside the frame and not in it.
    fn has_tag_aside(&self) -> bool;

    /// Whether a checksum may be left to the device: the field then holds the sum over the pseudo header only.
    fn may_lack_checksum(&self) -> bool;

    /// `N` bytes from `offset`.
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Overwrites `N` bytes from `offset`.
    fn set<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> Option<()>;

    /// Updates a TCP checksum field for changed bytes: `pseudo` of the pseudo header, `fields` of the segment itself.
    /// Right also where the device is still to compute the checksum.
    fn update_tcp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()>;

    /// The same for UDP, where a field of 0 stays 0.
    fn update_udp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()>;

    /// Makes room behind the Ethernet header, whose type becomes that of the new header. The bytes are to be written.
    fn push(&mut self, header: &Encap) -> Option<()>;

    /// Takes away bytes behind the Ethernet header.
    fn pull(&mut self, len: u32) -> Option<()>;

    /// Puts so many bytes in the place of others behind the Ethernet header, whose type becomes that of the other
    /// [`family`]. The new ones are to be written.
    fn change_family(&mut self, to: u8, old: u32, new: u32) -> Option<()>;

    /// Cuts the frame down to its first bytes, or adds bytes at its end, which are to be written.
    fn resize(&mut self, frame_len: u32) -> Option<()>;

    /// Makes the first bytes of the frame readable, as far as there are so many.
    fn reach(&mut self, len: u32);

    /// Whether the frame has bytes before that offset that can't be read before they were [reached](Self::reach) for: never,
    /// where a frame is in one piece.
    #[inline(always)]
    fn is_short_of(&self, _end: u32) -> bool {
        false
    }

    /// Sends a copy of the frame to the interface that it came in on, as if it came in once more.
    fn resend(&mut self) -> Option<()>;

    /// Sends a copy of the frame to an interface.
    fn send_to(&mut self, ifindex: u32) -> Option<()>;

    /// Copies the frame, which has so many bytes.
    fn copy_to<const N: usize>(&self, frame: &mut [u8; N], len: u32) -> Option<()>;

    /// Becomes that frame of so many bytes.
    fn replace<const N: usize>(&mut self, frame: &[u8; N], len: u32) -> Option<()>;

    /// Overwrites so many bytes from `offset` by those of that frame from `from`.
    fn fill(&mut self, frame: &hold::Saved, from: u32, offset: u32, len: u32) -> Option<()>;
}

/// What is put in front of an IP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encap {
    /// Family of the new IP header.
    pub family: u8,
    /// What comes behind that header.
    pub kind: u8,
    /// 1: with a checksum of its own over the packet inside.
    pub checksum: u8,
    /// Bytes behind that header.
    pub rest: u32,
}

impl Encap {
    /// Kind: the header of an ICMP message, which is no tunnel.
    pub const ICMP: u8 = 0xff;
    /// Kind: a tunnel's that the kernel is told nothing of. It makes no fragments of what it knows to be in a tunnel.
    pub const PLAIN: u8 = 0xfe;

    /// Of a tunnel of that [`TunnelType`], with a checksum (1), where that has one, or without (0).
    #[inline(always)]
    #[must_use]
    pub const fn tunnel(family: u8, kind: u8, checksum: u8) -> Self {
        let rest = match kind {
            TunnelType::GUE => udp::LEN + gue::LEN,
            TunnelType::GRE => gre::LEN + (gre::CHECKSUM_LEN - gre::LEN) * (checksum & 1) as usize,
            _ => 0,
        };
        let checksum = if matches!(kind, TunnelType::GUE | TunnelType::GRE) { checksum } else { 0 };
        Self { family, kind, checksum, rest: rest as u32 }
    }

    /// Nothing but room of so many bytes, more than an IP header's, in front of a packet of that family.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn room(size: u32, is_v4: bool) -> Self {
        let (family, ip_len) = if is_v4 { (family::V4, ipv4::LEN) } else { (family::V6, ipv6::LEN) };
        Self { family, kind: Self::ICMP, checksum: 0, rest: size - ip_len as u32 }
    }

    /// Of an ICMP error.
    #[inline(always)]
    #[must_use]
    pub const fn icmp(family: u8) -> Self {
        Self { family, kind: Self::ICMP, checksum: 0, rest: rvs_wire::icmp::LEN as u32 }
    }

    /// Whether it has a checksum of its own.
    #[inline(always)]
    #[must_use]
    pub const fn has_checksum(&self) -> bool {
        self.checksum != 0
    }

    /// Whether the new IP header is IPv4.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.family == family::V4
    }

    /// Bytes of the new IP header.
    #[inline(always)]
    #[must_use]
    pub const fn ip_len(&self) -> u32 {
        if self.is_v4() { ipv4::LEN as u32 } else { ipv6::LEN as u32 }
    }

    /// Bytes of all of it.
    #[inline(always)]
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.ip_len() + self.rest
    }
}
