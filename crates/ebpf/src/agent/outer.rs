//! Which packets are taken out of their tunnel.

use rvs_abi::{DecapOutcome, proto};
use rvs_core::Packet;
use rvs_wire::{checksum, eth, ipv4};

/// Destination that outer headers must have, as it stands in them; 0: any. Set when the program is loaded.
#[unsafe(no_mangle)]
static OUTER_DESTINATION: u32 = 0;
/// Source that outer headers must have, as it stands in them; 0: any. Set when the program is loaded.
#[unsafe(no_mangle)]
static OUTER_SOURCE: u32 = 0;

/// First byte of an IPv4 header without options.
const VERSION_AND_LEN: u8 = 0x45;

/// Looks at a packet. [`DecapOutcome::Decapsulated`]: its outer header is to be taken off.
#[inline(always)]
pub(crate) fn judge<P: Packet>(packet: &P) -> DecapOutcome {
    if !packet.for_host() || packet.get::<2>(eth::LEN - 2) != Some(eth::TYPE_IPV4) {
        return DecapOutcome::NotTunnelled;
    }
    let Some(outer) = header(packet, eth::LEN) else { return DecapOutcome::NotTunnelled };
    if outer.protocol() != proto::IPIP {
        return DecapOutcome::NotTunnelled;
    }
    if outer.is_fragment() {
        return DecapOutcome::Fragment;
    }
    let len = u32::from(outer.total_len());
    let first = outer.0[0].to_ne_bytes()[0];
    if first != VERSION_AND_LEN || len + eth::LEN as u32 > packet.frame_len() {
        return DecapOutcome::BadOuter;
    }
    if checksum::fold(outer.sum()) != 0xffff {
        return DecapOutcome::BadOuter;
    }
    if !accepts(&OUTER_DESTINATION, outer.destination()) || !accepts(&OUTER_SOURCE, outer.source()) {
        return DecapOutcome::NotAccepted;
    }
    match header(packet, eth::LEN + ipv4::LEN) {
        Some(inner) if is_whole(&inner, len) => DecapOutcome::Decapsulated,
        _ => DecapOutcome::BadInner,
    }
}

#[inline(always)]
fn header<P: Packet>(packet: &P, offset: usize) -> Option<ipv4::Header> {
    packet.get::<{ ipv4::LEN }>(offset).map(|bytes| ipv4::Header::from_bytes(&bytes))
}

/// Whether a packet with this header fits behind an outer header of a packet of `outer_len` bytes.
#[inline(always)]
fn is_whole(inner: &ipv4::Header, outer_len: u32) -> bool {
    let (header_len, len) = (inner.header_len() as u32, u32::from(inner.total_len()));
    inner.version() == 4
        && header_len >= ipv4::LEN as u32
        && len >= header_len
        && len + ipv4::LEN as u32 <= outer_len
}

#[inline(always)]
fn accepts(wanted: &'static u32, address: [u8; 4]) -> bool {
    // SAFETY: a static. Read volatile: the compiler must not take the value in the source for the one at run time.
    let wanted = unsafe { core::ptr::read_volatile(wanted) };
    wanted == 0 || wanted == u32::from_ne_bytes(address)
}
