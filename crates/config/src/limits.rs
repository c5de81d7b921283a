//! The limits of a configuration. Each is named, counted where it is reached, and tested.

/// Largest weight of a destination (ipvs.md §10.2: a signed 32-bit number).
pub const WEIGHT_MAX: u32 = 2_147_483_647;
/// Largest connection threshold (ipvs.md §1.2).
pub const THRESHOLD_MAX: u32 = 2_147_483_647;
/// Rules that give packets a mark.
pub const MARK_RULES_MAX: usize = 256;
/// Longest time-out that `--set` takes, in seconds: 31 days (ipvs.md §10.2).
pub const TIMEOUT_S_MAX: u32 = 2_678_400;
/// Destinations of one service: the bound of every scheduler's search.
pub const DESTS_PER_SERVICE_MAX: usize = 4096;
/// Smallest TCP maximum segment size that a service may ask for: what an end takes that announces none (RFC 9293 §3.7.1).
pub const MSS_MIN: u16 = 536;
/// Largest one: the largest IPv4 packet less its headers.
pub const MSS_MAX: u16 = 65_495;
