//! What a method is shown on: a cluster with servers, and a director in it.

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use rvs_dataplane::agent::{Decap, DecapMode, DecapOptions, attach_decap};
use rvs_netlink::Netns;
use rvs_testkit::{Cluster, Host, HttpClient, HttpServer};
use rvs_wire::gue;

use super::director::Director;
use super::interrupt::Interrupt;
use super::method::{Kind, Method, VIRTUAL_PORT};

/// Weights of the servers, `s1` first.
pub(super) const WEIGHTS: [u32; 3] = [3, 2, 1];

/// The stage. Dropping it takes everything down, in the order of its fields.
#[derive(Debug)]
pub(super) struct Stage {
    /// The ends of the tunnels, at the servers.
    _tunnels: Vec<Decap>,
    pub(super) director: Director,
    pub(super) servers: Vec<HttpServer>,
    pub(super) cluster: Cluster,
    method: Method,
}

impl Stage {
    /// Builds it.
    ///
    /// # Errors
    /// When it can't be built, or a signal comes.
    pub(super) fn build(method: Method, interrupt: &Interrupt) -> Result<Self> {
        let builder = Cluster::switched(WEIGHTS.len()).ipv6(method.has_ipv6());
        let cluster = builder.replies(method.replies()).build()?;
        // A port that is used again soon belongs, to a director that sees one direction only, to the old connection
        // (ipvs.md §2.3): it would stay with its server, whatever the weights.
        cluster.client().netns().sysctl("net/ipv4/tcp_tw_reuse", "0")?;
        interrupt.check()?;
        let servers = cluster.start_servers(method.server_port())?;
        let tunnels = if matches!(method.kind, Kind::Tun(_)) {
            cluster.servers().iter().map(unpack).collect::<Result<_>>()?
        } else {
            Vec::new()
        };
        let director = Director::start(Netns::open(cluster.director().netns().name())?, interrupt)?;
        Ok(Self { _tunnels: tunnels, director, servers, cluster, method })
    }

    /// The virtual service.
    pub(super) fn service(&self) -> SocketAddr {
        SocketAddr::from((self.vip(), VIRTUAL_PORT))
    }

    /// The virtual address.
    pub(super) fn vip(&self) -> IpAddr {
        self.cluster.vip_in(self.method.family)
    }

    /// A client of the virtual service.
    pub(super) fn client(&self) -> HttpClient {
        HttpClient::new(self.service())
    }
}

/// Has a server take packets out of the director's tunnel. Under TC: what comes over a veth may be a large segment with
/// a partial checksum.
fn unpack(server: &Host) -> Result<Decap> {
    let options = DecapOptions { gue_port: Some(gue::PORT), ..DecapOptions::new(DecapMode::Tc) };
    Ok(server.netns().enter(|| attach_decap("eth0", &options))??)
}
