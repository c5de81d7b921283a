//! `ipvsadm` 1.31 from the outside: its arguments, its texts and its listings, as ipvs.md §10 states them.
//!
//! Arguments become an [`Invocation`]: a [`Command`](rvs_config::Command) for the director, or something to print,
//! which [`ServiceTable::render`], [`ConnTable`], [`timeouts`], [`save()`], [`help()`] and [`version`] make from what the
//! director answers. Errors become a [`Failure`]: a text and an exit status. `bin/rvs` calls this; nothing here may do
//! I/O, so names of hosts and services are looked up through the trait [`Names`] that the caller brings.
//!
//! Where to look: `table/` is the grammar as data, `lexer.rs` splits words into options, `given.rs` reads their values,
//! `check.rs` says what goes together, `parse.rs` puts the meaning into a command.
//!
//! On purpose different from `ipvsadm`: [`restore()`] applies all rules or none; saved rules keep the third flag of `sh`;
//! what this version of rvs can't do is refused by name, after all of `ipvsadm`'s own checks.
#![forbid(unsafe_code)]

mod check;
mod error;
mod given;
mod help;
mod lexer;
mod list;
mod names;
mod parse;
mod restore;
mod save;
mod sched_flags;
mod table;
mod tool;
mod value;

pub use error::{Context, Failure, OptionProblem, UsageError};
pub use help::{help, version};
pub use list::{ConnTable, Format, ListRequest, ServiceTable, timeouts};
pub use names::{Names, Numeric};
pub use parse::{Invocation, UnknownScheduler, parse};
pub use restore::{LineError, Rules, restore};
pub use save::save;
pub use table::{COMMANDS, CommandSpec, FLAGS, Flag, FlagSpec, OptionName, Value, Verb};
pub use tool::Tool;
