//! The way of a packet, top to bottom. The order of the steps is that of IPVS (ipvs.md §2).

use rvs_abi::{
    Addr, Class, ConnFlags, DestFlags, FullNatUse, Method, NO_DEST, Outcome, Settings, Stats, limits, proto,
};

use crate::conn::{self, Event, Found, How, Key, MatchReply, Place};
use crate::forward::full_nat::NewEnds;
use crate::forward::local::{self, Local};
use crate::forward::tunnel::Tunnel;
use crate::forward::{check, direct_route, masq, tunnel};
use crate::icmp::{self, answer};
use crate::parse::{Signal, parse_all};
use crate::sched;
use crate::state::{self, Direction};
use crate::translate::Fields;
use crate::{
    DestRecord, Flow, NextHop, Packet, Parsed, ServiceRecord, Tables, Verdict, bypass, clamp, cut, filter,
    fragment, ftp, guard, mark, one_packet, program, proxy,
};

pub use crate::bypass::bypass;
pub use crate::clamp::clamp;
pub use crate::full_nat::{About, client_option, find_local, full_nat, local_reply, publish, reserve};
pub use crate::gather::{cut, cut_outer, hold, keep, release};
pub use crate::here::{deliver, one_packet_here, reply_here, request_here};
pub use crate::icmp::schedule::{give_quoted_back, take_quoted};
pub use crate::icmp::stage::{icmp, tunnel_error};
pub use crate::one_packet::one_packet;
pub use crate::server::server;
pub use crate::translate::{become_other, error_becomes_other, translate, translate_error};

/// What the stages of one packet hand to each other. It is the program's scratch memory and not its stack, of which a
/// program in the kernel has 512 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scratch {
    /// The packet.
    pub parsed: Parsed,
    /// Of an ICMP error: the packet that it is about, as if it went the error's way.
    pub quoted: Parsed,
    /// Of an error about a tunnel's packet: that packet.
    pub quoted_tunnel: icmp::tunnel::Quoted,
    /// The connection of that.
    pub found: conn::At,
    /// Now, in nanoseconds of the data plane's clock.
    pub clock: u64,
    /// 1: its connection was made by this very packet, and is in the state after it.
    pub is_fresh: u64,
    /// 1: this host made it.
    pub is_local: u64,
    /// How it goes on.
    pub way: Way,
    /// For the next program: the outcome that it begins with, as a number.
    pub outcome: u32,
    /// For the next program: what kind of program this one is.
    pub look: u32,
    /// Its mark, when a service is looked for; 0: none.
    pub mark: u32,
    /// Who sent its frame, when a service is looked for: an Ethernet address, see [`rvs_abi::peer`].
    pub sender: Addr,
    /// The connection to be made.
    pub request: conn::Request,
    /// The turn of its scheduler, if it is not kept.
    pub turn: one_packet::Turn,
    /// 1: it is one of FTP's data, which a control connection announced; it does not count as one that a client made.
    pub is_announced: u64,
    /// A connection between the same ends as that to be made.
    pub same: conn::At,
    /// Of a segment of an FTP control connection: what was found out about it.
    pub ftp: ftp::Work,
}

/// How a packet goes on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way {
    /// Where it leaves.
    pub hop: NextHop,
    /// The tunnel that it leaves through.
    pub tunnel: Tunnel,
    /// What is done to one from or for this host's own stack.
    pub local: Local,
    /// Of full NAT, and of an error's quoted packet: the ends that it leaves with.
    pub ends: NewEnds,
    /// Of full NAT: what becomes of the option that tells the server who the client is, see `forward/client_option.rs`.
    pub tells_client: u64,
    /// Of one that is translated, 1: its connection's data begin with a header.
    pub is_proxied: u64,
    /// Likewise, 1: it came with a fragment header, and is whole (RFC 6946).
    pub is_atomic: u64,
    /// Of that, and of a segment whose size is lowered: the id of the service.
    pub service: u32,
    /// Of that: where it goes on.
    pub(crate) behind_clamp: clamp::Behind,
    /// Of an ICMP error: the ends that itself leaves with, without ports.
    pub outer: NewEnds,
    /// Of one that is translated: type and code in the upper half of a word, and the word behind the checksum.
    pub error: [u32; 2],
    /// And what the packet that it quotes says of itself.
    pub(crate) quoted: Fields,
    /// Bytes behind the quoted packet's IP headers that go along.
    pub(crate) rest: u32,
    /// Of one that goes past the real servers: which of the cases in `bypass.rs` it is.
    pub bypass: u64,
    /// What its sender is told if it is dropped.
    pub notice: Notice,
    /// Room for what is kept about a first fragment.
    pub keep: fragment::Keep,
    /// Of a packet that goes into a tunnel, 1: what is around it is to be cut.
    pub is_cut: u64,
}

