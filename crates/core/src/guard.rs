//! What another director balanced is not balanced again.
//!
//! A host that is a destination of a service by direct routing or through a tunnel takes packets to the virtual address
//! itself. When one comes from there all the same, that host is a director too, which chose this one as its real server; or
//! it is a cache whose own requests go out through the director. The stack takes them, or routes them on. Otherwise two
//! directors that are real servers of each other would send a packet to and fro until its time is up.

use rvs_abi::{Addr, peer};

use crate::{Packet, Tables, filter};

/// Who sent the frame, in the form of [`peer::address`]. Behind a router that is the router.
#[inline(always)]
pub(crate) fn sender<P: Packet>(packet: &P) -> Addr {
    packet.get::<6>(6).map_or_else(Addr::default, peer::address)
}

/// Whether a host with that Ethernet address is a destination of the service by such a method.
#[inline(always)]
pub(crate) fn is_peer<T: Tables>(tables: &T, service: u32, sender: Addr) -> bool {
    filter::has(tables, sender) && tables.service_id(&peer::key(service, sender)).is_some()
}
