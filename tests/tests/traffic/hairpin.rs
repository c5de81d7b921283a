//! Real servers that are clients too: of each other's services, and of their own.

use std::net::SocketAddr;

use rvs_testkit::{Cluster, HttpServer, Replies};

use crate::method::Attach;
use crate::stage::start_daemon;
use crate::transfer::{download, upload};
use crate::world::{FAMILIES, Way, World, numbers};

/// 4 MiB.
const LEN: u64 = 4 << 20;

/// By NAT, where the way from one to the other leads through the director.
fn each_others_clients(attach: Attach) {
    let cluster = Cluster::routed(2).ipv6(true).offloads(attach.offloads()).build().unwrap();
    let daemon = start_daemon(&cluster, &["--attach", attach.name()]);
    for (family, first) in FAMILIES.into_iter().zip([8500, 8600]) {
        let mut servers = Vec::new();
        let services = [0, 1].map(|number| {
            let service = SocketAddr::new(cluster.vip_in(family), first + number);
            let host = &cluster.servers()[usize::from(number)];
            let listen = SocketAddr::from(([0_u16; 8], service.port() + 1000));
            servers.push(HttpServer::start(host.netns(), "s1", listen).unwrap());
            daemon.ipvsadm(&format!("-A -t {service} -s rr"));
            let real = SocketAddr::new(host.address_in(family), listen.port());
            daemon.ipvsadm(&format!("-a -t {service} -r {real} -m"));
            service
        });
        for (client, service) in cluster.servers().iter().zip(services.into_iter().rev()) {
            upload(client, service, LEN);
            download(client, service, LEN);
        }
        for (service, server) in services.into_iter().zip(&servers) {
            // Others go on as before.
            upload(cluster.client(), service, LEN);
            assert_eq!(server.connections(), 3, "{service}");
            let [conns, .., in_bytes, out_bytes] = numbers(&daemon, service)[..] else { panic!("{service}") };
            assert!(conns == 3 && in_bytes > 2 * LEN && out_bytes > LEN, "{conns} {in_bytes} {out_bytes}");
        }
    }
}

#[test]
fn real_servers_are_clients_of_each_others_services_under_tc() {
    each_others_clients(Attach::Tc);
}

#[test]
fn real_servers_are_clients_of_each_others_services_under_xdp() {
    each_others_clients(Attach::Xdp);
}

/// By full NAT even one's own client: packets come back from another address, by the interface that they left by.
fn its_own_client(attach: Attach) {
    let mut world = World::new(Replies::ThroughDirector, attach);
    for (family, port) in FAMILIES.into_iter().zip([8700, 8800]) {
        let service = world.serve(family, port, Way::FULL_NAT);
        upload(world.server(), service, LEN);
        download(world.server(), service, LEN);
        let [conns, .., in_bytes, out_bytes] = numbers(&world.daemon, service)[..] else {
            panic!("{service}")
        };
        assert!(conns == 2 && in_bytes > LEN && out_bytes > LEN, "{service} {conns} {in_bytes} {out_bytes}");
        upload(world.client(), service, LEN);
    }
}

#[test]
fn a_real_server_is_its_own_client_by_full_nat_under_tc() {
    its_own_client(Attach::Tc);
}

#[test]
fn a_real_server_is_its_own_client_by_full_nat_under_xdp() {
    its_own_client(Attach::Xdp);
}
