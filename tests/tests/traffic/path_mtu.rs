//! Ways that become smaller than those at their ends in the middle of a transfer, told of by ICMP: by the director itself, by
//! routers before it, and by routers behind it.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use rvs_netlink::{Prefix, Route};
use rvs_testkit::{Family, Host, Replies};

use crate::method::Attach;
use crate::transfer::{Midway, download_with, upload_with};
use crate::turn::await_turn;
use crate::world::{FAMILIES, Way, World};

/// Bytes of a transfer. When the way changes, more is left than sockets hold.
const LEN: u64 = 64 << 20;
/// MTU of all ways until then.
const FULL: u32 = 1500;
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

/// Has the director send what is for `to` through the fabric's router on that bridge.
fn put_router_behind(world: &mut World, family: Family, bridge: &str, to: IpAddr) {
    let fabric = world.cluster.fabric_mut().unwrap();
    for path in ["all", bridge] {
        // It would tell of the shorter way.
        fabric.netns().sysctl(&format!("net/ipv4/conf/{path}/send_redirects"), "0").unwrap();
    }
    let router = address(fabric, bridge, family);
    let director = world.cluster.director_mut().netlink();
    director.add_route(&Route::to(Prefix::host(to)).via(router)).unwrap();
}

/// Sets the MTU of the fabric's way to somebody on a bridge of its own.
fn set_way(world: &World, bridge: &str, to: IpAddr, mtu: u32) {
    let fabric = world.cluster.fabric().unwrap();
    let way = Route::to(Prefix::host(to)).dev(fabric.interface(bridge).index).mtu(mtu);
    fabric.netns().netlink().unwrap().replace_route(&way).unwrap();
}

/// Has the fabric's router send through the director what is for an address.
fn send_back(world: &mut World, family: Family, interface: &str, to: IpAddr) {
    let director = address(world.cluster.director(), interface, family);
    let fabric = world.cluster.fabric_mut().unwrap();
    fabric.netlink().add_route(&Route::to(Prefix::host(to)).via(director)).unwrap();
}

type Transfer = fn(&Host, SocketAddr, u64, Midway<'_>);

/// Services of both families for each way.
fn services(world: &mut World, ways: &[Way]) -> Vec<(Family, SocketAddr)> {
    let all = FAMILIES.into_iter().flat_map(|family| ways.iter().map(move |way| (family, *way)));
    all.zip(8000..).map(|((family, way), port)| (family, world.serve(family, port, way))).collect()
}

/// Has a host forget what it was told of ways that begin at its default routes.
fn forget(host: &Host) {
    host.netns().sysctl("net/ipv4/route/flush", "1").unwrap();
    // In IPv6 that would spare what has a time to live, as all that was told has; but it is part of the route.
    let mut netlink = host.netns().netlink().unwrap();
    let gateway = netlink.route_get(ANYBODY.into()).unwrap().gateway.unwrap();
    netlink.replace_route(&Route::to(Prefix::default_v6()).via(gateway)).unwrap();
}

/// Transfers something, and makes the way smaller in the middle of it. Both ends have forgotten what they were told of the way
/// before, and so must be told: then the director counts `told`.
fn transfer_and_lower(
    world: &World,
    (transfer, service): (Transfer, SocketAddr),
    told: &str,
    lower: &(dyn Fn() + Sync),
) {
    for host in [world.client(), world.server()] {
        forget(host);
    }
    let before = AtomicU64::new(u64::MAX);
    transfer(world.client(), service, LEN, &|| {
        before.store(world.daemon.counted(told), Ordering::Relaxed);
        lower();
    });
    let (before, after) = (before.into_inner(), world.daemon.counted(told));
    assert!(after > before, "{service}: nobody was told of the smaller way: {told} {before}, {after}");
}

/// A router between the director and the client: errors go to the virtual address, and are for the server.
fn small_way_to_the_client(ways: &[Way], attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(ways[0].replies(), attach);
    for family in FAMILIES {
        let (client, vip) = (world.client().address_in(family), world.cluster.vip_in(family));
        if ways[0].passes_back() {
            put_router_behind(&mut world, family, "clients", client);
        }
        send_back(&mut world, family, "to-client", vip);
    }
    for (family, service) in services(&mut world, ways) {
        let client = world.client().address_in(family);
        let lower = || set_way(&world, "clients", client, SMALL);
        transfer_and_lower(&world, (download_with, service), "icmp_to_server", &lower);
        set_way(&world, "clients", client, FULL);
    }
}

/// A router between the director and the server.
fn small_way_to_the_server(ways: &[Way], attach: Attach, small: u32, told: &str) {
    let _turn = await_turn();
    let mut world = World::new(ways[0].replies(), attach);
    for family in FAMILIES {
        let (client, server) = (world.client().address_in(family), world.server().address_in(family));
        put_router_behind(&mut world, family, "servers", server);
        if world.cluster.replies() == Replies::ThroughDirector {
            // The router's errors are for the client, which only the director knows what to tell.
            send_back(&mut world, family, "to-servers", client);
        }
    }
    for (_, service) in services(&mut world, ways) {
        // The way of both families: a service's server may be reached by the other.
        let set = |mtu| {
            FAMILIES.iter().for_each(|&family| {
                set_way(&world, "servers", world.server().address_in(family), mtu);
            });
        };
        transfer_and_lower(&world, (upload_with, service), told, &|| set(small));
        set(FULL);
    }
}

/// The director's own link to the servers takes less with each transfer.
fn small_link_of_the_director(ways: &[Way], attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(ways[0].replies(), attach);
    let link = world.cluster.director().interface("to-servers").index;
    let smaller = (SMALL_WITH_TUNNEL..FULL).rev().step_by(10);
    for ((_, service), mtu) in services(&mut world, ways).into_iter().zip(smaller) {
        let lower = || world.cluster.director().netns().netlink().unwrap().set_mtu(link, mtu).unwrap();
        transfer_and_lower(&world, (upload_with, service), "too_big", &lower);
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
fn full_nat_to_the_client_under_tc() {
    small_way_to_the_client(&[Way::FULL_NAT, Way::TRANSLATED], Attach::Tc);
}

#[test]
fn full_nat_to_the_client_under_xdp() {
    small_way_to_the_client(&[Way::FULL_NAT, Way::TRANSLATED], Attach::Xdp);
}

#[test]
fn full_nat_to_the_server_under_tc() {
    small_way_to_the_server(&[Way::FULL_NAT, Way::TRANSLATED], Attach::Tc, SMALL, "icmp_to_client");
    small_link_of_the_director(&[Way::FULL_NAT, Way::TRANSLATED], Attach::Tc);
}

#[test]
fn full_nat_to_the_server_under_xdp() {
    small_way_to_the_server(&[Way::FULL_NAT, Way::TRANSLATED], Attach::Xdp, SMALL, "icmp_to_client");
    small_link_of_the_director(&[Way::FULL_NAT, Way::TRANSLATED], Attach::Xdp);
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
