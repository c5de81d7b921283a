//! The stages of ICMP errors.

use rvs_abi::{Outcome, proto};

use super::{quoted, relay, schedule, tunnel};
use crate::pipeline::{About, Context, Scratch, Side, either};
use crate::{Packet, Tables};

/// Stage 2c, for ICMP errors (ipvs.md §2.8): sends one on to the end of a connection that it is for. Errors of the real
/// servers' side come first, as on IPVS's hooks (ipvs.md §2.1).
#[inline(always)]
pub fn icmp<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let parsed =
        tables.with_scratch(|scratch| quoted::parse(packet, tables, &scratch.parsed, &mut scratch.quoted));
    match parsed {
        Some(Ok(())) => {}
        Some(Err(outcome)) => return outcome,
        None => return Outcome::Inconsistent,
    }
    if tables.find(Side::Server) || tables.full_nat() != 0 && tables.find_local(About::Quoted) {
        return about_quoted(packet, tables, Side::Server);
    }
    if tables.find(Side::Client) {
        return about_quoted(packet, tables, Side::Client);
    }
    // It may be one of GUE.
    if is_quoted_datagram(tables) { Outcome::TunnelError } else { schedule::unknown(tables) }
}

/// Whether the quoted packet is of UDP. A number and no `Option` of one: kernel 6.1 does not know that there is scratch
/// memory, and refuses to compare what nobody wrote.
#[inline(always)]
fn is_quoted_datagram<T: Tables>(tables: &T) -> bool {
    tables.with_scratch(|scratch| u32::from(scratch.quoted.protocol)).unwrap_or(0) == u32::from(proto::UDP)
}

/// Sends on an error that came from the side of clients or real servers.
#[inline(always)]
fn about_quoted<P: Packet, T: Tables>(packet: &mut P, tables: &T, side: Side) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        let Scratch { parsed, quoted, way, found, .. } = scratch;
        let Some(found) = found.get(tables) else { return Outcome::Inconsistent };
        either(match side {
            Side::Server => relay::to_client(&context, packet, parsed, quoted, &found, way),
            Side::Client => relay::to_server(&context, packet, parsed, quoted, &found, way),
        })
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Stage 2d, for ICMP errors that may be about a tunnel's packet.
#[inline(always)]
pub fn tunnel_error<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    // What goes to a UDP port may be any datagram, and then is whole.
    let is_datagram = is_quoted_datagram(tables);
    let parsed = tables.with_scratch(|scratch| {
        let Scratch { parsed, quoted, quoted_tunnel, .. } = scratch;
        if tunnel::parse(packet, tables, parsed, quoted, quoted_tunnel).is_none() {
            return Outcome::IcmpQuote;
        }
        if tunnel::is_ours(tables, quoted_tunnel) { Outcome::TunnelError } else { Outcome::IcmpNoConnection }
    });
    match parsed.unwrap_or(Outcome::Inconsistent) {
        Outcome::TunnelError => {}
        _ if is_datagram => return schedule::unknown(tables),
        outcome => return outcome,
    }
    if !tables.find(Side::Client) {
        return Outcome::IcmpNoConnection;
    }
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        let Scratch { parsed, quoted: inside, quoted_tunnel: tunnel, way, found, .. } = scratch;
        let Some(found) = found.get(tables) else { return Outcome::Inconsistent };
        let link = &mut way.hop.link;
        either(tunnel::error(&context, packet, parsed, tunnel, inside, &found, link))
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}
