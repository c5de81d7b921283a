//! A connection that may not end before another (ipvs.md §4.4): FTP's control connection, and those of its data.
//!
//! IPVS asks when the time of the one is over whether the other lives. Here nobody asks: a connection with such a
//! controller never moves its own deadline beyond that one's without moving both. The entry names its controller by its
//! place, in a word:
//!
//! | bits | field |
//! |---|---|
//! | 0-2 | slot, plus one |
//! | 3-30 | number of the bucket |
//! | 31 | it is one of the overflow table |

use rvs_abi::{ConnFlags, OVERFLOW_BUCKET};

use crate::Tables;
use crate::conn::At;
use crate::conn::word::{LIVE, PROVEN};

/// Buckets whose number fits.
const BUCKETS: u32 = 1 << 28;
/// The name of a connection that was found there; 0 if the table is too large for it.
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "the parts of a position")]
pub const fn name(at: &At) -> u32 {
    let position = at.position();
    let (bucket, slot) = ((position >> 3) as u32, position as u32 & 7);
    if bucket & !OVERFLOW_BUCKET >= BUCKETS {
        return 0;
    }
    bucket & OVERFLOW_BUCKET | (bucket & !OVERFLOW_BUCKET) << 3 | (slot + 1)
}

/// The position of a name.
#[inline(always)]
const fn position(name: u32) -> u64 {
    let bucket = name & OVERFLOW_BUCKET | (name & !OVERFLOW_BUCKET) >> 3;
    (bucket as u64) << 3 | (name & 7).wrapping_sub(1) as u64
}

/// Keeps a controller for `ticks` at least, from `now`, in ticks. Another connection that has its place by now is an FTP
/// control connection too, or left alone: it does no harm if it lives longer.
#[inline(always)]
pub fn keep<T: Tables>(tables: &T, name: u32, now: u64, ticks: i64) {
    if name == 0 {
        return;
    }
    let Some(found) = At::of_position(position(name)).get(tables) else { return };
    if found.flags() & ConnFlags::FTP == 0 {
        return;
    }
    let old = found.now();
    if !old.is_live() || old.is_expired(now) || old.remaining(now) >= ticks {
        return;
    }
    let new = old.owned(old.0, old.0 & (LIVE | PROVEN), old.state(), now.wrapping_add_signed(ticks));
    // Once: whoever changed it meanwhile set a deadline too, and the next write of this connection comes soon.
    let _extended = found.with(old).swap(new);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_of_one_place() {
        for bucket in [0, 1, 77, BUCKETS - 1, OVERFLOW_BUCKET, OVERFLOW_BUCKET | 5] {
            for slot in 0..rvs_abi::SLOTS as u64 {
                let at = At::of_position(u64::from(bucket) << 3 | slot);
                let name = name(&at);
                assert_ne!(name, 0);
                assert_eq!(position(name), at.position());
            }
        }
        assert_eq!(name(&At::of_position(u64::from(BUCKETS) << 3)), 0);
    }
}
