//! The director's ports for full NAT: whose a reply to one of them is, and which are free.
//!
//! A reply names the director's address and port and not the client, so it does not meet its request in a bucket. The map
//! `LOCAL_PORTS` says where the connection is: one word each, at the place that the two ends towards the server come to.
//! The entry decides whether it is the right one. A word whose connection has ended, or whose slot has another, is free:
//! nothing has to be cleaned up.
//!
//! The address is one of a pool that the operator gave, or else the director's own on the way to the server. Which of the
//! pool it is stands in the entry: so a connection keeps it, whatever becomes of routes and pool.
//!
//! | bits | field |
//! |---|---|
//! | 0-34 | position of the entry, see `bucket::position`; of a reservation bits 0-26: its end in ticks modulo 2^27 |
//! | 35-46 | the slot's generation |
//! | 47 | it is a reservation |
//! | 48-63 | the port, network order |

use rvs_abi::{Addr, ConnEntry, Event, Method, limits};

use crate::conn::bucket::{at, ids};
use crate::conn::hash::{K1, K2};
use crate::conn::word::CLAIM_TICKS;
use crate::conn::{At, Bucket, Found, Request};
use crate::{DestRecord, Parsed, Step, Tables};

/// Ports that are tried for one connection, of all addresses of the pool. With nine in ten taken, one connection in 700 000
/// then finds none.
pub const PROBES: u32 = 128;
/// After so many without a free one, a connection of one packet gives way. With nine in ten taken, that is one in thirty new
/// connections that takes another's port; with all taken it is the oldest of so many that does, rarely a young one.
const FREE_PROBES: u32 = 32;
/// How many ports an address has.
const PORTS: u32 = limits::LOCAL_PORTS.end as u32 - limits::LOCAL_PORTS.start as u32;
const RESERVED: u64 = 1 << 47;
const GENERATION_SHIFT: u32 = 35;
const PORT_SHIFT: u32 = 48;
const POSITION_MASK: u64 = (1 << GENERATION_SHIFT) - 1;
const DEADLINE_MASK: u64 = (1 << 27) - 1;

/// The two ends of a connection towards the server; ports in network order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ends {
    /// The director's address.
    pub local: Addr,
    /// The server's address.
    pub server: Addr,
    /// The director's port.
    pub lport: [u8; 2],
    /// The server's port.
    pub sport: [u8; 2],
    /// IP protocol number.
    pub protocol: u8,
}

impl Ends {
    /// Of a reply.
    #[inline(always)]
    #[must_use]
    pub const fn of(reply: &Parsed) -> Self {
        Self {
            local: reply.destination,
            server: reply.source,
            lport: reply.dport,
            sport: reply.sport,
            protocol: reply.protocol,
        }
    }

    /// Where its word is.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "masked")]
    fn index<T: Tables>(&self, tables: &T) -> Option<u32> {
        let (l, s) = (self.local.0, self.server.0);
        let [_, seed, _] = tables.geometry()?.seed;
        // Ports of the same two ends lie one behind the other, and behind them those of the next address, as far as a pool can
        // go: so no two of one that is a prefix share a word.
        let upper = u64::from_be(l[1]);
        let last = upper as u32 % limits::FULL_NAT_SOURCES_MAX;
        let port = u32::from(u16::from_be_bytes(self.lport)).wrapping_add(last * PORTS);
        let mut h = ((upper / u64::from(limits::FULL_NAT_SOURCES_MAX)) ^ seed).wrapping_mul(K1) ^ l[0];
        h = (h ^ h >> 32).wrapping_mul(K2).wrapping_add(s[1]);
        h = (h ^ h >> 29).wrapping_mul(K1) ^ s[0].rotate_left(32);
        let ports = u16::from_ne_bytes(self.sport) as u64 | (self.protocol as u64) << 16;
        h = (h ^ h >> 32 ^ ports.rotate_left(40)).wrapping_mul(K2);
        Some(((h >> 32) as u32).wrapping_add(port) & tables.local_ports_mask())
    }
}

