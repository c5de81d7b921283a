//! ICMP and `ICMPv6`: errors about balanced packets are sent on to the end they are for, and errors are made for packets
//! that can't go on (ipvs.md §2.6, §2.8, §3.2).
#![allow(
    clippy::cast_possible_truncation,
    reason = "offsets and lengths in a frame are below 2^17; ids and flags are cut on purpose"
)]

pub(crate) mod answer;
mod budget;
pub(crate) mod quoted;
pub(crate) mod relay;
pub(crate) mod schedule;
pub(crate) mod stage;
pub(crate) mod tunnel;

use rvs_abi::{Addr, proto};
use rvs_wire::checksum;

/// The sum that the pseudo header adds to a message's checksum: in IPv6 only.
#[inline(always)]
pub(crate) fn pseudo(source: Addr, destination: Addr, is_v4: bool, len: u32) -> u32 {
    if is_v4 {
        return 0;
    }
    checksum::pseudo_v6(source.words(), destination.words(), proto::ICMPV6, len)
}
