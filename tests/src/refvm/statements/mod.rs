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
use super::world::Part;

/// All of them, with the directors that take part: where packets are looked at, those of all places.
pub(crate) const ALL: &[(Part, &[Test])] = &[
    (Part::One(0), objects::TESTS),
    (Part::All, path::TESTS),
    (Part::All, forwarding::TESTS),
    (Part::One(0), states::TESTS),
    (Part::All, states::TABLE_TESTS),
    (Part::One(1), schedulers::TESTS),
    (Part::One(0), statistics::TESTS),
    (Part::One(0), tool::TESTS),
];