/// What goes into an ICMP error about a packet that is dropped.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notice {
    /// The address of this director that the error comes from; zero: there is none, and nobody is told.
    pub from: Addr,
    /// The largest packet that its way takes, in bytes, for one that was too big; 0: its sender is not told.
    pub mtu: u32,
    /// By how much its time to live is less than it came with, when it is found too big: IPVS takes one off a request
    /// before (ipvs.md §3.2), the stack nothing off a reply.
    pub hops: u32,
}

/// Handles a packet that came in on an interface: the first of the programs that its way is divided into (see
/// [`crate::program`]), which has all that most packets meet.
///
/// The stages are functions of their own in the kernel, verified one by one and none on another's stack; they hand over
/// through [`Scratch`] and return a number. [`Outcome::Balanced`] means: on to the next.
#[inline(always)]
pub fn ingress<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let mut outcome = receive(packet, tables);
    if outcome == Outcome::MaybeMarked {
        outcome = match tables.classify() {
            Outcome::NoConnection => Outcome::Classified,
            outcome => outcome,
        };
    }
    if outcome == Outcome::LocalPort {
        outcome = tables.local_reply(packet);
    }
    if outcome == Outcome::FromServer {
        outcome = tables.reply(packet);
        if outcome == Outcome::Balanced && tables.settings() & Settings::NAT_ICMP_SEND != 0 {
            outcome = tables.server();
        }
    }
    if outcome == Outcome::Balanced {
        outcome = tables.request(packet);
    }
    program::go_on(packet, tables, outcome)
}

/// Handles a packet that this host made, on its way out: the first program for these.
#[inline(always)]
pub fn egress<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let outcome = receive(packet, tables);
    program::go_on_here(packet, tables, outcome)
}

/// Makes the connection that was prepared, for a packet that has none. [`Outcome::Balanced`]: it has one now.
#[inline(always)]
pub(crate) fn connect<T: Tables>(prepared: Outcome, tables: &T) -> Outcome {
    let mut outcome = prepared;
    if outcome == Outcome::Reserve {
        outcome = tables.reserve();
    }
    if outcome == Outcome::Balanced {
        outcome = tables.insert();
        for _ in 1..conn::ATTEMPTS {
            if outcome == Outcome::ConnContended {
                outcome = tables.insert();
            }
        }
    }
    if outcome == Outcome::Balanced && prepared == Outcome::Reserve {
        outcome = tables.publish();
    }
    outcome
}

/// The mark of a packet whose addresses are known.
#[inline(always)]
pub(crate) fn find_mark<T: Tables>(tables: &T) {
    if tables.mark_services(true) | tables.mark_services(false) != 0 {
        // Whether there is a service for it, the next stage asks once more.
        let _known = tables.classify();
    } else {
        let _none = tables.with_scratch(|scratch| scratch.mark = 0);
    }
}

