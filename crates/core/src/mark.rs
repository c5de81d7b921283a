//! Marks: which one a packet has, and whether a service is for it (ipvs.md §2.5 step 1).
//!
//! Under TC a packet may come with a mark. Rules of our own, which hold under XDP as well, give one by addresses, protocol
//! and ports; the first that takes a packet counts, and before the packet's own. Only packets that may begin a connection
//! are asked about: those of one that exists find it with or without a mark, as in IPVS (ipvs.md §2.2).

use rvs_abi::{Addr, Event, Outcome, limits, mark};

use crate::parse::Signal;
use crate::reuse::may_begin;
use crate::{Parsed, RuleRecord, Step, Tables, filter};

/// Whether a packet to an address that the filter does not know may be one for a service by mark all the same:
/// [`NONE`], [`KNOWN`] or [`MAYBE`]. Asked only while there is such a service; `own` is the packet's own mark.
///
/// Not inlined: the program's own frame is at the bottom of the longest chain of calls.
#[inline(never)]
pub(crate) fn concerns<T: Tables>(tables: &T, parsed: &Parsed, outcome: Outcome, own: u32) -> u32 {
    if filter::is_learned(tables, parsed.destination) {
        return KNOWN;
    }
    if own == 0 && !filter::is_ruled(tables, parsed.destination) {
        return NONE;
    }
    // Fragments behind the first have no ports that could be asked about: they wait for what is decided about that, and so
    // something is, whether it may begin a connection or not.
    if outcome == Outcome::LaterFragment {
        return KNOWN;
    }
    let begins = parsed.is(Signal::FRAGMENT) || may_begin(tables, parsed);
    if outcome == Outcome::Balanced && begins { MAYBE } else { NONE }
}

/// Whether a packet may be a reply of a connection that was made by mark: such a service has no address that the filter could
/// know, but its replies come from where requests went, unless by NAT.
#[inline(always)]
pub(crate) fn may_answer<T: Tables>(tables: &T, parsed: &Parsed) -> bool {
    tables.mark_services(parsed.is_v4()) != 0 && filter::is_learned(tables, parsed.source)
}

/// It is for none.
pub(crate) const NONE: u32 = 0;
/// It may be of a connection that was made by mark, or is a fragment behind the first of a packet that may be.
pub(crate) const KNOWN: u32 = 1;
/// It is not, but may have a mark.
pub(crate) const MAYBE: u32 = 2;

/// Stage 1b, for packets that may begin a connection: finds their mark and leaves it in the scratch memory.
/// [`Outcome::NoConnection`]: a service is for it.
#[inline(always)]
pub fn classify<T: Tables>(tables: &T) -> Outcome {
    let search = tables.with_scratch(|scratch| {
        scratch.mark = 0;
        Search::new(&scratch.parsed, may_begin(tables, &scratch.parsed))
    });
    let Some(mut search) = search else { return Outcome::Inconsistent };
    // Fragments of a packet go where the first goes, and of this one that has to be kept.
    let none = if search.is_first == 0 { Outcome::NotOurs } else { Outcome::NoService };
    if search.begins == 0 {
        return none;
    }
    let is_v4 = search.destination.is_v4();
    // Before the loop, behind which the compiler no longer knows on which hook this is: there is no such field under XDP.
    let own = tables.packet_mark();
    // What XDP passed on has been noted there.
    let is_noted = tables.is_second_look();
    let (first, count) = mark::list_parts(tables.rules());
    if count != 0 && filter::is_ruled(tables, search.destination) {
        search.first = first;
        let rounds = if count < limits::RULES_MAX { count } else { limits::RULES_MAX };
        tables.repeat(rounds, &mut search);
    }
    let mark = if search.mark == 0 {
        own
    } else {
        if !is_noted {
            tables.note(Event::Classified);
        }
        search.mark
    };
    let _kept = tables.with_scratch(|scratch| scratch.mark = mark);
    if mark != 0 && tables.service_id(&mark::key(mark, is_v4)).is_some() {
        Outcome::NoConnection
    } else {
        none
    }
}

/// A walk through the rules.
struct Search {
    source: Addr,
    destination: Addr,
    sport: u16,
    dport: u16,
    protocol: u8,
    family: u8,
    begins: u16,
    /// 1: it is the first fragment of a packet.
    is_first: u16,
    first: u32,
    /// Of the rule that was found; 0: none.
    mark: u32,
}

impl Search {
    #[inline(always)]
    const fn new(parsed: &Parsed, begins: bool) -> Self {
        Self {
            source: parsed.source,
            destination: parsed.destination,
            sport: u16::from_be_bytes(parsed.sport),
            dport: u16::from_be_bytes(parsed.dport),
            protocol: parsed.protocol,
            family: parsed.family,
            begins: begins as u16,
            is_first: parsed.is(Signal::FRAGMENT) as u16,
            first: 0,
            mark: 0,
        }
    }

    #[inline(always)]
    fn is_taken_by<R: RuleRecord>(&self, rule: R) -> bool {
        let (protocol, family) = rule.kind();
        let [source_from, source_to, dest_from, dest_to] = rule.ports();
        (protocol == 0 || protocol == self.protocol)
            && (family == 0 || family == self.family)
            && source_from <= self.sport
            && self.sport <= source_to
            && dest_from <= self.dport
            && self.dport <= dest_to
            && rule.is_between(self.source, self.destination)
    }
}

impl<T: Tables> Step<T> for Search {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let Some(rule) = tables.rule(self.first + round) else { return true };
        if !self.is_taken_by(rule) {
            return false;
        }
        self.mark = rule.mark();
        true
    }
}
