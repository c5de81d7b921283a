//! A packet's bytes and the few ways to change them.

use rvs_wire::checksum::Delta;
use rvs_wire::ipv4;

/// A frame that starts with its Ethernet header.
///
/// Implemented over an XDP context, a socket buffer under TC, and plain memory. Offsets count from the first byte of the
/// frame. Every access is checked; outside of the frame there is nothing (`None`).
pub trait Packet {
    /// Bytes of the whole frame. Under TC this may be a bundle of segments (GSO) and larger than any MTU.
    fn frame_len(&self) -> u32;

    /// Bytes of the largest IP packet that this frame puts on the wire, given its IP header: of one segment with its
    /// headers, if the frame is a bundle of them.
    fn wire_len(&self, ip: &ipv4::Header) -> u32;

    /// Whether the frame was addressed to this host at link level.
    fn for_host(&self) -> bool;

    /// Whether it came with a VLAN tag that is kept beside the frame and not in it.
    fn has_tag_aside(&self) -> bool;

    /// `N` bytes from `offset`.
    fn get<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// Overwrites `N` bytes from `offset`.
    fn set<const N: usize>(&mut self, offset: usize, bytes: &[u8; N]) -> Option<()>;

    /// Updates a TCP checksum field for changed bytes: `pseudo` of the pseudo header, `fields` of the segment itself.
    /// Right also where the device is still to compute the checksum.
    fn update_tcp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()>;

    /// The same for UDP, where a field of 0 stays 0.
    fn update_udp_checksum(&mut self, offset: usize, pseudo: Delta, fields: Delta) -> Option<()>;

    /// Puts an IPv4 header between the Ethernet header and the IP packet. Offsets shift by its 20 bytes.
    fn push_ipv4(&mut self, header: &[u8; 20]) -> Option<()>;
}
