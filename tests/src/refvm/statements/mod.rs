//! The statements of ipvs.md §13, a file per section; each test is named after its statement's number. Tests without a
//! number go beyond them.

mod agent;
mod bypass;
mod ends;
mod forwarding;
mod fragments;
mod ftp;
mod hairpin;
mod icmp;
mod links;
mod local;
mod marks;
mod objects;
mod path;
mod schedulers;
mod settings;
mod states;
mod statistics;
mod tool;
mod tunnels;

use super::world::Part;
use super::{Test, random};

/// All of them, and the random histories, with the directors that take part: where packets are looked at, those of all places.
pub(crate) const ALL: &[(Part, &[Test])] = &[
    (Part::One(0), objects::TESTS),
    (Part::All, path::TESTS),
    (Part::All, path::TESTS_OF_BOTH),
    (Part::All, icmp::TESTS_OF_BOTH),
    (Part::All, settings::TESTS_OF_BOTH),
    (Part::All, forwarding::TESTS),
    (Part::All, forwarding::TESTS_OF_BOTH),
    (Part::All, fragments::TESTS_OF_BOTH),
    (Part::All, marks::TESTS_OF_BOTH),
    (Part::All, bypass::TESTS_OF_BOTH),
    (Part::One(0), marks::TESTS),
    (Part::All, tunnels::TESTS_OF_BOTH),
    (Part::All, local::TESTS_OF_BOTH),
    (Part::All, hairpin::TESTS_OF_BOTH),
    (Part::One(0), states::TESTS),
    (Part::All, states::TESTS_OF_BOTH),
    (Part::One(1), schedulers::TESTS),
    (Part::One(0), statistics::TESTS),
    (Part::One(0), tool::TESTS),
    (Part::One(0), agent::TESTS),
    (Part::One(0), links::TESTS),
    (Part::One(0), ends::TESTS),
    (Part::One(0), random::TESTS),
    // Last: their module of IPVS stays, and drops what it can't follow in connections to port 21.
    (Part::All, ftp::TESTS),
    (Part::All, ftp::TESTS_OF_BOTH),
];

/// Statements of §13.2 and §13.3 that no test covers, and why. A full run prints them.
pub(crate) const NOT_YET: &[(&[u16], &str)] = &[
    (&[35], "backup_only: synchronisation"),
    (&[43, 72], "persistence"),
    (&[73], "port 0 needs persistence"),
];
