//! Finding a connection, and keeping it alive.

use rvs_abi::{Addr, ConnFlags, OVERFLOW_BUCKET, SLOTS};

use crate::Tables;
use crate::conn::bucket::{at, has_overflow, ids, number};
use crate::conn::word::{LIVE, PROVEN, TENTATIVE, Word};
use crate::conn::{Bucket, Matcher, Place, account_end, home, leave_overflow, weight_of};
use crate::state;

/// How often a changed slot word is read again before its connection counts as gone.
const RETRIES: u32 = 4;
/// A deadline is moved only when that many ticks (about half a second) are gained: most packets then write nothing.
const REFRESH_TICKS: i64 = 8;

/// A connection that was found, alive at that moment.
#[derive(Debug, Clone, Copy)]
pub struct Found<B> {
    bucket: B,
    slot: usize,
    word: Word,
}

impl<B: Bucket> Found<B> {
    /// Of a slot whose word was just read.
    #[inline(always)]
    pub(crate) const fn new(bucket: B, slot: usize, word: Word) -> Self {
        Self { bucket, slot, word }
    }

    /// Its slot word, as it was read last.
    #[inline(always)]
    pub(crate) const fn word(&self) -> Word {
        self.word
    }

    /// Its slot word, read now.
    #[inline(always)]
    pub(crate) fn now(&self) -> Word {
        self.bucket.word(self.slot)
    }

    /// The same slot with another word.
    #[inline(always)]
    pub(crate) const fn with(self, word: Word) -> Self {
        Self { word, ..self }
    }

    /// Replaces its slot word, if it still is what was read last.
    #[inline(always)]
    pub(crate) fn swap(&self, new: Word) -> bool {
        self.bucket.swap(self.slot, self.word, new)
    }

    /// The name of its controller, see [`crate::conn::control`]; 0: none.
    #[inline(always)]
    #[must_use]
    pub fn control(&self) -> u32 {
        let control = self.upper();
        if control == 0 || self.flags() & ConnFlags::PROXY != 0 { 0 } else { control }
    }

    /// The word of that name, or of the number of the client's SYN.
    #[inline(always)]
    fn upper(&self) -> u32 {
        let b = self.entry_word(at::PACKETS).to_ne_bytes();
        u32::from_ne_bytes([b[4], b[5], b[6], b[7]])
    }

    /// Of a connection whose data begin with a header: the number of the client's SYN, and how far the header is.
    #[inline(always)]
    pub(crate) fn proxied(&self) -> (u32, u16) {
        (self.upper(), self.flags() & ConnFlags::PROXY_STAGE)
    }

    /// Notes how far it is. With [`ConnFlags::PROXY_AGAIN`]: another SYN was seen.
    #[inline(always)]
    pub(crate) fn set_proxied(&self, stage: u16) {
        let mut p = self.entry_word(at::PORTS).to_ne_bytes();
        let old = u16::from_ne_bytes([p[6], p[7]]);
        let flags = old & !(ConnFlags::PROXY_STAGE | ConnFlags::PROXY_AGAIN) | stage;
        [p[6], p[7]] = flags.to_ne_bytes();
        self.bucket.set_entry_word(self.slot, at::PORTS, u64::from_ne_bytes(p));
    }

    /// Notes the number of the client's SYN: its half of a word, in the other half of which packets are counted meanwhile.
    #[inline(always)]
    pub fn set_syn(&self, number: u32) {
        self.bucket.set_entry_half(self.slot, at::PACKETS, 1, number);
    }

    /// A word of its entry.
    #[inline(always)]
    pub(crate) fn entry_word(&self, index: usize) -> u64 {
        self.bucket.entry_word(self.slot, index)
    }

    /// The client's address and its port, network order.
    #[inline(always)]
    #[must_use]
    pub fn client(&self) -> (Addr, [u8; 2]) {
        let p = self.entry_word(at::PORTS).to_ne_bytes();
        (Addr([self.entry_word(at::CLIENT), self.entry_word(at::CLIENT + 1)]), [p[0], p[1]])
    }

    /// Protocol state.
    #[inline(always)]
    #[must_use]
    pub const fn state(&self) -> u8 {
        self.word.state()
    }

    /// Destination id and service id.
    #[inline(always)]
    #[must_use]
    pub fn ids(&self) -> (u32, u32) {
        ids(self.bucket.entry_word(self.slot, at::IDS))
    }

    /// Virtual port and destination port, network order.
    #[inline(always)]
    #[must_use]
    pub fn ports(&self) -> ([u8; 2], [u8; 2]) {
        let p = self.bucket.entry_word(self.slot, at::PORTS).to_ne_bytes();
        let d = self.bucket.entry_word(self.slot, at::DPORT).to_ne_bytes();
        ([p[2], p[3]], [d[0], d[1]])
    }

