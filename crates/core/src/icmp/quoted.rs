//! The packet that an ICMP error quotes: its header and at least eight bytes behind that (RFC 792, RFC 4443).

use rvs_abi::{Addr, Outcome, Settings, family, proto};
use rvs_wire::{eth, icmp, ipv4, ipv6};

use crate::parse::{Signal, skip_extensions};
use crate::{Packet, Parsed, Tables};

/// Bytes of a frame in which the ports of a quoted packet are looked for, be it in a tunnel's packet.
const REACH: u32 = (eth::LEN + 60 + icmp::LEN + 2 * 60 + 12 + EXTENSIONS_LEN) as u32;
/// Bytes of extension headers beyond, behind which they are looked for in any frame.
const EXTENSIONS_LEN: usize = 128;

/// Parses the quoted packet of an error into `quoted`, with its ends exchanged: as a packet that goes the way of the
/// error. Its `len` is what is there of it.
///
/// # Errors
/// [`Outcome::IcmpQuote`], or [`Outcome::TunnelError`] where it may be a tunnel's; [`Outcome::Fragment`]: the error itself is one.
#[inline(always)]
pub(crate) fn parse<P: Packet, T: Tables>(
    reached: &mut P,
    tables: &T,
    outer: &Parsed,
    quoted: &mut Parsed,
) -> Result<(), Outcome> {
    // Those behind it are not held, nor sent after it: all are left to the stack. IPVS reassembles them (ipvs.md §2.8).
    if outer.is(Signal::FRAGMENT) {
        return Err(Outcome::Fragment);
    }
    reached.reach(REACH);
    let at = outer.transport() + icmp::LEN;
    packet(reached, tables, at, eth::LEN as u32 + outer.len, outer.is_v4(), quoted)
}

/// The same for a packet that begins at an offset and of which there are the bytes up to `end`.
///
/// # Errors
/// As [`parse`].
#[inline(always)]
pub(crate) fn packet<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    at: usize,
    end: u32,
    is_v4: bool,
    quoted: &mut Parsed,
) -> Result<(), Outcome> {
    quoted.len = end.wrapping_sub(at as u32);
    quoted.family = if is_v4 { family::V4 } else { family::V6 };
    quoted.signal = 0;
    quoted.row = crate::state::STATELESS;
    if is_v4 { network_v4(packet, at, quoted) } else { network_v6(packet, tables, at, quoted) }
        .ok_or(Outcome::IcmpQuote)?;
    let ports = match quoted.protocol {
        // IPVS takes a quote that ends behind them, though hosts quote eight bytes at least (RFC 792).
        proto::TCP | proto::UDP | proto::SCTP if u32::from(quoted.l4) + 4 > end => {
            return Err(cut_short(tables));
        }
        proto::TCP | proto::UDP | proto::SCTP => {
            packet.get::<4>(quoted.transport()).ok_or(Outcome::IcmpQuote)?
        }
        proto::AH | proto::ESP => [1, 244, 1, 244],
        proto::IPIP | proto::IPV6 | proto::GRE => return Err(Outcome::TunnelError),
        _ => return Err(Outcome::IcmpQuote),
    };
    (quoted.dport, quoted.sport) = ([ports[0], ports[1]], [ports[2], ports[3]]);
    Ok(())
}

/// What becomes of an error whose quote ends before the ports: where it could begin a connection, IPVS drops it as it does a
/// packet that is cut short (ipvs.md §2.4, §2.8).
#[inline(always)]
fn cut_short<T: Tables>(tables: &T) -> Outcome {
    let schedules = tables.settings() & Settings::SCHEDULE_ICMP != 0;
    if schedules { Outcome::TruncatedTransport } else { Outcome::IcmpQuote }
}

#[inline(always)]
fn network_v4<P: Packet>(packet: &P, at: usize, quoted: &mut Parsed) -> Option<()> {
    let ip = ipv4::Header::from_bytes(&packet.get::<{ ipv4::LEN }>(at)?);
    if ip.version() != 4 || ip.header_len() < ipv4::LEN || ip.is_later_fragment() {
        return None;
    }
    quoted.ip = ip;
    quoted.destination = Addr::v4(ip.source());
    quoted.source = Addr::v4(ip.destination());
    quoted.protocol = ip.protocol();
    let l4 = (at + ip.header_len()) as u16;
    quoted.l4 = l4;
    Some(())
}

/// With extension headers, as IPVS looks behind those too.
#[inline(always)]
fn network_v6<P: Packet, T: Tables>(packet: &P, tables: &T, at: usize, quoted: &mut Parsed) -> Option<()> {
    let head = packet.get::<8>(at)?;
    let source = packet.get::<16>(at + ipv6::at::SOURCE)?;
    let destination = packet.get::<16>(at + ipv6::at::DESTINATION)?;
    if head[0] >> 4 != 6 {
        return None;
    }
    quoted.destination = Addr::from_bytes(&source);
    quoted.source = Addr::from_bytes(&destination);
    let fragment = skip_extensions(packet, tables, head[6], (at + ipv6::LEN) as u16, quoted).ok()?;
    (fragment != Signal::LATER).then_some(())
}
