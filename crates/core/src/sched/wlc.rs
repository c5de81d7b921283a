//! Weighted least connections (ipvs.md §6.6): the smallest overhead per weight, compared by cross products, ties to the
//! first.

use crate::sched::{Table, overhead};
use crate::{Step, Tables};

struct Search<'a> {
    table: &'a Table,
    overhead: u64,
    /// Weight of the best so far; 0: there is none.
    weight: u64,
    dest: u32,
}

impl<T: Tables> Step<T> for Search<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let Some(item) = self.table.item(tables, round) else { return true };
        if item.weight == 0 {
            return false;
        }
        let (weight, overhead) = (u64::from(item.weight), overhead(tables.dest_conns(item.dest)));
        if self.weight == 0 || self.overhead.wrapping_mul(weight) > overhead.wrapping_mul(self.weight) {
            self.overhead = overhead;
            self.weight = weight;
            self.dest = item.dest;
        }
        false
    }
}

#[inline(always)]
pub(super) fn pick<T: Tables>(tables: &T, table: &Table) -> Option<u32> {
    let mut search = Search { table, overhead: tables.veiled(0), weight: tables.veiled(0), dest: 0 };
    tables.repeat(table.len, &mut search);
    (search.weight != 0).then_some(search.dest)
}
