//! How a scheduler's state goes over to the table that replaces its table (ipvs.md §6.3, §6.4).
//!
//! Packets change the state until the moment of the switch. So the plan does not hold the new state but what happened to
//! the list, and the state is computed from the old table's when the new one is put in place.

use rvs_abi::sched::{HEADER_WORDS, high, low, word};
use rvs_config::Scheduler;

use crate::members::Members;
use crate::state::DestId;

/// `wrr`'s numbers after a change of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrrStep {
    /// Greatest common divisor of the positive weights, 1 if there are none.
    pub di: u32,
    /// Largest weight less (`di` - 1).
    pub mw: u32,
}

impl WrrStep {
    /// What a change of the list does to the current weight.
    const fn apply(self, cw: u32) -> u32 {
        if cw > self.mw || cw == 0 {
            self.mw
        } else if self.di > 1 {
            (cw / self.di) * self.di + 1
        } else {
            cw
        }
    }
}

/// What became of a scheduler's state in a list of commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carry {
    /// It has none.
    Stateless,
    /// `rr`.
    Rr {
        /// Whether the scheduler is the one of the old table; otherwise it begins before the list's first element.
        kept: bool,
        /// Removed destinations in order, each with the one that stood before it.
        removed: Vec<(DestId, Option<DestId>)>,
    },
    /// `wrr`.
    Wrr {
        /// The current weight that it was bound with; `None`: the scheduler is the one of the old table.
        bound: Option<u32>,
        /// The numbers after each change, repetitions left out.
        steps: Vec<WrrStep>,
    },
}

impl Carry {
    /// The scheduler stays.
    pub(crate) const fn kept(scheduler: Scheduler) -> Self {
        match scheduler {
            Scheduler::Rr => Self::Rr { kept: true, removed: Vec::new() },
            Scheduler::Wrr => Self::Wrr { bound: None, steps: Vec::new() },
            Scheduler::Lc | Scheduler::Wlc | Scheduler::Sh => Self::Stateless,
        }
    }

    /// The scheduler is bound anew to that list.
    pub(crate) fn bound(scheduler: Scheduler, members: &Members) -> Self {
        match scheduler {
            Scheduler::Rr => Self::Rr { kept: false, removed: Vec::new() },
            Scheduler::Wrr => Self::Wrr { bound: Some(members.wrr().mw), steps: Vec::new() },
            Scheduler::Lc | Scheduler::Wlc | Scheduler::Sh => Self::Stateless,
        }
    }

    /// A destination joined the list or was edited.
    pub(crate) fn changed(&mut self, members: &Members) {
        if let Self::Wrr { steps, .. } = self {
            let step = members.wrr();
            // A step is idempotent.
            if steps.last() != Some(&step) {
                steps.push(step);
            }
        }
    }

    /// A destination left the list; `before` stood before it.
    pub(crate) fn removed(&mut self, id: DestId, before: Option<DestId>, members: &Members) {
        if let Self::Rr { kept: true, removed } = self {
            removed.push((id, before));
        }
        self.changed(members);
    }

    /// The state word of the new table, given both tables' words. The old table is `None` for a new service.
    pub(crate) fn state(&self, old: Option<&[u64]>, new: &[u64]) -> u64 {
        match self {
            Self::Stateless => 0,
            Self::Rr { kept, removed } => match old {
                Some(old) if *kept => rr_state(old, new, removed),
                Some(_) | None => 0,
            },
            Self::Wrr { bound, steps } => {
                let state = old.map_or(0, |old| old[0]);
                let cl = if steps.is_empty() && bound.is_none() { low(state) } else { 0 };
                let cw = steps.iter().fold(bound.unwrap_or_else(|| high(state)), |cw, step| step.apply(cw));
                word(cl, cw)
            }
        }
    }
}

/// Where `rr` stands in the new list: at the same element, or at the one before it when it was removed.
fn rr_state(old: &[u64], new: &[u64], removed: &[(DestId, Option<DestId>)]) -> u64 {
    let Some(index) = low(old[0]).checked_sub(1) else { return 0 };
    let Some(last) = ids(old).nth(index as usize) else { return 0 };
    let moved =
        removed.iter().try_fold(last, |last, (id, before)| if last == *id { *before } else { Some(last) });
    let Some(last) = moved else { return 0 };
    ids(new).zip(1..).find(|(id, _)| *id == last).map_or(0, |(_, place)| word(place, 0))
}

fn ids(table: &[u64]) -> impl Iterator<Item = DestId> {
    let len = low(table[1]) as usize;
    table.iter().skip(HEADER_WORDS as usize).take(len).map(|word| DestId(low(*word)))
}
