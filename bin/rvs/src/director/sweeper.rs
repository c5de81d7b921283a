//! The sweeper's beat: the whole connection table every [`SWEEP`], a part of it every [`SWEEP_STEP`].

use rvs_core::conn::{Swept, ticks};
use rvs_model::Memory;

use super::limits::{SWEEP, SWEEP_STEP, SWEEP_STEP_BUCKETS_MAX};

/// Where the sweeper is.
#[derive(Debug)]
pub(super) struct Sweeper {
    buckets: u32,
    buckets_per_step: u32,
    next: u32,
    due_ns: u64,
}

impl Sweeper {
    /// Of a table; begins at once.
    pub(super) fn new<M: Memory>(memory: &M) -> Self {
        let buckets = rvs_model::buckets(memory);
        let steps = u32::try_from(SWEEP.as_nanos() / SWEEP_STEP.as_nanos()).unwrap_or(u32::MAX);
        let buckets_per_step = buckets.div_ceil(steps).clamp(1, SWEEP_STEP_BUCKETS_MAX);
        Self { buckets, buckets_per_step, next: 0, due_ns: 0 }
    }

    /// When the next step is due.
    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Sweeps a part of the table if it is time.
    pub(super) fn step<M: Memory>(&mut self, memory: &M, now_ns: u64) -> Swept {
        if now_ns < self.due_ns {
            return Swept::default();
        }
        let step_ns = u64::try_from(SWEEP_STEP.as_nanos()).unwrap_or(u64::MAX);
        self.due_ns = now_ns.saturating_add(step_ns);
        let from = self.next;
        self.next += self.buckets_per_step;
        if self.next >= self.buckets {
            self.next = 0;
        }
        rvs_model::sweep(memory, from, self.buckets_per_step, ticks(now_ns))
    }
}
