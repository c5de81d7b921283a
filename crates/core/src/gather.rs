//! The stages of the programs Gather and Cut: for fragments, and for packets that are made into some.

use rvs_abi::Outcome;

use crate::pipeline::Scratch;
use crate::{Packet, Tables, conn};

/// The stage for a fragment that came before the first of its packet (see [`crate::hold`]).
#[inline(always)]
pub fn hold<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let Scratch { parsed, way, clock, .. } = scratch;
        crate::hold::hold(packet, tables, parsed, way, conn::ticks(*clock))
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// The stage for a packet that is too large for its way: sends it in fragments (see `crate::cut`).
#[inline(always)]
pub fn cut<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let Scratch { parsed, way, .. } = scratch;
        crate::cut::send(packet, tables, parsed, way)
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// The stage for a first fragment that is ready: keeps where it goes.
#[inline(always)]
pub fn keep<T: Tables>(tables: &T, outcome: Outcome) {
    let _kept = tables.with_scratch(|scratch| {
        scratch.way.keep.keep(tables, &scratch.parsed, outcome, conn::ticks(scratch.clock));
        scratch.way.keep.gathered = 1;
    });
}

/// The stage behind that: has those sent that came before it. `false`: it is lost.
#[inline(always)]
pub fn release<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> bool {
    let is_there = tables.with_scratch(|scratch| {
        let Scratch { parsed, way, clock, .. } = scratch;
        crate::hold::release(packet, tables, parsed, way.keep.key(), conn::ticks(*clock))
    });
    is_there.unwrap_or(false)
}

/// The stage behind that for what is too large for its way now: sends it in fragments (see `crate::cut::outer`).
#[inline(always)]
pub fn cut_outer<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome =
        tables.with_scratch(|scratch| crate::cut::outer::send(packet, tables, &scratch.parsed, &scratch.way));
    outcome.unwrap_or(Outcome::Inconsistent)
}
