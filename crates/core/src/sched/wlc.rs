//! Weighted least connections (ipvs.md §6.6): the smallest overhead per weight, compared by cross products, ties to the
//! first.

use crate::sched::{Table, overhead};
use crate::{Step, Tables};

struct Best {
    overhead: u64,
    weight: u32,
    dest: u32,
}

struct Search<'a> {
    table: &'a Table,
    best: Option<Best>,
}

impl<T: Tables> Step<T> for Search<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let Some(item) = self.table.item(tables, round) else { return true };
        if item.weight == 0 {
            return false;
        }
        let overhead = overhead(tables.dest_conns(item.dest));
        let better = self.best.as_ref().is_none_or(|best| {
            best.overhead.wrapping_mul(u64::from(item.weight)) > overhead.wrapping_mul(u64::from(best.weight))
        });
        if better {
            self.best = Some(Best { overhead, weight: item.weight, dest: item.dest });
        }
        false
    }
}

#[inline(always)]
pub(super) fn pick<T: Tables>(tables: &T, table: &Table) -> Option<u32> {
    let mut search = Search { table, best: None };
    tables.repeat(table.len, &mut search);
    search.best.map(|best| best.dest)
}
