//! How many errors are sent: Linux's limits (`icmp_ratelimit`, `icmp_msgs_per_sec`), kept for each CPU by itself.

use rvs_abi::{Addr, limits};

use crate::Tables;

/// One second, in nanoseconds of the data plane's clock.
const SECOND: u64 = 1_000_000_000;

/// A limit: one each `interval` nanoseconds in the long run, and `burst` at once.
struct Limit {
    interval: u64,
    burst: u64,
}

/// To one address.
const EACH: Limit = Limit { interval: SECOND, burst: 6 };
/// To all together.
const ALL: Limit = Limit { interval: SECOND / 1000, burst: 50 };

impl Limit {
    /// Takes one off a budget, if there is one left. The budget is the time at which it is full again.
    #[inline(always)]
    const fn take(&self, budget: &mut u64, now: u64) -> bool {
        let is_left = self.is_left(*budget, now);
        if is_left {
            *budget = self.without_one(*budget, now);
        }
        is_left
    }

    /// Whether there is one left.
    #[inline(always)]
    const fn is_left(&self, budget: u64, now: u64) -> bool {
        self.without_one(budget, now) - now <= self.burst * self.interval
    }

    #[inline(always)]
    const fn without_one(&self, budget: u64, now: u64) -> u64 {
        let full = if budget > now { budget } else { now };
        full + self.interval
    }
}

/// Whether an error may be sent to that address now; if so, it is counted. The address is charged for none that all together may
/// not have, and all together for none that the address may not.
#[inline(always)]
pub(crate) fn take<T: Tables>(tables: &T, to: Addr, now: u64) -> bool {
    let hash = to.folded().wrapping_mul(0x9e37_79b1) >> 16;
    // Addresses may share a budget: then they have one error a second between them.
    let index = 1 + hash % (limits::ERROR_BUDGETS - 1);
    tables.with_error_budget(0, |budget| ALL.is_left(*budget, now)).unwrap_or(false)
        && tables.with_error_budget(index, |budget| EACH.take(budget, now)).unwrap_or(false)
        && tables.with_error_budget(0, |budget| ALL.take(budget, now)).unwrap_or(false)
}
