//! What becomes of a packet between families: the same checks, in the same order, as of one that full NAT leaves its family.

use rvs_abi::{Addr, Class, Method, Outcome, Stats, proto};
use rvs_wire::udp;

use crate::conn::Found;
use crate::forward::client_option;
use crate::parse::Signal;
use crate::pipeline::{Context, Notice, Way};
use crate::state::Direction;
use crate::translate::{extra, size};
use crate::{DestRecord, Packet, Parsed, Tables, fragment, proxy};

impl<T: Tables> Context<'_, T> {
    /// A request if it is of the client's family, or else a reply.
    #[inline(always)]
    pub(crate) fn translate<P: Packet>(
        &self,
        packet: &mut P,
        parsed: &Parsed,
        found: &mut Found<T::Bucket>,
        way: &mut Way,
    ) -> Result<Outcome, Outcome> {
        way.tells_client = client_option::NOTHING;
        if found.client().0.is_v4() == parsed.is_v4() {
            return self.translate_request(packet, parsed, found, way);
        }
        way.notice = Notice { from: parsed.destination, mtu: 0, hops: 0 };
        self.translate_reply(packet, parsed, found, way)
    }

    #[inline(always)]
    fn translate_request<P: Packet>(
        &self,
        packet: &mut P,
        parsed: &Parsed,
        found: &mut Found<T::Bucket>,
        way: &mut Way,
    ) -> Result<Outcome, Outcome> {
        let ids = found.ids();
        let dest = self.tables.dest(ids.0).ok_or(Outcome::Inconsistent)?;
        let local = found.local(self.tables, dest);
        if local == Addr::default() {
            return Err(Outcome::NoLocalAddress);
        }
        may_be_translated(packet, self.tables, parsed, way)?;
        // In scratch memory and as a number: kernel 6.1 loses the way's parts on the stack.
        let routed = match self.hop_to(dest, ids.0, self.is_fresh || parsed.is(Signal::RENEWS)) {
            Ok(hop) => {
                way.hop = hop;
                size::cut(packet, self.tables, parsed, way)?;
                Outcome::Balanced
            }
            Err(outcome) if outcome.class() == Class::HandOver => return Err(outcome),
            Err(outcome) => outcome,
        };
        if parsed.is(Signal::FRAGMENT) {
            way.keep.write(parsed, ids, Method::FULL_NAT, (Addr::default(), self.now));
            way.keep.set_other_end(local);
            way.keep.announce(self.tables, parsed, self.now)?;
        }
        let in_bytes = fragment::counted(parsed);
        self.tables.count(ids.1, ids.0, &Stats { in_packets: 1, in_bytes, ..Stats::default() });
        self.note_request(parsed, found, Direction::Input);
        if routed != Outcome::Balanced {
            return Err(routed);
        }
        // Its packet is counted.
        way.tells_client = client_option::of(parsed, found);
        client_option::check(packet, parsed, way.tells_client)?;
        size::check(packet, parsed, way)?;
        way.is_proxied = u64::from(proxy::is_on(found));
        way.service = ids.1;
        way.ends.source = local;
        way.ends.sport = found.lport();
        way.ends.destination = dest.addr();
        (_, way.ends.dport) = found.ports();
        Ok(Outcome::ForwardTranslated)
    }

    #[inline(always)]
    fn translate_reply<P: Packet>(
        &self,
        packet: &mut P,
        parsed: &Parsed,
        found: &mut Found<T::Bucket>,
        way: &mut Way,
    ) -> Result<Outcome, Outcome> {
        let (vip, (client, cport)) = (found.vip(), found.client());
        may_be_translated(packet, self.tables, parsed, way)?;
        way.hop = self.hop_to_client(client, vip, parsed.is(Signal::RENEWS))?;
        size::cut(packet, self.tables, parsed, way)?;
        size::check(packet, parsed, way)?;
        if parsed.is(Signal::FRAGMENT) {
            way.keep.write(parsed, found.ids(), Method::FULL_NAT, (vip, self.now));
            way.keep.set_other_end(client);
            way.keep.announce(self.tables, parsed, self.now)?;
        }
        let (vport, _) = found.ports();
        self.note_reply(parsed, found);
        way.is_proxied = u64::from(proxy::is_on(found));
        way.ends.source = vip;
        way.ends.sport = vport;
        way.ends.destination = client;
        way.ends.dport = cport;
        Ok(Outcome::ReplyTranslated)
    }
}

/// A fragment behind the first: its hop is known, and its ends are.
#[inline(always)]
pub(crate) fn follow<P: Packet, T: Tables>(
    context: &Context<'_, T>,
    packet: &mut P,
    parsed: &Parsed,
    way: &mut Way,
) -> Result<(), Outcome> {
    size::cut(packet, context.tables, parsed, way)?;
    size::check(packet, parsed, way)
}

/// Whether the other family has a way to say what the packet says.
#[inline(always)]
fn may_be_translated<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    parsed: &Parsed,
    way: &mut Way,
) -> Result<(), Outcome> {
    if !matches!(parsed.protocol, proto::TCP | proto::UDP | proto::SCTP) {
        return Err(Outcome::FullNatProtocol);
    }
    way.is_atomic = extra::check(packet, tables, parsed, &mut way.notice)?;
    let is_fragment = parsed.is(Signal::FRAGMENT);
    match parsed.protocol {
        // Its checksum is over the whole packet, of which the length is not known.
        proto::SCTP if is_fragment => Err(Outcome::FragmentedSctp),
        // RFC 7915 §4.5: in IPv6 there is none without, and the sum over all fragments is not known.
        proto::UDP if parsed.is_v4() && lacks_checksum(packet, parsed) => {
            if is_fragment || !is_datagram(packet, parsed) {
                return Err(Outcome::TranslateChecksum);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Of UDP.
#[inline(always)]
fn lacks_checksum<P: Packet>(packet: &P, parsed: &Parsed) -> bool {
    packet.get::<2>(parsed.transport() + udp::CHECKSUM) == Some([0, 0])
}

/// Whether there is what a datagram's length says, which may be less than its packet has (RFC 768).
#[inline(always)]
fn is_datagram<P: Packet>(packet: &P, parsed: &Parsed) -> bool {
    let Some(len) = packet.get::<2>(parsed.transport() + udp::LENGTH) else { return false };
    let len = u32::from(u16::from_be_bytes(len));
    len >= udp::LEN as u32 && len <= parsed.len.wrapping_sub(size::old_head(parsed))
}
