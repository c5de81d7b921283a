//! Times: what a CPU spent, and what a series of rounds says.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// The CPU that packets are handled on.
#[derive(Debug, Clone)]
pub(crate) struct Cpu {
    number: usize,
    /// Run time of its `ksoftirqd`; `None` where it can't be seen, as in a container.
    deferred: Option<PathBuf>,
}

impl Cpu {
    /// A CPU, by number; the last one if none is named.
    pub(crate) fn new(number: Option<usize>) -> Result<Self> {
        let last = std::thread::available_parallelism().context("count CPUs")?.get() - 1;
        let number = number.unwrap_or(last);
        Ok(Self { number, deferred: find_process(&format!("ksoftirqd/{number}")) })
    }

    /// Has the calling thread run on this CPU only.
    pub(crate) fn take_thread(&self) -> Result<()> {
        let mut cpus = CpuSet::new();
        cpus.set(self.number)
            .and_then(|()| sched_setaffinity(Pid::from_raw(0), &cpus))
            .with_context(|| format!("run on CPU {}", self.number))
    }

    /// Does something on the calling thread, which must be on this CPU. The nanoseconds that it took are those of the
    /// CPU: the thread's, and those of the kernel's thread for deferred packets (`ksoftirqd`). What other processes took
    /// meanwhile is not in it.
    pub(crate) fn measure<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
        let before = self.used()?;
        let result = work()?;
        Ok((result, self.used()? - before))
    }

    fn used(&self) -> Result<u64> {
        let deferred = match &self.deferred {
            Some(path) => run_time(path)?,
            None => 0,
        };
        Ok(nanos(ClockId::CLOCK_THREAD_CPUTIME_ID)? + deferred)
    }
}

/// Nanoseconds of the monotonic clock, as the programs in the kernel read it.
pub(crate) fn now_ns() -> Result<u64> {
    nanos(ClockId::CLOCK_MONOTONIC)
}

fn nanos(clock: ClockId) -> Result<u64> {
    let now = clock_gettime(clock).context("read a clock")?;
    u64::try_from(now.tv_sec() * 1_000_000_000 + now.tv_nsec()).context("read a clock")
}

/// The scheduler's file of the process of that name.
fn find_process(name: &str) -> Option<PathBuf> {
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let found = processes
        .into_iter()
        .find(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim_end() == name))?;
    let file = found.join("schedstat");
    run_time(&file).is_ok().then_some(file)
}

/// The first number: nanoseconds on a CPU.
fn run_time(schedstat: &PathBuf) -> Result<u64> {
    let text = fs::read_to_string(schedstat).with_context(|| format!("read {}", schedstat.display()))?;
    let first = text.split_whitespace().next().unwrap_or_default();
    first.parse().with_context(|| format!("read {}: {text:?}", schedstat.display()))
}

/// One value per round.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series(Vec<f64>);

impl Series {
    /// Without a value.
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// In the order of the rounds.
    pub(crate) fn values(&self) -> &[f64] {
        &self.0
    }

    /// The middle one; of an even number, the mean of the two in the middle. Not a number if there is none.
    pub(crate) fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            len if len % 2 == 1 => sorted[len / 2],
            len => f64::midpoint(sorted[len / 2 - 1], sorted[len / 2]),
        }
    }

    /// Not a number if there is none.
    pub(crate) fn lowest(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(f64::NAN)
    }

    /// Not a number if there is none.
    pub(crate) fn highest(&self) -> f64 {
        self.sorted().last().copied().unwrap_or(f64::NAN)
    }

    /// Round by round, this one's value by the other's. Nothing if a round of one of them failed: then it is not known
    /// which values belong together.
    pub(crate) fn ratio(&self, to: &Self) -> Self {
        if self.0.len() != to.0.len() {
            return Self::default();
        }
        Self(self.0.iter().zip(&to.0).map(|(value, to)| value / to).collect())
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }
}

/// `total` in `count` parts.
#[allow(clippy::cast_precision_loss, reason = "both are far below 2^52")]
pub(crate) fn per(total: u64, count: u64) -> f64 {
    total as f64 / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let series = |values: &[f64]| Series(values.to_vec());
        assert_eq!(series(&[3.0, 1.0, 2.0]).median(), 2.0);
        assert_eq!(series(&[4.0, 1.0, 2.0, 3.0]).median(), 2.5);
        assert!(series(&[]).median().is_nan());
        let ratio = series(&[4.0, 9.0]).ratio(&series(&[2.0, 3.0]));
        assert_eq!((ratio.lowest(), ratio.highest()), (2.0, 3.0));
    }
}
