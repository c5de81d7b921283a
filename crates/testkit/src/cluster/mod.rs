//! Clusters: a client, a director and real servers, each in a network namespace.
//!
//! **Switched** ([`Cluster::switched`]), for every forwarding method. Director and servers share an Ethernet, and a
//! router beside the director leads from the servers back to the client:
//!
//! ```text
//!            192.0.2.0/24                                   10.10.0.0/24
//!  client ──── .10      .2 ── to-client  director  to-servers ── .2     .11 ──── s1
//!                 │     │                                        │       .12 ──── s2
//!             bridge "clients" ── .1 ────── fabric ────── .1 ── bridge "servers"
//! ```
//!
//! **Routed** ([`Cluster::routed`]), for NAT and for measuring without a bridge in the way: a cable from the director to
//! each server.
//!
//! ```text
//!  client .10 ── 192.0.2.0/24 ── .2 to-client  director  to-s1 .2 ── 10.10.1.0/24 ── .11 s1
//!                                                        to-s2 .2 ── 10.10.2.0/24 ── .11 s2
//! ```
//!
//! In both, the director holds the virtual address 203.0.113.10, the client's default route is the director, and the
//! interface of clients and servers is `eth0`. With IPv6 ([`ClusterBuilder::ipv6`]) each address has a counterpart: the
//! virtual one is 2001:db8:113::10, the clients' network 2001:db8:2::/64, the servers' 2001:db8:10::/64.

mod address;
mod build;
mod host;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use build::{ClusterBuilder, Neighbours, Offloads};
pub use host::{Host, Interface};
use rvs_netlink::sysctl;

use crate::error::{Error, Result};
use crate::http::HttpServer;

/// Index of the loopback link in every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// How replies travel from the real servers to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replies {
    /// Back through the director, which is the servers' default route: NAT and full NAT.
    ThroughDirector,
    /// Past the director: the servers hold the virtual address (on loopback, without answering ARP for it) and their
    /// default route is the fabric's router. Direct routing and tunnelling.
    PastDirector,
}

/// A family of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Switched,
    Routed,
}

/// A running cluster. Dropping it removes its namespaces, and with them all links in them; programs started on its hosts
/// are for their starters to end.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    client: Host,
    director: Host,
    servers: Vec<Host>,
    fabric: Option<Host>,
    replies: Replies,
    has_ipv6: bool,
}

impl Cluster {
    /// A cluster whose director and servers share an Ethernet.
    pub fn switched(servers: usize) -> ClusterBuilder {
        ClusterBuilder::new(Layout::Switched, servers)
    }

    /// A cluster with a cable from the director to each server.
    pub fn routed(servers: usize) -> ClusterBuilder {
        ClusterBuilder::new(Layout::Routed, servers)
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Host {
        &self.client
    }

    /// The director. Its interfaces: `to-client`, and `to-servers` or one `to-sN` for each server.
    #[must_use]
    pub fn director(&self) -> &Host {
        &self.director
    }

    /// The director, for changes to its network.
    pub fn director_mut(&mut self) -> &mut Host {
        &mut self.director
    }

    /// The client, for changes to its network.
    pub fn client_mut(&mut self) -> &mut Host {
        &mut self.client
    }

    /// The real servers, `s1` first.
    #[must_use]
    pub fn servers(&self) -> &[Host] {
        &self.servers
    }

    /// The namespace of bridges and router; only the switched layout has it.
    #[must_use]
    pub fn fabric(&self) -> Option<&Host> {
        self.fabric.as_ref()
    }

    /// The same, for changes to its network.
    pub fn fabric_mut(&mut self) -> Option<&mut Host> {
        self.fabric.as_mut()
    }

    /// The virtual address.
    #[must_use]
    pub fn vip(&self) -> Ipv4Addr {
        address::VIP
    }

    /// The virtual address of a family.
    #[must_use]
    pub fn vip_in(&self, family: Family) -> IpAddr {
        match family {
            Family::V4 => address::VIP.into(),
            Family::V6 => address::v6(address::VIP).into(),
        }
    }

    /// Starts an HTTP server on each real server, on all its addresses; its name is the host's.
    pub fn start_servers(&self, port: u16) -> Result<Vec<HttpServer>> {
        let any =
            if self.has_ipv6 { IpAddr::from(Ipv6Addr::UNSPECIFIED) } else { Ipv4Addr::UNSPECIFIED.into() };
        let address = SocketAddr::from((any, port));
        self.servers.iter().map(|server| HttpServer::start(server.netns(), server.name(), address)).collect()
    }

    /// How replies travel now.
    #[must_use]
    pub fn replies(&self) -> Replies {
        self.replies
    }

    /// Changes how replies travel, so that one cluster serves one forwarding method after another.
    pub fn set_replies(&mut self, replies: Replies) -> Result<()> {
        if replies == self.replies {
            return Ok(());
        }
        if self.layout == Layout::Routed && replies == Replies::PastDirector {
            return Err(Error::NoWayAround);
        }
        for server in &mut self.servers {
            match replies {
                Replies::PastDirector => {
                    hide_from_arp(server)?;
                    server.add_host_address(LOOPBACK, address::VIP)?;
                    server.set_gateway(address::FABRIC_SERVER_SIDE)?;
                }
                Replies::ThroughDirector => {
                    server.delete_host_address(LOOPBACK, address::VIP)?;
                    server.set_gateway(address::DIRECTOR_SERVER_SIDE)?;
                }
            }
        }
        self.replies = replies;
        Ok(())
    }
}

/// Keeps a server silent about the virtual address on its loopback: it answers ARP only for addresses of the interface
/// asked, and asks with such an address only. Otherwise it would take the virtual address from the director. In IPv6 a
/// host is that silent anyway.
fn hide_from_arp(server: &Host) -> Result<()> {
    server.netns().enter(|| {
        sysctl::write("net/ipv4/conf/all/arp_ignore", "1")?;
        sysctl::write("net/ipv4/conf/all/arp_announce", "2")
    })??;
    Ok(())
}
