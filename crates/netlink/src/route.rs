//! Routes: adding, deleting, and asking the kernel which one a packet would take.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType, RouteVia,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::link::Link;
use crate::prefix::{Prefix, family};
use crate::socket::Netlink;

/// A route of the main table, to be added or deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    prefix: Prefix,
    via: Option<IpAddr>,
    ifindex: Option<u32>,
    mtu: Option<u32>,
    kind: RouteKind,
}

impl Route {
    /// A route to `prefix`, which still needs a gateway, a link or both.
    #[must_use]
    pub fn to(prefix: Prefix) -> Self {
        Self { prefix, via: None, ifindex: None, mtu: None, kind: RouteKind::Unicast }
    }

    /// The default route of IPv4.
    #[must_use]
    pub fn default_v4() -> Self {
        Self::to(Prefix::default_v4())
    }

    /// A route that refuses packets to `prefix`: [`RouteKind::Unreachable`], `Prohibit` or `Blackhole`.
    #[must_use]
    pub fn refusing(prefix: Prefix, kind: RouteKind) -> Self {
        Self { kind, ..Self::to(prefix) }
    }

    /// Through this gateway.
    #[must_use]
    pub fn via(mut self, gateway: impl Into<IpAddr>) -> Self {
        self.via = Some(gateway.into());
        self
    }

    /// Out of the link with this index.
    #[must_use]
    pub fn dev(mut self, ifindex: u32) -> Self {
        self.ifindex = Some(ifindex);
        self
    }

    /// With packets of at most this many bytes, whatever the link takes.
    #[must_use]
    pub fn mtu(mut self, bytes: u32) -> Self {
        self.mtu = Some(bytes);
        self
    }

    fn message(&self) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family(self.prefix.addr());
        message.header.destination_prefix_length = self.prefix.prefix_len();
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.header.protocol = RouteProtocol::Static;
        message.header.kind = self.kind.into();
        // Reached without a gateway: the network hangs on the link itself.
        let on_link = self.via.is_none() && self.kind == RouteKind::Unicast;
        message.header.scope = if on_link { RouteScope::Link } else { RouteScope::Universe };
        let attributes = &mut message.attributes;
        if self.prefix.prefix_len() > 0 {
            attributes.push(RouteAttribute::Destination(self.prefix.addr().into()));
        }
        attributes.extend(self.via.map(|gateway| RouteAttribute::Gateway(gateway.into())));
        attributes.extend(self.ifindex.map(RouteAttribute::Oif));
        attributes.extend(self.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
        message
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kind != RouteKind::Unicast {
            write!(f, "{} ", self.kind)?;
        }
        write!(f, "{}", self.prefix)?;
        if let Some(gateway) = self.via {
            write!(f, " via {gateway}")?;
        }
        if let Some(ifindex) = self.ifindex {
            write!(f, " on link {ifindex}")?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu {mtu}")?;
        }
        Ok(())
    }
}

/// What a route does with packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    /// Sends them out of a link.
    Unicast,
    /// Delivers them on this machine.
    Local,
    /// Delivers and sends them as broadcast.
    Broadcast,
    /// Delivers them to a group.
    Multicast,
    /// Refuses them with "host unreachable"; also the answer when there is no route at all.
    Unreachable,
    /// Refuses them with "administratively prohibited".
    Prohibit,
    /// Drops them without a word.
    Blackhole,
    /// A kind of the kernel (`RTN_*`) that has no meaning here.
    Other(u8),
}

impl From<RouteType> for RouteKind {
    fn from(kind: RouteType) -> Self {
        match kind {
            RouteType::Unicast => Self::Unicast,
            RouteType::Local | RouteType::Anycast => Self::Local,
            RouteType::Broadcast => Self::Broadcast,
            RouteType::Multicast => Self::Multicast,
            RouteType::Unreachable => Self::Unreachable,
            RouteType::Prohibit => Self::Prohibit,
            RouteType::BlackHole => Self::Blackhole,
            other => Self::Other(other.into()),
        }
    }
}

impl From<RouteKind> for RouteType {
    fn from(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Unicast => Self::Unicast,
            RouteKind::Local => Self::Local,
            RouteKind::Broadcast => Self::Broadcast,
            RouteKind::Multicast => Self::Multicast,
            RouteKind::Unreachable => Self::Unreachable,
            RouteKind::Prohibit => Self::Prohibit,
            RouteKind::Blackhole => Self::BlackHole,
            RouteKind::Other(number) => number.into(),
        }
    }
}

impl fmt::Display for RouteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unicast => "unicast",
            Self::Local => "local",
            Self::Broadcast => "broadcast",
            Self::Multicast => "multicast",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
            Self::Blackhole => "blackhole",
            Self::Other(number) => return write!(f, "route type {number}"),
        })
    }
}

/// The kernel's decision about packets to one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouteLookup {
    /// What happens to them.
    pub kind: RouteKind,
    /// The link they leave by (loopback for local ones); `None` if they are refused.
    pub ifindex: Option<u32>,
    /// The router they go through; `None` if the address itself is on the link. May be IPv6 for an IPv4 address.
    pub gateway: Option<IpAddr>,
    /// The source address the kernel would choose.
    pub source: Option<IpAddr>,
    /// Largest packet in bytes: the route's, or else the link's; 0 if refused. Not a path MTU that was learnt: that one ends
    /// without a word.
    pub mtu: u32,
}

impl RouteLookup {
    fn refused(kind: RouteKind) -> Self {
        Self { kind, ifindex: None, gateway: None, source: None, mtu: 0 }
    }

