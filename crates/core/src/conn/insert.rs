//! Making a connection: claim a slot, write the entry, look for a twin, go live (conntable.md §5).

use rvs_abi::{ConnEntry, Event, SLOTS};

use crate::conn::bucket::{at, has_overflow, ids, is_overflow, position};
use crate::conn::word::{CLAIM_TICKS, CLAIMED, LIVE, TENTATIVE};
use crate::conn::{Bucket, Key, Matcher, Place, account_end, home, leave_overflow, weight_of};
use crate::{Step, Tables};

/// How often an insert starts over when another CPU takes its slot or makes the same connection.
pub const ATTEMPTS: u32 = 3;
/// Looks at the slots of a bucket for twins: each three times, if it changes under the look.
const LOOKS: u32 = 21;
const _: () = assert!(LOOKS as usize == 3 * SLOTS);
/// Free slots from which the first bucket is taken without asking the second.
const FREE_ENOUGH: u64 = 3;

/// How an insert ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum How {
    /// The connection is new and counted at its destination.
    New,
    /// Another CPU made the same connection at the same moment; this is it.
    Existing,
    /// No slot is free and none may be taken.
    Full,
    /// Somebody was in the way; the next try may do better.
    Contended,
}

/// How a new connection begins.
#[derive(Debug, Clone, Copy, Default)]
pub struct Birth {
    /// Protocol state.
    pub state: u8,
    /// Now, in ticks.
    pub now: u64,
    /// Time-out in ticks.
    pub timeout: u32,
}

/// A slot that an insert may take.
#[derive(Debug, Clone, Copy)]
struct Target<B> {
    bucket: B,
    slot: usize,
    /// Whether a living, unproven connection may be taken out of it.
    may_evict: bool,
}

/// A connection to be made. Its room is the program's scratch memory, since a program's stack is too small for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Request {
    /// Where it may live.
    pub place: Place,
    /// What is to be written.
    pub entry: ConnEntry,
    /// How it begins.
    pub birth: Birth,
}

/// Everything one attempt needs.
struct Attempt<'a, T: Tables> {
    tables: &'a T,
    place: &'a Place,
    entry: &'a ConnEntry,
    birth: &'a Birth,
}

/// What a look for twins found, as a number, so that it is returned in a register.
type Twin = u64;
const NO_TWIN: Twin = 0;
const GOES_FIRST: Twin = 1;
const ALIVE: Twin = 2;
/// It changed while it was looked at.
const AGAIN: Twin = 3;

/// Tries to insert a connection that a look-up did not find. Up to [`ATTEMPTS`] tries are worth while.
#[inline(always)]
pub fn insert<T: Tables>(tables: &T, request: &Request) -> How {
    let Request { place, entry, birth } = request;
    let attempt = Attempt { tables, place, entry, birth };
    match attempt.choose() {
        Some(target) => attempt.place_in(&target),
        None => How::Full,
    }
}

/// Candidates for a twin in one bucket.
struct Candidates<'a, T: Tables> {
    attempt: &'a Attempt<'a, T>,
    bucket: T::Bucket,
    /// The own position.
    mine: u64,
    /// A bit per slot.
    slots: u64,
    twin: Twin,
}

impl<T: Tables> Step<T> for Candidates<'_, T> {
    #[inline(always)]
    fn step(&mut self, _tables: &T, round: u32) -> bool {
        // Behind a veil, so that the check of the index stays for the verifier.
        let slot = index_of(T::Bucket::opaque(u64::from(round) % SLOTS as u64));
        if self.slots >> slot & 1 == 0 {
            return false;
        }
        match self.attempt.twin_at(self.bucket, slot, self.mine) {
            NO_TWIN => {
                self.slots &= !(1 << slot);
                self.slots == 0
            }
            // Looked at again, as long as the rounds last.
            AGAIN => false,
            twin => {
                self.twin = twin;
                true
            }
        }
    }
}