/// Stage 1: parses, and tells traffic apart that has nothing to do with any service. [`Outcome::FromServer`] is a packet
/// that may be a reply, [`Outcome::LocalPort`] one that may be of full NAT.
#[inline(always)]
fn receive<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    if tables.services_v4() | tables.services_v6() == 0 {
        return Outcome::NoServices;
    }
    let outcome = tables.with_scratch(|scratch| {
        scratch.clock = tables.now();
        scratch.is_fresh = 0;
        let outcome = parse_all(packet, tables, &mut scratch.parsed);
        if !matches!(
            outcome,
            Outcome::Balanced | Outcome::TruncatedTransport | Outcome::IcmpError | Outcome::LaterFragment
        ) {
            return outcome;
        }
        let parsed = &scratch.parsed;
        if if parsed.is_v4() { tables.services_v4() } else { tables.services_v6() } == 0
            && tables.full_nat() & FullNatUse::TRANSLATES == 0
        {
            return Outcome::NoServices;
        }
        let from_server = filter::has(tables, parsed.source) || mark::may_answer(tables, parsed);
        // Who sends an ICMP error may be any router on the way (ipvs.md §2.8).
        let mut concern = mark::KNOWN;
        if !from_server && outcome != Outcome::IcmpError && !filter::has(tables, parsed.destination) {
            if tables.mark_services(parsed.is_v4()) == 0 {
                return Outcome::NotOurs;
            }
            concern = mark::concerns(tables, parsed, outcome, tables.packet_mark());
            if concern == mark::NONE {
                return Outcome::NotOurs;
            }
        }
        if is_martian(parsed) && !(tables.is_local() && local::is_loopback(parsed.source)) {
            return Outcome::MartianSource;
        }
        scratch.way.notice = Notice { from: parsed.destination, mtu: 0, hops: 1 };
        if concern == mark::MAYBE {
            return Outcome::MaybeMarked;
        }
        // Replies first, as on IPVS's hooks (ipvs.md §2.1).
        if !from_server || outcome != Outcome::Balanced {
            return outcome;
        }
        let is_local = limits::LOCAL_PORTS.contains(&u16::from_be_bytes(parsed.dport));
        if is_local && tables.full_nat() != 0 { Outcome::LocalPort } else { Outcome::FromServer }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Stage 2a: sends on a reply to a client. [`Outcome::Balanced`]: it is none, but may be a request.
#[inline(always)]
pub fn reply<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        match context.find_reply(&scratch.parsed) {
            Some(mut found) => {
                let Scratch { parsed, way, .. } = scratch;
                either(context.answer(packet, parsed, &mut found, way))
            }
            None => Outcome::Balanced,
        }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Stage 2b: sends on a request of a connection. Without one: [`Outcome::NoConnection`].
#[inline(always)]
pub fn request<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, scratch.is_fresh != 0);
        match context.find_request(&scratch.parsed) {
            Some(mut found) => {
                let Scratch { parsed, way, found: at, .. } = scratch;
                if method(found.flags()) == Method::FULL_NAT {
                    *at = conn::At::of(&found);
                    if proxy::is_handed_over(tables, parsed, &found) {
                        return Outcome::HandOverProxy;
                    }
                }
                either(context.request(packet, parsed, &mut found, way))
            }
            None => Outcome::NoConnection,
        }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Where a packet comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Side {
    /// From a client: it belongs to a connection by the key of requests.
    Client = 0,
    /// From a real server: by the key of replies.
    Server = 1,
}

/// Looks for the connection of the quoted packet; the next stage takes it from [`Scratch`]. By itself, for the verifier:
/// those that ask go through all of it only once.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, side: Side) -> bool {
    let found = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        let found = match side {
            Side::Client => context.find(&scratch.quoted),
            Side::Server => context.find_reply(&scratch.quoted),
        };
        if let Some(found) = &found {
            scratch.found = conn::At::of(found);
        }
        found.is_some()
    });
    found.unwrap_or(false)
}

/// Stage 2e: sends a fragment behind the first on (see [`crate::fragment`]).
#[inline(always)]
pub fn fragment<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        let Scratch { parsed, way, .. } = scratch;
        either(fragment::follow(&context, packet, parsed, way))
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// The stage behind 2b and 2c for packets that leave through a tunnel.
#[inline(always)]
pub fn tunnel<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        match tunnel::send(packet, tables, &scratch.parsed, &mut scratch.way) {
            Ok(()) if scratch.way.is_cut != 0 => Outcome::TunnelCut,
            Ok(()) => Outcome::ForwardTunnel,
            Err(outcome) => outcome,
        }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// The last stage, for packets that are dropped and whose sender is to know it: turns the packet into an ICMP error and
