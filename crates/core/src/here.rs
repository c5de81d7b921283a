//! What is from or for this director's own stack (ipvs.md §2.1, §3.1): a program of its own, so that others pay nothing for it.
//!
//! It gets all that this host made and that may be of concern, and, of what came in, the packets whose connection has an end
//! here: the first program finds that out before it counts or changes anything, and this one begins once more.

use rvs_abi::{ConnFlags, DestFlags, Method, Outcome, proto};

use crate::conn::Found;
use crate::forward::local;
use crate::parse::Signal;
use crate::pipeline::{Context, Scratch, Way, either, method};
use crate::{DestRecord, NextHop, Packet, Parsed, Tables, clamp, one_packet};

/// Stage 2a: a reply to a client on this host, or of a real server on this host. [`Outcome::Balanced`]: it is none, but may be
/// a request.
#[inline(always)]
pub fn reply_here<T: Tables>(tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::near(tables, scratch.clock, false);
        match context.find_reply(&scratch.parsed) {
            Some(mut found) => {
                let Scratch { parsed, way, .. } = scratch;
                either(context.answer_here(parsed, &mut found, way))
            }
            None => Outcome::Balanced,
        }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Stage 2b: a request of a client on this host, or to a real server on this host. Without a connection:
/// [`Outcome::NoConnection`].
#[inline(always)]
pub fn request_here<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::near(tables, scratch.clock, scratch.is_fresh != 0);
        match context.find_request(&scratch.parsed) {
            Some(mut found) => {
                let Scratch { parsed, way, .. } = scratch;
                either(context.request(packet, parsed, &mut found, way))
            }
            None => Outcome::NoConnection,
        }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// The same for a datagram that is scheduled by itself.
#[inline(always)]
pub fn one_packet_here<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::near(tables, scratch.clock, true);
        let Scratch { parsed, way, request, turn, .. } = scratch;
        either(one_packet::send(&context, packet, parsed, request, turn, way))
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Behind these and 2e: rewrites the packet and leaves it to the stack, or to its way out of it.
#[inline(always)]
pub fn deliver<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let Scratch { parsed, way, .. } = scratch;
        either(local::deliver(packet, tables, parsed, &way.local, &mut way.hop))
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

impl<T: Tables> Context<'_, T> {
    /// Finds where packets to a destination leave: [`Outcome::Balanced`], or [`Outcome::Local`] if that is this host's stack, or
    /// why they can't. A number and no `Result`: it is kept while much is done, on a stack that has no room for more.
    #[inline(always)]
    pub(crate) fn find_way(&self, dest: T::Dest, id: u32, begins: bool, way: &mut Way) -> Outcome {
        if dest.flags() & DestFlags::LOCAL != 0 {
            return self.to_stack();
        }
        match self.hop_to(dest, id, begins) {
            Ok(hop) => {
                way.hop = hop;
                way.notice.mtu = hop.mtu;
                Outcome::Balanced
            }
            Err(outcome) => outcome,
        }
    }

    /// Full NAT leaves clients and destinations on this host their addresses, so there is none of the other family for them.
    #[inline(always)]
    pub(crate) fn stays_in_family(&self, parsed: &Parsed, dest: T::Dest, method: u8) -> Result<(), Outcome> {
        let changes = method == Method::MASQ && dest.addr().is_v4() != parsed.is_v4();
        if self.is_near && changes { Err(Outcome::TranslateLocal) } else { Ok(()) }
    }

    /// What becomes of a packet to a destination on this host. Under XDP there is no way to its stack.
    #[inline(always)]
    pub(crate) fn to_stack(&self) -> Outcome {
        if self.tables.reaches_stack() { Outcome::Local } else { Outcome::HandOverRoute }
    }

    /// Whether packets to a destination are to be left to this host's stack. Under XDP there is no way to it.
    #[inline(always)]
    pub(crate) fn is_here(&self, dest: T::Dest) -> bool {
        self.tables.reaches_stack() && dest.flags() & DestFlags::LOCAL != 0
    }

    /// The way to a client on this host.
    #[inline(always)]
    pub(crate) fn hop_to_self(&self) -> Result<NextHop, Outcome> {
        if self.tables.reaches_stack() { Ok(NextHop::default()) } else { Err(Outcome::HandOverRoute) }
    }

    #[inline(always)]
    fn answer_here(
        &self,
        parsed: &Parsed,
        found: &mut Found<T::Bucket>,
        way: &mut Way,
    ) -> Result<Outcome, Outcome> {
        if method(found.flags()) != Method::MASQ {
            self.note_unchanged(parsed, found);
            return Err(Outcome::ReplyUnchanged);
        }
        // Another one than the first program found: that has ended meanwhile.
        if !self.tables.is_local() && found.flags() & ConnFlags::LOCAL_CLIENT == 0 {
            return Err(Outcome::ConnContended);
        }
        clamp::check(parsed, found.flags(), way, clamp::REPLY_HERE)?;
        let (vip, (vport, _)) = (found.vip(), found.ports());
        self.note_reply(parsed, found);
        if parsed.is(Signal::FRAGMENT) {
            if parsed.protocol == proto::SCTP && vport != parsed.sport {
                return Err(Outcome::FragmentedSctp);
            }
            let known = crate::fragment::known_method(found.flags());
            way.keep.write(parsed, found.ids(), known, (vip, self.now));
        }
        way.local.reply(vip, vport);
        Ok(Outcome::Local)
    }
}
