//! The way of a packet, top to bottom. The order of the steps is that of IPVS (ipvs.md §2).

use rvs_abi::{Addr, Class, ConnFlags, DestFlags, Method, Outcome, ServiceFlags, ServiceKey, Stats, family};
use rvs_wire::tcp;

use crate::conn::{self, Event, Found, How, Key, MatchReply, Place};
use crate::forward::{check, direct_route, masq, tunnel};
use crate::sched;
use crate::state::{self, Direction};
use crate::{DestRecord, Flow, Link, NextHop, Packet, Parsed, ServiceRecord, Tables, Verdict, filter, parse};

/// What the stages of one packet hand to each other. It is the program's scratch memory and not its stack, of which a
/// program in the kernel has 512 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scratch {
    /// The packet.
    pub parsed: Parsed,
    /// Now, in nanoseconds of the data plane's clock.
    pub clock: u64,
    /// 1: its connection was made by this very packet, and is in the state after it.
    pub is_fresh: u64,
    /// Where it leaves.
    pub link: Link,
    /// The connection to be made.
    pub request: conn::Request,
}

/// Handles a packet that came in on an interface.
///
/// The stages are functions of their own in the kernel, verified one by one and none on another's stack; they hand over
/// through [`Scratch`] and return a number. [`Outcome::Balanced`] means: on to the next.
#[inline(always)]
pub fn ingress<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Verdict {
    let mut outcome = receive(packet, tables);
    if outcome == Outcome::FromServer {
        outcome = tables.reply(packet);
    }
    if outcome == Outcome::Balanced {
        outcome = tables.request(packet);
    }
    if outcome == Outcome::NoConnection {
        outcome = connect(tables);
        if outcome == Outcome::Balanced {
            outcome = tables.request(packet);
            // Made, and gone at once: others are at work on the same slots.
            if outcome == Outcome::NoConnection {
                outcome = Outcome::ConnContended;
            }
        }
    }
    let link = match outcome.class() {
        Class::Forward => tables.with_scratch(|scratch| scratch.link).unwrap_or_default(),
        Class::Pass | Class::HandOver | Class::Drop => Link::default(),
    };
    Verdict { outcome, link }
}

/// Makes a connection for a packet that has none. [`Outcome::Balanced`]: it has one now.
#[inline(always)]
fn connect<T: Tables>(tables: &T) -> Outcome {
    let mut outcome = tables.prepare();
    if outcome == Outcome::Balanced {
        outcome = tables.insert();
        for _ in 1..conn::ATTEMPTS {
            if outcome == Outcome::ConnContended {
                outcome = tables.insert();
            }
        }
    }
    outcome
}