    fn from_message(message: &RouteMessage) -> Self {
        let mut lookup = Self::refused(message.header.kind.into());
        if matches!(lookup.kind, RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Blackhole) {
            return lookup;
        }
        // IPv6 routes themselves may end, those that routers advertise do; what was learnt is a clone of one.
        let may_be_learnt = message.header.address_family != AddressFamily::Inet6
            || message.header.flags.contains(RouteFlags::Cloned);
        let mut ends = false;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(index) => lookup.ifindex = Some(*index),
                RouteAttribute::Gateway(address) => lookup.gateway = ip(address),
                RouteAttribute::Via(RouteVia::Inet(address)) => lookup.gateway = Some((*address).into()),
                RouteAttribute::Via(RouteVia::Inet6(address)) => lookup.gateway = Some((*address).into()),
                RouteAttribute::PrefSource(address) => lookup.source = ip(address),
                RouteAttribute::Metrics(metrics) => lookup.mtu = mtu(metrics).unwrap_or(0),
                RouteAttribute::CacheInfo(info) => ends = info.expires != 0,
                _ => {}
            }
        }
        if may_be_learnt && ends {
            lookup.mtu = 0;
        }
        lookup
    }
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(bytes) => Some(*bytes),
        _ => None,
    })
}

impl Netlink {
    /// Adds a route; fails if there is one to the same prefix.
    pub fn add_route(&mut self, route: &Route) -> Result<()> {
        self.request(RouteNetlinkMessage::NewRoute(route.message()), NLM_F_CREATE | NLM_F_EXCL)
            .map(drop)
            .map_err(|e| e.during(format!("add route {route}")))
    }

    /// Adds a route, in place of one to the same prefix if there is one.
    pub fn replace_route(&mut self, route: &Route) -> Result<()> {
        self.request(RouteNetlinkMessage::NewRoute(route.message()), NLM_F_CREATE | NLM_F_REPLACE)
            .map(drop)
            .map_err(|e| e.during(format!("replace route {route}")))
    }

    /// Deletes a route.
    pub fn delete_route(&mut self, route: &Route) -> Result<()> {
        let mut message = route.message();
        // Any scope and any origin: what identifies it is the prefix and what the caller named.
        message.header.scope = RouteScope::NoWhere;
        message.header.protocol = RouteProtocol::Unspec;
        self.request(RouteNetlinkMessage::DelRoute(message), 0)
            .map(drop)
            .map_err(|e| e.during(format!("delete route {route}")))
    }

    /// Asks which way a packet of this machine to `destination` would take.
    ///
    /// Refusal is an answer, not an error. The kernel reports refusing IPv4 routes by error numbers only, among them
    /// `EINVAL` for a blackhole.
    pub fn route_get(&mut self, destination: IpAddr) -> Result<RouteLookup> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(destination);
        message.header.destination_prefix_length = Prefix::host(destination).prefix_len();
        message.attributes.push(RouteAttribute::Destination(destination.into()));
        let operation = || format!("look up route to {destination}");
        let answers = match self.request(RouteNetlinkMessage::GetRoute(message), 0) {
            Ok(answers) => answers,
            Err(e) => {
                return refusal(e.errno()).map(RouteLookup::refused).ok_or_else(|| e.during(operation()));
            }
        };
        let mut lookup = answers
            .iter()
            .find_map(|answer| match answer {
                RouteNetlinkMessage::NewRoute(message) => Some(RouteLookup::from_message(message)),
                _ => None,
            })
            .ok_or_else(|| Error::Reply { operation: operation(), reason: "no route in it".to_owned() })?;
        if let (0, Some(index)) = (lookup.mtu, lookup.ifindex) {
            let of_link = |link: Link| {
                link.mtu_v6.filter(|_| destination.is_ipv6()).map_or(link.mtu, |v6| v6.min(link.mtu))
            };
            lookup.mtu = self.link_by_index(index)?.map_or(0, of_link);
        }
        Ok(lookup)
    }
}

fn refusal(errno: Option<Errno>) -> Option<RouteKind> {
    match errno? {
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => Some(RouteKind::Unreachable),
        Errno::EACCES => Some(RouteKind::Prohibit),
        Errno::EINVAL => Some(RouteKind::Blackhole),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::route::RouteCacheInfo;

    use super::*;

    /// The kernel answers with what it learnt in place of the route's own, and with when that ends; of the end it says
    /// nothing when it comes.
    #[test]
    fn a_path_mtu_that_will_end_is_not_the_routes() {
        let answer = |family: AddressFamily, flags: RouteFlags, expires: u32| {
            // `struct rta_cacheinfo`: eight words, the third of which is when it ends.
            let mut info = [0; 32];
            info[8..12].copy_from_slice(&expires.to_ne_bytes());
            let info = RouteCacheInfo::parse(&info).expect("it is whole");
            let mut message = RouteMessage::default();
            message.header.kind = RouteKind::Unicast.into();
            (message.header.address_family, message.header.flags) = (family, flags);
            message.attributes =
                vec![RouteAttribute::Metrics(vec![RouteMetric::Mtu(1300)]), RouteAttribute::CacheInfo(info)];
            RouteLookup::from_message(&message).mtu
        };
        // Every answer about IPv4 says that it is a clone.
        let v4 = |expires| answer(AddressFamily::Inet, RouteFlags::Cloned, expires);
        assert_eq!((v4(0), v4(59_900)), (1300, 0));
        let v6 = |flags, expires| answer(AddressFamily::Inet6, flags, expires);
        assert_eq!((v6(RouteFlags::Cloned, 0), v6(RouteFlags::Cloned, 59_900)), (1300, 0));
        assert_eq!(v6(RouteFlags::empty(), 1_800), 1300, "a route with a lifetime");
    }
}
