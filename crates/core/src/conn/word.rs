//! The slot word: all that decides anything about a connection, changed only by compare-and-swap.
//!
//! | bits | field |
//! |---|---|
//! | 0-15 | tag: 16 bits of the hash |
//! | 16 | LIVE: the entry is complete and visible |
//! | 17 | PROVEN: more than one packet was exchanged; never evicted |
//! | 18 | TENTATIVE: the entry is complete, not visible yet |
//! | 19 | CLAIMED: the entry is being written |
//! | 20-24 | state ([`crate::state`]) |
//! | 25-36 | generation: one more each time the slot changes owner or is freed |
//! | 37-63 | deadline in ticks modulo 2^27 |

/// See the table above.
pub const LIVE: u64 = 1 << 16;
/// See the table above.
pub const PROVEN: u64 = 1 << 17;
/// See the table above.
pub const TENTATIVE: u64 = 1 << 18;
/// See the table above.
pub const CLAIMED: u64 = 1 << 19;
/// What an inserted entry's claim lasts, in ticks: 2 s.
pub const CLAIM_TICKS: u64 = 30;

const TAG_MASK: u64 = 0xffff;
const STATE_SHIFT: u32 = 20;
const GENERATION_SHIFT: u32 = 25;
const GENERATION_MASK: u64 = 0xfff << GENERATION_SHIFT;
const DEADLINE_SHIFT: u32 = 37;

/// A slot word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word(pub u64);

impl Word {
    /// A word for `tag` with those flags, state 0 and the generation of `self`.
    #[inline(always)]
    #[must_use]
    pub const fn owned(self, tag: u64, flags: u64, state: u8, deadline: u64) -> Self {
        Self(
            (tag & TAG_MASK)
                | flags
                | (state as u64) << STATE_SHIFT
                | self.0 & GENERATION_MASK
                | deadline << DEADLINE_SHIFT,
        )
    }

    /// The same word for the next owner: generation one more.
    #[inline(always)]
    #[must_use]
    pub const fn next_generation(self) -> Self {
        let next = self.0.wrapping_add(1 << GENERATION_SHIFT) & GENERATION_MASK;
        Self(self.0 & !GENERATION_MASK | next)
    }

    /// The free word that follows this one.
    #[inline(always)]
    #[must_use]
    pub const fn freed(self) -> Self {
        Self(self.next_generation().0 & GENERATION_MASK)
    }

    /// Whether the slot has an owner.
    #[inline(always)]
    #[must_use]
    pub const fn is_busy(self) -> bool {
        self.0 & (LIVE | TENTATIVE | CLAIMED) != 0
    }

    /// Whether look-ups may see it.
    #[inline(always)]
    #[must_use]
    pub const fn is_live(self) -> bool {
        self.0 & LIVE != 0
    }

    /// Whether it is complete but not visible.
    #[inline(always)]
    #[must_use]
    pub const fn is_tentative(self) -> bool {
        self.0 & TENTATIVE != 0
    }

    /// Whether it must not be evicted.
    #[inline(always)]
    #[must_use]
    pub const fn is_proven(self) -> bool {
        self.0 & PROVEN != 0
    }

    /// Whether it is live with that tag: the one test of a look-up.
    #[inline(always)]
    #[must_use]
    pub const fn is_live_with(self, tag: u64) -> bool {
        self.0 & (LIVE | TAG_MASK) == LIVE | tag
    }

    /// Whether it has that tag and its entry is complete.
    #[inline(always)]
    #[must_use]
    pub const fn is_complete_with(self, tag: u64) -> bool {
        self.0 & TAG_MASK == tag && self.0 & (LIVE | TENTATIVE) != 0
    }

    /// The generation.
    #[inline(always)]
    #[must_use]
    pub const fn generation(self) -> u64 {
        (self.0 & GENERATION_MASK) >> GENERATION_SHIFT
    }

    /// Number of the state.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u8 {
        ((self.0 >> STATE_SHIFT) & 31) as u8
    }

    /// Whether two words are of the same owner of the slot, and both live.
    #[inline(always)]
    #[must_use]
    pub const fn same_live(self, other: Self) -> bool {
        (self.0 ^ other.0) & (GENERATION_MASK | LIVE) == 0 && self.is_live()
    }

    /// Whether two words are of the same owner of the slot, in the same phase.
    #[inline(always)]
    #[must_use]
    pub const fn same_owner(self, other: Self) -> bool {
        (self.0 ^ other.0) & (GENERATION_MASK | LIVE | TENTATIVE | CLAIMED) == 0
    }

    /// Whether two words differ in nothing but their deadlines.
    #[inline(always)]
    #[must_use]
    pub const fn same_but_deadline(self, other: Self) -> bool {
        (self.0 ^ other.0) << (64 - DEADLINE_SHIFT) == 0
    }

    /// Ticks from `now` to the deadline; negative when it is over. Right for up to 2^26 ticks (52 days) either way.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_wrap, reason = "the sign of the shifted difference is what is wanted")]
    pub const fn remaining(self, now: u64) -> i64 {
        let difference = self.0.wrapping_sub(now << DEADLINE_SHIFT);
        (difference as i64) >> DEADLINE_SHIFT
    }

    /// Whether the deadline is over: the connection no longer exists.
    #[inline(always)]
    #[must_use]
    pub const fn is_expired(self, now: u64) -> bool {
        self.remaining(now) < 0
    }
}
