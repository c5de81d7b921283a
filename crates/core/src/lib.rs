//! What happens to a packet.
//!
//! [`pipeline::ingress`] takes a packet and the tables and says what becomes of it. The same code runs in the kernel under
//! XDP and under TC (`rvs-ebpf`), and on the host in the model and in tests: it is generic over [`Packet`] (bytes and how
//! to change them) and [`Tables`] (maps, clock, routes). This crate may not use `unsafe`, allocate, do I/O or read a
//! clock. Everything is bounded, for the kernel's verifier and for the packet rate.
#![no_std]
#![forbid(unsafe_code)]

mod bypass;
mod clamp;
pub mod conn;
mod count;
mod cut;
pub mod filter;
mod forward;
pub mod fragment;
#[cfg(not(target_arch = "bpf"))]
mod frame;
pub mod ftp;
mod full_nat;
mod gather;
mod guard;
pub mod here;
pub mod hold;
mod icmp;
pub mod mark;
mod one_packet;
mod packet;
mod parse;
pub mod pipeline;
pub mod program;
pub mod proxy;
mod reuse;
pub mod sched;
mod segment;
mod server;
mod service;
pub mod state;
mod sum;
mod tables;
mod translate;

#[cfg(not(target_arch = "bpf"))]
pub use frame::Frame;
pub use packet::{Encap, Packet};
pub use parse::{Parsed, Signal, parse};
pub use tables::{DestRecord, Flow, Link, NextHop, RuleRecord, ServiceRecord, Step, Tables};

use rvs_abi::Outcome;

/// What becomes of a packet. The class of the outcome tells whether it goes on to the network stack as it came, is
/// discarded, or has been rewritten and leaves by `link`.
///
/// Plain fields and no enum with data: a program in the kernel may read a field of one variant where another was written,
/// and the verifier refuses that if a pointer was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Verdict {
    /// The one outcome that is counted.
    pub outcome: Outcome,
    /// Where it leaves, for outcomes of class `Forward`; all zero otherwise.
    pub link: Link,
}
