//! Routes to destinations: what the daemon knows from the kernel's routing tables, written where the programs look.

use core::net::IpAddr;
use core::sync::atomic::Ordering::{Relaxed, Release};
use core::sync::atomic::fence;

use rvs_abi::map::Region;
use rvs_abi::{Addr, Dest, DestFlags};
use rvs_model::{Memory, records};
use zerocopy::transmute;

use crate::director::Director;
use crate::state::{DestId, ServiceState};

/// The way to a destination. The default is: unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RouteInfo {
    /// Interface; 0 when unknown.
    pub ifindex: u32,
    /// The gateway, or the destination itself when it is on the link.
    pub gateway: Option<IpAddr>,
    /// The director's address on that way: the source of tunnelled packets.
    pub source: Option<IpAddr>,
    /// MTU of the route in bytes; 0 when unknown.
    pub mtu: u32,
    /// Its address is one of this host.
    pub is_local: bool,
}

const WORDS: usize = size_of::<Dest>() / 8;
const ROUTE: usize = core::mem::offset_of!(Dest, gateway) / 8;
const FLAGS: usize = core::mem::offset_of!(Dest, flags) / 8;
const IFINDEX: usize = core::mem::offset_of!(Dest, ifindex) / 8;
const _: () = assert!(core::mem::offset_of!(Dest, mtu) / 8 == IFINDEX);

impl<M: Memory> Director<M> {
    /// Destinations in service, with the address that a route is to be found for.
    ///
    /// To be asked again after each [`Director::apply`]; a route that is already known stays known.
    pub fn routes_needed(&self) -> impl Iterator<Item = (DestId, IpAddr)> {
        self.state
            .services
            .values()
            .flat_map(ServiceState::members)
            .map(|member| (member.id, member.key.address))
    }

    /// Tells the programs the way to a destination of [`Director::routes_needed`].
    ///
    /// Packets that look while it changes find no interface, and ask the kernel themselves.
    pub fn set_route(&mut self, dest: DestId, route: &RouteInfo) {
        let Some(old) = records::dest(&self.memory, dest.0) else { return };
        let address = |address: Option<IpAddr>| address.map_or_else(Addr::default, Addr::from_ip);
        let new = Dest {
            ifindex: route.ifindex,
            gateway: address(route.gateway),
            source: address(route.source),
            mtu: route.mtu,
            flags: old.flags & !DestFlags::LOCAL | if route.is_local { DestFlags::LOCAL } else { 0 },
            ..old
        };
        if new == old {
            return;
        }
        let words: [u64; WORDS] = transmute!(new);
        let place = &self.memory.region(Region::Dests)[dest.0 as usize * WORDS..][..WORDS];
        place[FLAGS].store(words[FLAGS], Relaxed);
        place[IFINDEX].store(0, Relaxed);
        fence(Release);
        for at in ROUTE..IFINDEX {
            place[at].store(words[at], Relaxed);
        }
        place[IFINDEX].store(words[IFINDEX], Release);
    }
}
