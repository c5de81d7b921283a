//! The control plane of a director: what is configured, and how the data plane's memory is made to say so.
//!
//! [`Director`] takes commands, times and routes in, and changes [`rvs_model::Memory`]: the kernel's maps in the daemon,
//! plain memory in tests. A change is planned first, by a pure function of what is there and what is asked ([`Plan`], a
//! list of [`Action`]s that can be printed), then executed; a refused list of commands changes nothing.
//!
//! **Everything it knows stands in that memory.** There is no other state: after `kill -9` at any moment,
//! [`Director::adopt`] finds each service as it was before or after the change that was interrupted, and repairs the rest.
//! Only averages (rates) and the ages of removed objects begin anew. A change of more than one service is a [`Change`] as
//! well, which whoever executes it keeps until it is done: the next director finishes it ([`Director::remaining`]).
//!
//! **Packets go on meanwhile.** Actions are in an order in which no packet finds a service without its table or a
//! destination after its removal; what was removed is not reused before [`limits::QUARANTINE_NS`] have passed.
//!
//! This crate may not do I/O, read a clock or draw random numbers. Times are nanoseconds of one monotonic clock.
#![forbid(unsafe_code)]

mod action;
mod adopt;
mod carry;
mod change;
mod check;
mod convert;
mod director;
mod draft;
mod edit;
mod error;
mod estimator;
mod execute;
mod filter;
mod finish;
mod full_nat_sources;
pub mod limits;
mod listing;
mod marks;
mod members;
mod peers;
mod plan;
mod programs;
mod real_servers;
mod routes;
mod row;
mod settings;
mod space;
mod state;
mod tables;
mod trash;
mod tunnel_sources;

pub use action::{Action, Block};
pub use carry::{Carry, WrrStep};
pub use change::{Attributes, Change, Target, Zeroed};
pub use director::{Director, Status};
pub use error::{AdoptError, Refusal};
pub use full_nat_sources::{FullNatSources, SourcesError};
pub use marks::{RuleList, Special};
pub use plan::Plan;
pub use routes::RouteInfo;
pub use row::Row;
pub use state::{DestId, Family, ServiceId};
