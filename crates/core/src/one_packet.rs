//! One-packet scheduling (ipvs.md §4.6): a datagram gets a destination of its own, and no connection is kept.

use rvs_abi::{Addr, Class, Method, Outcome, ServiceFlags, Stats, proto};

use crate::forward::{check, local, masq};
use crate::parse::Signal;
use crate::pipeline::{Context, Scratch, Way, either, method};
use crate::{DestRecord, Packet, Parsed, ServiceRecord, Tables, conn, cut, fragment};

/// The turn that a scheduler gave to a datagram.
///
/// Under XDP one that can't be sent is taken up under TC, where it is scheduled once more. Its turn is taken back before: a
/// destination whose neighbour is not resolved would otherwise lose each of its turns to the next, and never be resolved.
#[derive(Debug, Clone, Copy, Default)]
pub struct Turn {
    /// 1: the service is of that kind, and so is the packet.
    is_one_packet: u32,
    /// The scheduler's state word.
    at: u32,
    before: u64,
    after: u64,
}

impl Turn {
    /// Whether the packet's connection is not kept.
    #[inline(always)]
    #[must_use]
    pub const fn is_one_packet(&self) -> bool {
        self.is_one_packet != 0
    }

    /// Before the scheduler is asked.
    #[inline(always)]
    pub(crate) fn begin<T: Tables>(&mut self, tables: &T, service: T::Service, parsed: &Parsed) {
        self.is_one_packet = 0;
        if service.flags() & ServiceFlags::ONE_PACKET != 0 && parsed.protocol == proto::UDP {
            self.is_one_packet = 1;
            (self.at, _) = service.table();
            self.before = tables.sched_word(self.at).unwrap_or(0);
        }
    }

    /// After it.
    #[inline(always)]
    pub(crate) fn end<T: Tables>(&mut self, tables: &T) {
        if self.is_one_packet() {
            self.after = tables.sched_word(self.at).unwrap_or(0);
        }
    }

    /// Gives the turn back, unless others had theirs meanwhile.
    #[inline(always)]
    fn take_back<T: Tables>(&self, tables: &T) {
        if self.after != self.before {
            let _taken = tables.swap_sched_word(self.at, self.after, self.before);
        }
    }
}

/// The stage behind 3 for such a datagram: sends it as the connection to be made says.
#[inline(always)]
pub fn one_packet<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, true);
        let Scratch { parsed, way, request, turn, .. } = scratch;
        either(send(&context, packet, parsed, request, turn, way))
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// As a packet of a connection is sent (ipvs.md §2.2 step 11), with the connection counted.
#[inline(always)]
pub(crate) fn send<P: Packet, T: Tables>(
    context: &Context<'_, T>,
    packet: &mut P,
    parsed: &Parsed,
    request: &conn::Request,
    turn: &Turn,
    way: &mut Way,
) -> Result<Outcome, Outcome> {
    let (dest_id, service) = (request.entry.dest, request.entry.service);
    let dest = context.tables.dest(dest_id).ok_or(Outcome::Inconsistent)?;
    let method = method(request.entry.flags);
    context.stays_in_family(parsed, dest, method)?;
    let mut found = context.find_way(dest, dest_id, true, way);
    if found == Outcome::Balanced
        && let Err(outcome) = cut::check(packet, context.tables, parsed, &way.hop, method)
    {
        found = outcome;
    }
    if parsed.is(Signal::FRAGMENT) {
        way.keep.write(parsed, (dest_id, service), method, (Addr::default(), context.now));
        if let Err(outcome) = way.keep.announce(context.tables, parsed, context.now) {
            found = outcome;
        }
    }
    if found == Outcome::Local && !context.is_near {
        return Err(Outcome::LocalPacket);
    }
    // What is cut comes again as well.
    if found.class() == Class::HandOver || found == Outcome::ForwardCut {
        turn.take_back(context.tables);
        return Err(found);
    }
    let in_bytes = fragment::counted(parsed);
    context.tables.count(service, dest_id, &Stats { conns: 1, in_packets: 1, in_bytes, ..Stats::default() });
    let dport = request.entry.dport.to_ne_bytes();
    if context.is_near && found == Outcome::Local {
        way.local.request(method, dest.addr(), dport);
        return Ok(Outcome::Local);
    }
    if context.is_near && local::is_loopback(parsed.source) {
        return Err(Outcome::LoopbackAddress);
    }
    if found != Outcome::Balanced {
        return Err(found);
    }
    if method == Method::MASQ {
        check(packet, parsed, &way.hop, 0)?;
        masq::send(packet, parsed, masq::End::Destination, dest.addr(), dport, &way.hop)?;
        return Ok(Outcome::ForwardMasq);
    }
    Context::<T>::transmit(packet, parsed, dest, method, way)
}