/// Finds the connection of a reply to one of the director's ports; `now` in ticks.
#[inline(always)]
pub fn find<T: Tables>(tables: &T, ends: &Ends, now: u64) -> Option<Found<T::Bucket>> {
    let word = tables.local_port(ends.index(tables)?)?;
    if word & RESERVED != 0 || word >> PORT_SHIFT != u64::from(u16::from_ne_bytes(ends.lport)) {
        return None;
    }
    let found = owner(tables, word)?;
    if found.word().is_expired(now) || !found.is_at(tables, ends) {
        return None;
    }
    // The entry was read between two looks at its slot: it is of this connection.
    found.again()
}

/// The connection that a word names, if it lives.
#[inline(always)]
fn owner<T: Tables>(tables: &T, word: u64) -> Option<Found<T::Bucket>> {
    let found = At::of_position(word & POSITION_MASK).get(tables)?;
    let now = found.now();
    let is_same = now.is_live() && now.generation() == word >> GENERATION_SHIFT & 0xfff;
    is_same.then_some(found.with(now))
}

/// Who has a port, as a number, so that it is returned in a register: [`NOBODY`], [`PROVEN`], or how many ticks are left of
/// a connection of one packet, which may give way, plus one.
type Holder = u64;
/// It is free.
const NOBODY: Holder = 0;
/// It is not to be taken from its owner.
const PROVEN: Holder = u64::MAX;

/// Who has the port of a word; `now` in ticks.
#[inline(always)]
#[allow(clippy::cast_sign_loss, reason = "what is negative is expired")]
fn holder<T: Tables>(tables: &T, word: u64, now: u64) -> Holder {
    if word == 0 {
        return NOBODY;
    }
    if word & RESERVED != 0 {
        // The sign of the difference modulo 2^27: over, or from another round of the clock.
        return if now.wrapping_sub(word) & DEADLINE_MASK < 1 << 26 { NOBODY } else { PROVEN };
    }
    match owner(tables, word).map(|found| found.word()) {
        Some(word) if word.is_expired(now) => NOBODY,
        Some(word) if word.is_proven() => PROVEN,
        Some(word) => 1 + word.remaining(now) as u64,
        None => NOBODY,
    }
}

/// Takes a port from its connection of one packet. `false`: that has become one of more, or somebody else was first.
#[inline(always)]
fn evict<T: Tables>(tables: &T, ends: &Ends, now: u64) -> bool {
    let Some(index) = ends.index(tables) else { return false };
    let Some(old) = tables.local_port(index) else { return false };
    if old & RESERVED != 0 {
        return false;
    }
    let Some(found) = owner(tables, old) else { return false };
    // The bit stands in the word that is swapped. A word whose connection has ended may name another, by chance.
    if found.word().is_proven() || !found.is_at(tables, ends) || !found.expire(tables) {
        return false;
    }
    tables.note(Event::PortTaken);
    tables.swap_local_port(index, old, reservation(u16::from_ne_bytes(ends.lport), now + CLAIM_TICKS))
}

/// Finds a port for a connection to be made, a free one or that of a connection of one packet, holds it for [`CLAIM_TICKS`] and writes it into the entry. `None`: none was
/// free.
#[inline(always)]
pub(crate) fn reserve<T: Tables>(tables: &T, request: &mut Request) -> Option<Result<(), NoAddress>> {
    let dest = tables.dest(request.entry.dest)?;
    let (local, server) = (dest.source(), dest.addr());
    let pool = pool(tables, request, server);
    if pool == 0 && local == Addr::default() {
        return Some(Err(NoAddress));
    }
    let (sport, protocol) = (request.entry.dport.to_ne_bytes(), request.entry.protocol);
    let mut search = Search {
        ends: Ends { local, server, lport: [0; 2], sport, protocol },
        pool,
        start: tables.random(),
        turn: tables.random(),
        now: request.birth.now,
        number: 0,
        is_done: tables.veiled(0),
        oldest: 0,
        least: tables.veiled(PROVEN),
    };
    tables.repeat(PROBES, &mut search);
    if search.is_done == 0 && !(search.least != PROVEN && search.take_oldest(tables)) {
        return None;
    }
    request.entry.lport = u16::from_ne_bytes(search.ends.lport);
    request.entry.local = search.number;
    request.entry.own = if search.number == 0 { trace(&local) } else { 0 };
    Some(Ok(()))
}

