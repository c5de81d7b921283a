//! The monotonic clock, as the programs in the kernel read it.

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`. `std::time::Instant` is the same clock and does not tell its number.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn now_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).context("read the monotonic clock")?;
    let nanos = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
    u64::try_from(nanos).context("read the monotonic clock")
}
