//! Building a cluster, step by step.

use std::io;
use std::net::IpAddr;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rvs_netlink::{MacAddr, Netns, sysctl};

use super::{Cluster, Host, Layout, Replies, address};
use crate::error::{Error, Result};
use crate::wait::wait_until;

/// How long the links may take until packets pass. Bridges open their ports with the kernel's link watch, which runs at
/// most once a second, and a lost ARP request is repeated after another.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);

/// Offloads of the hosts' interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offloads {
    /// As the kernel sets them: large segments, partial checksums. Right for TC.
    Default,
    /// What native XDP on the director's veths needs: full checksums from those who send (an XDP program can't see that
    /// one is partial), and GRO, which turns on NAPI, at those who receive (a redirected frame is lost without).
    XdpReady,
}

/// How hosts know each other's Ethernet addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Neighbours {
    /// By ARP. A fresh cluster knows none.
    Dynamic,
    /// By fixed entries, for all pairs on each network; no ARP disturbs a measurement.
    Static,
}

/// Options of a cluster to be built.
#[derive(Debug, Clone)]
#[must_use]
pub struct ClusterBuilder {
    layout: Layout,
    servers: usize,
    replies: Replies,
    ip_forward: bool,
    offloads: Offloads,
    neighbours: Neighbours,
    ipv6: bool,
}

impl ClusterBuilder {
    pub(super) fn new(layout: Layout, servers: usize) -> Self {
        Self {
            layout,
            servers,
            replies: Replies::ThroughDirector,
            ip_forward: true,
            offloads: Offloads::Default,
            neighbours: Neighbours::Dynamic,
            ipv6: false,
        }
    }

    /// How replies travel at the start. Default: through the director.
    pub fn replies(mut self, replies: Replies) -> Self {
        self.replies = replies;
        self
    }

    /// Whether the director's kernel forwards packets by itself. Default: yes.
    pub fn ip_forward(mut self, on: bool) -> Self {
        self.ip_forward = on;
        self
    }

    /// Offloads of the interfaces. Default: the kernel's.
    pub fn offloads(mut self, offloads: Offloads) -> Self {
        self.offloads = offloads;
        self
    }

    /// How Ethernet addresses become known. Default: by ARP.
    pub fn neighbours(mut self, neighbours: Neighbours) -> Self {
        self.neighbours = neighbours;
        self
    }

    /// Whether there is IPv6 beside IPv4. Default: no.
    pub fn ipv6(mut self, on: bool) -> Self {
        self.ipv6 = on;
        self
    }

    /// Builds the cluster. When this returns, packets pass between all neighbours.
    pub fn build(self) -> Result<Cluster> {
        let count = u8::try_from(self.servers).unwrap_or(u8::MAX);
        if count == 0 || usize::from(count) > address::SERVERS_MAX {
            return Err(Error::ServerCount { wanted: self.servers, maximum: address::SERVERS_MAX });
        }
        if self.layout == Layout::Routed && self.replies == Replies::PastDirector {
            return Err(Error::NoWayAround);
        }
        let (number, client) = unique_client(self.ipv6)?;
        let mut cluster = Cluster {
            layout: self.layout,
            client,
            director: host(number, "director", self.ipv6)?,
            servers: (1..=count).map(|n| host(number, &format!("s{n}"), self.ipv6)).collect::<Result<_>>()?,
            fabric: None,
            replies: Replies::ThroughDirector,
            has_ipv6: self.ipv6,
        };
        match self.layout {
            Layout::Switched => connect_switched(&mut cluster, host(number, "fabric", self.ipv6)?)?,
            Layout::Routed => connect_routed(&mut cluster)?,
        }
        set_parameters(&mut cluster, self.ip_forward)?;
        if self.offloads == Offloads::XdpReady {
            prepare_for_xdp(&cluster)?;
        }
        settle(&mut cluster, self.neighbours)?;
        cluster.set_replies(self.replies)?;
        Ok(cluster)
    }
}

fn namespace_name(number: u32, role: &str) -> String {
    format!("rvs-{}-{number}-{role}", process::id())
}

fn host(number: u32, role: &str, ipv6: bool) -> Result<Host> {
    Host::new(role, Netns::create(&namespace_name(number, role))?, ipv6)
}

