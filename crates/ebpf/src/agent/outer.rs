//! Which packets are taken out of their tunnel: IP in IP (RFC 2003, RFC 2473, RFC 4213), GRE (RFC 2784) and GUE of
//! version 0, each in IPv4 or IPv6 whatever is inside. Headers must be as a director writes them, without options.

use rvs_abi::{Addr, DecapOutcome, proto};
use rvs_core::Packet;
use rvs_wire::{checksum, eth, gre, gue, ipv4, ipv6, udp};

use crate::inner::{self, Inner};
use crate::sum;
use crate::veil::Veil;

/// Destination that outer headers must have, as an [`Addr`]; 0: any. Set when the program is loaded.
#[unsafe(no_mangle)]
static OUTER_DESTINATION: [u64; 2] = [0; 2];
/// Source that outer headers must have, as an [`Addr`]; 0: any. Set when the program is loaded.
#[unsafe(no_mangle)]
static OUTER_SOURCE: [u64; 2] = [0; 2];
/// UDP port of GUE, network order; 0: none. Set when the program is loaded.
#[unsafe(no_mangle)]
static GUE_PORT: u16 = 0;

/// First byte of an IPv4 header without options.
const VERSION_AND_LEN: u8 = 0x45;
/// Bytes of a frame in which all headers are: Ethernet, IPv6, UDP with GUE, the largest inner IP header, TCP.
const HEADERS_MAX: u32 = (eth::LEN + ipv6::LEN + udp::LEN + gue::LEN + 60 + 20) as u32;

/// Bits of the offset of a packet inside: it begins within the first 127 bytes.
const OFFSET: u16 = 0x7f;

/// What is known of the outer headers. Addresses are read where they are needed: copied on the stack, they would be in
/// words that are not aligned, which the verifier refuses.
#[derive(Clone, Copy)]
struct Outer {
    /// What comes behind the IP header.
    protocol: u8,
    is_v4: bool,
    is_fragment: bool,
    /// Where that begins in the frame. 16 bits, so that the verifier knows a bound.
    at: u16,
    /// End of the packet in the frame.
    end: u32,
    /// The IP header is as it must be.
    is_sound: bool,
}

/// A tunnel's header behind that of IP.
#[derive(Clone, Copy)]
struct Tunnel {
    kind: DecapOutcome,
    /// Bytes of it.
    len: u16,
    /// Protocol number of the packet inside, 4 or 41.
    inside: u8,
    /// It has a checksum.
    has_checksum: bool,
}

/// What is to be taken off. Aligned: the compiler copies it as one word, and the verifier wants words on the stack to be.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(crate) struct Headers {
    /// Bytes of all of them.
    pub(crate) len: u32,
    /// The outer IP header is IPv4.
    pub(crate) is_v4: bool,
    /// The packet inside is IPv4.
    pub(crate) is_v4_inside: bool,
}

/// Looks at a packet. [`DecapOutcome::is_decapsulated`]: its outer headers are to be taken off, if that can be done.
///
/// `is_bundle`: it is a bundle of segments. Its lengths are those before or after it was made, and so are its checksums:
/// they were checked by who made it of packets, or will be written by who makes packets of it.
#[inline(always)]
pub(crate) fn judge<P: Packet>(
    packet: &mut P,
    veil: Veil,
    is_bundle: bool,
) -> Result<(DecapOutcome, Headers), DecapOutcome> {
    if !packet.for_host() || packet.has_tag_aside() {
        return Err(DecapOutcome::NotTunnelled);
    }
    packet.reach(HEADERS_MAX);
    let outer = outer(packet)?;
    if outer.protocol == proto::UDP && !is_gue(packet, &outer) {
        return Err(DecapOutcome::NotTunnelled);
    }
    if outer.is_fragment {
        return Err(DecapOutcome::Fragment);
    }
    let frame_len = packet.frame_len();
    if !outer.is_sound || outer.end > frame_len && !is_bundle {
        return Err(DecapOutcome::BadOuter);
    }
    if !accepts_ends(packet, &outer) {
        return Err(DecapOutcome::NotAccepted);
    }
    let end = if is_bundle { frame_len } else { outer.end };
    let tunnel = tunnel(packet, &outer, end, is_bundle).ok_or(DecapOutcome::BadTunnel)?;
    let at = veil.over(u32::from(outer.at + tunnel.len)) as u16 & OFFSET;
    let inside = veil.over(u32::from(tunnel.inside)) as u8;
    let inner = inner::parse(packet, veil, at, inside, end).ok_or(DecapOutcome::BadInner)?;
    if tunnel.has_checksum && !is_bundle && !sum_is_right(packet, veil, &outer, tunnel.kind, &inner, end) {
        return Err(DecapOutcome::BadChecksum);
    }
    let headers =
        Headers { len: u32::from(at) - eth::LEN as u32, is_v4: outer.is_v4, is_v4_inside: inner.is_v4 };
    Ok((tunnel.kind, headers))
}