/// says whether it is to be sent.
#[inline(always)]
pub fn answer<P: Packet, T: Tables>(packet: &mut P, tables: &T, outcome: Outcome) -> bool {
    let sent = tables.with_scratch(|scratch| {
        let Way { hop, notice, .. } = &mut scratch.way;
        answer::send(packet, tables, &scratch.parsed, outcome, notice, scratch.clock, &mut hop.link).is_some()
    });
    sent.unwrap_or(false)
}

/// Stage 3, for a packet without a connection: chooses a destination and writes down the connection to be made.
#[inline(always)]
pub fn prepare<T: Tables>(tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        scratch.is_announced = 0;
        // The connection that this one replaces still counts for its destination, as in IPVS, which ends it behind the packet.
        let Scratch { parsed, mark, sender, turn, request, .. } = scratch;
        let chosen = context.choose(parsed, *mark, *sender, turn, &mut request.entry.flags);
        context.end_previous(&scratch.parsed);
        match chosen {
            Ok((service, NO_DEST)) => {
                scratch.way.bypass = bypass::begun(&scratch.turn);
                context.describe_bypass(&scratch.parsed, service, &mut scratch.request)
            }
            Ok((service, dest)) => {
                let Scratch { parsed, is_local, request, turn, .. } = scratch;
                let described = context.describe(parsed, service, dest, *is_local, request)?;
                // Full NAT keeps the connection all the same: a reply has no other way back.
                let is_one = turn.is_one_packet() && described != Outcome::Reserve;
                Some(if is_one { Outcome::OnePacket } else { described })
            }
            Err(outcome) => Some(outcome),
        }
    });
    outcome.flatten().unwrap_or(Outcome::Inconsistent)
}

/// Stage 4: makes the connection, in one try. Stage 2 then takes the packet.
#[inline(always)]
pub fn insert<T: Tables>(tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let how = conn::insert(tables, &scratch.request);
        let entry = &scratch.request.entry;
        if how == How::New && scratch.is_announced == 0 && entry.dest != NO_DEST {
            tables.count(entry.service, entry.dest, &Stats { conns: 1, ..Stats::default() });
        }
        scratch.is_fresh = u64::from(how == How::New);
        match how {
            How::New | How::Existing => Outcome::Balanced,
            How::Full => Outcome::ConnTableFull,
            How::Contended => Outcome::ConnContended,
        }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Whether no host has this source as its own: routing refuses it before IPVS would see the packet.
#[inline(always)]
fn is_martian(parsed: &Parsed) -> bool {
    if parsed.is_v4() {
        return matches!(parsed.source.v4_bytes(), [0 | 127 | 224..=239, ..] | [255, 255, 255, 255]);
    }
    let [first, second] = parsed.source.0;
    let is_loopback_or_none = first == 0 && second & !u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]) == 0;
    // IPv4 in its mapped form has no place in a packet, and in the tables it is IPv4.
    first.to_ne_bytes()[0] == 0xff
        || is_loopback_or_none
        || parsed.source.is_v4()
        || parsed.destination.is_v4()
}

/// The outcome of a step, whether it went well or not.
#[inline(always)]
pub(crate) fn either(result: Result<Outcome, Outcome>) -> Outcome {
    result.unwrap_or_else(|outcome| outcome)
}

/// What the steps of a stage share.
pub(crate) struct Context<'a, T: Tables> {
    pub(crate) tables: &'a T,
    /// Nanoseconds.
    pub(crate) clock: u64,
    /// The same in ticks.
    pub(crate) now: u64,
    /// Whether the packet's connection was made by this very packet.
    pub(crate) is_fresh: bool,
    /// Whether what is from or for this host's own stack is dealt with here, and not in the program for that.
    pub(crate) is_near: bool,
}

