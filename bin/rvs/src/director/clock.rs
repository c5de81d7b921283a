//! The monotonic clock, as the programs in the kernel read it.

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC_COARSE`: at most a beat of the kernel's timer (10 ms) behind `CLOCK_MONOTONIC`, which
/// `std::time::Instant` reads, so that no connection is expired here that a program still finds alive.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn now_ns() -> Result<u64> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).context("read the monotonic clock")?;
    let nanos = now.tv_sec() * 1_000_000_000 + now.tv_nsec();
    u64::try_from(nanos).context("read the monotonic clock")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coarse_ns() -> Result<u64> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE)?;
        Ok(u64::try_from(now.tv_sec() * 1_000_000_000 + now.tv_nsec())?)
    }

    /// The fine clock is ahead of the coarse one nearly always.
    #[test]
    fn it_is_the_clock_of_the_programs() -> Result<()> {
        for _ in 0..1_000 {
            let (before, now, after) = (coarse_ns()?, now_ns()?, coarse_ns()?);
            assert!((before..=after).contains(&now), "{before} {now} {after}");
        }
        Ok(())
    }
}
