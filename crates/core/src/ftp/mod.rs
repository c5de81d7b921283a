//! FTP's control connections (ipvs.md §12): what a client and its server say to each other about addresses is read, so that
//! their data connections find their way, and rewritten where the other end could do nothing with it.
//!
//! A control connection is marked when it is made (`flag`). Its segments leave the usual way at `divert` and come to a
//! program of their own, under TC, which treats them (`handle`) and sends them on as if they had come so. The data
//! connection is an entry of the connection table before it begins, as in IPVS: active, between both ends; passive, without
//! the client's port, until the client's SYN (`expected`) takes its place.

pub mod command;
mod look;
mod record;
mod rewrite;
mod sequence;
mod text;

use rvs_abi::{Addr, ConnFlags, Event, Method, Outcome, limits, proto};

use crate::conn::{self, At, Found, Key, Place};
use crate::parse::Signal;
use crate::pipeline::{About, Context, Scratch, connect, method};
use crate::state::tcp::{CLOSE, LISTEN, TIME_WAIT};
use crate::{Packet, Parsed, Tables};

pub use look::look;
pub use rewrite::rewrite;

/// What one stage found out about a segment, for the next.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// The control connection's record, as a number; 0: none.
    record: u64,
    /// The [`command::Form`] of the address that is to be rewritten; 0: none is.
    form: u64,
    /// 1: the segment has been here before, and is sent again.
    again: u64,
    /// The address that is announced instead, and its port (network order) unless full NAT has to find one.
    address: Addr,
    port: [u8; 2],
    /// Where the text is that says so, from the beginning of the frame, and where it ends.
    start: u16,
    end: u16,
    /// Room for reading an address.
    reader: command::Reader,
}

/// What is added to a connection's flags if it is one that is listened to.
#[inline(always)]
pub(crate) fn flag<T: Tables>(tables: &T, parsed: &Parsed, is_rewritten: bool) -> u16 {
    let ports = tables.ftp_ports();
    let is_listened = (0..limits::FTP_PORTS).any(|i| {
        let [a, b] = parsed.dport;
        ports[i] != [0; 2] && ports[i] == [a, b]
    });
    if is_rewritten && parsed.protocol == proto::TCP && is_listened { ConnFlags::FTP } else { 0 }
}

/// Whether a segment of a connection with those flags is for the program that listens.
///
/// # Errors
/// It is: that step, or [`Outcome::HandOverFtp`] where that program can't be.
#[inline(always)]
pub(crate) fn divert<T: Tables>(
    tables: &T,
    parsed: &Parsed,
    flags: u16,
    step: Outcome,
) -> Result<(), Outcome> {
    if flags & ConnFlags::FTP == 0 || parsed.is(Signal::HEARD | Signal::RENEWS) {
        return Ok(());
    }
    Err(if tables.holds() { step } else { Outcome::HandOverFtp })
}

/// Treats a segment that left the usual way at that step. [`Outcome::Balanced`]: it goes on.
#[inline(always)]
pub(crate) fn handle<P: Packet, T: Tables>(packet: &mut P, tables: &T, step: Outcome) -> Outcome {
    let is_found = match step {
        Outcome::FtpLocalReply => tables.find_local(About::Packet),
        _ => tables.ftp_find(step),
    };
    let mut outcome = Outcome::Balanced;
    if is_found {
        outcome = tables.ftp_look(packet, step);
        if matches!(outcome, Outcome::NoConnection | Outcome::Reserve) {
            outcome = announce(tables, outcome);
        }
        if outcome == Outcome::Balanced {
            outcome = tables.ftp_rewrite(packet, step);
        }
    }
    outcome
}

/// Sends it on, the way that it left.
#[inline(always)]
pub(crate) fn send<P: Packet, T: Tables>(packet: &mut P, tables: &T, step: Outcome) -> Outcome {
    let _heard = tables.with_scratch(|scratch| scratch.parsed.signal |= Signal::HEARD);
    match step {
        Outcome::FtpRequest => tables.request(packet),
        Outcome::FtpReply => tables.reply(packet),
        _ => tables.local_reply(packet),
    }
}

/// Makes the data connection that was announced, unless it is there already. [`Outcome::Balanced`]: it is there.
#[inline(always)]
fn announce<T: Tables>(tables: &T, wanted: Outcome) -> Outcome {
    if tables.ftp_reuse() {
        return Outcome::Balanced;
    }
    let prepared = if wanted == Outcome::Reserve { wanted } else { Outcome::Balanced };
    let outcome = connect(prepared, tables);
    if outcome != Outcome::Balanced {
        return outcome;
    }
    tables.note(Event::FtpExpected);
    let kept = tables.with_scratch(|scratch| {
        let conn::Request { entry, birth, .. } = &scratch.request;
        (entry.control, birth.now, birth.timeout)
    });
    if let Some((control, now, timeout)) = kept {
        tables.keep_control(control, now, i64::from(timeout));
    }
    Outcome::Balanced
}

/// The stage before: finds the control connection of a segment, for the next ones. In full NAT that of a reply is found by
/// the director's port.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, step: Outcome) -> bool {
    let found = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        let found = if step == Outcome::FtpRequest {
            context.find(&scratch.parsed)
        } else {
            context.find_reply(&scratch.parsed)
        };
        if let Some(found) = &found {
            scratch.found = At::of(found);
        }
        found.is_some()
    });
    found.unwrap_or(false)
}

/// Looks for a connection between the ends of the one to be made; found, it is `Scratch::same`. By itself, for the verifier.
#[inline(always)]
pub fn find_same<T: Tables>(tables: &T) -> bool {
    let found = tables.with_scratch(|scratch| {
        let conn::Request { place, entry, .. } = &scratch.request;
        let found = conn::find(tables, place, conn::ticks(scratch.clock), &Key::of(entry));
        if let Some(found) = &found {
            scratch.same = At::of(found);
        }
        found.is_some()
    });
    found.unwrap_or(false)
}

