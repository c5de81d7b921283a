//! Real packets: what the daemon adds to the programs.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use nix::sys::signal::Signal;
use rvs_netlink::{Prefix, Route};
use rvs_testkit::{Cluster, HttpClient, wait_until};

use crate::support::{Director, LIMIT, SMALL};

/// A service on the cluster's virtual address with two destinations by NAT.
fn rules(cluster: &Cluster) -> String {
    let vip = cluster.vip();
    let dests =
        cluster.servers().iter().map(|server| format!("-a -t {vip}:80 -r {}:80 -m\n", server.address()));
    format!("-A -t {vip}:80 -s rr\n{}", dests.collect::<String>())
}

fn connections(director: &Director<'_>) -> u64 {
    director.json(&["status"])["capacity"]["connections"]["used"].as_u64().unwrap()
}

#[test]
fn packets_and_connections_outlive_the_daemon() {
    let cluster = Cluster::switched(2).build().unwrap();
    let _servers = cluster.start_servers(80).unwrap();
    let mut director = Director::start(cluster.director().netns(), &SMALL);
    director.ipvsadm_reading(&["-R"], &rules(&cluster)).success();
    let target = SocketAddr::from((cluster.vip(), 80));
    let client = HttpClient::new(target).connections(4).requests(4_000).requests_per_connection(100);
    let run = client.start(cluster.client().netns()).unwrap();
    for _ in 0..3 {
        director.end(Signal::SIGKILL);
        director.start_again();
    }
    let report = run.wait();
    assert_eq!(report.failed(), 0, "{report:?}");
    assert_eq!(report.answers_of("s1") + report.answers_of("s2"), 4_000, "{report:?}");

    let shown = director.json(&["connections"]);
    let shown = shown["connections"].as_array().unwrap();
    assert_eq!(shown.len() as u64, connections(&director));
    assert_eq!(shown.len() as u64, report.connections);
    let listed = director.ipvsadm(&["-Lnc"]).success();
    assert_eq!(listed.lines().count() - 2, shown.len());
    let line = format!(" {}:80    10.10.0.11:80\n", cluster.vip());
    assert!(listed.contains(&line), "{listed}");
    let service = &director.json(&["services"])["services"][0];
    assert_eq!(service["counters"]["conns"], report.connections);
    let shares = [0, 1].map(|n| service["destinations"][n]["counters"]["conns"].as_u64().unwrap());
    assert!(shares[0].abs_diff(shares[1]) <= 1, "in turn, across restarts: {shares:?}");
}

#[test]
fn pages_have_each_connection_once() {
    let cluster = Cluster::switched(1).build().unwrap();
    let _servers = cluster.start_servers(80).unwrap();
    let director = Director::start(cluster.director().netns(), &SMALL);
    director.ipvsadm_reading(&["-R"], &rules(&cluster)).success();
    let target = SocketAddr::from((cluster.vip(), 80));
    let client = HttpClient::new(target).connections(2).requests(40).requests_per_connection(1);
    assert_eq!(client.run(cluster.client().netns()).unwrap().failed(), 0);

    let mut client = rvs_control::Client::connect(director.socket()).unwrap();
    let mut all = Vec::new();
    let mut query = rvs_control::api::ConnQuery { cursor: 0, limit: 3 };
    loop {
        let page = client.connections(query).unwrap();
        assert!(page.connections.len() <= 3);
        all.extend(page.connections.into_iter().map(|conn| conn.client_port));
        let Some(next) = page.next else { break };
        query.cursor = next;
    }
    all.sort_unstable();
    let count = all.len();
    all.dedup();
    assert_eq!((count, all.len()), (40, 40));
}

/// Time-outs of one second: the sweeper gives back the slots and takes back the counts.
#[test]
fn expired_connections_are_swept() {
    let cluster = Cluster::switched(1).build().unwrap();
    let _servers = cluster.start_servers(80).unwrap();
    let director = Director::start(cluster.director().netns(), &SMALL);
    director.ipvsadm_reading(&["-R"], &rules(&cluster)).success();
    director.ipvsadm(&["--set", "1", "1", "1"]).success();
    let (vip, client) = (cluster.vip(), cluster.client().netns());
    let stream = client.enter(|| std::net::TcpStream::connect((vip, 80)).unwrap()).unwrap();
    assert_eq!(connections(&director), 1);
    assert!(director.ipvsadm(&["-Lnc"]).success().contains("ESTABLISHED"));
    wait_until("the connection is swept", LIMIT, || connections(&director) == 0).unwrap();
    assert_eq!(director.json(&["services"])["services"][0]["destinations"][0]["active_conns"], 0);
    drop(stream);
}

