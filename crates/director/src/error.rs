//! What can go wrong.

use core::fmt;

use rvs_config::CommandError;
use rvs_model::MemoryError;

/// A list of commands was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which command of the list, from 0.
    pub index: usize,
    /// Why.
    pub error: CommandError,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command {}: {}", self.index, self.error)
    }
}

impl core::error::Error for Refusal {}

/// Memory that can't be taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdoptError {
    /// Another version of rvs made it.
    AbiVersion {
        /// The version found.
        found: u32,
    },
    /// Sizes contradict each other.
    Shape {
        /// Which, and what was expected.
        what: String,
    },
    /// It was to be new, and services or destinations are in it.
    NotEmpty,
    /// Records contradict each other in a way that no interrupted change explains.
    Corrupt {
        /// Which object, and what was expected.
        what: String,
    },
    /// The map of service keys could not be changed.
    Memory(MemoryError),
}

impl fmt::Display for AdoptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AbiVersion { found } => {
                write!(f, "data plane of version {found}, this director needs {}", rvs_abi::ABI_VERSION)
            }
            Self::Shape { what } => write!(f, "data plane's maps: {what}"),
            Self::NotEmpty => f.write_str("data plane is not new: it has services or destinations"),
            Self::Corrupt { what } => write!(f, "data plane is damaged: {what}"),
            Self::Memory(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for AdoptError {}

impl From<MemoryError> for AdoptError {
    fn from(error: MemoryError) -> Self {
        Self::Memory(error)
    }
}