/// Stage 1: parses, and tells traffic apart that has nothing to do with any service. [`Outcome::FromServer`] is a packet
/// that may be a reply.
#[inline(always)]
fn receive<P: Packet, T: Tables>(packet: &P, tables: &T) -> Outcome {
    if tables.services_v4() == 0 {
        return Outcome::NoServices;
    }
    let outcome = tables.with_scratch(|scratch| {
        scratch.clock = tables.now();
        scratch.is_fresh = 0;
        let outcome = parse(packet, &mut scratch.parsed);
        if !matches!(outcome, Outcome::Balanced | Outcome::TruncatedTransport) {
            return outcome;
        }
        let ip = &scratch.parsed.ip;
        let from_server = filter::has(tables, Addr::v4(ip.source()));
        if !from_server && !filter::has(tables, Addr::v4(ip.destination())) {
            return Outcome::NotOurs;
        }
        if is_martian(ip.source()) {
            return Outcome::MartianSource;
        }
        // Replies first, as on IPVS's hooks (ipvs.md §2.1).
        if from_server && outcome == Outcome::Balanced { Outcome::FromServer } else { outcome }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Stage 2a: sends on a reply to a client. [`Outcome::Balanced`]: it is none, but may be a request.
#[inline(always)]
pub fn reply<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        match context.find_reply(&scratch.parsed) {
            Some(mut found) => either(context.answer(packet, &scratch.parsed, &mut found, &mut scratch.link)),
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
                either(context.request(packet, &scratch.parsed, &mut found, &mut scratch.link))
            }
            None => Outcome::NoConnection,
        }
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Stage 3, for a packet without a connection: chooses a destination and writes down the connection to be made.
#[inline(always)]
pub fn prepare<T: Tables>(tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        context.end_previous(&scratch.parsed);
        match context.choose(&scratch.parsed) {
            Ok((service, dest)) => context.describe(&scratch.parsed, service, dest, &mut scratch.request),
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
        if how == How::New {
            let entry = &scratch.request.entry;
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

/// Whether no host has this address as its own: routing refuses it as a source before IPVS would see the packet.
#[inline(always)]
const fn is_martian(source: [u8; 4]) -> bool {
    matches!(source[0], 0 | 127 | 224..)
}

/// The outcome of a step, whether it went well or not.
#[inline(always)]
fn either(result: Result<Outcome, Outcome>) -> Outcome {
    result.unwrap_or_else(|outcome| outcome)
}

/// What the steps of a stage share.
struct Context<'a, T: Tables> {
    tables: &'a T,
    /// Nanoseconds.
    clock: u64,
    /// The same in ticks.
    now: u64,
    /// Whether the packet's connection was made by this very packet.
    is_fresh: bool,
}

impl<'a, T: Tables> Context<'a, T> {
    #[inline(always)]
    const fn new(tables: &'a T, clock: u64, is_fresh: bool) -> Self {
        Self { tables, clock, now: conn::ticks(clock), is_fresh }
    }

    /// Where the connections of a client may be.
    #[inline(always)]
    fn place(&self, client: &Addr, cport: [u8; 2], protocol: u8) -> Option<Place> {
        Some(Place::of(&self.tables.geometry()?, client, cport, protocol))
    }

    /// The connection of a packet from a client. One that has ended, where this SYN begins another, does not count: it
    /// goes when the new one is made.
    #[inline(always)]
    fn find_request(&self, parsed: &Parsed) -> Option<Found<T::Bucket>> {
        let found = self.find(parsed)?;
        if parsed.tcp_flags & tcp::SYN != 0 && Self::is_over(&found) { None } else { Some(found) }
    }

    /// A packet from a client (ipvs.md §2.2 steps 9 to 11).
    #[inline(always)]
    fn request<P: Packet>(
        &self,
        packet: &mut P,
        parsed: &Parsed,
        found: &mut Found<T::Bucket>,
        link: &mut Link,
    ) -> Result<Outcome, Outcome> {
        let (dest_id, service_id) = found.ids();
        let dest = self.tables.dest(dest_id).ok_or(Outcome::Inconsistent)?;
        if dest.flags() & DestFlags::AVAILABLE == 0 {
            return Err(Outcome::DestinationGone);
        }
        // Before anything is counted or changed: a packet that is handed over is counted where it is taken up. One that has
        // no route is counted here all the same (ipvs.md §2.2).
        let to = dest.addr().v4_bytes();
        let begins = self.is_fresh || parsed.tcp_flags & tcp::SYN != 0;
        let flow = Flow { to, from: [0; 4], dest: Some(dest_id), begins, now: self.clock };
        let hop = self.tables.next_hop(&flow);
        if let Err(outcome) = hop
            && outcome.class() == Class::HandOver
        {
            return Err(outcome);
        }
        let flags = found.flags();
        let direction =
            if flags & ConnFlags::NO_OUTPUT == 0 { Direction::Input } else { Direction::InputOnly };
        let bytes = u64::from(parsed.ip.total_len());
        self.tables.count(service_id, dest_id, &Stats { in_packets: 1, in_bytes: bytes, ..Stats::default() });
        // A first packet that was handed over comes again, and proves nothing.
        if self.is_fresh || self.advance(found, parsed, direction, found.packets() != 0) {
            found.count_packet();
        }
        let hop = hop?;
        *link = hop.link;
        let (_, dport) = found.ports();
        self.transmit(packet, parsed, dest, flags, dport, &hop)
    }

    /// Sends a request by the connection's method.
    #[inline(always)]
    fn transmit<P: Packet>(
        &self,
        packet: &mut P,
        parsed: &Parsed,
        dest: T::Dest,
        flags: u16,
        dport: [u8; 2],
        hop: &NextHop,
    ) -> Result<Outcome, Outcome> {
        let address = dest.addr().v4_bytes();
        #[allow(clippy::cast_possible_truncation, reason = "three bits")]
        let method = (flags & ConnFlags::METHOD) as u8;
        match method {
            Method::MASQ => {
                check(packet, &parsed.ip, hop, 0)?;
                masq::send(packet, parsed, masq::End::Destination, address, dport, hop)?;
                Ok(Outcome::ForwardMasq)
            }
            Method::DR => {
                direct_route::send(packet, &parsed.ip, hop)?;
                Ok(Outcome::ForwardDr)
            }
            Method::TUNNEL => {
                let ends = tunnel::Ends { source: dest.source().v4_bytes(), destination: address };
                if ends.source == [0; 4] {
                    return Err(Outcome::NoTunnelSource);
                }
                #[allow(clippy::cast_possible_truncation, reason = "16 random bits are wanted")]
                let id = self.tables.random() as u16 | 1;
                tunnel::send(packet, &parsed.ip, hop, &ends, id)?;
                Ok(Outcome::ForwardTunnel)
            }
            _ => Err(Outcome::Inconsistent),
        }
    }

    /// Moves a connection along by a packet. `false`: it ended in this very moment; the packet still goes where it would
    /// have gone an instant before.
    #[inline(always)]
    fn advance(
        &self,
        found: &mut Found<T::Bucket>,
        parsed: &Parsed,
        direction: Direction,
        repeated: bool,
    ) -> bool {
        let event = state::Event::new(parsed.ip.protocol(), parsed.tcp_flags, direction);
        found.touch(self.tables, Event::new(event, repeated), self.now)
    }

    /// Whether a connection may be replaced by a SYN between the same ends (ipvs.md §2.3 with `conn_reuse_mode` 1).
    #[inline(always)]
    fn is_over(found: &Found<T::Bucket>) -> bool {
        found.state() == state::tcp::TIME_WAIT || found.state() == state::tcp::CLOSE
    }

    /// Finds the service of a packet and asks its scheduler: ids of service and destination (ipvs.md §2.4).
    #[inline(always)]
    fn choose(&self, parsed: &Parsed) -> Result<(u32, u32), Outcome> {
        if parsed.is_tcp() {
            if parsed.tcp_flags & tcp::RST != 0 {
                return Err(Outcome::Rst);
            }
            if parsed.tcp_flags & tcp::SYN == 0 {
                return Err(Outcome::NoSyn);
            }
        }
        let (id, service) = self.service(parsed).ok_or(Outcome::NoService)?;
        if parsed.sport == FTP_DATA {
            return Err(Outcome::FtpDataPort);
        }
        let request = sched::Request { client: Addr::v4(parsed.ip.source()), cport: parsed.sport };
        let dest = sched::pick(self.tables, service, &request).ok_or(Outcome::NoDestination)?;
        Ok((id, dest))
    }

    /// The service of a packet (ipvs.md §2.5 step 2).
    #[inline(always)]
    fn service(&self, parsed: &Parsed) -> Option<(u32, T::Service)> {
        let key = ServiceKey {
            vip: Addr::v4(parsed.ip.destination()),
            vport: u16::from_ne_bytes(parsed.dport),
            protocol: parsed.ip.protocol(),
            family: family::V4,
            zero: 0,
        };
        let id = self.tables.service_id(&key)?;
        let service = self.tables.service(id)?;
        let in_use = service.flags() & (ServiceFlags::USED | ServiceFlags::REMOVED) == ServiceFlags::USED;
        in_use.then_some((id, service))
    }

    /// Ends a connection between the same ends, if the packet begins another (ipvs.md §2.3).
    #[inline(always)]
    fn end_previous(&self, parsed: &Parsed) {
        if parsed.tcp_flags & tcp::SYN != 0
            && let Some(found) = self.find(parsed)
            && Self::is_over(&found)
        {
            // If this fails, somebody else just changed it; the insert then finds a twin, and the packet joins it.
            let _ended = found.expire(self.tables);
        }
    }

    /// The connection of a client's packet.
    #[inline(always)]
    fn find(&self, parsed: &Parsed) -> Option<Found<T::Bucket>> {
        let client = Addr::v4(parsed.ip.source());
        let place = self.place(&client, parsed.sport, parsed.ip.protocol())?;
        conn::find(self.tables, &place, self.now, &Self::key(parsed))
    }

    /// The key of the connection that a client's packet belongs to.
    #[inline(always)]
    fn key(parsed: &Parsed) -> Key {
        let (client, vip) = (Addr::v4(parsed.ip.source()), Addr::v4(parsed.ip.destination()));
        Key::new(client, parsed.sport, vip, parsed.dport, parsed.ip.protocol())
    }

    /// Writes down a connection to a destination (ipvs.md §2.4 step 7).
    #[inline(always)]
    fn describe(
        &self,
        parsed: &Parsed,
        service: u32,
        dest_id: u32,
        request: &mut conn::Request,
    ) -> Option<Outcome> {
        let dest = self.tables.dest(dest_id)?;
        let protocol = parsed.ip.protocol();
        let masq = dest.method() == Method::MASQ;
        let direction = if masq { Direction::Input } else { Direction::InputOnly };
        let next = state::Event::new(protocol, parsed.tcp_flags, direction).next(0);
        let client = Addr::v4(parsed.ip.source());
        let place = self.place(&client, parsed.sport, protocol)?;
        // Field by field: a whole record on the stack would be one too many.
        request.place = place;
        request.birth.state = next.state();
        request.birth.now = self.now;
        request.birth.timeout = self.tables.timeout(next.timeout());
        let entry = &mut request.entry;
        entry.client = client;
        entry.vip = Addr::v4(parsed.ip.destination());
        entry.cport = u16::from_ne_bytes(parsed.sport);
        entry.vport = u16::from_ne_bytes(parsed.dport);
        entry.protocol = protocol;
        entry.family = family::V4;
        entry.flags = u16::from(dest.method()) | if masq { 0 } else { ConnFlags::NO_OUTPUT };
        entry.dest = dest_id;
        entry.service = service;
        entry.dport = if dest.port() == 0 { entry.vport } else { dest.port() };
        entry.spare = [0; 3];
        entry.packets = 0;
        entry.control = 0;
        Some(Outcome::Balanced)
    }

    /// The connection of a packet from a real server (ipvs.md §2.7 step 4).
    #[inline(always)]
    fn find_reply(&self, parsed: &Parsed) -> Option<Found<T::Bucket>> {
        let protocol = parsed.ip.protocol();
        let client = Addr::v4(parsed.ip.destination());
        let place = self.place(&client, parsed.dport, protocol)?;
        let wanted = MatchReply {
            client,
            cport: parsed.dport,
            source: Addr::v4(parsed.ip.source()),
            sport: parsed.sport,
            protocol,
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
        link: &mut Link,
    ) -> Result<Outcome, Outcome> {
        if found.flags() & ConnFlags::METHOD != u16::from(Method::MASQ) {
            // Under TC after XDP it has been seen already.
            if !self.tables.is_second_look() && self.note_reply(parsed, found)? {
                found.clear_no_output();
            }
            return Err(Outcome::ReplyUnchanged);
        }
        let vip = found.vip_v4();
        // Routed as if it came from the director (`snat_reroute`).
        let begins = parsed.tcp_flags & tcp::SYN != 0;
        let flow = Flow { to: parsed.ip.destination(), from: vip, dest: None, begins, now: self.clock };
        let hop = self.tables.next_hop(&flow)?;
        // The stack looks at these before IPVS sees a reply: one that can't go on is not counted.
        check(packet, &parsed.ip, &hop, 0)?;
        self.note_reply(parsed, found)?;
        *link = hop.link;
        let (vport, _) = found.ports();
        masq::send(packet, parsed, masq::End::Source, vip, vport, &hop)?;
        Ok(Outcome::ReplyMasq)
    }

    /// Counts a reply and moves its connection along; `false` if that ended in this very moment.
    #[inline(always)]
    fn note_reply(&self, parsed: &Parsed, found: &mut Found<T::Bucket>) -> Result<bool, Outcome> {
        let (dest_id, service_id) = found.ids();
        let dest = self.tables.dest(dest_id).ok_or(Outcome::Inconsistent)?;
        if dest.flags() & DestFlags::AVAILABLE != 0 {
            let bytes = u64::from(parsed.ip.total_len());
            let delta = Stats { out_packets: 1, out_bytes: bytes, ..Stats::default() };
            self.tables.count(service_id, dest_id, &delta);
        }
        Ok(self.advance(found, parsed, Direction::Output, true))
    }
}

/// Port 20, network order.
const FTP_DATA: [u8; 2] = [0, 20];
