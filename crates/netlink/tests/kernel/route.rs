//! What `route.rs` does on a real kernel.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use rvs_netlink::{Netlink, Netns, Prefix, Route, RouteKind};

use crate::pair::{LEFT, Pair, RIGHT, wait_until};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn no_route_is_unreachable() {
    let namespace = Netns::create_unique("rvs-test").unwrap();
    let lookup = namespace.netlink().unwrap().route_get(ip("198.51.100.1")).unwrap();
    assert_eq!((lookup.kind, lookup.ifindex, lookup.gateway), (RouteKind::Unreachable, None, None));
    let lookup = namespace.netlink().unwrap().route_get(ip("2001:db8::1")).unwrap();
    assert_eq!((lookup.kind, lookup.ifindex), (RouteKind::Unreachable, None));
}

#[test]
fn on_link_and_local() {
    let mut pair = Pair::new();
    let lookup = pair.left_netlink.route_get(RIGHT).unwrap();
    assert_eq!(lookup.kind, RouteKind::Unicast);
    assert_eq!((lookup.ifindex, lookup.gateway, lookup.source), (Some(pair.v0.index), None, Some(LEFT)));
    assert_eq!(lookup.mtu, 1500, "the link's, as the route has none");
    assert_eq!(pair.left_netlink.route_get(LEFT).unwrap().kind, RouteKind::Local);
    let broadcast = Ipv4Addr::new(192, 0, 2, 255).into();
    assert_eq!(pair.left_netlink.route_get(broadcast).unwrap().kind, RouteKind::Broadcast);
}

#[test]
fn through_a_gateway_with_an_mtu() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    let default = Route::default_v4().via(RIGHT);
    netlink.add_route(&default).unwrap();
    netlink.add_route(&Route::to(prefix("198.51.100.0/24")).via(RIGHT).dev(pair.v0.index).mtu(1300)).unwrap();
    netlink.add_route(&Route::to(prefix("203.0.113.0/24")).dev(pair.v0.index)).unwrap();

    let lookup = netlink.route_get(ip("8.8.8.8")).unwrap();
    assert_eq!((lookup.ifindex, lookup.gateway, lookup.mtu), (Some(pair.v0.index), Some(RIGHT), 1500));
    let lookup = netlink.route_get(ip("198.51.100.7")).unwrap();
    assert_eq!((lookup.ifindex, lookup.gateway, lookup.mtu), (Some(pair.v0.index), Some(RIGHT), 1300));
    let lookup = netlink.route_get(ip("203.0.113.7")).unwrap();
    assert_eq!((lookup.ifindex, lookup.gateway), (Some(pair.v0.index), None));

    netlink.delete_route(&default).unwrap();
    assert_eq!(netlink.route_get(ip("8.8.8.8")).unwrap().kind, RouteKind::Unreachable);
}

#[test]
fn add_refuses_and_replace_takes_over() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    let network = Route::to(prefix("198.51.100.0/24"));
    netlink.add_route(&network.via(RIGHT)).unwrap();
    let other = network.via(ip("192.0.2.3"));
    let error = netlink.add_route(&other).unwrap_err();
    assert_eq!(error.kind(), Some(io::ErrorKind::AlreadyExists));
    assert!(error.to_string().starts_with("add route 198.51.100.0/24 via 192.0.2.3: File exists"), "{error}");
    netlink.replace_route(&other).unwrap();
    assert_eq!(netlink.route_get(ip("198.51.100.1")).unwrap().gateway, Some(ip("192.0.2.3")));

    let error = netlink.add_route(&Route::default_v4().via(ip("10.9.9.9"))).unwrap_err();
    let expected = "add route 0.0.0.0/0 via 10.9.9.9: Network is unreachable (Nexthop has invalid gateway)";
    assert_eq!(error.to_string(), expected);
    let error = netlink.delete_route(&Route::default_v4()).unwrap_err();
    assert!(error.to_string().starts_with("delete route 0.0.0.0/0: No such process"), "{error}");
}

