//! What an operator configures: virtual services, destinations, time-outs, and the commands that change them.
//!
//! Everything above the data plane speaks in these types: `ipvsadm`, the control socket, the configuration file, the
//! director. They hold addresses and ports in host form ([`core::net`], `u16`), weights and times in the units of
//! `ipvsadm` (seconds). This crate may not do I/O, read clocks or know how the data plane stores anything.
#![forbid(unsafe_code)]

mod command;
mod destination;
mod error;
pub mod limits;
mod listing;
mod mark;
mod service;
mod setting;
mod tunnel;

pub use command::{Command, TimeoutsUpdate};
pub use destination::{DestKey, Destination, ForwardingMethod};
pub use error::CommandError;
pub use listing::{ConnListing, Counters, DestListing, Listing, Rates, ServiceListing, Timeouts};
pub use mark::{MarkRule, MarkRules, PortRange, Prefix};
pub use service::{ClientAddress, Protocol, Scheduler, SchedulerFlags, ServiceKey, VirtualService};
pub use setting::{SETTING_PREFIX, Setting, Settings};
pub use tunnel::{Tunnel, TunnelChecksum};