impl<'a, T: Tables> Context<'a, T> {
    #[inline(always)]
    pub(crate) const fn new(tables: &'a T, clock: u64, is_fresh: bool) -> Self {
        Self { tables, clock, now: conn::ticks(clock), is_fresh, is_near: false }
    }

    /// For the program that deals with this host's own stack.
    #[inline(always)]
    pub(crate) const fn near(tables: &'a T, clock: u64, is_fresh: bool) -> Self {
        Self { is_near: true, ..Self::new(tables, clock, is_fresh) }
    }

    /// Where the connections of a client may be.
    #[inline(always)]
    pub(crate) fn place(&self, client: &Addr, cport: [u8; 2], protocol: u8) -> Option<Place> {
        Some(Place::of(&self.tables.geometry()?, client, cport, protocol))
    }

    /// The connection of a packet from a client. One that has ended, where this SYN begins another, does not count: it
    /// goes when the new one is made. One by full NAT whose address is no longer the director's way to the server ends here.
    #[inline(always)]
    pub(crate) fn find_request(&self, parsed: &Parsed) -> Option<Found<T::Bucket>> {
        let found = self.find(parsed)?;
        if method(found.flags()) == Method::FULL_NAT && found.has_moved(self.tables) {
            let _ended = found.expire(self.tables);
            return None;
        }
        if parsed.is(Signal::RENEWS) && self.is_over(&found) { None } else { Some(found) }
    }

    /// A packet from a client (ipvs.md §2.2 steps 9 to 11).
    #[inline(always)]
    pub(crate) fn request<P: Packet>(
        &self,
        packet: &mut P,
        parsed: &Parsed,
        found: &mut Found<T::Bucket>,
        way: &mut Way,
    ) -> Result<Outcome, Outcome> {
        let (dest_id, service_id) = found.ids();
        let dest = self.tables.dest(dest_id).ok_or_else(|| bypass::known(way))?;
        let is_here = dest.flags() & DestFlags::LOCAL != 0;
        if is_here && !self.is_near {
            return Err(self.to_stack());
        }
        self.admit(parsed, found, dest, way)?;
        if method(found.flags()) == Method::FULL_NAT && dest.addr().is_v4() != parsed.is_v4() {
            return Err(Outcome::Translate);
        }
        self.stays_in_family(parsed, dest, method(found.flags()))?;
        // Before anything is counted or changed: a packet that is handed over is counted where it is taken up. One that has
        // no route is counted here all the same (ipvs.md §2.2).
        let begins = self.is_fresh || parsed.is(Signal::RENEWS);
        // A number and what stands in `way`: as one value the verifier would take it for undefined, and there is no room for it
        // on the stack.
        let routed = self.find_way(dest, dest_id, begins, way);
        if routed.class() == Class::HandOver {
            return Err(routed);
        }
        // All that is needed of the connection, so that what follows does not depend on where it was found.
        let (_, dport) = found.ports();
        let flags = found.flags();
        if routed == Outcome::Balanced {
            cut::check(packet, self.tables, parsed, &way.hop, method(flags))?;
        }
        let direction =
            if flags & ConnFlags::NO_OUTPUT == 0 { Direction::Input } else { Direction::InputOnly };
        let mut bytes = u64::from(parsed.len);
        let method = method(flags);
        if parsed.is(Signal::FRAGMENT) {
            // Its checksum is over the whole packet, of which the length is not known.
            if parsed.protocol == proto::SCTP && method == Method::MASQ && dport != parsed.dport {
                return Err(Outcome::FragmentedSctp);
            }
            bytes = fragment::bytes(parsed);
            way.keep.write(parsed, (dest_id, service_id), method, (Addr::default(), self.now));
            if method == Method::FULL_NAT {
                way.keep.set_other_end(found.local(self.tables, dest));
            }
            way.keep.announce(self.tables, parsed, self.now)?;
        }
        self.tables.count(service_id, dest_id, &Stats { in_packets: 1, in_bytes: bytes, ..Stats::default() });
        self.note_request(parsed, found, direction);
        if self.is_near {
            if is_here {
                way.local.request(method, dest.addr(), dport);
                return Ok(Outcome::Local);
            }
            if local::is_loopback(parsed.source) {
                return Err(Outcome::LoopbackAddress);
            }
        }
        if routed != Outcome::Balanced {
            return Err(routed);
        }
        if method == Method::MASQ {
            check(packet, parsed, &way.hop, 0)?;
            masq::send(packet, parsed, masq::End::Destination, dest.addr(), dport, &way.hop)?;
            return Ok(Outcome::ForwardMasq);
        }
        if method == Method::FULL_NAT {
            return self.leave_by_full_nat(parsed, found, dest, way);
        }
        Self::transmit(packet, parsed, dest, method, way)
    }

