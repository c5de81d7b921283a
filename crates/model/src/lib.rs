//! The memory of a data plane and its in-memory twin: the executable specification.
//!
//! [`Memory`] is what the director and the sweeper work on; `rvs-dataplane` implements it over the kernel's maps,
//! [`Heap`] over vectors. Packets run through the same `rvs_core` in both: here as [`Model`], which is [`HostTables`] over
//! a [`Heap`]. The sweeper uses the same [`HostTables`] over the kernel's maps, through [`sweep`], [`for_each_conn`] and
//! [`flush`]; [`Audit`] checks the counts of connections against the table. This crate may not do I/O or read a clock.
#![forbid(unsafe_code)]

mod audit;
mod bucket;
mod capacity;
mod conns;
mod heap;
mod held;
mod host;
mod memory;
mod model;
pub mod records;
#[cfg(feature = "testing")]
pub mod testing;

pub use audit::{Audit, Correction};
pub use bucket::HostBucket;
pub use capacity::{Capacity, ticks_u32};
pub use conns::{Conn, buckets, conns, flush, for_each_conn, purge, sweep};
pub use heap::Heap;
pub use held::{Held, end_held};
pub use host::{HostDest, HostRule, HostService, HostTables, NoPackets, World};
pub use memory::{Memory, MemoryError};
pub use model::Model;
