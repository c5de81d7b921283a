//! Round robin (ipvs.md §6.3).
//!
//! The state word holds the place of the last choice in the list plus one; 0 before the first. The search goes from the
//! one after it round the list once; the first of positive weight wins.

use crate::sched::Table;
use crate::{Step, Tables};

/// How often the choice is made again when another CPU chose at the same moment.
const RETRIES: u32 = 4;

struct Search<'a> {
    table: &'a Table,
    from: u32,
    found: Option<(u32, u32)>,
}

impl<T: Tables> Step<T> for Search<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, round: u32) -> bool {
        let at = self.from + round;
        let index = if at >= self.table.len { at - self.table.len } else { at };
        let Some(item) = self.table.item(tables, index) else { return true };
        if item.weight == 0 {
            return false;
        }
        self.found = Some((index, item.dest));
        true
    }
}

#[inline(always)]
pub(super) fn pick<T: Tables>(tables: &T, table: &Table) -> Option<u32> {
    let mut dest = None;
    for _ in 0..RETRIES {
        let state = table.state(tables)?;
        let last = rvs_abi::sched::low(state);
        let from = if last >= table.len { 0 } else { last };
        let mut search = Search { table, from, found: None };
        tables.repeat(table.len, &mut search);
        let (index, chosen) = search.found?;
        dest = Some(chosen);
        if table.swap_state(tables, state, u64::from(index) + 1) {
            break;
        }
    }
    dest
}
