//! The stages of full NAT: what is sent from an address of the director's, and comes back to it (IPVS lacks it).

use rvs_abi::{Addr, Method, Outcome, proto};

use crate::conn::local::Ends;
use crate::conn::{self, Found, Key};
use crate::forward::{address, check, client_option as option, full_nat as forward};
use crate::parse::Signal;
use crate::pipeline::{Context, Notice, Scratch, Way, either};
use crate::{DestRecord, Packet, Parsed, Tables, clamp, cut, ftp, proxy};

/// Stage 2a for packets to the director's ports: a reply of full NAT goes on as [`Outcome::FullNatReply`]; else it may be
/// another reply: [`Outcome::FromServer`].
#[inline(always)]
pub fn local_reply<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    if !tables.find_local(About::Packet) {
        return Outcome::FromServer;
    }
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        let Scratch { parsed, way, found, .. } = scratch;
        let Some(mut found) = found.get(tables) else { return Outcome::Inconsistent };
        either(context.answer_full_nat(packet, parsed, &mut found, way))
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Which packet is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum About {
    /// The packet itself.
    Packet = 0,
    /// That which it quotes.
    Quoted = 1,
}

/// Looks for the full NAT connection that a packet is a reply of; likewise by itself.
#[inline(always)]
pub fn find_local<T: Tables>(tables: &T, about: About) -> bool {
    let found = tables.with_scratch(|scratch| {
        let parsed = match about {
            About::Packet => &scratch.parsed,
            About::Quoted => &scratch.quoted,
        };
        let found = conn::local::find(tables, &Ends::of(parsed), conn::ticks(scratch.clock));
        if let Some(found) = &found {
            scratch.found = conn::At::of(found);
        }
        found.is_some()
    });
    found.unwrap_or(false)
}

/// The stage behind 2a and 2b for full NAT: rewrites both ends.
#[inline(always)]
pub fn full_nat<P: Packet, T: Tables>(packet: &mut P, tables: &T, step: Outcome) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let is_request = step == Outcome::FullNat;
        let Scratch { parsed, way, .. } = scratch;
        if !matches!(parsed.protocol, proto::TCP | proto::UDP | proto::SCTP) {
            return Outcome::FullNatProtocol;
        }
        if is_request && let Err(outcome) = check(packet, parsed, &way.hop, 0) {
            return outcome;
        }
        let sent = forward::rewrite(packet, parsed, &way.ends).and_then(|()| address(packet, &way.hop.link));
        match sent {
            Ok(()) if is_request && option::concerns(packet, parsed, way.tells_client) => {
                Outcome::ClientOption
            }
            Ok(()) if is_request => Outcome::ForwardFullNat,
            Ok(()) => Outcome::ReplyFullNat,
            Err(outcome) => outcome,
        }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// The stage behind it for segments that tell the server who the client is.
#[inline(always)]
pub fn client_option<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let Scratch { parsed, way, .. } = scratch;
        match option::add(packet, tables, parsed, (way.service, way.tells_client)) {
            Ok(()) => Outcome::ForwardFullNat,
            Err(outcome) => outcome,
        }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Between 3 and 4, for full NAT: finds a port of the director's. [`Outcome::Balanced`]: it is held.
#[inline(always)]
pub fn reserve<T: Tables>(tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| match conn::local::reserve(tables, &mut scratch.request) {
        Some(Ok(())) => Outcome::Balanced,
        Some(Err(_)) => Outcome::NoLocalAddress,
        None => Outcome::NoLocalPort,
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Behind 4, for full NAT: replies find the connection that was just made. If its port has been lost meanwhile, it is ended:
/// the next packet makes another.
#[inline(always)]
pub fn publish<T: Tables>(tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let conn::Request { place, entry, .. } = &scratch.request;
        let Some(found) = conn::find(tables, place, conn::ticks(scratch.clock), &Key::of(entry)) else {
            return Outcome::ConnContended;
        };
        // Another CPU's that was first: it is published there.
        if scratch.is_fresh == 0 {
            return Outcome::Balanced;
        }
        if conn::local::publish(tables, entry, &found) {
            return Outcome::Balanced;
        }
        let _ended = found.expire(tables);
        Outcome::ConnContended
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

impl<T: Tables> Context<'_, T> {
    /// Writes down the ends that a request of full NAT leaves with; that stage rewrites it.
    #[inline(always)]
    pub(crate) fn leave_by_full_nat(
        &self,
        parsed: &Parsed,
        found: &Found<T::Bucket>,
        dest: T::Dest,
        way: &mut Way,
    ) -> Result<Outcome, Outcome> {
        let local = found.local(self.tables, dest);
        if local == Addr::default() {
            return Err(Outcome::NoLocalAddress);
        }
        if parsed.is(Signal::FRAGMENT) && parsed.protocol == proto::SCTP {
            return Err(Outcome::FragmentedSctp);
        }
        // Its packet is counted.
        way.tells_client = option::of(parsed, found);
        (_, way.service) = found.ids();
        way.ends.source = local;
        way.ends.sport = found.lport();
        way.ends.destination = dest.addr();
        (_, way.ends.dport) = found.ports();
        Ok(if proxy::is_on(found) { Outcome::Proxied } else { Outcome::FullNat })
    }

    /// Writes down the ends that a reply of full NAT leaves with; that stage rewrites it.
    #[inline(always)]
    fn answer_full_nat<P: Packet>(
        &self,
        packet: &P,
        parsed: &Parsed,
        found: &mut Found<T::Bucket>,
        way: &mut Way,
    ) -> Result<Outcome, Outcome> {
        clamp::check(parsed, found.flags(), way, clamp::LOCAL_REPLY)?;
        ftp::divert(self.tables, parsed, found.flags(), Outcome::FtpLocalReply)?;
        let (vip, (client, cport)) = (found.vip(), found.client());
        if client.is_v4() != parsed.is_v4() {
            return Err(Outcome::Translate);
        }
        // Before the rest, which has little room on the stack for them.
        let (vport, _) = found.ports();
        way.ends.source = vip;
        way.ends.sport = vport;
        way.ends.destination = client;
        way.ends.dport = cport;
        way.notice = Notice { from: parsed.destination, mtu: 0, hops: 0 };
        let hop = self.hop_to_client(client, vip, parsed.is(Signal::RENEWS))?;
        way.notice.mtu = hop.mtu;
        cut::check(packet, self.tables, parsed, &hop, Method::FULL_NAT)?;
        check(packet, parsed, &hop, 0)?;
        if parsed.is(Signal::FRAGMENT) {
            way.keep.write(parsed, found.ids(), Method::FULL_NAT, (way.ends.source, self.now));
            way.keep.set_other_end(way.ends.destination);
            way.keep.announce(self.tables, parsed, self.now)?;
        }
        self.note_reply(parsed, found);
        if parsed.is(Signal::FRAGMENT) && parsed.protocol == proto::SCTP {
            return Err(Outcome::FragmentedSctp);
        }
        way.hop = hop;
        Ok(if proxy::is_on(found) { Outcome::ProxiedReply } else { Outcome::FullNatReply })
    }
}
