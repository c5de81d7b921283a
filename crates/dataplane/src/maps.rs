//! The maps as the director sees them: regions of words and the map of service keys.

use core::sync::atomic::AtomicU64;
use std::os::fd::AsFd;
use std::path::Path;

use rvs_abi::ServiceKey;
use rvs_abi::map::{Region, SERVICE_KEYS};
use rvs_model::{Memory, MemoryError};

use crate::bpf::{self, HashMap};
use crate::error::{Error, Result};
use crate::mapping::Mapping;

/// The memory of a data plane in the kernel. It stays valid, and the maps alive, as long as this value,
/// whatever becomes of their pins. Threads may share it.
#[derive(Debug)]
pub struct Maps {
    regions: [Mapping; Region::ALL.len()],
    service_keys: HashMap<ServiceKey>,
}

impl Maps {
    /// Those pinned in `directory`.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let mut regions = Vec::with_capacity(Region::ALL.len());
        for region in Region::ALL {
            regions.push(open_region(directory, region)?);
        }
        let failed = |source| Error::system(format!("open map {SERVICE_KEYS}"), source);
        let service_keys = bpf::get(&directory.join(SERVICE_KEYS)).and_then(HashMap::new).map_err(failed)?;
        let Ok(regions) = regions.try_into() else { unreachable!("one mapping for each region") };
        Ok(Self { regions, service_keys })
    }

    /// The service that packets to `key` find.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn service_key(&self, key: &ServiceKey) -> Result<Option<u32>, MemoryError> {
        self.service_keys.get(key).map_err(|e| MemoryError::Keys(e.to_string()))
    }
}

/// Maps one region of those pinned in `directory`.
pub(crate) fn open_region(directory: &Path, region: Region) -> Result<Mapping> {
    bpf::get(&directory.join(region.name()))
        .and_then(|map| Mapping::new(map.as_fd()))
        .map_err(|source| Error::system(format!("map {} into memory", region.name()), source))
}

impl Memory for Maps {
    fn region(&self, region: Region) -> &[AtomicU64] {
        self.regions[region as usize].words()
    }

    fn set_service_key(&self, key: &ServiceKey, id: Option<u32>) -> Result<(), MemoryError> {
        let result = match id {
            Some(id) => self.service_keys.insert(key, id),
            None => self.service_keys.remove(key),
        };
        result.map_err(|e| {
            MemoryError::Keys(match e.raw_os_error() {
                Some(libc::E2BIG) => format!("full: {} keys", self.service_keys.max_entries()),
                _ => e.to_string(),
            })
        })
    }

    fn service_keys(&self) -> Result<Vec<ServiceKey>, MemoryError> {
        self.service_keys.keys().map_err(|e| MemoryError::Keys(e.to_string()))
    }
}

const _: () = {
    let mut i = 0;
    while i < Region::ALL.len() {
        assert!(Region::ALL[i] as usize == i, "regions are mapped in their own order");
        i += 1;
    }
};
