//! Two directors that are real servers of each other's services: what one has balanced, the other leaves to its own server.

use std::net::SocketAddr;

use rvs_netlink::Netns;
use rvs_testkit::{Cluster, HttpClient, HttpServer, Replies, wait_until};

use crate::daemon::Daemon;
use crate::method::Attach;
use crate::stage::{LIMIT, start_daemon};

/// Requests, of which every other one goes to the server that is a director.
const REQUESTS: u64 = 40;

/// Adds the service with those destinations by direct routing.
fn balance(daemon: &Daemon, service: SocketAddr, servers: [SocketAddr; 2]) {
    daemon.ipvsadm(&format!("-A -t {service} -s rr"));
    for server in servers {
        daemon.ipvsadm(&format!("-a -t {service} -r {server} -g"));
    }
}

/// `s1` is a director too, whose destinations are the first director and `s2`.
fn are_not_balanced_twice(attach: Attach) {
    let builder = Cluster::switched(2).replies(Replies::PastDirector).offloads(attach.offloads());
    let cluster = builder.build().unwrap();
    let servers = cluster.start_servers(80).unwrap();
    let args = ["--attach", attach.name()];
    let first = start_daemon(&cluster, &args);
    let second = Daemon::start(Netns::open(cluster.servers()[0].netns().name()).unwrap(), &args);
    let service = SocketAddr::from((cluster.vip(), 80));
    let at = |address| SocketAddr::from((address, 80));
    let [s1, s2] = [0, 1].map(|n| at(cluster.servers()[n].address()));
    let director = at(cluster.director().interface("to-servers").address.unwrap());
    balance(&first, service, [s1, s2]);
    balance(&second, service, [director, s2]);

    let request = |count| HttpClient::new(service).requests(count).requests_per_connection(1);
    let ask = |count| request(count).run(cluster.client().netns()).unwrap();
    // Until the second director knows who the first one is, it balances what that sends.
    let knows = || {
        ask(2);
        second.counted("already_balanced") > 0
    };
    wait_until("the second director knows the first", LIMIT, knows).unwrap();
    let accepted = || servers.iter().map(HttpServer::connections).collect::<Vec<_>>();
    let (before, balanced) = (accepted(), second.counted("forward_dr"));
    let report = ask(REQUESTS);
    assert_eq!((report.answered(), report.failed()), (REQUESTS, 0), "{report:?}");
    let more: Vec<u64> = accepted().into_iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(more, [REQUESTS / 2; 2]);
    assert_eq!(second.counted("forward_dr"), balanced, "packets were balanced again");
}

#[test]
fn what_a_peer_balanced_is_not_balanced_again_under_tc() {
    are_not_balanced_twice(Attach::Tc);
}

#[test]
fn what_a_peer_balanced_is_not_balanced_again_under_xdp() {
    are_not_balanced_twice(Attach::Xdp);
}