#[test]
fn refusing_routes() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    let kinds = [RouteKind::Unreachable, RouteKind::Prohibit, RouteKind::Blackhole];
    for (kind, network) in kinds.into_iter().zip(["198.51.100.0/26", "198.51.100.64/26", "198.51.100.128/26"])
    {
        let network = prefix(network);
        netlink.add_route(&Route::refusing(network, kind)).unwrap();
        let lookup = netlink.route_get(network.addr()).unwrap();
        assert_eq!((lookup.kind, lookup.ifindex), (kind, None), "{kind}");
    }
}

/// A new address is tried out first (RFC 4862 §5.4): it has no local route before nobody else turned out to have it.
fn add_address(netlink: &mut Netlink, index: u32, address: &str) {
    let address = prefix(address);
    netlink.add_address(index, address).unwrap();
    wait_until("the address can be used", || {
        netlink.route_get(address.addr()).unwrap().kind == RouteKind::Local
    });
}

#[test]
fn ipv6_on_link_local_gateways_and_mtu() {
    let mut pair = Pair::new();
    let (index, netlink) = (pair.v0.index, &mut pair.left_netlink);
    add_address(netlink, index, "2001:db8::1/64");
    let lookup = netlink.route_get(ip("2001:db8::2")).unwrap();
    assert_eq!((lookup.kind, lookup.ifindex, lookup.gateway), (RouteKind::Unicast, Some(index), None));
    assert_eq!(
        (lookup.source, lookup.mtu),
        (Some(ip("2001:db8::1")), 1500),
        "the link's, as the route has none"
    );

    // Routers are known by their link-local addresses, which say nothing without the link.
    let network = Route::to(prefix("2001:db8:1::/48")).via(ip("fe80::2")).dev(index);
    netlink.add_route(&network).unwrap();
    let lookup = netlink.route_get(ip("2001:db8:1::7")).unwrap();
    assert_eq!((lookup.ifindex, lookup.gateway), (Some(index), Some(ip("fe80::2"))));
    assert_eq!((lookup.source, lookup.mtu), (Some(ip("2001:db8::1")), 1500));
    netlink.replace_route(&network.mtu(1400)).unwrap();
    assert_eq!(netlink.route_get(ip("2001:db8:1::7")).unwrap().mtu, 1400);

    // What a router says of the link is for IPv6 only.
    pair.left.sysctl("net/ipv6/conf/v0/mtu", "1320").unwrap();
    let netlink = &mut pair.left_netlink;
    assert_eq!(netlink.route_get(ip("2001:db8::2")).unwrap().mtu, 1320);
    assert_eq!(netlink.route_get(RIGHT).unwrap().mtu, 1500);
    let link = netlink.link("v0").unwrap();
    assert_eq!((link.mtu, link.mtu_v6), (1500, Some(1320)));
}

#[test]
fn refusing_ipv6_routes() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    let kinds = [RouteKind::Unreachable, RouteKind::Prohibit, RouteKind::Blackhole];
    for (kind, network) in kinds.into_iter().zip(["2001:db8:1::/48", "2001:db8:2::/48", "2001:db8:3::/48"]) {
        let network = prefix(network);
        netlink.add_route(&Route::refusing(network, kind)).unwrap();
        let lookup = netlink.route_get(network.addr()).unwrap();
        assert_eq!((lookup.kind, lookup.ifindex), (kind, None), "{kind}");
    }
}

#[test]
fn ipv6_gateway_for_an_ipv6_network() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    netlink.add_address(pair.v0.index, prefix("2001:db8::1/64")).unwrap();
    netlink.add_route(&Route::to(Prefix::default_v6()).via(ip("2001:db8::2"))).unwrap();
    let lookup = netlink.route_get(ip("2001:db8:1::1")).unwrap();
    assert_eq!((lookup.kind, lookup.gateway), (RouteKind::Unicast, Some(ip("2001:db8::2"))));
    assert_eq!(lookup.source, Some(ip("2001:db8::1")));
}
