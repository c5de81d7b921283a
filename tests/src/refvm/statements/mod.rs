//! The statements of ipvs.md §13, a file per section; each test is named after its statement's number. Tests without a
//! number go beyond them.

mod forwarding;
mod objects;
mod path;
mod schedulers;
mod states;
mod statistics;
mod tool;

use super::Test;

/// All of them.
pub(crate) const ALL: &[&[Test]] = &[
    objects::TESTS,
    path::TESTS,
    forwarding::TESTS,
    states::TESTS,
    schedulers::TESTS,
    statistics::TESTS,
    tool::TESTS,
];