/// Whether there is a connection between the ends of the one to be made, which stays: as the segment that announces it has been
/// here before, or since another control connection's data go over it, whose client is named by this one (ipvs.md §12.2: "unless
/// one exists"). Else it gives way: it may be left over from a transfer between the same ports.
#[inline(always)]
pub fn reuse<T: Tables>(tables: &T) -> bool {
    if !tables.find_same() {
        return false;
    }
    let is_reused = tables.with_scratch(|scratch| {
        let Scratch { same, request, ftp, .. } = scratch;
        let Some(found) = same.get(tables) else { return false };
        let (dest, _) = found.ids();
        let is_again = ftp.again != 0 && dest == request.entry.dest;
        let is_own = found.control() == request.entry.control;
        let is_over = matches!(found.state(), TIME_WAIT | CLOSE);
        // By full NAT clients name themselves only.
        if is_again || !is_own && !is_over && method(request.entry.flags) != Method::FULL_NAT {
            request.entry.lport = u16::from_ne_bytes(found.lport());
            request.entry.local = found.local_number();
            return true;
        }
        // If it fails, somebody else just ended or changed it: the insert finds out.
        let _ended = found.expire(tables);
        false
    });
    is_reused.unwrap_or(false)
}

/// Before stage 3: whether the packet is the first of a data connection that is expected. [`Outcome::NoConnection`]: it is
/// not; else the connection is written down as stage 3 does, with the destination of the control connection.
#[inline(always)]
pub fn expected<T: Tables>(tables: &T) -> Outcome {
    if tables.ftp_ports() == [[0; 2]; limits::FTP_PORTS] {
        return Outcome::NoConnection;
    }
    let may_be = tables.with_scratch(|scratch| {
        let Scratch { parsed, request, .. } = scratch;
        if parsed.protocol != proto::TCP || !parsed.is(Signal::BEGINS) {
            return false;
        }
        let ends =
            Ends { client: parsed.source, cport: [0; 2], vip: parsed.destination, vport: parsed.dport };
        ends.write(tables, parsed.family, request).is_some()
    });
    if may_be != Some(true) || !tables.find_same() {
        return Outcome::NoConnection;
    }
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        let Scratch { same, parsed, request, is_announced, .. } = scratch;
        let Some(found) = same.get(tables) else { return Outcome::Inconsistent };
        if found.flags() & ConnFlags::NO_CPORT == 0 {
            return Outcome::NoConnection;
        }
        let (dest, service) = found.ids();
        let (_, dport) = found.ports();
        let (control, local) = (found.control(), found.local_number());
        request.entry.flags = found.flags() & ConnFlags::CLAMPED;
        let Some(outcome) = context.describe(parsed, service, dest, 0, request) else {
            return Outcome::Inconsistent;
        };
        context.end_previous(parsed);
        request.entry.dport = u16::from_ne_bytes(dport);
        request.entry.control = control;
        request.entry.local = local;
        *is_announced = 1;
        outcome
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Behind stage 4: what was expected is there.
#[inline(always)]
pub fn arrived<T: Tables>(tables: &T) {
    let _ended = tables.with_scratch(|scratch| scratch.same.get(tables).map(|found| found.expire(tables)));
}

/// The ends of a connection; ports in network order.
struct Ends {
    client: Addr,
    cport: [u8; 2],
    vip: Addr,
    vport: [u8; 2],
}

impl Ends {
    /// Writes them into a request.
    #[inline(always)]
    fn write<T: Tables>(&self, tables: &T, family: u8, request: &mut conn::Request) -> Option<()> {
        request.place = Place::of(&tables.geometry()?, &self.client, self.cport, proto::TCP);
        let entry = &mut request.entry;
        entry.client = self.client;
        entry.vip = self.vip;
        entry.cport = u16::from_ne_bytes(self.cport);
        entry.vport = u16::from_ne_bytes(self.vport);
        entry.protocol = proto::TCP;
        entry.family = family;
        Some(())
    }
}

impl<T: Tables> Context<'_, T> {
    /// Writes down a data connection that a control connection announces: to the same destination, in state LISTEN.
    #[inline(always)]
    fn describe_data(
        &self,
        control: &Found<T::Bucket>,
        (ends, family): (&Ends, u8),
        dport: [u8; 2],
        request: &mut conn::Request,
    ) -> Option<()> {
        ends.write(self.tables, family, request)?;
        request.birth.state = LISTEN;
        request.birth.now = self.now;
        request.birth.timeout = self.tables.timeout(u32::from(LISTEN));
        let (dest, service) = control.ids();
        let entry = &mut request.entry;
        let is_expected = ends.cport == [0; 2];
        entry.flags = control.flags() & (ConnFlags::METHOD | ConnFlags::CLAMPED)
            | if is_expected { ConnFlags::NO_CPORT } else { 0 };
        entry.dest = dest;
        entry.service = service;
        entry.dport = u16::from_ne_bytes(dport);
        entry.lport = 0;
        // Servers refuse data that come from elsewhere than the control connection.
        entry.local = control.local_number();
        entry.own = 0;
        entry.packets = 0;
        entry.control = conn::control::name(&At::of(control));
        Some(())
    }

    /// The director's address towards the server of a connection; zero when unknown.
    #[inline(always)]
    fn local_address(&self, found: &Found<T::Bucket>) -> Addr {
        let (dest, _) = found.ids();
        self.tables.dest(dest).map_or_else(Addr::default, |dest| found.local(self.tables, dest))
    }
}