/// Makes the first host, and with it finds a number that no other cluster of this process has, nor one that a killed
/// process of the same id left behind.
fn unique_client(ipv6: bool) -> Result<(u32, Host)> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        match Netns::create(&namespace_name(number, "client")) {
            Ok(netns) => return Ok((number, Host::new("client", netns, ipv6)?)),
            Err(e) if e.kind() == Some(io::ErrorKind::AlreadyExists) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Server numbers beside the servers.
fn numbered(servers: &mut [Host]) -> impl Iterator<Item = (u8, &mut Host)> {
    (1..=u8::MAX).zip(servers)
}

fn connect_switched(cluster: &mut Cluster, mut fabric: Host) -> Result<()> {
    let Cluster { client, director, servers, .. } = cluster;
    fabric.add_bridge("clients")?;
    fabric.add_bridge("servers")?;
    client.connect("eth0", &mut fabric, "client")?;
    fabric.add_port("clients", "client")?;
    director.connect("to-client", &mut fabric, "director-c")?;
    fabric.add_port("clients", "director-c")?;
    director.connect("to-servers", &mut fabric, "director-s")?;
    fabric.add_port("servers", "director-s")?;
    fabric.set_address("clients", address::FABRIC_CLIENT_SIDE)?;
    fabric.set_address("servers", address::FABRIC_SERVER_SIDE)?;
    client.set_address("eth0", address::CLIENT)?;
    director.set_address("to-client", address::DIRECTOR_CLIENT_SIDE)?;
    director.set_address("to-servers", address::DIRECTOR_SERVER_SIDE)?;
    for (number, server) in numbered(servers) {
        let port = server.name().to_owned();
        server.connect("eth0", &mut fabric, &port)?;
        fabric.add_port("servers", &port)?;
        server.set_address("eth0", address::switched_server(number))?;
        server.set_gateway(address::DIRECTOR_SERVER_SIDE)?;
    }
    cluster.fabric = Some(fabric);
    Ok(())
}

fn connect_routed(cluster: &mut Cluster) -> Result<()> {
    let Cluster { client, director, servers, .. } = cluster;
    director.connect("to-client", client, "eth0")?;
    client.set_address("eth0", address::CLIENT)?;
    director.set_address("to-client", address::DIRECTOR_CLIENT_SIDE)?;
    for (number, server) in numbered(servers) {
        let port = format!("to-{}", server.name());
        director.connect(&port, server, "eth0")?;
        director.set_address(&port, address::routed_director(number))?;
        server.set_address("eth0", address::routed_server(number))?;
        server.set_gateway(address::routed_director(number))?;
    }
    Ok(())
}

fn set_parameters(cluster: &mut Cluster, ip_forward: bool) -> Result<()> {
    let Cluster { client, director, servers, fabric, .. } = cluster;
    let vip_interface = director.interface("to-client").index;
    director.add_host_address(vip_interface, address::VIP)?;
    director.set_forwarding(ip_forward)?;
    client.set_gateway(address::DIRECTOR_CLIENT_SIDE)?;
    // A connection per request uses up the ports within seconds, each waiting a minute after its end.
    client.netns().sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
    client.netns().sysctl("net/ipv4/tcp_tw_reuse", "1")?;
    for server in servers {
        server.netns().sysctl("net/core/somaxconn", "4096")?;
    }
    if let Some(fabric) = fabric {
        fabric.set_forwarding(true)?;
        fabric.netns().enter(|| -> rvs_netlink::Result<()> {
            // A switch does not filter; with br_netfilter loaded, bridged packets would walk through the tables.
            for path in ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"] {
                if sysctl::exists(path) {
                    sysctl::write(path, "0")?;
                }
            }
            Ok(())
        })??;
    }
    Ok(())
}

fn prepare_for_xdp(cluster: &Cluster) -> Result<()> {
    for host in cluster.servers.iter().chain([&cluster.client]) {
        let index = host.interface("eth0").index;
        let mut ethtool = host.netns().ethtool()?;
        ethtool.set_tx_checksum(index, false)?;
        ethtool.set_gro(index, true)?;
    }
    // Here the director's cables end at the bridges.
    if let Some(fabric) = &cluster.fabric {
        let mut ethtool = fabric.netns().ethtool()?;
        for port in ["director-c", "director-s"] {
            ethtool.set_gro(fabric.interface(port).index, true)?;
        }
    }
    Ok(())
}

/// A place on one of the cluster's networks.
struct Station {
    host: usize,
    ifindex: u32,
    address: IpAddr,
    mac: MacAddr,
}

/// Waits until every host reaches every other one on its networks by ARP and its like, then fixes or forgets what was learnt.
fn settle(cluster: &mut Cluster, neighbours: Neighbours) -> Result<()> {
    let Cluster { client, director, servers, fabric, .. } = cluster;
    let mut hosts: Vec<&mut Host> = [client, director].into_iter().chain(servers).chain(fabric).collect();
    let mut stations = Vec::new();
    for (host, machine) in hosts.iter().enumerate() {
        for interface in machine.interfaces() {
            let addresses = interface.address.map(IpAddr::from).into_iter();
            let addresses = addresses.chain(interface.address_v6.map(IpAddr::from));
            let (ifindex, mac) = (interface.index, interface.mac);
            stations.extend(addresses.map(|address| Station { host, ifindex, address, mac }));
        }
    }
    for from in &stations {
        let same_network = |to: &&Station| address::share_network(to.address, from.address);
        let others: Vec<&Station> =
            stations.iter().filter(same_network).filter(|to| to.host != from.host).collect();
        let host = &mut *hosts[from.host];
        for to in &others {
            host.netlink().probe_neighbour(from.ifindex, to.address)?;
        }
        for to in &others {
            wait_for_neighbour(host, to)?;
        }
        if neighbours == Neighbours::Static {
            for to in &others {
                host.netlink().add_neighbour(from.ifindex, to.address, to.mac)?;
            }
        }
    }
    for station in &stations {
        hosts[station.host].netlink().flush_neighbours(station.ifindex)?;
    }
    Ok(())
}

fn wait_for_neighbour(host: &mut Host, neighbour: &Station) -> Result<()> {
    let what = format!("{} reaches {}", host.name(), neighbour.address);
    let address = neighbour.address;
    let mut failure = None;
    let waited = wait_until(&what, SETTLE_LIMIT, || match host.netlink().neighbours() {
        Ok(list) => list.iter().any(|n| n.address == address && n.usable_mac() == Some(neighbour.mac)),
        Err(e) => {
            failure = Some(e);
            true
        }
    });
    match failure {
        Some(e) => Err(e.into()),
        None => Ok(waited?),
    }
}
