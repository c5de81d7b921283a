//! Everything that the programs in the kernel and user space share through BPF maps: records, ids, counters, limits.
//!
//! Only this crate defines the layout of a map. It may not hold logic beyond reading and writing its own fields. The
//! BPF programs, the core, the model and `rvs-dataplane` use it; nothing else does.
//!
//! **Byte order.** Addresses and ports are kept as they stand in a packet: the bytes of the field in memory are in
//! network order. All other numbers are in the byte order of the machine.
//!
//! **Layout.** Every record is a whole number of 64-bit words, has no padding and no value that is invalid for its
//! type, so that user space may read and write it word by word through mapped memory. `abi.txt` beside this crate lists
//! sizes and offsets; a change of either needs a new [`ABI_VERSION`].
#![no_std]
#![forbid(unsafe_code)]

mod addr;
mod client;
mod config;
mod conn;
mod decap;
mod dest;
mod event;
pub mod limits;
pub mod map;
pub mod mark;
mod outcome;
pub mod peer;
mod port;
mod program;
pub mod sched;
mod segment;
mod service;
mod setting;
mod stats;

pub use addr::Addr;
pub use client::{CLIENT_OUTCOMES, CLIENTS, ClientAddress, ClientOutcome, DIRECTORS, DirectorPrefix};
pub use config::{Config, FullNatUse, Timeout};
pub use conn::{Bucket, ConnEntry, ConnFlags, OVERFLOW_BUCKET, SLOTS};
pub use decap::{DECAP_OUTCOMES, DecapOutcome};
pub use dest::{Dest, DestConns, DestFlags, Method, NO_DEST, TunnelFlags, TunnelType};
pub use event::{Event, HELD_ENDED, is_event};
pub use mark::Rule;
pub use outcome::{Class, OUTCOMES, Outcome, STEPS};
pub use port::{LOOPBACK, Port};
pub use program::{Program, ProgramSet};
pub use segment::{ListenerKey, SEGMENT_SIZES};
pub use service::{ClientTold, Service, ServiceFlags, ServiceKey};
pub use setting::Settings;
pub use stats::Stats;

/// Version of this layout. A daemon adopts pinned maps only when they carry the same.
pub const ABI_VERSION: u32 = 4;

/// IP protocol numbers that the data plane knows.
pub mod proto {
    /// ICMP (RFC 792).
    pub const ICMP: u8 = 1;
    /// IP in IP (RFC 2003).
    pub const IPIP: u8 = 4;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// IPv6 in IP (RFC 2473, RFC 4213).
    pub const IPV6: u8 = 41;
    /// Generic routing encapsulation (RFC 2784).
    pub const GRE: u8 = 47;
    /// ESP (RFC 4303).
    pub const ESP: u8 = 50;
    /// Authentication header (RFC 4302).
    pub const AH: u8 = 51;
    /// ICMP for IPv6 (RFC 4443).
    pub const ICMPV6: u8 = 58;
    /// SCTP (RFC 9260).
    pub const SCTP: u8 = 132;
}

/// Address families, as numbered in this ABI.
pub mod family {
    /// IPv4.
    pub const V4: u8 = 4;
    /// IPv6.
    pub const V6: u8 = 6;
}

/// A tick of the data plane's clock is 2^26 ns (67.1 ms) of `CLOCK_MONOTONIC_COARSE`: `ticks = ns >> TICK_SHIFT`.
pub const TICK_SHIFT: u32 = 26;

/// How many ticks a time in seconds is, rounded to the nearest tick.
#[must_use]
pub const fn ticks_from_secs(secs: u64) -> u64 {
    (secs * 1_000_000_000 + (1 << (TICK_SHIFT - 1))) >> TICK_SHIFT
}