    /// Where packets to a destination leave.
    #[inline(always)]
    pub(crate) fn hop_to(&self, dest: T::Dest, id: u32, begins: bool) -> Result<NextHop, Outcome> {
        let flow = Flow { to: dest.addr(), from: Addr::default(), dest: Some(id), begins, now: self.clock };
        self.tables.next_hop(&flow)
    }

    /// Sends a packet by a method that leaves it as it is. [`Outcome::Tunnel`]: that stage is to send it.
    #[inline(always)]
    pub(crate) fn transmit<P: Packet>(
        packet: &mut P,
        parsed: &Parsed,
        dest: T::Dest,
        method: u8,
        way: &mut Way,
    ) -> Result<Outcome, Outcome> {
        match method {
            Method::DR => {
                direct_route::send(packet, parsed, &way.hop)?;
                Ok(Outcome::ForwardDr)
            }
            Method::TUNNEL => {
                let source = dest.source();
                if source == Addr::default() {
                    return Err(Outcome::NoTunnelSource);
                }
                let (kind, flags, port) = dest.tunnel();
                way.tunnel = Tunnel { kind, flags, port, source, destination: dest.addr() };
                Ok(Outcome::Tunnel)
            }
            _ => Err(Outcome::Inconsistent),
        }
    }

    /// Moves a connection along by a packet. `false`: it ended in this very moment; the packet still goes where it would
    /// have gone an instant before.
    #[inline(always)]
    pub(crate) fn advance(
        &self,
        found: &mut Found<T::Bucket>,
        parsed: &Parsed,
        direction: Direction,
        repeated: bool,
    ) -> bool {
        let event = state::Event::new(parsed.row, direction);
        found.touch(self.tables, Event::new(event, repeated), self.now)
    }

    /// Moves a connection along by a packet of the client's, and counts that there.
    #[inline(always)]
    pub(crate) fn note_request(&self, parsed: &Parsed, found: &mut Found<T::Bucket>, direction: Direction) {
        // A first packet that was handed over comes again: the connection is in the state after it already. Not so FTP's data
        // connections that clients announced: they were there before any packet.
        let is_known = found.packets() == 0 && found.state() != state::tcp::LISTEN;
        let comes_again =
            || parsed.is(Signal::BEGINS) || self.tables.is_second_look() && self.may_begin(parsed);
        let is_first = self.is_fresh || is_known && comes_again();
        if is_first || self.advance(found, parsed, direction, found.packets() != 0) {
            found.count_packet();
        }
    }

    /// Finds the service of a packet and asks its scheduler: ids of service and destination (ipvs.md §2.4).
    #[inline(always)]
    fn choose(
        &self,
        parsed: &Parsed,
        mark: u32,
        sender: Addr,
        turn: &mut one_packet::Turn,
        flags: &mut u16,
    ) -> Result<(u32, u32), Outcome> {
        if !self.may_begin(parsed) {
            return Err(match parsed.protocol {
                proto::AH | proto::ESP => Outcome::NoKeyExchange,
                _ if parsed.is(Signal::RESETS) => Outcome::Rst,
                _ => Outcome::NoSyn,
            });
        }
        let (id, service) = self.service(parsed, mark).ok_or(Outcome::NoService)?;
        if guard::is_peer(self.tables, id, sender) {
            return Err(Outcome::AlreadyBalanced);
        }
        if parsed.sport == FTP_DATA {
            return Err(Outcome::FtpDataPort);
        }
        if service.protocol() == rvs_abi::mark::PROTOCOL {
            filter::learn(self.tables, parsed.destination);
        } else {
            Self::check_port(parsed.dport, service.port().to_ne_bytes())?;
        }
        let request = sched::Request { client: parsed.source, cport: parsed.sport };
        turn.begin(self.tables, service, parsed);
        *flags = clamp::flag(parsed, service.mss());
        let dest = self.or_bypass(sched::pick(self.tables, service, &request), parsed, service)?;
        turn.end(self.tables);
        Ok((id, dest))
    }

