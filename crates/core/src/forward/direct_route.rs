//! Direct routing: the packet goes to the real server as it is, one hop later (ipvs.md §3.4).

use rvs_abi::Outcome;
use rvs_wire::ipv4;

use crate::forward::{address, check, store_ip};
use crate::{NextHop, Packet};

#[inline(always)]
pub(crate) fn send<P: Packet>(packet: &mut P, ip: &ipv4::Header, hop: &NextHop) -> Result<(), Outcome> {
    check(packet, ip, hop, 0)?;
    let (ip, delta) = ip.decrement_ttl();
    store_ip(packet, ip, delta)?;
    address(packet, &hop.link)
}
