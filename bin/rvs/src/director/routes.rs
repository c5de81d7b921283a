//! Routes to destinations: asked of the kernel when a destination is new and when routes change, told to the director.
//!
//! Each address is asked for once, however many services have a destination there, and in steps of a bounded size.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rvs_director::{DestId, Director, RouteInfo};
use rvs_model::Memory;
use rvs_netlink::{RouteKind, RouteLookup};

use super::changes::after;
use super::limits::{ASK_AGAIN, ROUTES_PER_STEP};

/// The kernel's answer for one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    info: RouteInfo,
    /// Packets are refused, and how.
    refused: Option<RouteKind>,
}

/// A question that failed.
#[derive(Debug)]
struct Failed {
    error: String,
    again_ns: u64,
}

/// What a step found out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Learnt {
    /// Whether any route is another than before.
    pub(super) changed: bool,
    /// What an operator should know, a line each.
    pub(super) news: Vec<String>,
}

/// The routes of all destinations.
#[derive(Debug, Default)]
pub(super) struct Routes {
    dests: BTreeMap<IpAddr, Vec<DestId>>,
    known: BTreeMap<IpAddr, Way>,
    to_ask: BTreeSet<IpAddr>,
    failed: BTreeMap<IpAddr, Failed>,
}

impl Routes {
    /// Follows a change of the configuration: what is known is told of new destinations at once, the rest is to be asked.
    pub(super) fn follow<M: Memory>(&mut self, director: &mut Director<M>) {
        self.dests.clear();
        for (id, address) in director.routes_needed() {
            self.dests.entry(address).or_default().push(id);
        }
        self.known.retain(|address, _| self.dests.contains_key(address));
        self.to_ask.retain(|address| self.dests.contains_key(address));
        self.failed.retain(|address, _| self.dests.contains_key(address));
        for (address, ids) in &self.dests {
            match self.known.get(address) {
                Some(way) => ids.iter().for_each(|id| director.set_route(*id, &way.info)),
                None => drop(self.to_ask.insert(*address)),
            }
        }
    }

    /// Every route may have changed.
    pub(super) fn ask_all_again(&mut self) {
        self.to_ask.extend(self.dests.keys());
    }

    /// When there is something to ask: 0 for at once.
    pub(super) fn due_ns(&self) -> Option<u64> {
        if self.to_ask.is_empty() {
            self.failed.values().map(|failed| failed.again_ns).min()
        } else {
            Some(0)
        }
    }

    /// Asks for some routes. A question that fails is asked again after [`ASK_AGAIN`].
    pub(super) fn step<M: Memory>(
        &mut self,
        director: &mut Director<M>,
        now_ns: u64,
        mut ask: impl FnMut(IpAddr) -> rvs_netlink::Result<RouteLookup>,
    ) -> Learnt {
        let mut learnt = Learnt::default();
        let again = self.failed.iter().filter(|(_, failed)| failed.again_ns <= now_ns);
        self.to_ask.extend(again.map(|(address, _)| *address));
        for _ in 0..ROUTES_PER_STEP {
            let Some(address) = self.to_ask.pop_first() else { break };
            match ask(address) {
                Ok(lookup) => {
                    if self.failed.remove(&address).is_some() {
                        learnt.news.push(format!("destination {address}: its route can be looked up again"));
                    }
                    self.learn(director, address, way(address, &lookup), &mut learnt);
                }
                Err(error) => {
                    let error = error.to_string();
                    let again_ns = after(now_ns, ASK_AGAIN);
                    let before = self.failed.insert(address, Failed { error: error.clone(), again_ns });
                    // The same error again is no news.
                    if before.is_none_or(|before| before.error != error) {
                        learnt.news.push(error);
                    }
                }
            }
        }
        learnt
    }

    fn learn<M: Memory>(
        &mut self,
        director: &mut Director<M>,
        address: IpAddr,
        way: Way,
        learnt: &mut Learnt,
    ) {
        let before = self.known.insert(address, way);
        if before == Some(way) {
            return;
        }
        match (way.refused, before.and_then(|before| before.refused)) {
            (Some(kind), was) if was != Some(kind) => {
                learnt.news.push(format!("destination {address}: no route ({kind})"));
            }
            (None, Some(_)) => learnt.news.push(format!("destination {address}: has a route again")),
            _ => {}
        }
        for id in self.dests.get(&address).into_iter().flatten() {
            director.set_route(*id, &way.info);
        }
        learnt.changed = true;
    }

    /// The next hops on the way to all destinations: interface and address.
    pub(super) fn next_hops(&self) -> BTreeSet<(u32, IpAddr)> {
        let hop = |way: &Way| Some((way.info.ifindex, way.info.gateway?));
        self.known.values().filter_map(hop).collect()
    }

