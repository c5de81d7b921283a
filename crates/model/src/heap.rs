//! Memory of a data plane on the heap, for the model and its tests.

use core::sync::atomic::AtomicU64;
use std::collections::BTreeMap;
use std::sync::Mutex;

use rvs_abi::map::Region;
use rvs_abi::{ABI_VERSION, ServiceKey};

use crate::{Capacity, Memory, MemoryError};

/// The regions as vectors, the service keys as an ordered map.
#[derive(Debug)]
pub struct Heap {
    regions: Vec<Vec<AtomicU64>>,
    keys: Mutex<BTreeMap<[u64; 3], u32>>,
    keys_max: usize,
}

impl Heap {
    /// Empty memory of that capacity.
    #[must_use]
    pub fn new(capacity: &Capacity) -> Self {
        let regions = Region::ALL
            .iter()
            .map(|&region| {
                let words = capacity.entries(region) as usize * region.value_words();
                (0..words).map(|_| AtomicU64::new(0)).collect()
            })
            .collect();
        let heap =
            Self { regions, keys: Mutex::new(BTreeMap::new()), keys_max: capacity.service_keys() as usize };
        crate::records::write_config(
            &heap,
            &capacity.config(ABI_VERSION, [0x5eed, 0x1234_5678_9abc, 0xfeed_beef]),
        );
        crate::records::number_buckets(&heap);
        heap
    }

    /// The id that packets to `key` find.
    #[must_use]
    pub fn service_key(&self, key: &ServiceKey) -> Option<u32> {
        self.keys.lock().ok()?.get(&key_words(key)).copied()
    }
}

fn key_words(key: &ServiceKey) -> [u64; 3] {
    zerocopy::transmute!(*key)
}

impl Memory for Heap {
    fn region(&self, region: Region) -> &[AtomicU64] {
        &self.regions[region as usize]
    }

    fn set_service_key(&self, key: &ServiceKey, id: Option<u32>) -> Result<(), MemoryError> {
        let Ok(mut keys) = self.keys.lock() else {
            return Err(MemoryError::Keys("a thread died while it held the map".into()));
        };
        match id {
            Some(id) => {
                if keys.len() >= self.keys_max && !keys.contains_key(&key_words(key)) {
                    return Err(MemoryError::Keys(format!("full: {} keys", self.keys_max)));
                }
                keys.insert(key_words(key), id);
            }
            None => {
                keys.remove(&key_words(key));
            }
        }
        Ok(())
    }

    fn service_keys(&self) -> Result<Vec<ServiceKey>, MemoryError> {
        match self.keys.lock() {
            Ok(keys) => Ok(keys.keys().map(|words| zerocopy::transmute!(*words)).collect()),
            Err(_) => Err(MemoryError::Keys("a thread died while it held the map".into())),
        }
    }
}
