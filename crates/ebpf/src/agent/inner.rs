//! The packet inside of a tunnel's.

use rvs_abi::proto;
use rvs_core::Packet;
use rvs_wire::{checksum, ipv4, ipv6, tcp, udp};

use crate::veil::Veil;

/// A packet inside.
#[derive(Clone, Copy)]
pub(crate) struct Inner {
    pub(crate) is_v4: bool,
    /// Its protocol; of IPv6 what the fixed header says.
    protocol: u8,
    /// Where its transport header begins in the frame.
    pub(crate) transport: u16,
    /// Where it begins.
    at: u16,
    /// Bytes behind its IP header.
    payload: u32,
}

/// Looks at the packet at an offset, which must be whole within the frame's bytes up to `end`.
#[inline(always)]
pub(crate) fn parse<P: Packet>(packet: &P, veil: Veil, at: u16, protocol: u8, end: u32) -> Option<Inner> {
    let room = end.checked_sub(u32::from(at))?;
    match protocol {
        proto::IPIP => {
            let ip = ipv4::Header::from_bytes(&packet.get::<{ ipv4::LEN }>(at as usize)?);
            let (header_len, len) = (ip.header_len() as u32, u32::from(ip.total_len()));
            let is_whole =
                ip.version() == 4 && header_len >= ipv4::LEN as u32 && len >= header_len && len <= room;
            let transport = veil.over(u32::from(at) + header_len) as u16 & 0xff;
            let payload = len.wrapping_sub(header_len);
            is_whole.then_some(Inner { is_v4: true, protocol: ip.protocol(), transport, at, payload })
        }
        proto::IPV6 => {
            // All of the fixed header must be there.
            packet.get::<{ ipv6::LEN }>(at as usize)?;
            let head = packet.get::<8>(at as usize)?;
            let payload = u32::from(u16::from_be_bytes([head[4], head[5]]));
            let is_whole = head[0] >> 4 == 6 && payload + ipv6::LEN as u32 <= room;
            let transport = at + ipv6::LEN as u16;
            is_whole.then_some(Inner { is_v4: false, protocol: head[6], transport, at, payload })
        }
        _ => None,
    }
}

/// The checksum field of the packet inside, if it was left to the device: as it comes from a sender on this machine, it
/// then holds the sum over the pseudo header.
#[inline(always)]
pub(crate) fn missing_checksum<P: Packet>(packet: &P, inner: &Inner) -> Option<u16> {
    let offset = match inner.protocol {
        proto::TCP => tcp::CHECKSUM,
        proto::UDP => udp::CHECKSUM,
        _ => return None,
    };
    if !packet.may_lack_checksum() {
        return None;
    }
    let field = packet.get::<2>(inner.transport as usize + offset).map(u16::from_ne_bytes)?;
    (field == checksum::fold(pseudo(packet, inner)?)).then_some(field)
}

/// The sum over the pseudo header of the packet inside.
#[inline(always)]
fn pseudo<P: Packet>(packet: &P, inner: &Inner) -> Option<u32> {
    let at = inner.at as usize;
    if inner.is_v4 {
        let ip = ipv4::Header::from_bytes(&packet.get::<{ ipv4::LEN }>(at)?);
        let len = inner.payload as u16;
        return Some(checksum::pseudo_v4(ip.source(), ip.destination(), inner.protocol, len));
    }
    let source = ipv6::words(packet.get::<16>(at + ipv6::at::SOURCE)?);
    let destination = ipv6::words(packet.get::<16>(at + ipv6::at::DESTINATION)?);
    Some(checksum::pseudo_v6(source, destination, inner.protocol, inner.payload))
}
