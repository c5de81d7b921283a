//! Schedulers: which destination gets a new connection (ipvs.md §6).
//!
//! A scheduler is one file with a picker, and one line in [`pick`]. Pickers run in the kernel for each new connection:
//! bounded, without allocation. They read the service's table, whose layout is that of [`rvs_abi::sched`]; the director
//! builds it.

mod lc;
mod rr;
mod sh;
mod wlc;
mod wrr;

use rvs_abi::sched::{HEADER_WORDS, high, id, kind_parts, low};
use rvs_abi::{Addr, DestConns};

use crate::{ServiceRecord, Tables};

/// What a choice may depend on besides the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Client's address.
    pub client: Addr,
    /// Client's port, network order.
    pub cport: [u8; 2],
}

/// A service's destinations as a scheduler sees them: newest first.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    start: u32,
    len: u32,
    scheduler: u8,
    flags: u8,
}

/// One destination of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Item {
    /// Its id.
    pub dest: u32,
    /// Its weight.
    pub weight: u32,
}

impl Table {
    /// The table of a service; `None` while it has none.
    #[inline(always)]
    #[must_use]
    pub fn of<T: Tables>(tables: &T, service: T::Service) -> Option<Self> {
        let (start, words) = service.table();
        if words == 0 {
            return None;
        }
        // Scheduler and options are those that the table was built for: a service's record follows a moment later.
        let (scheduler, flags) = kind_parts(tables.sched_word(start + 3)?);
        Some(Self { start, len: low(tables.sched_word(start + 1)?), scheduler, flags })
    }

    /// A destination by its place in the list.
    #[inline(always)]
    fn item<T: Tables>(&self, tables: &T, index: u32) -> Option<Item> {
        let word = tables.sched_word(self.start + HEADER_WORDS + index)?;
        Some(Item { dest: low(word), weight: high(word) })
    }

    /// The scheduler's state word.
    #[inline(always)]
    fn state<T: Tables>(&self, tables: &T) -> Option<u64> {
        tables.sched_word(self.start)
    }

    /// Replaces the state word if it still is `old`.
    #[inline(always)]
    fn swap_state<T: Tables>(&self, tables: &T, old: u64, new: u64) -> bool {
        tables.swap_sched_word(self.start, old, new)
    }
}

/// `active * 256 + total`: what a connection costs, ipvs.md §6.5.
#[inline(always)]
fn overhead(conns: DestConns) -> u64 {
    (u64::from(conns.active) << 8) + u64::from(conns.total)
}

/// Picks a destination for a new connection. `None`: no destination is eligible. Not inlined, for its room on the stack.
#[inline(never)]
pub fn pick<T: Tables>(tables: &T, service: T::Service, request: &Request) -> Option<u32> {
    let table = Table::of(tables, service)?;
    match table.scheduler {
        id::RR => rr::pick(tables, &table),
        id::WRR => wrr::pick(tables, &table),
        id::LC => lc::pick(tables, &table),
        id::WLC => wlc::pick(tables, &table),
        id::SH => sh::pick(tables, &table, request),
        _ => None,
    }
}
