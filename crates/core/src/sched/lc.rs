//! Least connections (ipvs.md §6.5): the smallest overhead among destinations of positive weight, ties to the first.

use crate::sched::{Table, overhead};
use crate::{Step, Tables};

struct Search<'a> {
    table: &'a Table,
    best: Option<(u64, u32)>,
}

impl<T: Tables> Step<T> for Search<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let Some(item) = self.table.item(tables, round) else { return true };
        if item.weight != 0 {
            let overhead = overhead(tables.dest_conns(item.dest));
            if self.best.is_none_or(|(best, _)| overhead < best) {
                self.best = Some((overhead, item.dest));
            }
        }
        false
    }
}

#[inline(always)]
pub(super) fn pick<T: Tables>(tables: &T, table: &Table) -> Option<u32> {
    let mut search = Search { table, best: None };
    tables.repeat(table.len, &mut search);
    search.best.map(|(_, dest)| dest)
}
