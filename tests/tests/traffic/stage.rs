//! A cluster with a director and servers, and a service that the director balances.

use std::net::SocketAddr;
use std::time::Duration;

use rvs_dataplane::agent::{Decap, DecapMode, DecapOptions, attach_decap};
use rvs_netlink::Netns;
use rvs_testkit::{Cluster, ClusterBuilder, HttpClient, HttpServer, Report};

use crate::daemon::Daemon;
use crate::method::{Attach, Method};

/// Weights of the servers, `s1` first.
pub(crate) const WEIGHTS: [u32; 3] = [3, 2, 1];
/// How long anything may take that takes milliseconds.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// What a test stands on. Taken down in the order of its fields.
#[derive(Debug)]
pub(crate) struct Stage {
    _tunnels: Vec<Decap>,
    pub(crate) daemon: Daemon,
    pub(crate) servers: Vec<HttpServer>,
    pub(crate) cluster: Cluster,
    pub(crate) method: Method,
}

impl Stage {
    /// Three servers behind port 80 of the virtual address, balanced by weights.
    pub(crate) fn new(method: Method, attach: Attach) -> Self {
        Self::build(method, attach, Cluster::switched(WEIGHTS.len()))
    }

    /// As [`Stage::new`], in another cluster of three servers.
    pub(crate) fn build(method: Method, attach: Attach, builder: ClusterBuilder) -> Self {
        let cluster = builder.replies(method.replies()).offloads(attach.offloads()).build().unwrap();
        // A port that is used again soon belongs, to a director that sees one direction only, to the old connection
        // (ipvs.md §2.3): it would stay with its server, whatever the weights.
        cluster.client().netns().sysctl("net/ipv4/tcp_tw_reuse", "0").unwrap();
        let servers = cluster.start_servers(method.server_port()).unwrap();
        let daemon = start_daemon(&cluster, &["--attach", attach.name()]);
        for interface in daemon.status()["interfaces"].as_array().unwrap() {
            assert_eq!(interface["attach"], attach.name(), "{interface}");
        }
        let stage = Self { _tunnels: tunnels(method, &cluster), daemon, servers, cluster, method };
        stage.ipvsadm(&format!("-A -t {} -s wrr", stage.service()));
        for (number, weight) in WEIGHTS.into_iter().enumerate() {
            stage.ipvsadm(&stage.destination("-a", number, weight));
        }
        stage
    }

    /// Address and port of the service.
    pub(crate) fn service(&self) -> SocketAddr {
        SocketAddr::from((self.cluster.vip(), 80))
    }

    pub(crate) fn ipvsadm(&self, args: &str) -> String {
        self.daemon.ipvsadm(args)
    }

    /// Arguments of `ipvsadm` about a server, counted from 0.
    pub(crate) fn destination(&self, command: &str, number: usize, weight: u32) -> String {
        let address = SocketAddr::from((self.cluster.servers()[number].address(), self.method.server_port()));
        format!("{command} -t {} -r {address} {} -w {weight}", self.service(), self.method.option())
    }

    /// A client of the service.
    pub(crate) fn client(&self) -> HttpClient {
        HttpClient::new(self.service())
    }

    /// Makes requests over one connection each, all of which must be answered.
    pub(crate) fn request(&self, count: u64) -> Report {
        let client = self.client().requests(count).requests_per_connection(1);
        let report = client.run(self.cluster.client().netns()).unwrap();
        assert_eq!((report.answered(), report.failed()), (count, 0), "{report:?}");
        report
    }

    /// Connections that each server has accepted.
    pub(crate) fn accepted(&self) -> Vec<u64> {
        self.servers.iter().map(HttpServer::connections).collect()
    }
}

/// Starts a director in a cluster.
pub(crate) fn start_daemon(cluster: &Cluster, args: &[&str]) -> Daemon {
    Daemon::start(Netns::open(cluster.director().netns().name()).unwrap(), args)
}

/// The servers' ends of tunnels. Under TC, whatever the director does: the servers are not what is tested.
fn tunnels(method: Method, cluster: &Cluster) -> Vec<Decap> {
    let servers = if method == Method::Tun { cluster.servers() } else { &[] };
    let attach = || attach_decap("eth0", &DecapOptions::new(DecapMode::Tc)).unwrap();
    servers.iter().map(|server| server.netns().enter(attach).unwrap()).collect()
}