impl<T: Tables> Attempt<'_, T> {
    /// The slot to take: free, then expired, then in the overflow, then the unproven one nearest to its end.
    #[inline(always)]
    fn choose(&self) -> Option<Target<T::Bucket>> {
        let (first, second) = (self.tables.bucket(self.place.first)?, self.tables.bucket(self.place.second)?);
        let a = score(first, self.place.preferred(), self.birth.now);
        let b = score(second, self.place.preferred(), self.birth.now);
        let take_first = if a.rank() == FREE && b.rank() == FREE {
            a.free() >= FREE_ENOUGH || a.free() >= b.free()
        } else {
            a.best() <= b.best()
        };
        let best = if take_first { a } else { b };
        if best.rank() > EXPIRED
            && let Some(target) = self.choose_overflow()
        {
            return Some(target);
        }
        if best.rank() >= HARD {
            return None;
        }
        let bucket = if take_first { first } else { second };
        Some(Target { bucket, slot: best.slot::<T::Bucket>(), may_evict: best.rank() > EXPIRED })
    }

    /// A free or expired slot in the overflow table, of the emptier bucket.
    #[inline(always)]
    fn choose_overflow(&self) -> Option<Target<T::Bucket>> {
        let [first, second] = self.place.overflow(self.tables.geometry()?.overflow_buckets);
        let (first, second) = (self.tables.overflow_bucket(first)?, self.tables.overflow_bucket(second)?);
        let a = score(first, self.place.preferred(), self.birth.now);
        let b = score(second, self.place.preferred(), self.birth.now);
        let take_first = if a.free() == b.free() { a.best() <= b.best() } else { a.free() > b.free() };
        let (bucket, best) = if take_first { (first, a) } else { (second, b) };
        if best.rank() > EXPIRED {
            return None;
        }
        Some(Target { bucket, slot: best.slot::<T::Bucket>(), may_evict: false })
    }

    /// Takes a slot. `Contended`: somebody was in the way.
    #[inline(always)]
    fn place_in(&self, target: &Target<T::Bucket>) -> How {
        let Target { bucket, slot, may_evict } = *target;
        let old = bucket.word(slot);
        // What was chosen may have changed hands since: a slot that is being filled must not be taken from its owner.
        let evictable = may_evict && old.is_live() && !old.is_proven();
        if old.is_busy() && !old.is_expired(self.birth.now) && !evictable {
            return How::Contended;
        }
        // Read before the claim: as long as the word is the same, so is the entry (conntable.md §5, step 2).
        let (previous_dest, _) = ids(bucket.entry_word(slot, at::IDS));
        let previous_home = if old.is_busy() { home(self.tables, bucket, slot) } else { None };
        let claim = old.next_generation().owned(self.place.tag, CLAIMED, 0, self.birth.now + CLAIM_TICKS);
        if !bucket.swap(slot, old, claim) {
            return How::Contended;
        }
        if evictable && !old.is_expired(self.birth.now) {
            self.tables.note(Event::Evicted);
        }
        if old.is_live() {
            account_end(self.tables, previous_dest, old.state());
        }
        if old.is_live() || old.is_tentative() {
            leave_overflow(previous_home);
        }
        let home = if is_overflow(bucket) { self.tables.bucket(self.place.first) } else { None };
        if let Some(home) = home {
            home.add_overflow(1);
        }
        let words: [u64; 8] = zerocopy::transmute!(*self.entry);
        for (index, word) in words.iter().enumerate() {
            bucket.set_entry_word(slot, index, *word);
        }
        let tentative = claim.owned(self.place.tag, TENTATIVE, 0, self.birth.now + CLAIM_TICKS);
        if !bucket.swap(slot, claim, tentative) {
            leave_overflow(home);
            return How::Contended;
        }
        let twin = self.find_twin(position(bucket, slot));
        if twin != NO_TWIN {
            // If the swap fails, the twin's maker has freed this entry, and taken back its overflow count.
            if bucket.swap(slot, tentative, tentative.freed()) {
                leave_overflow(home);
            }
            return if twin == ALIVE { How::Existing } else { How::Contended };
        }
        let deadline = self.birth.now.wrapping_add(u64::from(self.birth.timeout));
        let live = tentative.owned(self.place.tag, LIVE, self.birth.state, deadline);
        // Who frees a tentative entry also takes back its overflow count.
        if !bucket.swap(slot, tentative, live) {
            return How::Contended;
        }
        self.tables.add_dest_conns(self.entry.dest, weight_of(self.birth.state));
        How::New
    }

    /// Looks for twins wherever the key may live; `mine` is the own position.
    #[inline(always)]
    fn find_twin(&self, mine: u64) -> Twin {
        let (Some(first), Some(second)) =
            (self.tables.bucket(self.place.first), self.tables.bucket(self.place.second))
        else {
            return GOES_FIRST;
        };
        let mut twin = self.twin_in(first, mine);
        if twin == NO_TWIN {
            twin = self.twin_in(second, mine);
        }
        if twin != NO_TWIN || !has_overflow(first) {
            return twin;
        }
        let Some(geometry) = self.tables.geometry() else { return GOES_FIRST };
        for index in self.place.overflow(geometry.overflow_buckets) {
            if twin == NO_TWIN
                && let Some(bucket) = self.tables.overflow_bucket(index)
            {
                twin = self.twin_in(bucket, mine);
            }
        }
        twin
    }

    /// Looks for twins in one bucket.
    #[inline(never)]
    fn twin_in(&self, bucket: T::Bucket, mine: u64) -> Twin {
        let mut candidates = 0;
        for slot in 0..SLOTS {
            // Without branches: else the verifier follows every combination of slots.
            let word = bucket.word(slot).0;
            let difference = T::Bucket::opaque(((word ^ self.place.tag) & 0xffff).wrapping_sub(1));
            let complete = (word | word >> 2) >> 16 & 1;
            candidates |= (difference >> 63 & complete) << slot;
        }
        // The own slot is one of them if it is in this bucket.
        let own = mine.wrapping_sub(position(bucket, 0));
        if own < 8 {
            candidates &= !(1 << own);
        }
        if candidates == 0 {
            return NO_TWIN;
        }
        let mut search = Candidates { attempt: self, bucket, mine, slots: candidates, twin: NO_TWIN };
        self.tables.repeat(LOOKS, &mut search);
        if search.twin == NO_TWIN && search.slots != 0 { GOES_FIRST } else { search.twin }
    }

    /// Looks at one candidate.
    #[inline(always)]
    fn twin_at(&self, bucket: T::Bucket, slot: usize, mine: u64) -> Twin {
        let word = bucket.word(slot);
        if !word.is_complete_with(self.place.tag) || !Key::of(self.entry).matches(self.tables, bucket, slot) {
            return NO_TWIN;
        }
        if !bucket.word(slot).same_owner(word) {
            return AGAIN;
        }
        let expired = word.is_expired(self.birth.now);
        if word.is_live() && !expired {
            return ALIVE;
        }
        if word.is_tentative() && !expired && position(bucket, slot) < mine {
            return GOES_FIRST;
        }
        let (dest, _) = ids(bucket.entry_word(slot, at::IDS));
        if !bucket.swap(slot, word, word.freed()) {
            return AGAIN;
        }
        if word.is_live() {
            account_end(self.tables, dest, word.state());
        }
        // The twin's key is the own one, and so is the bucket that counts it.
        if is_overflow(bucket) {
            leave_overflow(self.tables.bucket(self.place.first));
        }
        NO_TWIN
    }
}