/// Reads the outer IP header of a packet that may be a tunnel's.
#[inline(always)]
fn outer<P: Packet>(packet: &P) -> Result<Outer, DecapOutcome> {
    let outer = match packet.get::<2>(eth::LEN - 2) {
        Some(eth::TYPE_IPV4) => outer_v4(packet),
        Some(eth::TYPE_IPV6) => outer_v6(packet),
        _ => None,
    };
    match outer {
        Some(outer) if matches!(outer.protocol, proto::IPIP | proto::IPV6 | proto::GRE | proto::UDP) => {
            Ok(outer)
        }
        _ => Err(DecapOutcome::NotTunnelled),
    }
}

#[inline(always)]
fn outer_v4<P: Packet>(packet: &P) -> Option<Outer> {
    let ip = ipv4::Header::from_bytes(&packet.get::<{ ipv4::LEN }>(eth::LEN)?);
    let is_plain = ip.0[0].to_ne_bytes()[0] == VERSION_AND_LEN;
    let is_long_enough = ip.total_len() as usize >= ipv4::LEN;
    Some(Outer {
        protocol: ip.protocol(),
        is_v4: true,
        is_fragment: ip.is_fragment(),
        at: (eth::LEN + ipv4::LEN) as u16,
        end: eth::LEN as u32 + u32::from(ip.total_len()),
        is_sound: is_plain && is_long_enough && checksum::fold(ip.sum()) == 0xffff,
    })
}

#[inline(always)]
fn outer_v6<P: Packet>(packet: &P) -> Option<Outer> {
    // All of the fixed header must be there.
    packet.get::<{ ipv6::LEN }>(eth::LEN)?;
    let head = packet.get::<8>(eth::LEN)?;
    let at = eth::LEN + ipv6::LEN;
    let is_fragment = head[6] == ipv6::next::FRAGMENT;
    let protocol = if is_fragment { packet.get::<1>(at)?[0] } else { head[6] };
    // A fragment of UDP may be anybody's.
    if is_fragment && protocol == proto::UDP {
        return None;
    }
    Some(Outer {
        protocol,
        is_v4: false,
        is_fragment,
        at: at as u16,
        end: at as u32 + u32::from(u16::from_be_bytes([head[4], head[5]])),
        is_sound: head[0] >> 4 == 6,
    })
}

/// Whether a UDP datagram goes to the port of GUE. Of a fragment nobody knows.
#[inline(always)]
fn is_gue<P: Packet>(packet: &P, outer: &Outer) -> bool {
    // SAFETY: a static. Read volatile: the compiler must not take the value in the source for the one at run time.
    let wanted = unsafe { core::ptr::read_volatile(&raw const GUE_PORT) };
    let port = packet.get::<2>(outer.at as usize + 2).map(u16::from_ne_bytes);
    wanted != 0 && !outer.is_fragment && port == Some(wanted)
}

