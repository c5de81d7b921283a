//! Rates, averaged as IPVS does (ipvs.md §9.3).

use std::collections::BTreeMap;

use rvs_abi::Stats;
use rvs_config::Rates;

use crate::row::Row;

/// Fraction bits of an average, and the shift that turns a count of two seconds into a rate with that fraction.
#[derive(Debug, Clone, Copy)]
struct Scale {
    fraction: u32,
}

const COUNTS: Scale = Scale { fraction: 10 };
const BYTES: Scale = Scale { fraction: 5 };

impl Scale {
    /// A count within two seconds as a rate per second.
    #[allow(clippy::cast_possible_wrap, reason = "IPVS computes with 64-bit signed numbers")]
    const fn rate(self, count: u64) -> i64 {
        (count << (self.fraction - 1)) as i64
    }

    /// A rate as it is shown. Averages begin at 0 and follow rates that are not negative.
    #[allow(clippy::cast_sign_loss, reason = "not negative")]
    const fn shown(self, average: i64) -> u64 {
        ((average + (1 << (self.fraction - 1)) - 1) >> self.fraction) as u64
    }
}

/// The rates of one object.
#[derive(Debug, Clone, Copy, Default)]
struct Estimator {
    /// Counters at the last run.
    last: Stats,
    conns: i64,
    in_packets: i64,
    out_packets: i64,
    in_bytes: i64,
    out_bytes: i64,
}

impl Estimator {
    fn run(&mut self, now: &Stats) {
        let step = |average: &mut i64, scale: Scale, now: u64, last: u64| {
            *average += (scale.rate(now.wrapping_sub(last)) - *average) >> 2;
        };
        step(&mut self.conns, COUNTS, now.conns, self.last.conns);
        step(&mut self.in_packets, COUNTS, now.in_packets, self.last.in_packets);
        step(&mut self.out_packets, COUNTS, now.out_packets, self.last.out_packets);
        step(&mut self.in_bytes, BYTES, now.in_bytes, self.last.in_bytes);
        step(&mut self.out_bytes, BYTES, now.out_bytes, self.last.out_bytes);
        self.last = *now;
    }

    const fn rates(&self) -> Rates {
        Rates {
            cps: COUNTS.shown(self.conns),
            in_pps: COUNTS.shown(self.in_packets),
            out_pps: COUNTS.shown(self.out_packets),
            in_bps: BYTES.shown(self.in_bytes),
            out_bps: BYTES.shown(self.out_bytes),
        }
    }
}

/// The rates of everything that is listed.
#[derive(Debug, Default)]
pub(crate) struct Estimators {
    rows: BTreeMap<Row, Estimator>,
}

impl Estimators {
    /// Begins with the counters as they are, if it has not begun.
    pub(crate) fn start(&mut self, row: Row, now: impl FnOnce() -> Stats) {
        self.rows.entry(row).or_insert_with(|| Estimator { last: now(), ..Estimator::default() });
    }

    pub(crate) fn stop(&mut self, row: Row) {
        self.rows.remove(&row);
    }

    /// Rates begin at zero again; what was counted since the last run counts (ipvs.md §9.4).
    pub(crate) fn zero(&mut self, row: Row) {
        if let Some(estimator) = self.rows.get_mut(&row) {
            *estimator = Estimator { last: estimator.last, ..Estimator::default() };
        }
    }

    /// Two seconds are over.
    pub(crate) fn run(&mut self, counters: impl Fn(Row) -> Stats) {
        for (row, estimator) in &mut self.rows {
            estimator.run(&counters(*row));
        }
    }

    pub(crate) fn rates(&self, row: Row) -> Rates {
        self.rows.get(&row).map(Estimator::rates).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn constant(estimators: &mut Estimators, runs: u64) -> Vec<Rates> {
        let start =
            |n: u64| Stats { conns: n * 2, in_packets: n * 200, in_bytes: n * 8000, ..Stats::default() };
        estimators.start(Row::Total, || start(0));
        (1..=runs)
            .map(|n| {
                estimators.run(|_| start(n));
                estimators.rates(Row::Total)
            })
            .collect()
    }

    /// ipvs.md §13.8, 144.
    #[test]
    fn statement_144_rate_after_one_period_25_then_44_58_towards_100() {
        let rates = constant(&mut Estimators::default(), 40);
        assert_eq!(rates[..3].iter().map(|rates| rates.in_pps).collect::<Vec<_>>(), [25, 44, 58]);
        assert_eq!(rates[39].in_pps, 100);
        assert_eq!(rates[0].in_bps, 1000);
        assert_eq!(rates[39].in_bps, 4000);
        assert_eq!((rates[39].cps, rates[39].out_pps, rates[39].out_bps), (1, 0, 0));
    }

    #[test]
    fn rates_fall_to_zero_when_traffic_ends() {
        let mut estimators = Estimators::default();
        constant(&mut estimators, 10);
        let last = Stats { conns: 20, in_packets: 2000, in_bytes: 80000, ..Stats::default() };
        for _ in 0..60 {
            estimators.run(|_| last);
        }
        assert_eq!(estimators.rates(Row::Total), Rates::default());
    }

    #[test]
    fn zeroed_rates_begin_again() {
        let mut estimators = Estimators::default();
        constant(&mut estimators, 10);
        estimators.zero(Row::Total);
        assert_eq!(estimators.rates(Row::Total), Rates::default());
        estimators.run(|_| Stats { in_packets: 2200, ..Stats::default() });
        assert_eq!(estimators.rates(Row::Total).in_pps, 25);
    }
}
