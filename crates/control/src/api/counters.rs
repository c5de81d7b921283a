//! What became of packets: a row per outcome of the data plane.

use rvs_abi::{Class, Outcome};
use serde::{Deserialize, Serialize};

/// What kind of outcome it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CounterClass {
    /// Left to the network stack as it came.
    Pass,
    /// Left by the program under XDP to the one under TC, which counts it again under what becomes of it there.
    HandOver,
    /// Sent on by this director.
    Forward,
    /// Discarded.
    Drop,
}

impl From<Class> for CounterClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Pass => Self::Pass,
            Class::HandOver => Self::HandOver,
            Class::Forward => Self::Forward,
            Class::Drop => Self::Drop,
        }
    }
}

/// How many packets ended in one outcome.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterListing {
    /// The outcome's name.
    pub name: String,
    /// Its class.
    pub class: CounterClass,
    /// Packets since the data plane was loaded.
    pub count: u64,
    /// One line that explains it.
    pub text: String,
}

impl CounterListing {
    /// The row of an outcome.
    #[must_use]
    pub fn new(outcome: Outcome, count: u64) -> Self {
        Self {
            name: outcome.name().to_owned(),
            class: outcome.class().into(),
            count,
            text: outcome.text().to_owned(),
        }
    }
}

/// Every outcome, in the order of the data plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterTable {
    /// A row each, those at zero included.
    pub counters: Vec<CounterListing>,
}
