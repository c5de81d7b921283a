//! The rig: a client that makes frames, a director, a server that counts and discards them.
//!
//! ```text
//!  client                    director                     server
//!  eth0, live frames ──── to-client    to-s1 ──── eth0, XDP: count and discard
//! ```
//!
//! All on one CPU: the thread that runs the generator also handles, at the end of each batch of frames, what these set
//! off. So a packet's time is that of the whole way: generator, two virtual cables, director, counter. The subject
//! "return" is the same way without a director: a program that sends each frame back at once.

mod conntrack;
mod generator;
mod plane;
mod programs;
mod sink;
mod subject;

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail};
use rvs_netlink::{Prefix, Route};
use rvs_testkit::{Cluster, Neighbours, Offloads};

pub(crate) use generator::{End, FRAME_LEN, Generator, Kind, Traffic, aim, context};
pub(crate) use plane::{BIND_PORT, DataPlane, Service, add_destination, add_service, conns_of};
pub(crate) use programs::{Programs, program_by_id};
pub(crate) use sink::Sink;
pub(crate) use subject::{Hook, Subject};

use crate::measure::Cpu;

/// Destinations of each service: addresses of the one server.
pub(crate) const DESTS: u8 = 16;
/// The clients' network (RFC 2544).
const CLIENTS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
const CLIENTS_PREFIX: u8 = 15;
/// Least share of frames that must arrive for a time to count, in percent.
const ARRIVAL_MIN_PERCENT: u64 = 99;

/// Address of a destination, numbered from 0.
pub(crate) fn dest(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 10, 1, 101 + number)
}

/// Network, generators and counters.
#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) cluster: Cluster,
    pub(crate) cpu: Cpu,
    pub(crate) client: Generator,
    pub(crate) server: Generator,
    at_client: Sink,
    at_server: Sink,
}

impl Rig {
    /// Builds it.
    pub(crate) fn new(cpu: Cpu) -> Result<Self> {
        let mut cluster =
            Cluster::routed(1).neighbours(Neighbours::Static).offloads(Offloads::XdpReady).build()?;
        give_addresses(&mut cluster)?;
        // Frames from the generator reach an interface only if that polls for them.
        let mut ethtool = cluster.director().netns().ethtool()?;
        for interface in cluster.director().interfaces() {
            ethtool.set_gro(interface.index, true)?;
        }
        let (client, server) = (cluster.client(), &cluster.servers()[0]);
        let at_client = Sink::attach(client.netns(), client.interface("eth0").index)?;
        let at_server = Sink::attach(server.netns(), server.interface("eth0").index)?;
        Ok(Self {
            client: Generator::new(client.interface("eth0"), cluster.director().interface("to-client"))?,
            server: Generator::new(server.interface("eth0"), cluster.director().interface("to-s1"))?,
            at_client,
            at_server,
            cluster,
            cpu,
        })
    }

    /// Has the generators make this from now on.
    pub(crate) fn aim(&mut self, traffic: &Traffic) -> Result<()> {
        match traffic.end {
            End::Client => self.client.aim(traffic),
            End::Server => self.server.aim(traffic),
        }
    }

    /// Sends frames of what was aimed at `end` last; returns how many arrived at an end, and the
    /// nanoseconds of CPU that all of it took.
    pub(crate) fn send(&self, end: End, frames: u64) -> Result<(u64, u64)> {
        let (host, generator) = match end {
            End::Client => (self.cluster.client(), &self.client),
            End::Server => (&self.cluster.servers()[0], &self.server),
        };
        let before = self.arrived()?;
        let nanos = host.netns().enter(|| generator.send(&self.cpu, frames))??;
        Ok((self.arrived()? - before, nanos))
    }

    /// As [`Rig::send`], for frames that must arrive.
    pub(crate) fn send_all(&self, end: End, frames: u64) -> Result<u64> {
        let (arrived, nanos) = self.send(end, frames)?;
        if arrived * 100 < frames * ARRIVAL_MIN_PERCENT {
            bail!("of {frames} frames only {arrived} arrived");
        }
        Ok(nanos)
    }

    fn arrived(&self) -> Result<u64> {
        Ok(self.at_client.arrived()? + self.at_server.arrived()?)
    }

    /// Numbers of the director's interfaces: to the client, to the server.
    pub(crate) fn ports(&self) -> [u32; 2] {
        ["to-client", "to-s1"].map(|name| self.cluster.director().interface(name).index)
    }
}

/// The server has the destinations' addresses, everybody knows where everybody is, and clients are behind the client.
fn give_addresses(cluster: &mut Cluster) -> Result<()> {
    let server = cluster.servers()[0].interface("eth0").clone();
    let client = cluster.client().address();
    let to_server = cluster.director().interface("to-s1").index;
    let mut at_server = cluster.servers()[0].netns().netlink()?;
    let director = cluster.director_mut().netlink();
    for number in 0..DESTS {
        at_server.add_address(server.index, Prefix::host(dest(number)))?;
        director.add_neighbour(to_server, dest(number).into(), server.mac)?;
    }
    let clients = Prefix::new(CLIENTS, CLIENTS_PREFIX).context("the clients' network")?;
    director.add_route(&Route::to(clients).via(client))?;
    Ok(())
}
