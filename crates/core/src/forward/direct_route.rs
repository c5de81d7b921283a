//! Direct routing: the packet goes to the real server as it is, one hop later (ipvs.md §3.4).

use rvs_abi::Outcome;

use crate::forward::{address, check, decrement_ttl};
use crate::{NextHop, Packet, Parsed};

#[inline(always)]
pub(crate) fn send<P: Packet>(packet: &mut P, parsed: &Parsed, hop: &NextHop) -> Result<(), Outcome> {
    check(packet, parsed, hop, 0)?;
    decrement_ttl(packet, parsed)?;
    address(packet, &hop.link)
}
