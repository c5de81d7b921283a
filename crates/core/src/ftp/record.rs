//! What is noted about a control connection: a few words each, in a table whose places belong to connections as long as
//! these live. Nothing has to be cleaned up: a place whose connection has ended is free.

use rvs_abi::limits::{FTP_CONTROLS, FTP_WAYS, FTP_WORDS};

use crate::conn::At;
use crate::ftp::sequence::Shift;
use crate::{Step, Tables};

/// Words of a place: whose it is.
const OWNER: u32 = 0;
/// What the client asked for, [`crate::ftp::command::Asked`]; 0: nothing.
const ASKED: u32 = 1;
/// [`Shift`] of what the server sends.
pub(crate) const FROM_SERVER: u32 = 2;
/// [`Shift`] of what the client sends.
pub(crate) const FROM_CLIENT: u32 = 3;
const _: () = assert!(FROM_CLIENT < FTP_WORDS && FTP_CONTROLS.is_power_of_two());

/// The owner of a place that is being taken.
const TAKEN: u64 = u64::MAX;

/// Whose a place is: the connection's position, and the generation of its slot.
#[inline(always)]
fn owner(at: &At) -> u64 {
    1 << 63 | at.word().generation() << GENERATION_SHIFT | at.position()
}

/// A position has 35 bits.
const GENERATION_SHIFT: u32 = 35;

/// The first place that may be a connection's.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "the upper bits of a product")]
const fn first(owner: u64) -> u64 {
    (owner ^ owner >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - FTP_CONTROLS.trailing_zeros())
}

/// A record, by the index of its first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record(u32);

impl Record {
    /// Of a number that [`Self::number`] gave.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "below 2^32, as it was")]
    pub(crate) const fn of(number: u64) -> Option<Self> {
        if number == 0 { None } else { Some(Self((number - 1) as u32)) }
    }

    /// It as a number that is not 0.
    #[inline(always)]
    pub(crate) fn number(self) -> u64 {
        u64::from(self.0) + 1
    }

    /// What the client asked for, and was not told yet.
    #[inline(always)]
    pub(crate) fn asked<T: Tables>(self, tables: &T) -> u64 {
        tables.ftp_word(self.0 + ASKED)
    }

    /// Notes it.
    #[inline(always)]
    pub(crate) fn set_asked<T: Tables>(self, tables: &T, asked: u64) {
        tables.set_ftp_word(self.0 + ASKED, asked);
    }

    /// The shift of a direction: [`FROM_SERVER`] or [`FROM_CLIENT`].
    #[inline(always)]
    pub(crate) fn shift<T: Tables>(self, tables: &T, direction: u32) -> Shift {
        Shift(tables.ftp_word(self.0 + direction))
    }

    /// Notes it.
    #[inline(always)]
    pub(crate) fn set_shift<T: Tables>(self, tables: &T, direction: u32, shift: Shift) {
        tables.set_ftp_word(self.0 + direction, shift.0);
    }
}

/// One place after the other: the one of that owner, or, to take it, one that is free. Numbers are words, as rounds of a
/// loop hand them on.
struct Search {
    owner: u64,
    first: u64,
    /// 1: takes a free one.
    takes: u64,
    /// Index of its first word plus one.
    found: u64,
}

impl<T: Tables> Step<T> for Search {
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "masked")]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let place = (tables.veiled(self.first) as u32).wrapping_add(round) & (FTP_CONTROLS - 1);
        let index = place * FTP_WORDS;
        let word = tables.ftp_word(index + OWNER);
        let is_own = word == self.owner;
        if !is_own && (tables.veiled(self.takes) == 0 || !take(tables, index, word, self.owner)) {
            return false;
        }
        self.found = u64::from(index) + 1;
        true
    }
}

/// Takes a place that has this word, if its connection has ended.
#[inline(always)]
fn take<T: Tables>(tables: &T, index: u32, word: u64, owner: u64) -> bool {
    if word == TAKEN || word != 0 && is_alive(tables, word) {
        return false;
    }
    if !tables.swap_ftp_word(index + OWNER, word, TAKEN) {
        return false;
    }
    for other in [ASKED, FROM_SERVER, FROM_CLIENT] {
        tables.set_ftp_word(index + other, 0);
    }
    tables.swap_ftp_word(index + OWNER, TAKEN, owner)
}

/// Whether the connection of a place lives.
#[inline(always)]
fn is_alive<T: Tables>(tables: &T, owner: u64) -> bool {
    let Some(found) = At::of_position(owner & ((1 << GENERATION_SHIFT) - 1)).get(tables) else {
        return false;
    };
    let now = found.now();
    now.is_live() && now.generation() == owner >> GENERATION_SHIFT & 0xfff
}

/// The record of a connection.
#[inline(always)]
pub(crate) fn find<T: Tables>(tables: &T, at: &At) -> Option<Record> {
    search(tables, at, 0)
}

/// One for a connection that has none. `None`: there is no room.
#[inline(always)]
pub(crate) fn make<T: Tables>(tables: &T, at: &At) -> Option<Record> {
    search(tables, at, 1)
}

#[inline(always)]
fn search<T: Tables>(tables: &T, at: &At, takes: u64) -> Option<Record> {
    let owner = owner(at);
    let mut search =
        Search { owner, first: first(owner), takes: tables.veiled(takes), found: tables.veiled(0) };
    tables.repeat(FTP_WAYS, &mut search);
    Record::of(search.found)
}
