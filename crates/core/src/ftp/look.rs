//! What a segment of a control connection says about a data connection.
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets in a frame are below 2^14 where anything is read"
)]

use rvs_abi::{Addr, Method, Outcome, family, limits};
use rvs_wire::{eth, tcp};

use crate::conn::{self, At, Found};
use crate::ftp::command::{Announced, Form, Reader, Window};
use crate::ftp::record::{self, FROM_CLIENT, FROM_SERVER};
use crate::ftp::{Ends, Work};
use crate::parse::Signal;
use crate::pipeline::{Context, Scratch, either, method};
use crate::state::tcp::ESTABLISHED;
use crate::state::{self, Direction};
use crate::{Packet, Parsed, Step, Tables};

/// The stage that reads a segment. [`Outcome::NoConnection`]: a data connection is to be made, as it is written down;
/// [`Outcome::Reserve`]: likewise, by a port of the director's; [`Outcome::Balanced`]: none.
#[inline(always)]
pub fn look<P: Packet, T: Tables>(packet: &mut P, tables: &T, step: Outcome) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let context = Context::new(tables, scratch.clock, false);
        let Scratch { parsed, request, ftp, found, is_announced, .. } = scratch;
        *is_announced = 1;
        (ftp.record, ftp.form, ftp.again, ftp.port) = (0, 0, 0, [0; 2]);
        let at = *found;
        let Some(found) = found.get(tables) else { return Outcome::Inconsistent };
        if let Some(record) = record::find(tables, &at) {
            ftp.record = record.number();
        }
        let Some(payload) = Payload::of(packet, parsed) else { return Outcome::Balanced };
        let look = Look { context, parsed, found, payload };
        either(look.look(packet, &at, step == Outcome::FtpRequest, (request, ftp)))
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}

/// Where a segment's data begin and end in the frame, and its sequence number.
#[derive(Debug, Clone, Copy)]
struct Payload {
    start: u32,
    end: u32,
    sequence: u32,
}

impl Payload {
    /// Of a segment that has data, and is no fragment.
    #[inline(always)]
    fn of<P: Packet>(packet: &mut P, parsed: &Parsed) -> Option<Self> {
        let l4 = parsed.transport();
        let [offset] = packet.get::<1>(l4 + tcp::DATA_OFFSET)?;
        let sequence = u32::from_be_bytes(packet.get::<4>(l4 + tcp::SEQUENCE)?);
        let start = u32::from(parsed.l4) + u32::from(offset >> 4) * 4;
        let end = eth::LEN as u32 + parsed.len;
        if start >= end || usize::from(offset >> 4) * 4 < tcp::LEN || parsed.is(Signal::FRAGMENT) {
            return None;
        }
        let searched = start + limits::FTP_SEARCHED;
        packet.reach(if end < searched { end } else { searched });
        Some(Self { start, end, sequence })
    }
}

/// All about a segment.
struct Look<'a, T: Tables> {
    context: Context<'a, T>,
    parsed: &'a Parsed,
    found: Found<T::Bucket>,
    payload: Payload,
}

