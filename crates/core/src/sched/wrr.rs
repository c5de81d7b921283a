//! Weighted round robin (ipvs.md §6.4).
//!
//! State word: low half, the place of the last choice in the list plus one (0: the list's head); high half, the current
//! weight `cw`. Word 1, high half: `mw`, the largest weight less (step - 1). Word 2, low half: the step `di`.
//!
//! The walk visits at most the rest of the list, the whole list for each lowered weight that somebody can meet, and the
//! list up to where it began. With every destination eligible the first pass after lowering `cw` always finds one, so
//! two lists' lengths and their heads are enough.

use rvs_abi::sched::{high, low, word};

use crate::sched::Table;
use crate::{Step, Tables};

/// How often the choice is made again when another CPU chose at the same moment.
const RETRIES: u32 = 4;

struct Walk<'a> {
    table: &'a Table,
    mw: u32,
    di: u32,
    /// Place of the last element looked at plus one; 0 is the head.
    cl: u32,
    cw: u32,
    start: u32,
    /// 1: this is the pass with the lowest weight.
    last_pass: u64,
    /// 1: `cw` has begun anew.
    restarted: u64,
    found: Option<u32>,
}

impl Walk<'_> {
    /// At the end of the list: the next lower weight. `true`: there is nothing to be found.
    #[inline(always)]
    fn lower(&mut self) -> bool {
        self.cl = 0;
        let was_last = self.last_pass;
        if self.cw > self.di {
            self.cw -= self.di;
        } else {
            self.cw = self.mw;
            // A pass at the lowest weight is over and found nothing.
            if was_last != 0 || self.start == 0 {
                return true;
            }
            self.restarted = 1;
        }
        self.last_pass = u64::from(self.cw <= self.di);
        false
    }
}

impl<T: Tables> Step<T> for Walk<'_> {
    #[inline(always)]
    fn step(&mut self, tables: &T, _round: u32) -> bool {
        if self.cl >= self.table.len {
            return self.lower();
        }
        let Some(item) = self.table.item(tables, self.cl) else { return true };
        self.cl += 1;
        if item.weight >= self.cw {
            self.found = Some(item.dest);
            return true;
        }
        (self.last_pass & self.restarted) != 0 && self.cl == self.start
    }
}

#[inline(always)]
pub(super) fn pick<T: Tables>(tables: &T, table: &Table) -> Option<u32> {
    let mw = high(tables.sched_word(table.start + 1)?);
    let di = low(tables.sched_word(table.start + 2)?);
    if mw == 0 {
        return None;
    }
    let mut dest = None;
    for _ in 0..RETRIES {
        let state = table.state(tables)?;
        let (cl, cw) = (low(state), high(state));
        let mut walk = Walk {
            table,
            mw,
            di,
            cl,
            cw,
            start: cl,
            last_pass: tables.veiled(0),
            restarted: tables.veiled(0),
            found: None,
        };
        tables.repeat(3 * table.len + 3, &mut walk);
        dest = walk.found;
        if table.swap_state(tables, state, word(walk.cl, walk.cw)) {
            break;
        }
    }
    dest
}