#[test]
fn neighbours_of_new_destinations_are_resolved_before_the_first_packet() {
    let cluster = Cluster::switched(2).build().unwrap();
    let addresses: Vec<std::net::IpAddr> = cluster.servers().iter().map(|s| s.address().into()).collect();
    let rules = rules(&cluster);
    let netlink = || cluster.director().netns().netlink().unwrap();
    let director = Director::start(cluster.director().netns(), &SMALL);
    let known = || {
        let table = netlink().neighbours().unwrap();
        let usable = |address| table.iter().any(|n| n.address == address && n.usable_mac().is_some());
        addresses.iter().filter(|address| usable(**address)).count()
    };
    assert_eq!(known(), 0);
    director.ipvsadm_reading(&["-R"], &rules).success();
    wait_until("both are resolved", LIMIT, || known() == 2).unwrap();

    // Forgotten ones too.
    let index = cluster.director().interface("to-servers").index;
    netlink().flush_neighbours(index).unwrap();
    wait_until("both are resolved again", LIMIT, || known() == 2).unwrap();
}

#[test]
fn destinations_without_a_route_are_named_until_they_have_one() {
    let cluster = Cluster::switched(1).build().unwrap();
    let index = cluster.director().interface("to-servers").index;
    let mut netlink = cluster.director().netns().netlink().unwrap();
    let director = Director::start(cluster.director().netns(), &SMALL);
    director.ipvsadm(&["-A", "-t", "203.0.113.10:80"]).success();
    director.ipvsadm(&["-a", "-t", "203.0.113.10:80", "-r", "198.51.100.7"]).success();
    let warnings = || director.json(&["status"])["warnings"].as_array().unwrap().clone();
    assert_eq!(warnings(), ["destinations without a route: 198.51.100.7 (unreachable)"]);
    director.wait_for_log("destination 198.51.100.7: no route (unreachable)");

    let route = Route::to(Prefix::new(std::net::Ipv4Addr::new(198, 51, 100, 0), 24).unwrap()).dev(index);
    netlink.add_route(&route).unwrap();
    director.wait_for_log("destination 198.51.100.7: has a route again");
    // Nobody is there to answer.
    let silent = ["next hops that don't answer: 198.51.100.7 on to-servers"];
    wait_until("the neighbour failed", LIMIT, || warnings() == silent).unwrap();
}

#[test]
fn drops_are_counted_under_their_reason() {
    let cluster = Cluster::switched(1).build().unwrap();
    let director = Director::start(cluster.director().netns(), &SMALL);
    let target = SocketAddr::from((cluster.vip(), 80));
    director.ipvsadm(&["-A", "-t", &target.to_string()]).success();
    let connect = || std::net::TcpStream::connect_timeout(&target, std::time::Duration::from_millis(100));
    assert!(cluster.client().netns().enter(connect).unwrap().is_err());

    let shown = director.json(&["status", "--drops"]);
    let rows = shown["counters"].as_array().unwrap();
    let dropped = rows.iter().filter(|row| row["class"] == "drop" && row["count"] != 0);
    let dropped: Vec<_> = dropped.map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(dropped, ["no_destination"]);
    let classes: BTreeSet<_> = rows.iter().map(|row| row["class"].as_str().unwrap()).collect();
    assert_eq!(classes, BTreeSet::from(["drop", "hand-over", "pass"]));
    let shown = director.rvs(&["status", "--drops"]).success();
    assert!(shown.starts_with("Dropped:\nPackets  Reason "), "{shown}");
    assert!(shown.contains("\n\nPassed on to the network stack as they came:\nPackets  Reason "), "{shown}");
    let row = "\n      1  no_destination       the service has no destination that takes new connections\n";
    assert!(shown.contains(row), "{shown}");
}
