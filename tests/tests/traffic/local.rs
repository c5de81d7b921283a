//! The director itself as a real server and as a client.

use std::net::{IpAddr, SocketAddr};

use rvs_testkit::{Family, HttpServer, Replies};

use crate::method::Attach;
use crate::transfer::{download, upload};
use crate::world::{FAMILIES, Way, World, numbers};

/// 4 MiB.
const LEN: u64 = 4 << 20;

/// An address of the director that is no service's.
fn own_address(world: &World, family: Family) -> IpAddr {
    let route = |address| world.cluster.director().netns().netlink().unwrap().route_get(address).unwrap();
    route(world.server().address_in(family)).source.unwrap()
}

/// A service of which the director is the one destination; what it is served by.
fn serve_here(world: &World, family: Family, port: u16, way: Way) -> (SocketAddr, HttpServer) {
    let listen = SocketAddr::from(([0_u16; 8], way.server_port(port)));
    let server = HttpServer::start(world.cluster.director().netns(), "s1", listen).unwrap();
    let service = world.add_service("-t", family, port);
    let here = SocketAddr::new(own_address(world, family), way.server_port(port));
    world.daemon.ipvsadm(&format!("-a -t {service} -r {here} {}", way.options));
    (service, server)
}

fn local_node(attach: Attach) {
    let world = World::new(Replies::ThroughDirector, attach);
    for (family, first) in FAMILIES.into_iter().zip([8100, 8200]) {
        for (way, port) in [Way::NAT, Way::DR, Way::IPIP].into_iter().zip(first..) {
            let (service, server) = serve_here(&world, family, port, way);
            let before = world.daemon.counted("local_node");
            upload(world.client(), service, LEN);
            download(world.client(), service, LEN);
            assert_eq!(server.connections(), 2, "{service} {way:?}");
            assert!(world.daemon.counted("local_node") > before + 10, "{service} {way:?}");
            let [conns, in_packets, out_packets, in_bytes, out_bytes] = numbers(&world.daemon, service)[..]
            else {
                panic!("{service}")
            };
            assert!(conns == 2 && in_packets > 10 && out_packets > 10, "{conns} {in_packets} {out_packets}");
            assert!(in_bytes > LEN && out_bytes > LEN, "{in_bytes} {out_bytes}");
        }
    }
}

#[test]
fn the_director_serves_itself_under_tc() {
    local_node(Attach::Tc);
}

#[test]
fn the_director_serves_itself_under_xdp() {
    local_node(Attach::Xdp);
}

fn local_client(attach: Attach) {
    let mut world = World::new(Replies::ThroughDirector, attach);
    for (family, first) in FAMILIES.into_iter().zip([8300, 8400]) {
        let far = world.serve(family, first, Way::NAT);
        let mut servers = Vec::new();
        let mut services = vec![far];
        for (way, port) in [Way::NAT, Way::DR].into_iter().zip(first + 1..) {
            let (service, server) = serve_here(&world, family, port, way);
            services.push(service);
            servers.push(server);
        }
        for service in services {
            upload(world.cluster.director(), service, LEN);
            download(world.cluster.director(), service, LEN);
            let [conns, _, _, in_bytes, out_bytes] = numbers(&world.daemon, service)[..] else {
                panic!("{service}")
            };
            assert!(
                conns == 2 && in_bytes > LEN && out_bytes > LEN,
                "{service} {conns} {in_bytes} {out_bytes}"
            );
        }
        // Others go on as before.
        upload(world.client(), far, LEN);
    }
}

#[test]
fn clients_on_the_director_are_balanced_under_tc() {
    local_client(Attach::Tc);
}

#[test]
fn clients_on_the_director_are_balanced_under_xdp() {
    local_client(Attach::Xdp);
}