    /// The virtual address.
    #[inline(always)]
    #[must_use]
    pub fn vip(&self) -> Addr {
        let word = |index| self.bucket.entry_word(self.slot, index);
        Addr([word(at::VIP), word(at::VIP + 1)])
    }

    /// [`ConnFlags`].
    #[inline(always)]
    #[must_use]
    pub fn flags(&self) -> u16 {
        let p = self.bucket.entry_word(self.slot, at::PORTS).to_ne_bytes();
        u16::from_ne_bytes([p[6], p[7]])
    }

    /// Moves the connection along by an event. `false`: it ended in this very moment, and nothing was changed.
    #[inline(always)]
    #[must_use]
    pub fn touch<T: Tables<Bucket = B>>(&mut self, tables: &T, event: Event, now: u64) -> bool {
        let new = event.applied(tables, self.word, now);
        let gain = new.remaining(now) - self.word.remaining(now);
        // Most packets change nothing but the deadline, and that by too little to be worth a write.
        if self.word.same_but_deadline(new) && (0..REFRESH_TICKS).contains(&gain) {
            return true;
        }
        // Here and not in what writes, a program's stack is as deep as its calls; and before it, when all is at hand.
        let control = self.control();
        if control != 0 {
            tables.keep_control(control, now, new.remaining(now));
        }
        self.change(tables, event, now) != 0
    }

    /// The part of [`Self::touch`] that writes. Not inlined: most packets do without it. 1: done.
    #[inline(never)]
    fn change<T: Tables<Bucket = B>>(&mut self, tables: &T, event: Event, now: u64) -> u64 {
        for _ in 0..RETRIES {
            let old = self.word;
            let new = event.applied(tables, old, now);
            // Before the swap: afterwards the slot may be another connection's.
            let (dest, _) = self.ids();
            if self.bucket.swap(self.slot, old, new) {
                self.word = new;
                let delta = weight_of(new.state()).wrapping_sub(weight_of(old.state()));
                if delta != 0 {
                    tables.add_dest_conns(dest, delta);
                }
                return 1;
            }
            let again = self.bucket.word(self.slot);
            if !again.same_live(old) {
                return 0;
            }
            // Another CPU moved it: this event comes after that one.
            self.word = again;
        }
        // Others keep moving it along: one of them has set a deadline as good as this one.
        1
    }

    /// Counts a packet from the client. Plain: the entry's line is there, and nothing is decided by this number.
    #[inline(always)]
    pub fn count_packet(&self) {
        self.bucket.set_entry_half(self.slot, at::PACKETS, 0, self.packets().wrapping_add(1));
    }

    /// Packets from the client so far.
    #[inline(always)]
    #[must_use]
    pub fn packets(&self) -> u32 {
        let b = self.bucket.entry_word(self.slot, at::PACKETS).to_ne_bytes();
        u32::from_ne_bytes([b[0], b[1], b[2], b[3]])
    }

    /// Notes that a reply was seen (ipvs.md §5.1). Only right after a successful [`Self::touch`], which keeps the slot.
    #[inline(always)]
    pub fn clear_no_output(&self) {
        let mut p = self.bucket.entry_word(self.slot, at::PORTS).to_ne_bytes();
        if u16::from_ne_bytes([p[6], p[7]]) & ConnFlags::NO_OUTPUT == 0 {
            return;
        }
        let flags = (u16::from_ne_bytes([p[6], p[7]]) & !ConnFlags::NO_OUTPUT).to_ne_bytes();
        p[6] = flags[0];
        p[7] = flags[1];
        self.bucket.set_entry_word(self.slot, at::PORTS, u64::from_ne_bytes(p));
    }

    /// Ends the connection and accounts for it, unless somebody else just changed it.
    #[inline(always)]
    pub fn expire<T: Tables<Bucket = B>>(&self, tables: &T) -> bool {
        let (dest, _) = self.ids();
        let home = home(tables, self.bucket, self.slot);
        if !self.bucket.swap(self.slot, self.word, self.word.freed()) {
            return false;
        }
        account_end(tables, dest, self.word.state());
        leave_overflow(home);
        true
    }
}

/// Where a connection was found, as numbers that one stage hands to another.
#[derive(Debug, Clone, Copy, Default)]
pub struct At {
    /// Number of the bucket, as it is kept in the bucket.
    bucket: u32,
    slot: u32,
    word: u64,
}

impl At {
    /// Of a connection.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "below eight")]
    pub fn of<B: Bucket>(found: &Found<B>) -> Self {
        Self { bucket: number(found.bucket), slot: found.slot as u32, word: found.word.0 }
    }

