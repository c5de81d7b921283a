//! Links, addresses, routes, neighbours, offloads and network namespaces of Linux, from Rust alone.
//!
//! Callers are the director (which interfaces exist, how a destination is reached, what changed) and the test kit
//! (building topologies). Everything is synchronous: a [`Netlink`] handle is one blocking socket, a [`Monitor`] is one
//! that listens. No program (`ip`, `ethtool`, `sysctl`) and no package is needed.
//!
//! A socket belongs for ever to the network namespace of the thread that opened it. Hence a handle opened through
//! [`Netns::netlink`] works on that namespace from any thread, and nobody has to move threads about.
//!
//! This crate may not decide anything: it has no retry policy, no caching and no opinion about which route is right.
//! All numbers are in host byte order; addresses are those of `std::net`.
#![forbid(unsafe_code)]

mod address;
mod error;
mod ethtool;
mod link;
mod mac;
mod monitor;
mod neighbour;
mod netns;
mod prefix;
mod route;
mod socket;
pub mod sysctl;
mod transport;

pub use address::Address;
pub use error::{Error, Result};
pub use ethtool::{Ethtool, Feature};
pub use link::Link;
pub use mac::{MacAddr, ParseMacError};
pub use monitor::{Event, Monitor};
pub use neighbour::{Neighbour, NeighbourState};
pub use netns::{NETNS_DIR, Netns};
pub use prefix::{ParsePrefixError, Prefix};
pub use route::{Route, RouteKind, RouteLookup};
pub use socket::Netlink;
