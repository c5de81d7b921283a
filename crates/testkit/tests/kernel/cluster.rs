//! What `cluster.rs` does on a real kernel.

use std::net::SocketAddr;
use std::time::Duration;

use rvs_netlink::{NeighbourState, RouteKind, sysctl};
use rvs_testkit::{
    Capture, Cluster, Error, Family, Frame, HttpClient, Neighbours, Offloads, Replies, Residue, wait_until,
};

const PORT: u16 = 80;

/// The client asks every server directly, by its own address.
fn every_server_answers(cluster: &Cluster, family: Family) {
    let servers = cluster.start_servers(PORT).unwrap();
    for (host, server) in cluster.servers().iter().zip(&servers) {
        let target = SocketAddr::new(host.address_in(family), PORT);
        let report =
            HttpClient::new(target).requests(20).connections(2).run(cluster.client().netns()).unwrap();
        assert_eq!((report.answers_of(host.name()), report.failed()), (20, 0), "{report:?}");
        assert_eq!(Vec::from_iter(report.reply_sources), [target]);
        assert_eq!(Vec::from_iter(report.client_addresses), [cluster.client().address_in(family)]);
        assert_eq!(server.requests(), 20);
    }
}

#[test]
fn routed_with_kernel_forwarding() {
    let cluster = Cluster::routed(3).build().unwrap();
    assert!(cluster.fabric().is_none());
    every_server_answers(&cluster, Family::V4);
}

#[test]
fn switched_with_kernel_forwarding() {
    let cluster = Cluster::switched(3).build().unwrap();
    every_server_answers(&cluster, Family::V4);
}

#[test]
fn both_families_with_kernel_forwarding() {
    for builder in [Cluster::routed(2), Cluster::switched(2)] {
        let cluster = builder.ipv6(true).build().unwrap();
        for family in [Family::V4, Family::V6] {
            every_server_answers(&cluster, family);
        }
    }
}

#[test]
fn offloads_for_xdp_still_pass_traffic() {
    for builder in [Cluster::routed(1), Cluster::switched(1)] {
        let cluster = builder.offloads(Offloads::XdpReady).build().unwrap();
        for host in [cluster.client(), &cluster.servers()[0]] {
            let features = host.netns().ethtool().unwrap().features(host.interface("eth0").index).unwrap();
            assert!(features["rx-gro"].active && !features["tx-checksum-ip-generic"].active);
        }
        every_server_answers(&cluster, Family::V4);
    }
}

#[test]
fn without_forwarding_the_director_is_a_dead_end() {
    let cluster = Cluster::routed(1).ip_forward(false).build().unwrap();
    let _servers = cluster.start_servers(PORT).unwrap();
    let target = SocketAddr::from((cluster.servers()[0].address(), PORT));
    let client = HttpClient::new(target).timeout(Duration::from_millis(200));
    let report = client.run(cluster.client().netns()).unwrap();
    assert_eq!(report.failures.get("connect: timed out"), Some(&1), "{report:?}");
}

#[test]
fn static_neighbours_are_all_there_and_dynamic_ones_none() {
    let mut cluster = Cluster::switched(2).neighbours(Neighbours::Static).build().unwrap();
    let neighbours = cluster.director_mut().netlink().neighbours().unwrap();
    // The client and the router on one side; two servers and the router on the other.
    assert_eq!(
        neighbours.iter().filter(|n| n.state == NeighbourState::Permanent).count(),
        5,
        "{neighbours:?}"
    );

    let mut cluster = Cluster::switched(2).build().unwrap();
    let neighbours = cluster.director_mut().netlink().neighbours().unwrap();
    assert!(neighbours.iter().all(|n| n.usable_mac().is_none()), "{neighbours:?}");
}

/// A reply from the virtual address on its way from a server.
fn is_ipv4_from(frame: &Frame, source: [u8; 4]) -> bool {
    frame.bytes.get(12..14) == Some(&[8, 0]) && frame.bytes.get(26..30) == Some(&source)
}

