//! The sweeper's beat: the whole connection table every [`SWEEP`], a part of it every [`SWEEP_STEP`].

use rvs_abi::Settings;
use rvs_core::conn::{Swept, ticks};
use rvs_model::{Memory, records};

use super::limits::{SWEEP, SWEEP_STEP, SWEEP_STEP_BUCKETS_MAX};

/// Where the sweeper is.
#[derive(Debug)]
pub(super) struct Sweeper {
    buckets: u32,
    buckets_per_step: u32,
    next: u32,
    due_ns: u64,
    /// Buckets in which connections of removed destinations are to end.
    to_purge: u32,
}

impl Sweeper {
    /// Of a table; begins at once.
    pub(super) fn new<M: Memory>(memory: &M) -> Self {
        let buckets = rvs_model::buckets(memory);
        let steps = u32::try_from(SWEEP.as_nanos() / SWEEP_STEP.as_nanos()).unwrap_or(u32::MAX);
        let buckets_per_step = buckets.div_ceil(steps).clamp(1, SWEEP_STEP_BUCKETS_MAX);
        Self { buckets, buckets_per_step, next: 0, due_ns: 0, to_purge: 0 }
    }

    /// When the next step is due.
    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Destinations were removed, and their connections are to end (`expire_nodest_conn`, ipvs.md §1.3): within one round. A
    /// packet of one ends it sooner.
    pub(super) fn purge(&mut self) {
        self.to_purge = self.buckets;
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
        // Destinations that were removed after the setting was turned off are to keep theirs.
        if records::config(memory).settings & Settings::EXPIRE_NODEST_CONN == 0 {
            self.to_purge = 0;
        }
        if self.to_purge > 0 {
            self.to_purge = self.to_purge.saturating_sub(self.buckets_per_step.min(self.buckets - from));
            rvs_model::purge(memory, from, self.buckets_per_step);
        }
        rvs_model::sweep(memory, from, self.buckets_per_step, ticks(now_ns))
    }
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering::Relaxed;

    use rvs_abi::map::Region;
    use rvs_core::conn::word::{LIVE, Word};
    use rvs_model::{Capacity, Heap};

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// When the connections of these tests end.
    const END: u64 = 100 * SECOND;

    /// A table with a connection in every bucket.
    fn heap() -> Heap {
        let heap = Heap::new(&Capacity { services: 1, dests: 1, conns: 10_000, cpus: 1 });
        let word = Word(0).owned(7, LIVE, 0, ticks(END));
        for region in [Region::Conns, Region::ConnOverflow] {
            let buckets = heap.region(region).chunks_exact(region.value_words());
            buckets.for_each(|bucket| bucket[0].store(word.0, Relaxed));
        }
        heap
    }

    fn set(heap: &Heap, settings: u32) {
        let config = rvs_abi::Config { settings, ..records::config(heap) };
        records::write_config(heap, &config);
    }

    fn alive(heap: &Heap) -> usize {
        rvs_model::conns(heap, 0..u64::MAX, ticks(END)).count()
    }

    /// Calls at all times from `from` to `to`; the most buckets that one call looked at.
    fn sweep(sweeper: &mut Sweeper, heap: &Heap, from: u64, to: u64) -> u32 {
        let times = (from..to).step_by(usize::try_from(SECOND / 100).unwrap_or(1));
        let swept = times.map(|now| sweeper.step(heap, now));
        swept.map(|swept| swept.live + swept.ended).max().unwrap_or(0)
    }

    #[test]
    fn connections_of_removed_destinations_end_in_one_round() {
        let heap = heap();
        let buckets = u64::from(rvs_model::buckets(&heap));
        let gone = rvs_abi::Dest { flags: rvs_abi::DestFlags::USED, ..Default::default() };
        let stays = rvs_abi::Dest { flags: gone.flags | rvs_abi::DestFlags::AVAILABLE, ..gone };
        let mut sweeper = Sweeper::new(&heap);
        set(&heap, Settings::EXPIRE_NODEST_CONN);
        records::write_dest(&heap, 0, &stays);
        sweeper.purge();
        sweep(&mut sweeper, &heap, 0, 3 * SECOND);
        assert_eq!(alive(&heap) as u64, buckets, "an available destination's connections ended");
        records::write_dest(&heap, 0, &gone);
        sweep(&mut sweeper, &heap, 3 * SECOND, 6 * SECOND);
        assert_eq!(alive(&heap) as u64, buckets, "they ended without a reason");
        sweeper.purge();
        sweep(&mut sweeper, &heap, 6 * SECOND, 9 * SECOND);
        assert_eq!(alive(&heap), 0);
    }

    /// A destination that is removed after the setting was turned off keeps its connections, though a round is not over.
    #[test]
    fn they_stay_when_the_setting_is_turned_off() {
        let heap = heap();
        let gone = rvs_abi::Dest { flags: rvs_abi::DestFlags::USED, ..Default::default() };
        let stays = rvs_abi::Dest { flags: gone.flags | rvs_abi::DestFlags::AVAILABLE, ..gone };
        let mut sweeper = Sweeper::new(&heap);
        records::write_dest(&heap, 0, &stays);
        set(&heap, Settings::EXPIRE_NODEST_CONN);
        sweeper.purge();
        sweep(&mut sweeper, &heap, 0, SECOND / 2);
        set(&heap, 0);
        records::write_dest(&heap, 0, &gone);
        sweep(&mut sweeper, &heap, SECOND / 2, 6 * SECOND);
        assert_eq!(alive(&heap), rvs_model::buckets(&heap) as usize);
    }

    #[test]
    fn the_whole_table_is_swept_in_two_seconds_in_small_steps() {
        let heap = heap();
        let buckets = rvs_model::buckets(&heap);
        assert_eq!(alive(&heap), buckets as usize);
        let mut sweeper = Sweeper::new(&heap);
        sweep(&mut sweeper, &heap, END - 10 * SECOND, END);
        assert_eq!(alive(&heap), buckets as usize, "connections ended before their time");
        let most = sweep(&mut sweeper, &heap, END + SECOND, END + 3 * SECOND);
        assert_eq!(alive(&heap), 0);
        assert!(most <= buckets / 15, "{most} of {buckets} buckets in one step");
    }
}
