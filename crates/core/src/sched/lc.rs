//! Least connections (ipvs.md §6.5): the smallest overhead among destinations of positive weight, ties to the first.

use crate::sched::{Table, overhead};
use crate::{Step, Tables};

/// More than any overhead.
const NONE: u64 = u64::MAX;

struct Search<'a> {
    table: &'a Table,
    overhead: u64,
    dest: u32,
}

impl<T: Tables> Step<T> for Search<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let Some(item) = self.table.item(tables, round) else { return true };
        if item.weight != 0 {
            let overhead = overhead(tables.dest_conns(item.dest));
            if overhead < self.overhead {
                self.overhead = overhead;
                self.dest = item.dest;
            }
        }
        false
    }
}

#[inline(always)]
pub(super) fn pick<T: Tables>(tables: &T, table: &Table) -> Option<u32> {
    let mut search = Search { table, overhead: tables.veiled(NONE), dest: 0 };
    tables.repeat(table.len, &mut search);
    (search.overhead != NONE).then_some(search.dest)
}