impl<T: Tables> Look<'_, T> {
    /// Each part is there once, for the verifier, and not once for each direction.
    #[inline(always)]
    fn look<P: Packet>(
        &self,
        packet: &P,
        at: &At,
        is_request: bool,
        (request, ftp): (&mut conn::Request, &mut Work),
    ) -> Result<Outcome, Outcome> {
        let tables = self.context.tables;
        let asked = if is_request && self.is_established(Direction::Input) {
            search(packet, tables, &self.payload, self.parsed.is_v4())
        } else {
            0
        };
        let form = match (asked, is_request) {
            (0, true) => self.form_of_request(packet),
            (0, false) => self.form_of_reply(packet, ftp),
            _ => None,
        };
        let is_full = method(self.found.flags()) == Method::FULL_NAT;
        if ftp.record == 0 && (asked != 0 || is_request && is_full && form.is_some()) {
            ftp.record = record::make(tables, at).ok_or(Outcome::FtpFull)?.number();
        }
        if asked != 0 {
            let record = record::Record::of(ftp.record).ok_or(Outcome::Inconsistent)?;
            record.set_asked(tables, asked);
        }
        let Some(form) = form else { return Ok(Outcome::Balanced) };
        let head = if is_request { Form::COMMAND } else { Form::REPLY };
        ftp.reader.begin(form, self.parsed.is_v4());
        let data = (self.payload.start + head, self.payload.end);
        let Some(announced) = read(packet, tables, data, &mut ftp.reader) else {
            return Ok(Outcome::Balanced);
        };
        if is_request {
            self.active(form, &announced, is_full, (request, ftp))
        } else {
            self.passive(form, &announced, (request, ftp))
        }
    }

    /// Whether the connection is in ESTABLISHED, which this very segment may lead to (ipvs.md §12.1).
    #[inline(always)]
    fn is_established(&self, direction: Direction) -> bool {
        let state = self.found.state();
        let next = state::Event::new(self.parsed.row, direction).next(state).state();
        next == ESTABLISHED
    }

    /// What a client announces.
    #[inline(always)]
    fn form_of_request<P: Packet>(&self, packet: &P) -> Option<Form> {
        if !self.is_established(Direction::Input) {
            return None;
        }
        let head = packet.get::<{ Form::COMMAND as usize }>(self.payload.start as usize)?;
        Form::of_command(head, self.parsed.is_v4())
    }

    /// What a server announces: if it was asked for an address, or says again what it said then (ipvs.md §12.2).
    #[inline(always)]
    fn form_of_reply<P: Packet>(&self, packet: &P, ftp: &mut Work) -> Option<Form> {
        let tables = self.context.tables;
        let record = record::Record::of(ftp.record)?;
        let head = packet.get::<{ Form::REPLY as usize }>(self.payload.start as usize)?;
        let form = Form::of_reply(head, self.parsed.is_v4())?;
        let again = record.shift(tables, FROM_SERVER).is_known(self.payload.sequence);
        ftp.again = u64::from(again);
        let is_asked = record.asked(tables) == form as u64 && self.found.state() == ESTABLISHED;
        (again || is_asked).then_some(form)
    }

    /// A client awaits the server at an address and port of its own (ipvs.md §12.3).
    #[inline(always)]
    fn active(
        &self,
        form: Form,
        announced: &Announced,
        is_full: bool,
        (request, ftp): (&mut conn::Request, &mut Work),
    ) -> Result<Outcome, Outcome> {
        let tables = self.context.tables;
        let (vport, dport) = self.found.ports();
        if is_full {
            // The server sees the director's own address and has nothing to refuse: that it would, is for us to see.
            let local = self.context.local_address(&self.found);
            if announced.address != self.parsed.source || local == Addr::default() {
                return Ok(Outcome::Balanced);
            }
            let record = record::Record::of(ftp.record).ok_or(Outcome::Inconsistent)?;
            ftp.again = u64::from(record.shift(tables, FROM_CLIENT).is_known(self.payload.sequence));
            ftp.form = form as u64;
            ftp.address = local;
            self.mark(announced, Form::COMMAND, ftp);
            if form == Form::Port && !local.is_v4() {
                // The command's name becomes another too.
                ftp.start = self.payload.start as u16;
            }
        }
        let ends = Ends {
            client: announced.address,
            cport: announced.port.to_be_bytes(),
            vip: self.found.vip(),
            vport: before(vport),
        };
        let family = self.parsed.family;
        self.context
            .describe_data(&self.found, (&ends, family), before(dport), request)
            .ok_or(Outcome::Inconsistent)?;
        Ok(if is_full { Outcome::Reserve } else { Outcome::NoConnection })
    }

    /// A server awaits the client at a port of its own (ipvs.md §12.2).
    #[inline(always)]
    fn passive(
        &self,
        form: Form,
        announced: &Announced,
        (request, ftp): (&mut conn::Request, &mut Work),
    ) -> Result<Outcome, Outcome> {
        let (client, _) = self.found.client();
        let port = announced.port.to_be_bytes();
        let ends = Ends { client, cport: [0; 2], vip: self.found.vip(), vport: port };
        ftp.form = form as u64;
        ftp.address = ends.vip;
        ftp.port = port;
        self.mark(announced, Form::REPLY, ftp);
        if ftp.again != 0 {
            return Ok(Outcome::Balanced);
        }
        // The client's: the server's may be another.
        let family = if client.is_v4() { family::V4 } else { family::V6 };
        self.context
            .describe_data(&self.found, (&ends, family), port, request)
            .ok_or(Outcome::Inconsistent)?;
        Ok(Outcome::NoConnection)
    }

    /// Writes down where the text is.
    #[inline(always)]
    const fn mark(&self, announced: &Announced, head: u32, ftp: &mut Work) {
        let first = self.payload.start + head;
        ftp.start = (first + announced.start) as u16;
        ftp.end = (first + announced.end) as u16;
    }
}

/// The port below, network order.
#[inline(always)]
const fn before(port: [u8; 2]) -> [u8; 2] {
    u16::from_be_bytes(port).wrapping_sub(1).to_be_bytes()
}

/// Looks for what a client asks for, byte by byte.
struct Search<'a, P> {
    packet: &'a P,
    start: u64,
    left: u64,
    is_v4: u64,
    window: u64,
    asked: u64,
}

impl<P: Packet, T: Tables> Step<T> for Search<'_, P> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        if u64::from(round) >= tables.veiled(self.left) {
            return true;
        }
        let at = tables.veiled(self.start).wrapping_add(u64::from(round)) as usize;
        let Some([byte]) = self.packet.get::<1>(at) else { return true };
        let window = Window(tables.veiled(self.window)).then(byte);
        self.window = window.0;
        self.asked = window.asked(tables.veiled(self.is_v4) != 0);
        self.asked != 0
    }
}

/// The first request for an address in a client's data, anywhere in their beginning; 0: none.
#[inline(always)]
fn search<P: Packet, T: Tables>(packet: &P, tables: &T, payload: &Payload, is_v4: bool) -> u64 {
    let mut search = Search {
        packet,
        start: u64::from(payload.start),
        left: u64::from(payload.end - payload.start),
        is_v4: u64::from(is_v4),
        window: tables.veiled(0),
        asked: tables.veiled(0),
    };
    tables.repeat(limits::FTP_SEARCHED, &mut search);
    search.asked
}

/// Reads an address, byte by byte.
struct Reading<'a, P> {
    packet: &'a P,
    start: u64,
    left: u64,
    reader: &'a mut Reader,
}

impl<P: Packet, T: Tables> Step<T> for Reading<'_, P> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        if u64::from(round) >= tables.veiled(self.left) {
            return true;
        }
        let at = tables.veiled(self.start).wrapping_add(u64::from(round)) as usize;
        let Some([byte]) = self.packet.get::<1>(at) else { return true };
        self.reader.take(byte, u64::from(round))
    }
}

/// What is announced in a segment, behind its head.
#[inline(always)]
fn read<P: Packet, T: Tables>(
    packet: &P,
    tables: &T,
    (start, end): (u32, u32),
    reader: &mut Reader,
) -> Option<Announced> {
    if start >= end {
        return None;
    }
    let mut reading = Reading { packet, start: u64::from(start), left: u64::from(end - start), reader };
    tables.repeat(limits::FTP_LINE, &mut reading);
    reading.reader.announced()
}
