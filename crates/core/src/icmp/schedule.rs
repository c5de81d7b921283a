//! ICMP errors that begin a connection (`schedule_icmp`, ipvs.md §2.8): the error of a client, about a packet that a real
//! server sent it through another director, reaches some real server.

use rvs_abi::{Class, Outcome, Settings, proto, ticks_from_secs};

use crate::parse::Signal;
use crate::pipeline::{connect, find_mark};
use crate::{Tables, state};

/// How long such a connection lives if nothing of it is seen (ipvs.md §4.3).
const LIFE_TICKS: u32 = ticks_from_secs(3) as u32;

/// What becomes of an error about a packet of no connection. [`Outcome::NoConnection`]: it may begin one.
#[inline(always)]
pub(crate) fn unknown<T: Tables>(tables: &T) -> Outcome {
    if tables.settings() & Settings::SCHEDULE_ICMP == 0 {
        Outcome::IcmpNoConnection
    } else {
        Outcome::NoConnection
    }
}

/// Before stage 3: it is to choose for the quoted packet, which goes the way of the error. Of that packet there may be no
/// more than its ports: it begins a connection whatever it is.
#[inline(always)]
pub fn take_quoted<T: Tables>(tables: &T) {
    let _done = tables.with_scratch(|scratch| {
        core::mem::swap(&mut scratch.parsed, &mut scratch.quoted);
        if matches!(scratch.parsed.protocol, proto::TCP | proto::UDP | proto::SCTP) {
            scratch.parsed.signal = Signal::BEGINS;
        }
    });
}

/// Behind it: the error is at hand again. Its connection begins in no state: none of its own packets was seen.
#[inline(always)]
pub fn give_quoted_back<T: Tables>(tables: &T) {
    let _done = tables.with_scratch(|scratch| {
        core::mem::swap(&mut scratch.parsed, &mut scratch.quoted);
        scratch.request.birth.state = state::first(scratch.quoted.protocol);
        scratch.request.birth.timeout = LIFE_TICKS;
    });
}

/// Makes the connection of the packet that an ICMP error quotes, after [`take_quoted`]. [`Outcome::Balanced`]: the error goes
/// by it.
#[inline(always)]
pub(crate) fn begin<T: Tables>(tables: &T) -> Outcome {
    find_mark(tables);
    let prepared = tables.prepare();
    tables.give_quoted_back();
    match connect(prepared, tables) {
        outcome @ Outcome::Balanced => outcome,
        // Never past the real servers (ipvs.md §2.6).
        Outcome::Bypass => Outcome::NoDestination,
        // No connection is kept that it could go by.
        Outcome::OnePacket => Outcome::IcmpNoConnection,
        outcome if outcome.class() == Class::Pass => Outcome::IcmpNoConnection,
        outcome => outcome,
    }
}