    /// The connection of a client's packet.
    #[inline(always)]
    pub(crate) fn find(&self, parsed: &Parsed) -> Option<Found<T::Bucket>> {
        let place = self.place(&parsed.source, parsed.sport, parsed.key_protocol())?;
        conn::find(self.tables, &place, self.now, &Self::key(parsed))
    }

    /// The key of the connection that a client's packet belongs to.
    #[inline(always)]
    fn key(parsed: &Parsed) -> Key {
        let (client, vip) = (parsed.source, parsed.destination);
        Key::new(client, parsed.sport, vip, parsed.dport, parsed.key_protocol(), parsed.family)
    }

    /// Writes down a connection to a destination (ipvs.md §2.4 step 7).
    #[inline(always)]
    pub(crate) fn describe(
        &self,
        parsed: &Parsed,
        service: u32,
        dest_id: u32,
        is_local: u64,
        request: &mut conn::Request,
    ) -> Option<Outcome> {
        let dest = self.tables.dest(dest_id)?;
        let protocol = parsed.protocol;
        // Where one end is this host, NAT does what full NAT is for.
        let is_near = is_local != 0 || dest.flags() & DestFlags::LOCAL != 0;
        let method = if is_near && dest.method() == Method::FULL_NAT { Method::MASQ } else { dest.method() };
        let is_full = method == Method::FULL_NAT;
        let masq = is_full || method == Method::MASQ;
        let direction = if masq { Direction::Input } else { Direction::InputOnly };
        let next = state::Event::new(parsed.row, direction).next(0);
        let client = parsed.source;
        let place = self.place(&client, parsed.sport, protocol)?;
        // Field by field: a whole record on the stack would be one too many.
        request.place = place;
        request.birth.state = next.state();
        request.birth.now = self.now;
        request.birth.timeout = self.tables.timeout(next.timeout());
        let entry = &mut request.entry;
        entry.client = client;
        entry.vip = parsed.destination;
        entry.cport = u16::from_ne_bytes(parsed.sport);
        entry.vport = u16::from_ne_bytes(parsed.dport);
        entry.protocol = protocol;
        entry.family = parsed.family;
        let client_flag = if is_local != 0 { ConnFlags::LOCAL_CLIENT } else { 0 };
        // Numbers are shifted once: FTP is not listened to behind a header.
        let aside = match proxy::flag(self.tables, parsed, service, is_full) {
            0 => ftp::flag(self.tables, parsed, masq && is_local == 0),
            flag => flag,
        };
        entry.flags |= u16::from(method) | if masq { 0 } else { ConnFlags::NO_OUTPUT } | client_flag | aside;
        entry.dest = dest_id;
        entry.service = service;
        entry.dport = if dest.port() == 0 { entry.vport } else { dest.port() };
        entry.lport = 0;
        entry.local = 0;
        entry.own = 0;
        entry.packets = 0;
        entry.control = 0;
        Some(if is_full { Outcome::Reserve } else { Outcome::Balanced })
    }

    /// The connection of a packet from a real server (ipvs.md §2.7 step 4).
    #[inline(always)]
    pub(crate) fn find_reply(&self, parsed: &Parsed) -> Option<Found<T::Bucket>> {
        let protocol = parsed.key_protocol();
        let client = parsed.destination;
        let place = self.place(&client, parsed.dport, protocol)?;
        let wanted = MatchReply {
            client,
            cport: parsed.dport,
            source: parsed.source,
            sport: parsed.sport,
            protocol,
            family: parsed.family,
        };
        conn::find(self.tables, &place, self.now, &wanted)
    }

