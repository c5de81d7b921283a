//! The seam between what decides and what stores: the regions of memory that the data plane works on.
//!
//! The kernel's maps, mapped into this process, and plain memory in [`crate::Heap`] look the same from here: words that
//! several parties change at the same time. Everything above (records, tables, connections, statistics) is written once,
//! over this trait, in safe code.

use core::sync::atomic::AtomicU64;

use rvs_abi::map::Region;
use rvs_abi::{ProgramSet, ServiceKey};

/// Memory of a data plane.
pub trait Memory {
    /// The words of a region. Its length never changes.
    fn region(&self, region: Region) -> &[AtomicU64];

    /// Makes packets to `key` find service `id`, or nothing.
    ///
    /// # Errors
    /// When the map of keys is full or the kernel refuses.
    fn set_service_key(&self, key: &ServiceKey, id: Option<u32>) -> Result<(), MemoryError>;

    /// All keys, in any order.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn service_keys(&self) -> Result<Vec<ServiceKey>, MemoryError>;

    /// Makes sure that packets can be sent on to these of [`ProgramSet::ON_DEMAND`]. Memory that no packets are handled on has
    /// nothing to do.
    ///
    /// # Errors
    /// When the kernel refuses one of them.
    fn load(&self, _programs: ProgramSet) -> Result<(), MemoryError> {
        Ok(())
    }
}

/// The kernel refused something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryError {
    /// To read or change the map of service keys: what it said.
    Keys(String),
    /// To load a program: which, and what it said.
    Program(String),
}

impl core::fmt::Display for MemoryError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Keys(reason) => write!(f, "map {}: {reason}", rvs_abi::map::SERVICE_KEYS),
            Self::Program(reason) => f.write_str(reason),
        }
    }
}

impl core::error::Error for MemoryError {}