#[test]
fn replies_past_the_director() {
    let mut cluster = Cluster::switched(2).replies(Replies::PastDirector).build().unwrap();
    let vip = cluster.vip();
    for server in cluster.servers() {
        let lookup = server.netns().netlink().unwrap().route_get(vip.into()).unwrap();
        assert_eq!(lookup.kind, RouteKind::Local, "{} holds the virtual address", server.name());
    }
    // The client finds the director alone under the virtual address, even where servers could answer.
    let lookup = cluster.client().netns().netlink().unwrap().route_get(vip.into()).unwrap();
    assert_eq!(lookup.gateway, Some("192.0.2.2".parse().unwrap()));

    // A datagram from the virtual address reaches the client, and the director does not see it.
    let director = cluster.director().netns();
    let mut at_director = Capture::open(director, "to-servers").unwrap();
    let mut at_client = Capture::open(cluster.client().netns(), "eth0").unwrap();
    let client = SocketAddr::from((cluster.client().address(), 4000));
    let send = || std::net::UdpSocket::bind((vip, 80)).and_then(|socket| socket.send_to(b"reply", client));
    cluster.servers()[0].netns().enter(send).unwrap().unwrap();
    let limit = Duration::from_secs(5);
    assert!(at_client.next_matching(limit, |f| is_ipv4_from(f, vip.octets())).unwrap().is_some());
    let seen = at_director.next_matching(Duration::ZERO, |f| is_ipv4_from(f, vip.octets())).unwrap();
    assert_eq!(seen, None);

    // And back to NAT's way.
    cluster.set_replies(Replies::ThroughDirector).unwrap();
    let mut netlink = cluster.servers()[0].netns().netlink().unwrap();
    assert_eq!(netlink.route_get(vip.into()).unwrap().kind, RouteKind::Unicast);
    let lookup = netlink.route_get(cluster.client().address().into()).unwrap();
    assert_eq!(lookup.gateway, Some(cluster.director().interface("to-servers").address.unwrap().into()));
}

#[test]
fn servers_do_not_answer_arp_for_the_virtual_address() {
    let mut cluster = Cluster::switched(1).replies(Replies::PastDirector).build().unwrap();
    let vip = cluster.vip();
    // Asked on the servers' Ethernet, where the director's copy of the address is not either.
    let index = cluster.director().interface("to-servers").index;
    let director = cluster.director_mut();
    director.netns().sysctl("net/ipv4/neigh/to-servers/retrans_time_ms", "20").unwrap();
    director.netlink().probe_neighbour(index, vip.into()).unwrap();
    let mut state = None;
    wait_until("nobody answers", Duration::from_secs(5), || {
        let neighbours = director.netlink().neighbours().unwrap();
        state = neighbours.iter().find(|n| n.address == vip).map(|n| n.state);
        state == Some(NeighbourState::Failed)
    })
    .unwrap_or_else(|e| panic!("{e}; state {state:?}"));
}

#[test]
fn wrong_sizes_and_impossible_ways_are_refused() {
    for count in [0, 201, 100_000] {
        let error = Cluster::routed(count).build().unwrap_err();
        assert!(matches!(error, Error::ServerCount { wanted, maximum: 200 } if wanted == count));
    }
    let error = Cluster::routed(1).replies(Replies::PastDirector).build().unwrap_err();
    assert!(matches!(error, Error::NoWayAround));
    let mut cluster = Cluster::routed(1).build().unwrap();
    assert!(matches!(cluster.set_replies(Replies::PastDirector), Err(Error::NoWayAround)));
    assert_eq!(cluster.replies(), Replies::ThroughDirector);
}

#[test]
fn several_at_once_and_nothing_left() {
    let first = Cluster::switched(1).build().unwrap();
    let second = Cluster::switched(1).build().unwrap();
    let names: Vec<String> = [&first, &second]
        .into_iter()
        .flat_map(|c| c.servers().iter().chain([c.client(), c.director(), c.fabric().unwrap()]))
        .map(|host| host.netns().name().to_owned())
        .collect();
    assert_eq!(names.len(), 8);
    let mine = Residue::namespaces_of(std::process::id());
    assert!(names.iter().all(|name| mine.contains(name)));
    assert_ne!(names[0], names[4]);
    every_server_answers(&first, Family::V4);
    every_server_answers(&second, Family::V4);
    drop((first, second));
    let left = Residue::namespaces_of(std::process::id());
    assert!(names.iter().all(|name| !left.contains(name)), "{left:?}");
}

#[test]
fn director_parameters() {
    for on in [true, false] {
        let cluster = Cluster::switched(1).ip_forward(on).build().unwrap();
        let read = |path: &str| cluster.director().netns().enter(|| sysctl::read(path)).unwrap().unwrap();
        assert_eq!(read("net/ipv4/ip_forward"), if on { "1" } else { "0" });
        for interface in ["all", "to-client", "to-servers"] {
            assert_eq!(read(&format!("net/ipv4/conf/{interface}/rp_filter")), "0", "{interface}");
        }
    }
}
