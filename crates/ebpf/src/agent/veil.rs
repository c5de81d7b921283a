//! Numbers of which the verifier forgets what it knows, so that it looks at what follows once for all of them.

use aya_ebpf::macros::map;
use aya_ebpf::maps::Array;

/// A word that is 0, which neither compiler nor verifier can know.
#[map]
static DECAP_ZERO: Array<u64> = Array::with_max_entries(1, 0);

/// The means to veil.
#[derive(Clone, Copy)]
pub(crate) struct Veil(*const u64);

impl Veil {
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        DECAP_ZERO.get_ptr(0).map(Self)
    }

    /// The same number.
    #[inline(always)]
    pub(crate) fn over(self, number: u32) -> u32 {
        // SAFETY: a live word of a map; volatile, so that each is a number of its own.
        number ^ unsafe { self.0.read_volatile() } as u32
    }
}
