//! Ways that take smaller packets than those at their ends, told of by ICMP in the middle of a transfer: by the director
//! itself, by routers before it, and by routers behind it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rvs_netlink::{Prefix, Route};
use rvs_testkit::{Family, Host, Replies};

use crate::method::Attach;
use crate::transfer::{download, upload};
use crate::turn::await_turn;
use crate::world::{FAMILIES, Way, World};

/// Bytes before the way changes, and after.
const LEN: u64 = 4 << 20;
/// The smallest MTU that IPv6 knows.
const SMALL: u32 = 1280;
/// The same with room for every tunnel's headers.
const SMALL_WITH_TUNNEL: u32 = 1400;

/// Somebody outside of all the cluster's networks.
const ANYBODY: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1);

/// The address of an interface in a family.
fn address(host: &Host, interface: &str, family: Family) -> IpAddr {
    let interface = host.interface(interface);
    match family {
        Family::V4 => interface.address.unwrap().into(),
        Family::V6 => interface.address_v6.unwrap().into(),
    }
}

/// Has the director send what is for `to` through the fabric's router on that bridge, which says that its way there is
/// smaller.
fn put_router_behind(world: &mut World, family: Family, bridge: &str, to: IpAddr, mtu: u32) {
    let fabric = world.cluster.fabric_mut().unwrap();
    for path in ["all", bridge] {
        // It would tell of the shorter way.
        fabric.netns().sysctl(&format!("net/ipv4/conf/{path}/send_redirects"), "0").unwrap();
    }
    let (router, link) = (address(fabric, bridge, family), fabric.interface(bridge).index);
    fabric.netlink().add_route(&Route::to(Prefix::host(to)).dev(link).mtu(mtu)).unwrap();
    let director = world.cluster.director_mut().netlink();
    director.add_route(&Route::to(Prefix::host(to)).via(router)).unwrap();
}

/// Has the fabric's router send through the director what is for an address.
fn send_back(world: &mut World, family: Family, interface: &str, to: IpAddr) {
    let director = address(world.cluster.director(), interface, family);
    let fabric = world.cluster.fabric_mut().unwrap();
    fabric.netlink().add_route(&Route::to(Prefix::host(to)).via(director)).unwrap();
}

type Transfer = fn(&Host, SocketAddr, u64);

/// Services of both families for each way, each used once before anything changes.
fn services(world: &mut World, ways: &[Way], transfer: Transfer) -> Vec<(Family, Way, SocketAddr)> {
    let all = FAMILIES.into_iter().flat_map(|family| ways.iter().map(move |way| (family, *way)));
    let services: Vec<_> =
        all.zip(8000..).map(|((family, way), port)| (family, way, world.serve(family, port, way))).collect();
    for (_, _, service) in &services {
        transfer(world.client(), *service, LEN);
    }
    services
}

/// Has a host forget what it was told of ways that begin at its default routes.
fn forget(host: &Host) {
    host.netns().sysctl("net/ipv4/route/flush", "1").unwrap();
    // In IPv6 that would spare what has a time to live, as all that was told has; but it is part of the route.
    let mut netlink = host.netns().netlink().unwrap();
    let gateway = netlink.route_get(ANYBODY.into()).unwrap().gateway.unwrap();
    netlink.replace_route(&Route::to(Prefix::default_v6()).via(gateway)).unwrap();
}

/// Transfers something once more. Both ends have forgotten what they were told of the way before, and so must be told
/// again: then the director counts `told`.
fn transfer_again(world: &World, transfer: Transfer, service: SocketAddr, told: &str) {
    for host in [world.client(), world.server()] {
        forget(host);
    }
    let before = world.daemon.counted(told);
    transfer(world.client(), service, LEN);
    assert!(world.daemon.counted(told) > before, "{service}: nobody was told of the smaller way");
}