    /// At a position, see `bucket::position`; the slot word is not known.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "a bucket's number has 32 bits")]
    pub(crate) const fn of_position(position: u64) -> Self {
        Self { bucket: (position >> 3) as u32, slot: (position & 7) as u32, word: 0 }
    }

    /// The position.
    #[inline(always)]
    pub(crate) const fn position(&self) -> u64 {
        (self.bucket as u64) << 3 | self.slot as u64
    }

    /// The slot word.
    #[inline(always)]
    pub(crate) const fn word(&self) -> Word {
        Word(self.word)
    }

    /// The connection, as it was found.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "three bits")]
    pub fn get<T: Tables>(&self, tables: &T) -> Option<Found<T::Bucket>> {
        let index = self.bucket & !OVERFLOW_BUCKET;
        let bucket = if self.bucket & OVERFLOW_BUCKET == 0 {
            tables.bucket(index)?
        } else {
            tables.overflow_bucket(index)?
        };
        // Behind a veil, for the reason given at `any_slot`.
        let slot = T::Bucket::opaque(u64::from(self.slot & 7)) as usize;
        Some(Found::new(bucket, slot, Word(self.word)))
    }
}

/// What a packet means to its connection, in one number, so that it is passed in a register: bits 0 to 15 the event of its
/// protocol, bit 16 whether it is not the first packet of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event(u64);

impl Event {
    /// Of that packet.
    #[inline(always)]
    #[must_use]
    pub const fn new(event: state::Event, repeated: bool) -> Self {
        Self(event.to_bits() as u64 | (repeated as u64) << 16)
    }

    /// The word after this event.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "the low 16 bits")]
    fn applied<T: Tables>(self, tables: &T, old: Word, now: u64) -> Word {
        // Behind a veil, so that the bound of the table's index is applied to the sum: kernel 6.1 loses those of its parts.
        let next = state::Event::from_bits(T::Bucket::opaque(self.0) as u16).next(old.state());
        let proven = ((next.proves() & (self.0 >> 16)) * PROVEN) | (old.0 & PROVEN);
        let deadline = now.wrapping_add(u64::from(tables.timeout(next.timeout())));
        old.owned(old.0, LIVE | proven, next.state(), deadline)
    }
}

/// Looks for a connection; `now` in ticks.
#[inline(always)]
pub fn find<T: Tables, M: Matcher<T>>(
    tables: &T,
    place: &Place,
    now: u64,
    matcher: &M,
) -> Option<Found<T::Bucket>> {
    let first = tables.bucket(place.first)?;
    // The entry's line and the words' line are loaded at the same time (conntable.md §1, decision 3).
    first.prefetch(place.preferred());
    if let Some((slot, word)) = scan(tables, first, place.tag, now, matcher) {
        return Some(Found::new(first, slot, word));
    }
    let second = tables.bucket(place.second)?;
    if let Some((slot, word)) = scan(tables, second, place.tag, now, matcher) {
        return Some(Found::new(second, slot, word));
    }
    if !has_overflow(first) {
        return None;
    }
    for index in place.overflow(tables.geometry()?.overflow_buckets) {
        let bucket = tables.overflow_bucket(index)?;
        if let Some((slot, word)) = scan(tables, bucket, place.tag, now, matcher) {
            return Some(Found::new(bucket, slot, word));
        }
    }
    None
}

/// Looks through one bucket. The key counts only between two reads of the same generation.
#[inline(always)]
fn scan<T: Tables, M: Matcher<T>>(
    tables: &T,
    bucket: T::Bucket,
    tag: u64,
    now: u64,
    matcher: &M,
) -> Option<(usize, Word)> {
    for slot in 0..SLOTS {
        let word = bucket.word(slot);
        if word.is_live_with(tag) && !word.is_expired(now) && matcher.matches(tables, bucket, slot) {
            let again = bucket.word(slot);
            if again.same_live(word) {
                return Some((any_slot::<T::Bucket>(slot, again), again));
            }
        }
    }
    None
}

/// The same slot, as a number that could be any slot's for all that the verifier knows: what follows is then verified
/// once, not once per slot. The number is mixed with three copies of a bit that is 0 in every live word.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "three bits")]
fn any_slot<B: Bucket>(slot: usize, live: Word) -> usize {
    // Behind veils: the compiler would see that the bit is 0, or make a mask of it, for whose two values kernels from 6.18 on
    // verify what follows twice, with constants again.
    let zero = (B::opaque(live.0) / TENTATIVE) & 1;
    let zeroes = zero | B::opaque(zero << 1) | B::opaque(zero << 2);
    // The veil keeps the check of the index a comparison of order, which older kernels need.
    B::opaque(slot as u64 ^ zeroes) as usize
}
