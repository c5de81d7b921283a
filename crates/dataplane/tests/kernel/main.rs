//! The data plane in a real kernel: as root, each test with network namespaces, a BPF file system and an
//! instance of its own.
#![allow(clippy::unwrap_used, reason = "tests")]

mod agent;
mod attach;
mod client_address;
mod journal;
mod lifecycle;
mod privileges;
mod replace;
mod run;
mod stage;