/// A router between the director and the client: errors go to the virtual address, and are for the server.
fn small_way_to_the_client(ways: &[Way], attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(ways[0].replies(), attach);
    let services = services(&mut world, ways, download);
    for family in FAMILIES {
        let (client, vip) = (world.client().address_in(family), world.cluster.vip_in(family));
        if ways[0].passes_back() {
            put_router_behind(&mut world, family, "clients", client, SMALL);
        } else {
            let fabric = world.cluster.fabric_mut().unwrap();
            let link = fabric.interface("clients").index;
            fabric.netlink().add_route(&Route::to(Prefix::host(client)).dev(link).mtu(SMALL)).unwrap();
        }
        send_back(&mut world, family, "to-client", vip);
    }
    for (_, _, service) in services {
        transfer_again(&world, download, service, "icmp_to_server");
    }
}

/// A router between the director and the server.
fn small_way_to_the_server(ways: &[Way], attach: Attach, mtu: u32, told: &str) {
    let _turn = await_turn();
    let mut world = World::new(ways[0].replies(), attach);
    let services = services(&mut world, ways, upload);
    for family in FAMILIES {
        let (client, server) = (world.client().address_in(family), world.server().address_in(family));
        put_router_behind(&mut world, family, "servers", server, mtu);
        if world.cluster.replies() == Replies::ThroughDirector {
            // The router's errors are for the client, which only the director knows what to tell.
            send_back(&mut world, family, "to-servers", client);
        }
    }
    for (_, _, service) in services {
        transfer_again(&world, upload, service, told);
    }
}

/// The director's own link to the servers takes less.
fn small_link_of_the_director(ways: &[Way], attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(ways[0].replies(), attach);
    let services = services(&mut world, ways, upload);
    let index = world.cluster.director().interface("to-servers").index;
    world.cluster.director_mut().netlink().set_mtu(index, SMALL_WITH_TUNNEL).unwrap();
    for (_, _, service) in services {
        transfer_again(&world, upload, service, "too_big");
    }
}

#[test]
fn to_the_client_under_tc() {
    small_way_to_the_client(&[Way::NAT], Attach::Tc);
    small_way_to_the_client(&[Way::DR, Way::IPIP, Way::GUE], Attach::Tc);
}

#[test]
fn to_the_client_under_xdp() {
    small_way_to_the_client(&[Way::NAT], Attach::Xdp);
    small_way_to_the_client(&[Way::DR, Way::IPIP, Way::GUE], Attach::Xdp);
}

#[test]
fn translated_to_the_client_under_tc() {
    small_way_to_the_client(&[Way::TRANSLATED], Attach::Tc);
}

#[test]
fn translated_to_the_client_under_xdp() {
    small_way_to_the_client(&[Way::TRANSLATED], Attach::Xdp);
}

#[test]
fn translated_to_the_server_under_tc() {
    small_way_to_the_server(&[Way::TRANSLATED], Attach::Tc, SMALL, "icmp_to_client");
    small_link_of_the_director(&[Way::TRANSLATED], Attach::Tc);
}

#[test]
fn translated_to_the_server_under_xdp() {
    small_way_to_the_server(&[Way::TRANSLATED], Attach::Xdp, SMALL, "icmp_to_client");
    small_link_of_the_director(&[Way::TRANSLATED], Attach::Xdp);
}

#[test]
fn to_the_server_under_tc() {
    small_way_to_the_server(&[Way::NAT], Attach::Tc, SMALL, "icmp_to_client");
    let tunnels = [Way::IPIP, Way::GRE, Way::GUE];
    small_way_to_the_server(&tunnels, Attach::Tc, SMALL_WITH_TUNNEL, "icmp_from_tunnel");
}

#[test]
fn to_the_server_under_xdp() {
    small_way_to_the_server(&[Way::NAT], Attach::Xdp, SMALL, "icmp_to_client");
    let tunnels = [Way::IPIP, Way::GRE, Way::GUE];
    small_way_to_the_server(&tunnels, Attach::Xdp, SMALL_WITH_TUNNEL, "icmp_from_tunnel");
}

#[test]
fn on_the_directors_own_link_under_tc() {
    small_link_of_the_director(&[Way::NAT], Attach::Tc);
    small_link_of_the_director(&[Way::DR, Way::IPIP, Way::GRE, Way::GUE], Attach::Tc);
}

#[test]
fn on_the_directors_own_link_under_xdp() {
    small_link_of_the_director(&[Way::NAT], Attach::Xdp);
    small_link_of_the_director(&[Way::DR, Way::IPIP, Way::GRE, Way::GUE], Attach::Xdp);
}
