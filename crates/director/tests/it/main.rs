//! Tests of the director through its public interface, on memory on the heap.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(clippy::cast_possible_truncation, reason = "tests: small numbers")]

mod crash;
mod families;
mod full_nat_sources;
mod housekeeping;
mod limits;
mod marks;
mod packet;
mod peers;
mod programs;
mod properties;
mod redo;
mod reference;
mod settings;
mod statements;
mod support;
