//! How a director is.

use rvs_abi::Event;
use serde::{Deserialize, Serialize};

/// A director's account of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The program's version.
    pub version: String,
    /// The instance's name.
    pub instance: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// Seconds since the daemon started; the data plane may be older.
    pub uptime_s: u64,
    /// Release of the running kernel.
    pub kernel: String,
    /// Interfaces, by name.
    pub interfaces: Vec<Interface>,
    /// How much of each table is in use.
    pub capacity: Capacity,
    /// Limits that were reached since the daemon started.
    pub limits_reached: Vec<LimitReached>,
    /// What the programs count beside what becomes of packets, those at zero included.
    pub events: Vec<EventListing>,
    /// What an operator should know, a line each.
    pub warnings: Vec<String>,
}

/// An interface that the director looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its index in the director's network namespace.
    pub index: u32,
    /// Where the program is attached.
    pub attach: Attach,
    /// Why there, in one line.
    pub reason: String,
}

/// Where the program is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attach {
    /// XDP in the driver, and TC behind it for what XDP hands over.
    Xdp,
    /// XDP in the generic place, and TC behind it.
    XdpGeneric,
    /// TC only.
    Tc,
    /// Not at all: packets of this interface are not balanced.
    None,
}

/// How much of each table is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Virtual services.
    pub services: Fill,
    /// Destinations of all services.
    pub destinations: Fill,
    /// Connections.
    pub connections: Fill,
}

/// The fill of one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// Entries in use.
    pub used: u64,
    /// Entries there are.
    pub maximum: u64,
}

/// A limit that was reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitReached {
    /// Its name.
    pub limit: String,
    /// How much it is.
    pub maximum: u64,
    /// How often it was reached.
    pub times: u64,
}

/// Something that happens to a packet and does not end it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventListing {
    /// Its name.
    pub name: String,
    /// How often, since the data plane was loaded.
    pub count: u64,
    /// One line that explains it.
    pub text: String,
}

impl EventListing {
    /// The row of an event.
    #[must_use]
    pub fn new(event: Event, count: u64) -> Self {
        Self { name: event.name().to_owned(), count, text: event.text().to_owned() }
    }
}