/// The addresses that a connection to be made may come from. FTP's data come from where its control connection does.
#[inline(always)]
fn pool<T: Tables>(tables: &T, request: &Request, server: Addr) -> u32 {
    match (request.entry.control, request.entry.local) {
        (0, _) => tables.full_nat_sources(server.is_v4()),
        (_, 0) => 0,
        (_, number) => u32::from(number) | 1 << 16,
    }
}

/// What an entry keeps of an address, so that another is told from it: never 0.
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "the upper bits")]
pub const fn trace(address: &Addr) -> u16 {
    let [high, low] = address.0;
    let mixed = (low ^ high.rotate_left(32)).wrapping_mul(K1);
    (mixed >> 48) as u16 | 1
}

/// No address of this director is known on the way to the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoAddress;

/// One port after the other, each time of another address of the pool.
struct Search {
    ends: Ends,
    /// As [`rvs_abi::Config::full_nat_sources`]; 0: the address stays as it is.
    pool: u32,
    /// Where it begins among the ports, and by how much it goes on: were that the same for all, they would run into each
    /// other's.
    start: u32,
    /// Where it begins among the addresses.
    turn: u32,
    now: u64,
    /// Of the address in the pool; 0: none of it.
    number: u16,
    is_done: u64,
    /// The round of the connection of one packet that has the least time left, and how much.
    oldest: u32,
    least: Holder,
}

impl Search {
    /// The number in the pool of the address whose turn it is: all of them evenly, for any number of rounds.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "both halves of a word")]
    const fn number(&self, round: u32) -> u16 {
        const GOLDEN: u32 = 0x9e37_79b1;
        let turn = self.turn.wrapping_add(round.wrapping_mul(GOLDEN));
        let nth = (turn as u64 * (self.pool >> 16) as u64) >> 32;
        (self.pool as u16).wrapping_add(nth as u16)
    }

    /// The port whose turn it is. An odd step reaches 1024 ports at least before it comes to the first again.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "a port has 16 bits")]
    const fn port(&self, round: u32) -> u16 {
        let first = (self.start as u64 * PORTS as u64) >> 32;
        let step = self.start & 0xffff | 1;
        let nth = (first as u32).wrapping_add(round.wrapping_mul(step)) % PORTS;
        (limits::LOCAL_PORTS.start as u32 + nth) as u16
    }
}

impl Search {
    /// Makes the ends those whose turn it is. `false`: there are none.
    #[inline(always)]
    fn turn_to<T: Tables>(&mut self, tables: &T, round: u32) -> bool {
        if self.pool != 0 {
            self.number = self.number(round);
            let Some(local) = tables.local_address(self.number) else { return false };
            self.ends.local = local;
        }
        self.ends.lport = self.port(round).to_be_bytes();
        true
    }

    /// Takes the port of the connection that has the least time left.
    #[inline(always)]
    fn take_oldest<T: Tables>(&mut self, tables: &T) -> bool {
        self.turn_to(tables, self.oldest) && evict(tables, &self.ends, self.now)
    }
}

impl<T: Tables> Step<T> for Search {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        if !self.turn_to(tables, round) {
            return true;
        }
        let holder = try_hold(tables, &self.ends, self.now);
        self.is_done = u64::from(holder == NOBODY);
        if holder < self.least {
            (self.least, self.oldest) = (holder, round);
        }
        self.is_done != 0 || round >= FREE_PROBES && self.least != PROVEN
    }
}

/// Holds a port for [`CLAIM_TICKS`], if it is free; `now` in ticks.
#[inline(always)]
pub fn hold<T: Tables>(tables: &T, ends: &Ends, now: u64) -> bool {
    try_hold(tables, ends, now) == NOBODY
}

/// Holds a port for [`CLAIM_TICKS`] if [`NOBODY`] has it.
#[inline(always)]
fn try_hold<T: Tables>(tables: &T, ends: &Ends, now: u64) -> Holder {
    let Some(index) = ends.index(tables) else { return PROVEN };
    let Some(old) = tables.local_port(index) else { return PROVEN };
    let holder = holder(tables, old, now);
    let held = reservation(u16::from_ne_bytes(ends.lport), now + CLAIM_TICKS);
    if holder == NOBODY && !tables.swap_local_port(index, old, held) { PROVEN } else { holder }
}

