//! The data plane's memory, shared: the director changes it, the daemon sweeps and lists it.

use core::sync::atomic::AtomicU64;
use std::sync::Arc;

use rvs_abi::ServiceKey;
use rvs_abi::map::Region;
use rvs_dataplane::Maps;
use rvs_model::{Memory, MemoryError};

/// A handle to the kernel's maps.
#[derive(Debug, Clone)]
pub(super) struct Shared(pub(super) Arc<Maps>);

impl Memory for Shared {
    fn region(&self, region: Region) -> &[AtomicU64] {
        self.0.region(region)
    }

    fn set_service_key(&self, key: &ServiceKey, id: Option<u32>) -> Result<(), MemoryError> {
        self.0.set_service_key(key, id)
    }

    fn service_keys(&self) -> Result<Vec<ServiceKey>, MemoryError> {
        self.0.service_keys()
    }
}
