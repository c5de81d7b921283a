//! The seam between what decides and what stores: the regions of memory that the data plane works on.
//!
//! The kernel's maps, mapped into this process, and plain memory in [`crate::Heap`] look the same from here: words that
//! several parties change at the same time. Everything above (records, tables, connections, statistics) is written once,
//! over this trait, in safe code.

use core::sync::atomic::AtomicU64;

use rvs_abi::ServiceKey;
use rvs_abi::map::Region;

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
}

/// The map of service keys could not be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryError {
    /// What the system said.
    pub reason: String,
}

impl core::fmt::Display for MemoryError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "map {}: {}", rvs_abi::map::SERVICE_KEYS, self.reason)
    }
}

impl core::error::Error for MemoryError {}
