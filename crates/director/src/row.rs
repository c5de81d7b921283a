//! Rows of the traffic statistics (ipvs.md §9.1).

use core::fmt;

use rvs_abi::{Config, Stats};
use rvs_model::{Memory, records};

use crate::state::{DestId, ServiceId};

/// Whose counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// All that was balanced.
    Total,
    /// A service's.
    Service(ServiceId),
    /// A destination's.
    Dest(DestId),
}

impl Row {
    /// Index within a part of the statistics, of a data plane with room for so many services.
    pub(crate) const fn index(self, services_max: u32) -> u32 {
        match self {
            Self::Total => 0,
            Self::Service(id) => 1 + id.0,
            Self::Dest(id) => 1 + services_max + id.0,
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Total => f.write_str("the total"),
            Self::Service(id) => id.fmt(f),
            Self::Dest(id) => id.fmt(f),
        }
    }
}

/// What stood on the counters of all CPUs together, ever.
pub(crate) fn sum<M: Memory>(memory: &M, config: &Config, row: u32) -> Stats {
    (0..config.cpus)
        .map(|cpu| records::stats_part(memory, config, cpu, row))
        .fold(Stats::default(), |sum, part| combine(&sum, &part, u64::wrapping_add))
}

/// The sum since the zero point.
pub(crate) fn since_zero<M: Memory>(memory: &M, config: &Config, row: u32) -> Stats {
    let zero = records::stats_part(memory, config, config.cpus, row);
    combine(&sum(memory, config, row), &zero, u64::wrapping_sub)
}

/// Makes a row begin at zero again: IPVS leaves the CPUs' counters alone (ipvs.md §9.4), and only the programs write them.
pub(crate) fn zero<M: Memory>(memory: &M, config: &Config, row: u32) {
    records::write_stats_zero(memory, config, row, &sum(memory, config, row));
}

fn combine(a: &Stats, b: &Stats, with: impl Fn(u64, u64) -> u64) -> Stats {
    Stats {
        conns: with(a.conns, b.conns),
        in_packets: with(a.in_packets, b.in_packets),
        out_packets: with(a.out_packets, b.out_packets),
        in_bytes: with(a.in_bytes, b.in_bytes),
        out_bytes: with(a.out_bytes, b.out_bytes),
        spare: [0; 3],
    }
}
