//! How much is done at once, and how often.

use std::time::Duration;

/// Messages taken in a row before work that is due gets its turn.
pub(super) const MESSAGES_PER_ROUND: usize = 64;
/// Time in which the whole connection table is swept.
pub(super) const SWEEP: Duration = Duration::from_secs(2);
/// Time between two steps of the sweeper.
pub(super) const SWEEP_STEP: Duration = Duration::from_millis(100);
/// Buckets swept in one step at most: some 2 ms, and so 2 % of a core. A table for more than five million connections
/// takes longer than [`SWEEP`]; expired connections are none in any case, only their counts lag.
pub(super) const SWEEP_STEP_BUCKETS_MAX: u32 = 1 << 16;
/// Buckets that the audit of connection counts looks at in one step: some 1 ms.
pub(super) const AUDIT_STEP_BUCKETS: u32 = 1 << 14;
/// Shortest time between two rounds of the audit.
pub(super) const AUDIT_PAUSE: Duration = Duration::from_secs(5);
/// Time between two rounds for each step of a round: the audit takes 1 % of a core at most.
pub(super) const AUDIT_REST: Duration = Duration::from_millis(100);
/// Slots looked at for one page of connections: some 2 ms.
pub(super) const PAGE_SLOTS_MAX: u64 = 1 << 19;
/// Routes asked for in one step: some 2 ms.
pub(super) const ROUTES_PER_STEP: usize = 64;
/// Time between two times that all routes are asked for again, when they change all the time.
pub(super) const ROUTES_REFRESH: Duration = Duration::from_millis(100);
/// Time after which the kernel is asked again what it did not answer.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(1);
/// Time between two times that a neighbour is asked for.
pub(super) const PROBE: Duration = Duration::from_secs(1);
/// Neighbours asked for in one step.
pub(super) const PROBES_PER_STEP: usize = 256;
/// Objects named in a warning; more are counted.
pub(super) const NAMED_MAX: usize = 8;
/// Mode of the control socket: everybody may ask, and who may change something is decided by `rvs_control::Access`.
pub(super) const SOCKET_MODE: u32 = 0o666;
/// How long `--stop` waits for the daemon's process to give its socket back.
pub(super) const STOP: Duration = Duration::from_secs(10);

const _: () = assert!(SWEEP_STEP.as_nanos() < SWEEP.as_nanos());
/// How long a start waits for another director of the same name to end.
pub(super) const END_OF_ANOTHER: Duration = Duration::from_secs(2);
/// How often it looks.
pub(super) const RETRY: Duration = Duration::from_millis(20);
