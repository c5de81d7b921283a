//! A map's values as words in this process's memory.

use core::sync::atomic::AtomicU64;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::bpf;

/// The values of a memory-mappable array, shared with the programs in the kernel. It holds the map alive.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the memory belongs to the mapping until it is dropped, is not tied to a thread, and is only reached
// through atomic words.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Of all values of `map`, an array whose values are whole words.
    pub(crate) fn new(map: BorrowedFd<'_>) -> io::Result<Self> {
        let info = bpf::map_info(map)?;
        let is_array = info.map_type == bpf::MAP_TYPE_ARRAY && info.flags & bpf::MAP_MMAPABLE != 0;
        if !is_array || info.value_size % 8 != 0 {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        let words = info.max_entries as usize * (info.value_size as usize / 8);
        let bytes = NonZeroUsize::new(words * 8).ok_or(io::ErrorKind::InvalidData)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that is in use.
        let start = unsafe {
            mmap(None, bytes, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, map, 0)?
        };
        Ok(Self { start: start.cast(), words })
    }

    /// The words, value after value.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: `words * 8` bytes are mapped from `start`, a page boundary, until `self` is dropped. The
        // kernel fills them with zeros and any bits are valid. Others (the programs, other processes) write
        // them at the same time; this process reads and writes them as atomic words only, which is what they
        // are shared as.
        unsafe { core::slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped in `new` with this length; references to the words can't outlive `self`.
        let result = unsafe { munmap(self.start.cast(), self.words * 8) };
        debug_assert!(result.is_ok(), "a mapping of our own is valid");
    }
}