    /// Sends a reply on to the client (ipvs.md §2.7.1).
    #[inline(always)]
    fn answer<P: Packet>(
        &self,
        packet: &mut P,
        parsed: &Parsed,
        found: &mut Found<T::Bucket>,
        way: &mut Way,
    ) -> Result<Outcome, Outcome> {
        let flags = found.flags();
        if method(flags) != Method::MASQ {
            self.note_unchanged(parsed, found);
            return Err(Outcome::ReplyUnchanged);
        }
        ftp::divert(self.tables, parsed, flags, Outcome::FtpReply)?;
        let vip = found.vip();
        if found.flags() & ConnFlags::LOCAL_CLIENT != 0 {
            return Err(if self.tables.reaches_stack() {
                Outcome::LocalReply
            } else {
                Outcome::HandOverRoute
            });
        }
        clamp::check(parsed, found.flags(), way, clamp::REPLY)?;
        let (dest_id, _) = found.ids();
        let source = self.tables.dest(dest_id).ok_or(Outcome::Inconsistent)?.source();
        way.notice = Notice { from: source, mtu: 0, hops: 0 };
        let from = self.reply_from(parsed, vip);
        way.hop = self.hop_to_client(parsed.destination, from, parsed.is(Signal::RENEWS))?;
        // The stack looks at these before IPVS sees a reply: one that can't go on is not counted.
        way.notice.mtu = way.hop.mtu;
        cut::check(packet, self.tables, parsed, &way.hop, Method::MASQ)?;
        check(packet, parsed, &way.hop, 0)?;
        if parsed.is(Signal::FRAGMENT) {
            way.keep.write(parsed, found.ids(), Method::MASQ, (vip, self.now));
            way.keep.announce(self.tables, parsed, self.now)?;
        }
        let (vport, _) = found.ports();
        self.note_reply(parsed, found);
        if parsed.is(Signal::FRAGMENT) && parsed.protocol == proto::SCTP && vport != parsed.sport {
            return Err(Outcome::FragmentedSctp);
        }
        masq::send(packet, parsed, masq::End::Source, vip, vport, &way.hop)?;
        Ok(Outcome::ReplyMasq)
    }

    /// Counts a reply that is passed on unchanged.
    #[inline(always)]
    pub(crate) fn note_unchanged(&self, parsed: &Parsed, found: &mut Found<T::Bucket>) {
        // Under TC after XDP it has been seen already.
        if !self.tables.is_second_look() && self.note_reply(parsed, found) {
            found.clear_no_output();
        }
    }

    /// The address that a reply is routed from (`snat_reroute`, ipvs.md §2.7.1): with rules for sources it makes a difference.
    #[inline(always)]
    pub(crate) fn reply_from(&self, parsed: &Parsed, vip: Addr) -> Addr {
        if self.tables.settings() & Settings::SNAT_REROUTE == 0 { parsed.source } else { vip }
    }

    /// Where packets to a client leave, as if they came from `from` here.
    #[inline(always)]
    pub(crate) fn hop_to_client(&self, client: Addr, from: Addr, begins: bool) -> Result<NextHop, Outcome> {
        self.tables.next_hop(&Flow { to: client, from, dest: None, begins, now: self.clock })
    }

    /// Counts a reply and moves its connection along; `false` if that ended in this very moment.
    #[inline(always)]
    pub(crate) fn note_reply(&self, parsed: &Parsed, found: &mut Found<T::Bucket>) -> bool {
        let delta = Stats { out_packets: 1, out_bytes: fragment::counted(parsed), ..Stats::default() };
        self.count(found.ids(), &delta);
        self.advance(found, parsed, Direction::Output, true)
    }
}

/// The forwarding method of a connection with those flags.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "three bits")]
pub(crate) const fn method(flags: u16) -> u8 {
    (flags & ConnFlags::METHOD) as u8
}

/// Port 20, network order.
pub(crate) const FTP_DATA: [u8; 2] = [0, 20];
