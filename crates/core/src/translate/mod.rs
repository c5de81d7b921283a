//! Translation between IPv6 and IPv4 (RFC 7915): full NAT to a destination of the other address family (IPVS lacks it).
//!
//! Both ends of a packet are exchanged, as full NAT does, and so the two halves of a connection may be of two families: the
//! addresses that RFC 7915 computes come from the connection instead. What has to be decided about a packet is decided
//! first ([`translate`]), while it is what it came as: errors about it quote it so, and fragments of it are cut from it.
//! Then it becomes a packet of the other family ([`become_other`]).
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; fields are cut on purpose"
)]

mod decide;
mod error;
mod extra;
mod header;
mod icmp;
mod rewrite;
mod size;

pub(crate) use decide::follow;
pub(crate) use header::Fields;

use rvs_abi::Outcome;

use crate::parse::Signal;
use crate::pipeline::{Context, Scratch, either};
use crate::{Packet, Tables};

/// The stage for a packet of a connection between families, which [`Scratch::found`] names. [`Outcome::ForwardTranslated`],
/// [`Outcome::ReplyTranslated`]: the next stage is to rewrite it.
#[inline(always)]
pub fn translate<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, scratch.is_fresh != 0);
        let Scratch { parsed, way, found, .. } = scratch;
        let Some(mut found) = found.get(tables) else { return Outcome::Inconsistent };
        let outcome = either(context.translate(packet, parsed, &mut found, way));
        if outcome == Outcome::ForwardCut {
            parsed.signal |= Signal::TRANSLATED;
        }
        outcome
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// The stage behind it: the packet becomes one of the other family. `false`: the kernel made no room.
#[inline(always)]
pub fn become_other<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> bool {
    let is_done = tables.with_scratch(|scratch| {
        let Scratch { parsed, way, .. } = scratch;
        rewrite::packet(packet, tables, parsed, way).is_some()
    });
    is_done.unwrap_or(false)
}

/// The stage for an ICMP error about a packet of such a connection. [`Outcome::IcmpToClient`], [`Outcome::IcmpToServer`]: the
/// next stage is to rewrite it.
#[inline(always)]
pub fn translate_error<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        let Scratch { parsed, quoted, way, found, .. } = scratch;
        let Some(found) = found.get(tables) else { return Outcome::Inconsistent };
        either(error::decide(&context, packet, parsed, quoted, &found, way))
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// The stage behind that: the error becomes one of the other family. `false`: the kernel made no room.
#[inline(always)]
pub fn error_becomes_other<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> bool {
    let is_done = tables.with_scratch(|scratch| {
        let Scratch { parsed, quoted, way, .. } = scratch;
        error::rewrite(packet, tables, parsed, quoted, way).is_some()
    });
    is_done.unwrap_or(false)
}
