//! The kernel's filter by reverse path, which replies meet that pass the director on their way to the client.

use std::net::SocketAddr;
use std::time::Duration;

use rvs_netlink::{Prefix, Route};
use rvs_testkit::{Cluster, HttpClient, Replies, Report, wait_until};

use crate::daemon::Daemon;
use crate::stage::{LIMIT, start_daemon};

fn warnings(daemon: &Daemon) -> Vec<String> {
    let status = daemon.status();
    let warnings = status["warnings"].as_array().unwrap();
    let all = warnings.iter().map(|warning| warning.as_str().unwrap().to_owned());
    all.filter(|warning| warning.contains("rp_filter")).collect()
}

/// A server by direct routing whose way to clients is the director, which routes its replies on: they come from the virtual
/// address, whose route is on the other side.
#[test]
fn a_strict_filter_is_reported_with_the_command_that_loosens_it() {
    let mut cluster = Cluster::switched(1).replies(Replies::PastDirector).build().unwrap();
    let to_client = cluster.director().interface("to-client").index;
    let vip = Prefix::host(cluster.vip());
    let router = cluster.fabric().unwrap().interface("clients").address.unwrap();
    let at_director = cluster.director_mut().netlink();
    at_director.delete_address(to_client, vip).unwrap();
    at_director.add_route(&Route::default_v4().via(router)).unwrap();
    let director = cluster.director().interface("to-servers").address.unwrap();
    let mut at_server = cluster.servers()[0].netns().netlink().unwrap();
    at_server.replace_route(&Route::default_v4().via(director)).unwrap();
    cluster.director().netns().sysctl("net/ipv4/conf/all/rp_filter", "1").unwrap();

    let _servers = cluster.start_servers(80).unwrap();
    let daemon = start_daemon(&cluster, &["--attach", "tc"]);
    let service = SocketAddr::from((cluster.vip(), 80));
    let server = SocketAddr::from((cluster.servers()[0].address(), 80));
    daemon.ipvsadm(&format!("-A -t {service} -s rr"));
    daemon.ipvsadm(&format!("-a -t {service} -r {server} -g"));
    assert_eq!(warnings(&daemon), [""; 0], "before anything was dropped");

    let ask = || -> Report {
        let client = HttpClient::new(service).timeout(Duration::from_millis(500));
        client.run(cluster.client().netns()).unwrap()
    };
    assert_eq!(ask().answered(), 0);
    let warning = warnings(&daemon);
    let [warning] = warning.as_slice() else { panic!("{warning:?}") };
    assert!(warning.starts_with("interface to-servers: a strict rp_filter drops packets"), "{warning}");
    let (_, setting) = warning.rsplit_once(": sysctl -w ").unwrap();
    let (path, value) = setting.split_once('=').unwrap();
    cluster.director().netns().sysctl(path, value).unwrap();
    wait_until("an answer", LIMIT, || ask().answered() == 1).unwrap();
    assert_eq!(warnings(&daemon), [""; 0], "it is loose now");
}
