//! The statements of ipvs.md §13, a file per section; each test is named after its statement's number.

mod forwarding;
mod objects;
mod path;

use super::Test;

/// All of them.
pub(crate) const ALL: &[&[Test]] = &[objects::TESTS, path::TESTS, forwarding::TESTS];