    /// The interface to a destination that is on a link of this host.
    pub(super) fn link_to(&self, address: IpAddr) -> Option<u32> {
        let info = &self.known.get(&address)?.info;
        (info.gateway == Some(address)).then_some(info.ifindex)
    }

    /// Addresses that packets can't be sent to, and why.
    pub(super) fn refused(&self) -> impl Iterator<Item = (IpAddr, RouteKind)> {
        self.known.iter().filter_map(|(address, way)| Some((*address, way.refused?)))
    }
}

/// What the programs are told. Only a plain route of one family has an interface and a gateway that they can use; for any
/// other they ask the kernel packet by packet.
fn way(address: IpAddr, lookup: &RouteLookup) -> Way {
    let refused = match lookup.kind {
        RouteKind::Unreachable | RouteKind::Prohibit | RouteKind::Blackhole => Some(lookup.kind),
        _ => None,
    };
    let gateway = lookup.gateway.unwrap_or(address);
    let info = match lookup {
        RouteLookup { kind: RouteKind::Unicast, ifindex: Some(ifindex), source, mtu, .. }
            if gateway.is_ipv4() == address.is_ipv4() =>
        {
            RouteInfo {
                ifindex: *ifindex,
                gateway: Some(gateway),
                source: *source,
                mtu: *mtu,
                is_local: false,
            }
        }
        // By a gateway of the other family (RFC 5549) too, what the director sends comes from the source that the kernel chose.
        RouteLookup { kind: RouteKind::Unicast, source, .. } => {
            RouteInfo { source: *source, ..RouteInfo::default() }
        }
        _ => RouteInfo { is_local: lookup.kind == RouteKind::Local, ..RouteInfo::default() },
    };
    Way { info, refused }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use rvs_config::{
        Command, Destination, ForwardingMethod, Scheduler, SchedulerFlags, ServiceKey, Tunnel, VirtualService,
    };
    use rvs_model::{Capacity, Heap, records};

    use super::*;

    const CAPACITY: Capacity = Capacity { services: 8, dests: 1024, conns: 64, cpus: 1 };

    fn destination(key: &str, method: ForwardingMethod) -> Destination {
        let (key, tunnel) = (key.parse().unwrap(), Tunnel::Ipip);
        Destination { key, method, weight: 1, upper_threshold: 0, lower_threshold: 0, tunnel }
    }

    fn director(dests: &[&str]) -> Director<Heap> {
        let mut director = Director::create(Heap::new(&CAPACITY)).unwrap();
        for vip in ["203.0.113.1:80/tcp", "203.0.113.2:80/tcp"] {
            let key: ServiceKey = vip.parse().unwrap();
            let service = VirtualService {
                key,
                scheduler: Scheduler::Rr,
                flags: SchedulerFlags::default(),
                one_packet: false,
                mss: 0,
                client_address: rvs_config::ClientAddress::default(),
            };
            director.apply(&[Command::AddService(service)], 0).unwrap();
            for dest in dests {
                let destination = destination(dest, ForwardingMethod::Masq);
                director.apply(&[Command::AddDestination { service: key, destination }], 0).unwrap();
            }
        }
        director
    }

    fn lookup(kind: RouteKind, gateway: Option<&str>) -> RouteLookup {
        let gateway = gateway.map(|gateway| gateway.parse().unwrap());
        let source = Some("10.0.0.1".parse().unwrap());
        RouteLookup { kind, ifindex: Some(3), gateway, source, mtu: 1500 }
    }

    /// Interface and gateway in every destination's record.
    fn told(director: &Director<Heap>) -> BTreeSet<(u32, IpAddr)> {
        let ids: Vec<DestId> = director.routes_needed().map(|(id, _)| id).collect();
        let record = |id: &DestId| records::dest(director.memory(), id.0).unwrap();
        ids.iter().map(record).map(|dest| (dest.ifindex, dest.gateway.to_ip())).collect()
    }

    #[test]
    fn an_address_is_asked_for_once_and_told_of_all_its_destinations() {
        let mut director = director(&["10.0.0.2:80", "10.0.0.2:81"]);
        let mut routes = Routes::default();
        routes.follow(&mut director);
        let mut asked = Vec::new();
        let learnt = routes.step(&mut director, 0, |address| {
            asked.push(address.to_string());
            Ok(lookup(RouteKind::Unicast, None))
        });
        assert_eq!(learnt, Learnt { changed: true, news: Vec::new() });
        assert_eq!(routes.due_ns(), None);
        assert_eq!(asked, ["10.0.0.2"]);
        let hop = (3, "10.0.0.2".parse().unwrap());
        assert_eq!(told(&director), BTreeSet::from([hop]));
        assert_eq!(routes.next_hops(), BTreeSet::from([hop]));
    }

    #[test]
    fn a_changed_route_is_told_and_the_same_one_is_no_change() {
        let mut director = director(&["10.0.0.2:80"]);
        let mut routes = Routes::default();
        routes.follow(&mut director);
        assert!(routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unicast, None))).changed);
        routes.ask_all_again();
        assert!(!routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unicast, None))).changed);
        routes.ask_all_again();
        assert!(
            routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unicast, Some("10.0.0.254")))).changed
        );
        assert_eq!(told(&director), BTreeSet::from([(3, "10.0.0.254".parse().unwrap())]));
    }

    #[test]
    fn a_refused_destination_is_named_until_it_has_a_route() {
        let mut director = director(&["10.0.0.2:80"]);
        let mut routes = Routes::default();
        routes.follow(&mut director);
        let learnt = routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unreachable, None)));
        assert_eq!(learnt.news, ["destination 10.0.0.2: no route (unreachable)"]);
        let address: IpAddr = "10.0.0.2".parse().unwrap();
        assert_eq!(routes.refused().collect::<Vec<_>>(), [(address, RouteKind::Unreachable)]);
        assert_eq!(told(&director).first().map(|(ifindex, _)| *ifindex), Some(0));
        routes.ask_all_again();
        let learnt = routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unicast, None)));
        assert_eq!(learnt.news, ["destination 10.0.0.2: has a route again"]);
        assert_eq!(routes.refused().count(), 0);
    }

    #[test]
    fn the_ways_to_local_addresses_are_the_kernels_business() {
        let address: IpAddr = "10.0.0.2".parse().unwrap();
        let info = RouteInfo { is_local: true, ..RouteInfo::default() };
        assert_eq!(way(address, &lookup(RouteKind::Local, None)), Way { info, refused: None });
    }

    /// RFC 5549: which gateway that is, is the kernel's business, but tunnels and full NAT come from the source that it chose.
    #[test]
    fn a_destination_behind_a_gateway_of_the_other_family_has_a_source() {
        let mut director = director(&["10.0.0.2:80"]);
        let mut routes = Routes::default();
        routes.follow(&mut director);
        routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unicast, Some("fe80::1"))));
        let id = director.routes_needed().next().unwrap().0;
        let dest = records::dest(director.memory(), id.0).unwrap();
        assert_eq!(
            (dest.source, dest.ifindex, dest.gateway),
            (rvs_abi::Addr::v4([10, 0, 0, 1]), 0, Default::default())
        );
    }

    fn failure(reason: &str) -> rvs_netlink::Error {
        rvs_netlink::Error::Reply { operation: "look up route to 10.0.0.2".into(), reason: reason.into() }
    }

    /// The destination's packets wait for the answer: nobody else asks again before routes change.
    #[test]
    fn a_question_that_failed_is_asked_again_after_a_while() {
        let mut director = director(&["10.0.0.2:80"]);
        let mut routes = Routes::default();
        routes.follow(&mut director);
        assert_eq!(routes.due_ns(), Some(0));
        let learnt = routes.step(&mut director, 5, |_| Err(failure("no route in it")));
        assert!(!learnt.changed && learnt.news.len() == 1);
        let due = after(5, ASK_AGAIN);
        assert_eq!(routes.due_ns(), Some(due), "not at once, and not never");
        let early = routes.step(&mut director, due - 1, |address| panic!("{address} is asked for too early"));
        assert_eq!(early, Learnt::default());
        let learnt = routes.step(&mut director, due, |_| Ok(lookup(RouteKind::Unicast, None)));
        assert!(learnt.changed);
        assert_eq!(routes.due_ns(), None);
        assert_eq!(told(&director), BTreeSet::from([(3, "10.0.0.2".parse().unwrap())]));
    }

    #[test]
    fn a_question_that_goes_on_to_fail_is_no_news_until_it_is_answered() {
        let mut director = director(&["10.0.0.2:80"]);
        let mut routes = Routes::default();
        routes.follow(&mut director);
        let mut news = Vec::new();
        for (now, reason) in
            (0..).step_by(1_000_000_000).zip(["too short", "too short", "no route in it", "no route in it"])
        {
            news.push(routes.step(&mut director, now, |_| Err(failure(reason))).news.join(" "));
            assert_eq!(routes.due_ns(), Some(after(now, ASK_AGAIN)));
        }
        let [first, other] = ["too short", "no route in it"].map(|reason| failure(reason).to_string());
        assert_eq!(news, [first, String::new(), other, String::new()]);
        routes.ask_all_again();
        let learnt = routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unicast, None)));
        assert_eq!(learnt.news, ["destination 10.0.0.2: its route can be looked up again"]);
        routes.ask_all_again();
        let learnt = routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unicast, None)));
        assert_eq!(learnt, Learnt::default());
    }

    #[test]
    fn a_question_that_failed_about_a_removed_destination_is_forgotten() {
        let mut director = director(&["10.0.0.2:80"]);
        let mut routes = Routes::default();
        routes.follow(&mut director);
        routes.step(&mut director, 0, |_| Err(failure("no route in it")));
        director.apply(&[Command::Clear], 0).unwrap();
        routes.follow(&mut director);
        assert_eq!(routes.due_ns(), None);
    }

    #[test]
    fn ipv6_destinations_have_link_local_gateways_and_sources() {
        let mut director = Director::create(Heap::new(&CAPACITY)).unwrap();
        let key: ServiceKey = "[2001:db8::1]:80/tcp".parse().unwrap();
        let service = VirtualService {
            key,
            scheduler: Scheduler::Rr,
            flags: SchedulerFlags::default(),
            one_packet: false,
            mss: 0,
            client_address: rvs_config::ClientAddress::default(),
        };
        director.apply(&[Command::AddService(service)], 0).unwrap();
        for (dest, method) in [
            ("[2001:db8:9::2]:80", ForwardingMethod::Dr),
            ("[2001:db8:9::3]:80", ForwardingMethod::Masq),
            ("10.0.0.2:80", ForwardingMethod::Tunnel),
        ] {
            let destination = destination(dest, method);
            director.apply(&[Command::AddDestination { service: key, destination }], 0).unwrap();
        }
        let mut routes = Routes::default();
        routes.follow(&mut director);
        let [source, router] = ["2001:db8:9::1", "fe80::1"].map(|address| address.parse::<IpAddr>().unwrap());
        let v6 = |gateway, mtu| RouteLookup {
            kind: RouteKind::Unicast,
            ifindex: Some(4),
            gateway,
            source: Some(source),
            mtu,
        };
        routes.step(&mut director, 0, |address| match address.to_string().as_str() {
            "2001:db8:9::2" => Ok(v6(None, 1500)),
            "2001:db8:9::3" => Ok(v6(Some(router), 1400)),
            _ => Ok(lookup(RouteKind::Unicast, None)),
        });
        let [near, v4]: [IpAddr; 2] = ["2001:db8:9::2", "10.0.0.2"].map(|address| address.parse().unwrap());
        assert_eq!(routes.next_hops(), BTreeSet::from([(4, near), (4, router), (3, v4)]));
        let ids: BTreeMap<IpAddr, DestId> =
            director.routes_needed().map(|(id, address)| (address, id)).collect();
        let record = |address: &str| {
            let dest = records::dest(director.memory(), ids[&address.parse().unwrap()].0).unwrap();
            (dest.ifindex, dest.gateway.to_ip(), dest.source.to_ip(), dest.mtu)
        };
        assert_eq!(record("2001:db8:9::2"), (4, near, source, 1500));
        assert_eq!(record("2001:db8:9::3"), (4, router, source, 1400));
        assert_eq!(
            record("10.0.0.2"),
            (3, v4, "10.0.0.1".parse().unwrap(), 1500),
            "a tunnel out of an IPv6 service"
        );
    }

    #[test]
    fn many_addresses_take_several_steps() {
        let dests: Vec<String> =
            (0..=ROUTES_PER_STEP).map(|n| format!("10.0.{}.{}:80", n / 200, n % 200 + 1)).collect();
        let dests: Vec<&str> = dests.iter().map(String::as_str).collect();
        let mut director = director(&dests);
        let mut routes = Routes::default();
        routes.follow(&mut director);
        routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unicast, None)));
        assert_eq!(routes.due_ns(), Some(0));
        routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unicast, None)));
        assert_eq!(routes.due_ns(), None);
        assert_eq!(told(&director).len(), dests.len());
    }

    #[test]
    fn what_is_no_longer_needed_is_forgotten() {
        let mut director = director(&["10.0.0.2:80"]);
        let mut routes = Routes::default();
        routes.follow(&mut director);
        routes.step(&mut director, 0, |_| Ok(lookup(RouteKind::Unreachable, None)));
        director.apply(&[Command::Clear], 0).unwrap();
        routes.follow(&mut director);
        routes.ask_all_again();
        assert!(routes.due_ns().is_none() && routes.refused().count() == 0 && routes.next_hops().is_empty());
    }
}
