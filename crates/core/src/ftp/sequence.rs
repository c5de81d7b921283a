//! By how much the sequence numbers of a direction are shifted, once what is sent there has been made longer or shorter
//! (ipvs.md §12.4).
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "parts of a word, and numbers modulo 2^32"
)]

use rvs_abi::limits;

use crate::ftp::text;

/// One word, so that both directions read and write it at once: bits 0 to 31 where the last segment that was rewritten
/// begins, as it was sent; 32 to 40 how much longer that became; 41 to 63 the shift behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Shift(pub(crate) u64);

/// Where the shift begins in the word.
const BEHIND: u32 = 41;
/// By how much a segment becomes longer or shorter stays below, either way; so does the shift of a direction.
const MOST_BY: i64 = 1 << (BEHIND - 33);
const MOST: i64 = 1 << (63 - BEHIND);
// It becomes shorter by less than what is read of it.
const _: () = assert!(limits::FTP_LINE as i64 <= MOST_BY && text::ROOM as i64 <= MOST_BY);

impl Shift {
    /// Where the last segment that was rewritten begins.
    #[inline(always)]
    pub(crate) const fn at(self) -> u32 {
        self.0 as u32
    }

    /// The shift of that segment and of those before it.
    #[inline(always)]
    const fn before(self) -> u32 {
        self.behind().wrapping_sub(((self.0 << (64 - BEHIND)) as i64 >> (96 - BEHIND)) as u32)
    }

    /// The shift of what is behind it.
    #[inline(always)]
    const fn behind(self) -> u32 {
        (self.0 as i64 >> BEHIND) as u32
    }

    /// Whether what begins at that number has been rewritten: as the last segment that was, or before that one.
    #[inline(always)]
    pub(crate) const fn is_known(self, sequence: u32) -> bool {
        self.0 != 0 && !is_behind(sequence, self.at())
    }

    /// A sequence number of this direction, as the other end is to see it.
    #[inline(always)]
    pub(crate) const fn sequence(self, sent: u32) -> u32 {
        let by = if is_behind(sent, self.at()) { self.behind() } else { self.before() };
        sent.wrapping_add(by)
    }

    /// A number that the other end acknowledges, as this one sent it.
    #[inline(always)]
    pub(crate) const fn acknowledged(self, seen: u32) -> u32 {
        let by = if is_behind(seen.wrapping_sub(self.before()), self.at()) {
            self.behind()
        } else {
            self.before()
        };
        seen.wrapping_sub(by)
    }

    /// After the segment that begins at that number became so much longer. `None`: that, or the shift, would be too large.
    #[inline(always)]
    pub(crate) const fn after(self, sequence: u32, by: i32) -> Option<Self> {
        let by = by as i64;
        let behind = (self.0 as i64 >> BEHIND) + by;
        if by >= MOST_BY || by < -MOST_BY || behind >= MOST || behind < -MOST {
            return None;
        }
        let by = (by as u64) << (64 + 32 - BEHIND) >> (64 - BEHIND);
        Some(Self(sequence as u64 | by | (behind as u64) << BEHIND))
    }
}

/// Whether a sequence number is behind another, modulo 2^32.
#[inline(always)]
const fn is_behind(number: u32, other: u32) -> bool {
    (other.wrapping_sub(number) as i32) < 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may fail")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ipvs.md §12.4.
    #[test]
    fn after_a_reply_became_three_bytes_shorter() {
        let shift = Shift::default().after(5000, -3).unwrap();
        assert_eq!((shift.sequence(5000), shift.sequence(5049)), (5000, 5046));
        assert_eq!((shift.acknowledged(5046), shift.acknowledged(5000)), (5049, 5000));
        assert!(shift.is_known(5000) && !shift.is_known(5049));
    }

    #[test]
    fn a_shift_has_an_end() {
        let mut shift = Shift::default();
        for i in 0..(1 << 22) / 256 {
            shift = shift.after(i, -256).unwrap();
        }
        assert_eq!(shift.sequence(u32::MAX >> 2), (u32::MAX >> 2) - (1 << 22));
        assert_eq!(shift.after(0, -1), None);
        assert_eq!((Shift::default().after(0, -257), Shift::default().after(0, 256)), (None, None));
    }

    proptest! {
        /// Segments one after the other, of which some are rewritten: the other end sees them without a gap, and what it
        /// acknowledges is what was sent.
        #[test]
        fn what_is_sent_has_no_gaps(start: u32, segments in proptest::collection::vec((1_u32..1460, -256_i32..256, any::<bool>()), 1..40)) {
            let mut shift = Shift::default();
            let (mut sent, mut seen) = (start, start);
            for (len, by, is_rewritten) in segments {
                let len = len + 256;
                prop_assert_eq!(shift.sequence(sent), seen);
                let mut new = len;
                if is_rewritten {
                    shift = shift.after(sent, by).unwrap();
                    prop_assert_eq!(shift.sequence(sent), seen, "sent again");
                    new = len.wrapping_add_signed(by);
                }
                (sent, seen) = (sent.wrapping_add(len), seen.wrapping_add(new));
                prop_assert_eq!(shift.acknowledged(seen), sent);
            }
        }
    }
}
