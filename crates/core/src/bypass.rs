//! Past the real servers (`cache_bypass`, ipvs.md §2.6 step 1, §3.7): a packet of a service by mark that has no destination
//! goes on to where it was going, and what follows it too.

use rvs_abi::{Addr, Method, NO_DEST, Outcome, Settings};

use crate::forward::direct_route;
use crate::forward::local::is_loopback;
use crate::parse::Signal;
use crate::pipeline::{Context, Scratch, Way, either, method};
use crate::state::{self, Direction};
use crate::{Packet, Parsed, ServiceRecord, Tables, conn, cut, one_packet};

/// Its connection is known.
const KNOWN: u64 = 0;
/// Its connection is to be made.
const NEW: u64 = 1;
/// It is scheduled by itself (ipvs.md §4.6), or follows a first fragment: no connection is looked for.
pub(crate) const UNKEPT: u64 = 2;
/// It is an ICMP error about a reply that came by a connection without a destination: the same, and it is not cut.
pub(crate) const ERROR: u64 = 3;

/// The stage for such packets. [`Outcome::NoConnection`]: its connection is to be made, as it was prepared.
#[inline(always)]
pub fn bypass<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, scratch.is_fresh != 0);
        let Scratch { parsed, way, .. } = scratch;
        either(context.pass_by(packet, parsed, way))
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// For a packet of a connection that has no destination.
#[inline(always)]
pub(crate) const fn known(way: &mut Way) -> Outcome {
    way.bypass = KNOWN;
    Outcome::Bypass
}

/// For a packet of no connection yet.
#[inline(always)]
pub(crate) const fn begun(turn: &one_packet::Turn) -> u64 {
    if turn.is_one_packet() { UNKEPT } else { NEW }
}

impl<T: Tables> Context<'_, T> {
    /// The destination that was picked; [`NO_DEST`] for a packet that goes on without one.
    #[inline(always)]
    pub(crate) fn or_bypass(
        &self,
        picked: Option<u32>,
        parsed: &Parsed,
        service: T::Service,
    ) -> Result<u32, Outcome> {
        match picked {
            None if self.may_pass_by(parsed, service) => Ok(NO_DEST),
            None => Err(Outcome::NoDestination),
            Some(NO_DEST) => Err(Outcome::Inconsistent),
            Some(dest) => Ok(dest),
        }
    }

    /// Whether a packet without a destination goes on.
    #[inline(always)]
    fn may_pass_by(&self, parsed: &Parsed, service: T::Service) -> bool {
        self.tables.settings() & Settings::CACHE_BYPASS != 0
            && service.protocol() == rvs_abi::mark::PROTOCOL
            && !is_group(parsed)
    }

    /// Writes down a connection without a destination.
    #[inline(always)]
    pub(crate) fn describe_bypass(
        &self,
        parsed: &Parsed,
        service: u32,
        request: &mut conn::Request,
    ) -> Option<Outcome> {
        let next = state::Event::new(parsed.row, Direction::Input).next(0);
        request.place = self.place(&parsed.source, parsed.sport, parsed.protocol)?;
        request.birth.state = next.state();
        request.birth.now = self.now;
        request.birth.timeout = self.tables.timeout(next.timeout());
        let entry = &mut request.entry;
        entry.client = parsed.source;
        entry.vip = parsed.destination;
        entry.cport = u16::from_ne_bytes(parsed.sport);
        entry.vport = u16::from_ne_bytes(parsed.dport);
        entry.protocol = parsed.protocol;
        entry.family = parsed.family;
        entry.flags = u16::from(Method::BYPASS);
        entry.dest = NO_DEST;
        entry.service = service;
        entry.dport = 0;
        entry.lport = 0;
        (entry.local, entry.own) = (0, 0);
        entry.packets = 0;
        entry.control = 0;
        Some(Outcome::Bypass)
    }

    /// Sends a packet to where it was going.
    #[inline(always)]
    fn pass_by<P: Packet>(&self, packet: &mut P, parsed: &Parsed, way: &mut Way) -> Result<Outcome, Outcome> {
        let begins = self.is_fresh || way.bypass == NEW || way.bypass == UNKEPT && !parsed.is(Signal::LATER);
        match self.hop_to_client(parsed.destination, Addr::default(), begins) {
            Ok(hop) => way.hop = hop,
            // An address of this director is nobody else's.
            Err(Outcome::NoRoute) if way.bypass != KNOWN => return Err(Outcome::NoDestination),
            Err(outcome) => return Err(outcome),
        }
        if self.tables.is_local() && is_loopback(parsed.source) {
            return Err(Outcome::LoopbackAddress);
        }
        way.notice.mtu = way.hop.mtu;
        if way.bypass != ERROR {
            cut::check(packet, self.tables, parsed, &way.hop, Method::BYPASS)?;
        }
        if parsed.is(Signal::FRAGMENT) {
            way.keep.write(parsed, (NO_DEST, NO_DEST), Method::BYPASS, (Addr::default(), self.now));
            way.keep.announce(self.tables, parsed, self.now)?;
        }
        if way.bypass == KNOWN || way.bypass == NEW {
            self.note_bypass(parsed, way.bypass == NEW)?;
        }
        direct_route::send(packet, parsed, &way.hop)?;
        Ok(Outcome::ForwardBypass)
    }

    /// Moves the packet's connection along. It is no destination's, and counts for none.
    #[inline(always)]
    fn note_bypass(&self, parsed: &Parsed, is_new: bool) -> Result<(), Outcome> {
        let Some(mut found) = self.find_request(parsed) else {
            return Err(if is_new { Outcome::NoConnection } else { Outcome::ConnContended });
        };
        if method(found.flags()) != Method::BYPASS {
            return Err(Outcome::ConnContended);
        }
        self.note_request(parsed, &mut found, Direction::Input);
        Ok(())
    }
}

/// Whether a packet is for many.
#[inline(always)]
fn is_group(parsed: &Parsed) -> bool {
    if parsed.is_v4() {
        return parsed.destination.v4_bytes()[0] >= 224;
    }
    parsed.destination.0[0].to_ne_bytes()[0] == 0xff
}