/// The word that holds a port (network order) until then, in ticks.
#[inline(always)]
#[must_use]
pub const fn reservation(port: u16, until: u64) -> u64 {
    (port as u64) << PORT_SHIFT | RESERVED | (until & DEADLINE_MASK)
}

/// Makes replies find a connection whose port is held. `false`: somebody else has it by now.
#[inline(always)]
pub fn publish<T: Tables>(tables: &T, entry: &ConnEntry, found: &Found<T::Bucket>) -> bool {
    let Some(dest) = tables.dest(entry.dest) else { return false };
    let ends = Ends {
        local: address(tables, entry.local, dest),
        server: dest.addr(),
        lport: entry.lport.to_ne_bytes(),
        sport: entry.dport.to_ne_bytes(),
        protocol: entry.protocol,
    };
    let Some(index) = ends.index(tables) else { return false };
    let Some(old) = tables.local_port(index) else { return false };
    let port = u64::from(entry.lport) << PORT_SHIFT;
    let is_held = old & RESERVED != 0 && old >> PORT_SHIFT == port >> PORT_SHIFT;
    let at = At::of(found);
    let new = port | at.word().generation() << GENERATION_SHIFT | at.position();
    is_held && tables.swap_local_port(index, old, new)
}

/// The director's address with that number in the pool; 0: its own on the way to the destination.
#[inline(always)]
fn address<T: Tables>(tables: &T, number: u16, dest: T::Dest) -> Addr {
    if number == 0 { dest.source() } else { tables.local_address(number).unwrap_or_default() }
}

impl<B: Bucket> Found<B> {
    /// Whether it is the full NAT connection with those ends towards its server.
    #[inline(always)]
    fn is_at<T: Tables<Bucket = B>>(&self, tables: &T, ends: &Ends) -> bool {
        let protocol = self.entry_word(at::PORTS).to_ne_bytes()[4];
        let (_, dport) = self.ports();
        let lport = self.lport();
        let (dest, _) = ids(self.entry_word(at::IDS));
        if protocol != ends.protocol || dport != ends.sport || lport != ends.lport {
            return false;
        }
        if crate::pipeline::method(self.flags()) != Method::FULL_NAT {
            return false;
        }
        let Some(dest) = tables.dest(dest) else { return false };
        let number = self.local_number();
        let is_from = match (number, self.own()) {
            // Whatever that is now: routes may have changed.
            (0, own) if own != 0 => own == trace(&ends.local),
            _ => address(tables, number, dest) == ends.local,
        };
        dest.addr() == ends.server && is_from
    }

    /// The director's port, network order.
    #[inline(always)]
    pub(crate) fn lport(&self) -> [u8; 2] {
        let b = self.entry_word(at::DPORT).to_ne_bytes();
        [b[2], b[3]]
    }

    /// The director's address; zero: none is known.
    #[inline(always)]
    pub(crate) fn local<T: Tables<Bucket = B>>(&self, tables: &T, dest: T::Dest) -> Addr {
        address(tables, self.local_number(), dest)
    }

    /// Whether the director's own address on the way to the server is another by now than when the connection's port was
    /// found: at that one the port may be somebody else's.
    #[inline(always)]
    pub(crate) fn has_moved<T: Tables<Bucket = B>>(&self, tables: &T) -> bool {
        let own = self.own();
        if own == 0 {
            return false;
        }
        let (dest, _) = self.ids();
        // While there is no route nobody knows.
        tables.dest(dest).is_some_and(|dest| dest.source() != Addr::default() && trace(&dest.source()) != own)
    }

    /// See [`ConnEntry::own`].
    #[inline(always)]
    fn own(&self) -> u16 {
        let b = self.entry_word(at::DPORT).to_ne_bytes();
        u16::from_ne_bytes([b[6], b[7]])
    }

    /// Its number, see [`ConnEntry::local`].
    #[inline(always)]
    pub(crate) fn local_number(&self) -> u16 {
        let b = self.entry_word(at::DPORT).to_ne_bytes();
        u16::from_ne_bytes([b[4], b[5]])
    }

    /// The same connection, if it still lives, with its word as it is now.
    #[inline(always)]
    fn again(self) -> Option<Self> {
        let word = self.now();
        word.same_live(self.word()).then_some(self.with(word))
    }
}