/// The outer addresses, source first.
#[inline(always)]
fn ends<P: Packet>(packet: &P, outer: &Outer) -> Option<(Addr, Addr)> {
    if outer.is_v4 {
        let source = packet.get::<4>(eth::LEN + ipv4::at::SOURCE)?;
        let destination = packet.get::<4>(eth::LEN + ipv4::at::DESTINATION)?;
        return Some((Addr::v4(source), Addr::v4(destination)));
    }
    let source = packet.get::<16>(eth::LEN + ipv6::at::SOURCE)?;
    let destination = packet.get::<16>(eth::LEN + ipv6::at::DESTINATION)?;
    Some((Addr::from_bytes(&source), Addr::from_bytes(&destination)))
}

#[inline(always)]
fn accepts_ends<P: Packet>(packet: &P, outer: &Outer) -> bool {
    let Some((source, destination)) = ends(packet, outer) else { return false };
    accepts(&OUTER_SOURCE, source) && accepts(&OUTER_DESTINATION, destination)
}

#[inline(always)]
fn accepts(wanted: &'static [u64; 2], address: Addr) -> bool {
    // SAFETY: a static. Read volatile: the compiler must not take the value in the source for the one at run time.
    let wanted = unsafe { core::ptr::read_volatile(wanted) };
    wanted == [0; 2] || wanted == address.0
}

/// The tunnel's header, if it is plain.
#[inline(always)]
fn tunnel<P: Packet>(packet: &P, outer: &Outer, end: u32, is_bundle: bool) -> Option<Tunnel> {
    let at = outer.at as usize;
    match outer.protocol {
        proto::GRE => {
            let [a, b, c, d] = packet.get::<{ gre::LEN }>(at)?;
            let len = gre::header_len([a, b])? as u16;
            let inside = match [c, d] {
                eth::TYPE_IPV4 => proto::IPIP,
                eth::TYPE_IPV6 => proto::IPV6,
                _ => return None,
            };
            let has_checksum = a & gre::HAS_CHECKSUM != 0;
            Some(Tunnel { kind: DecapOutcome::Gre, len, inside, has_checksum })
        }
        proto::UDP => {
            let [_, _, _, _, l0, l1, c0, c1] = packet.get::<{ udp::LEN }>(at)?;
            let is_whole = u32::from(u16::from_be_bytes([l0, l1])) + u32::from(outer.at) == end;
            let [flags, inside, f0, f1] = packet.get::<{ gue::LEN }>(at + udp::LEN)?;
            if !(is_whole || is_bundle) || flags != 0 || f0 != 0 || f1 != 0 {
                return None;
            }
            let (len, has_checksum) = ((udp::LEN + gue::LEN) as u16, c0 | c1 != 0);
            Some(Tunnel { kind: DecapOutcome::Gue, len, inside, has_checksum })
        }
        inside => Some(Tunnel { kind: DecapOutcome::Ipip, len: 0, inside, has_checksum: false }),
    }
}

/// Whether the checksum of GRE or UDP is right.
#[inline(always)]
fn sum_is_right<P: Packet>(
    packet: &mut P,
    veil: Veil,
    outer: &Outer,
    kind: DecapOutcome,
    inner: &Inner,
    end: u32,
) -> bool {
    packet.reach(end);
    let pseudo = match kind {
        DecapOutcome::Gue => pseudo(packet, outer, end - u32::from(outer.at)),
        _ => Some(0),
    };
    let Some(pseudo) = pseudo else { return false };
    // What the stack is still to compute for the packet inside counts as computed.
    let (read_to, missing) = match inner::missing_checksum(packet, inner) {
        Some(field) => (u32::from(inner.transport), u32::from(!field)),
        None => (end, 0),
    };
    let read = sum::bytes(packet, veil, u32::from(outer.at), read_to);
    read.is_some_and(|read| checksum::fold(u32::from(checksum::fold(pseudo)) + read + missing) == 0xffff)
}

/// The sum over the pseudo header of an outer UDP datagram.
#[inline(always)]
fn pseudo<P: Packet>(packet: &P, outer: &Outer, len: u32) -> Option<u32> {
    let (source, destination) = ends(packet, outer)?;
    Some(if outer.is_v4 {
        checksum::pseudo_v4(source.v4_bytes(), destination.v4_bytes(), proto::UDP, len as u16)
    } else {
        checksum::pseudo_v6(source.words(), destination.words(), proto::UDP, len)
    })
}
