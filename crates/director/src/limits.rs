//! Times and limits of the control plane.

/// How long a table's words and an id stay unused after their removal: longer than any packet is being handled that may
/// still have found them.
pub const QUARANTINE_NS: u64 = 2 * SECOND_NS;
/// Time between two looks at the removed destinations (ipvs.md §1.3).
pub const TRASH_SCAN_NS: u64 = 60 * SECOND_NS;
/// How long a removed destination is kept after its last connection (ipvs.md §1.3).
pub const TRASH_IDLE_NS: u64 = 120 * SECOND_NS;
/// Time between two runs of the estimators (ipvs.md §9.3).
pub const ESTIMATE_NS: u64 = 2 * SECOND_NS;
/// Tables are placed at multiples of so many words: one cache line, so that no two state words share one.
pub const BLOCK_WORDS: u32 = 8;
/// Destinations of one service.
pub const DESTS_PER_SERVICE_MAX: usize = rvs_config::limits::DESTS_PER_SERVICE_MAX;

const SECOND_NS: u64 = 1_000_000_000;

const _: () = assert!(DESTS_PER_SERVICE_MAX == rvs_abi::limits::DESTS_PER_SERVICE_MAX as usize);
const _: () = assert!(TRASH_IDLE_NS > QUARANTINE_NS, "ids of idle destinations are reused at once");