/// Ranks of slots: what is taken first. Between `EXPIRED` and `HARD`: unproven, by the time left.
const FREE: u64 = 0;
const EXPIRED: u64 = 1;
const HARD: u64 = 1 << 28;

/// The best slot of a bucket, packed into a number, so that it is returned in a register: rank, then whether it is not
/// the preferred slot, then the slot, then how many slots are free (three bits).
#[derive(Debug, Clone, Copy)]
struct Score(u64);

impl Score {
    #[inline(always)]
    const fn rank(self) -> u64 {
        self.0 >> 7
    }

    /// What is compared: all but the free slots.
    #[inline(always)]
    const fn best(self) -> u64 {
        self.0 >> 3
    }

    #[inline(always)]
    const fn free(self) -> u64 {
        self.0 & 7
    }

    /// The slot, in a form that the verifier takes for any of them: what follows is then verified once.
    #[inline(always)]
    #[allow(clippy::cast_possible_truncation, reason = "three bits")]
    fn slot<B: Bucket>(self) -> usize {
        B::opaque(self.0 >> 3 & 7) as usize
    }
}

/// Finds the slot of a bucket that an insert would take, without branches (conntable.md §7, trap 1).
#[inline(always)]
fn score<B: Bucket>(bucket: B, preferred: usize, now: u64) -> Score {
    Score(scan_slots(bucket, preferred as u64, now))
}

/// See [`score`]. Not inlined, for its room on the stack.
#[inline(never)]
#[allow(clippy::cast_sign_loss, clippy::cast_possible_wrap, reason = "sign bits are made into masks")]
fn scan_slots<B: Bucket>(bucket: B, preferred: u64, now: u64) -> u64 {
    let mut best = u64::MAX >> 1;
    let mut free = 0;
    for slot in 0..SLOTS {
        let word = bucket.word(slot);
        let w = word.0;
        let remaining = word.remaining(now);
        // Bits behind veils: of a mask that is one bit negated the compiler would make a jump.
        let busy = B::opaque(B::opaque(w >> 16 | w >> 18 | w >> 19) & 1).wrapping_neg();
        let hard = B::opaque(B::opaque(w >> 17 | w >> 18 | w >> 19) & 1).wrapping_neg();
        let over = B::opaque((remaining >> 63) as u64);
        let unproven = (EXPIRED + 1).wrapping_add(remaining as u64);
        let rank = busy & ((over & EXPIRED) | (!over & ((hard & HARD) | (!hard & unproven))));
        let off = B::opaque((slot as u64 ^ preferred).wrapping_neg()) >> 63;
        let score = rank << 4 | off << 3 | slot as u64;
        let lower = B::opaque((score.wrapping_sub(best) as i64 >> 63) as u64);
        best = (score & lower) | (best & !lower);
        free += !busy & 1;
    }
    best << 3 | free
}

/// A number of a slot as an index.
#[inline(always)]
#[allow(clippy::cast_possible_truncation, reason = "less than SLOTS")]
const fn index_of(slot: u64) -> usize {
    slot as usize
}
