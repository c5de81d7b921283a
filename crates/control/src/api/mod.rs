//! What can be asked of a director and what it answers: version 1.
//!
//! Everything here is JSON on the socket, field for field. Addresses are text, ports are numbers, times are seconds.
//! New fields may be added to answers within a version; anything else is a new version beside this one.

mod connections;
mod counters;
mod refusal;
mod settings;
mod status;

use rvs_config::{Command, Listing, MarkRules, ServiceKey, ServiceListing, Timeouts};
use serde::{Deserialize, Serialize};

pub use connections::{ConnPage, ConnQuery};
pub use counters::{CounterClass, CounterListing, CounterTable};
pub use refusal::{ErrorBody, ErrorDetail, Failure, RequestError};
pub use settings::{SettingListing, SettingTable};
pub use status::{Attach, Capacity, EventListing, Fill, Interface, LimitReached, Status};

/// A request that was understood and is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// `GET /v1/services`; answered by [`Response::Services`].
    Services,
    /// `GET /v1/services/{protocol}/{endpoint}`; answered by [`Response::Service`].
    Service(ServiceKey),
    /// `GET /v1/connections`; answered by [`Response::Connections`].
    Connections(ConnQuery),
    /// `GET /v1/status`; answered by [`Response::Status`].
    Status,
    /// `GET /v1/counters`; answered by [`Response::Counters`].
    Counters,
    /// `GET /v1/timeouts`; answered by [`Response::Timeouts`].
    Timeouts,
    /// `GET /v1/settings`; answered by [`Response::Settings`].
    Settings,
    /// `GET /v1/marks`; answered by [`Response::Marks`].
    Marks,
    /// `POST /v1/commands`: one transaction; answered by [`Response::Applied`].
    Commands(Vec<Command>),
    /// `POST /v1/stop`: take the data plane down and end; answered by [`Response::Stopped`].
    Stop,
}

/// What the director answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Response {
    /// Everything that is configured.
    Services(Listing),
    /// One service.
    Service(Box<ServiceListing>),
    /// Some of the connections.
    Connections(ConnPage),
    /// How the director is.
    Status(Box<Status>),
    /// What became of packets.
    Counters(CounterTable),
    /// Time-outs in force.
    Timeouts(Timeouts),
    /// Settings in force.
    Settings(SettingTable),
    /// The rules that give packets a mark.
    Marks(MarkRules),
    /// All commands were carried out.
    Applied(Applied),
    /// The data plane is down.
    Stopped(Stopped),
    /// It can't be done, and nothing was changed.
    Failed(Failure),
}

/// The body of `POST /v1/commands`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    /// Carried out in this order, all or none.
    pub commands: Vec<Command>,
}

/// The transaction is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// How many commands it had.
    pub applied: u64,
}

/// The data plane is taken down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// What was taken down, in one line.
    pub message: String,
}
