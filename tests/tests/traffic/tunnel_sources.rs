//! Tunnels from addresses that the operator chose.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rvs_testkit::{Capture, Direction, Family, Frame, Replies};
use rvs_wire::eth;

use crate::method::Attach;
use crate::transfer::download;
use crate::turn::await_turn;
use crate::world::{FAMILIES, Way, World};

const PREFIXES: [&str; 4] = ["--tunnel-sources", "10.250.0.0/16", "--tunnel-sources", "fd00:250::/64"];
/// Connections of a client, each a flow.
const FLOWS: usize = 8;
/// The first virtual port.
const PORT: u16 = 8000;

/// The outer source of a frame that the server received, if it is of a tunnel to its address.
fn source(frame: &Frame, server: IpAddr) -> Option<IpAddr> {
    let bytes = frame.bytes.get(eth::LEN..)?;
    let (source, destination, protocol) = match server {
        IpAddr::V4(_) => {
            let at = |at: usize| Some(IpAddr::from(<[u8; 4]>::try_from(bytes.get(at..at + 4)?).ok()?));
            (at(12)?, at(16)?, *bytes.get(9)?)
        }
        IpAddr::V6(_) => {
            let at = |at: usize| Some(IpAddr::from(<[u8; 16]>::try_from(bytes.get(at..at + 16)?).ok()?));
            (at(8)?, at(24)?, *bytes.get(6)?)
        }
    };
    // IPv4 in IP, IPv6 in IP, GRE.
    let is_tunnel = frame.direction == Direction::Received && matches!(protocol, 4 | 41 | 47);
    (is_tunnel && destination == server).then_some(source)
}

/// The outer sources of some connections.
fn sources(world: &World, service: SocketAddr, family: Family) -> BTreeSet<IpAddr> {
    let server = world.server().address_in(family);
    let mut capture = Capture::open(world.server().netns(), "eth0").unwrap();
    for _ in 0..FLOWS {
        download(world.client(), service, 1000);
    }
    let mut sources = BTreeSet::new();
    while let Some(frame) = capture.next_matching(Duration::ZERO, |f| source(f, server).is_some()).unwrap() {
        sources.extend(source(&frame, server));
    }
    sources
}

fn is_chosen(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..2] == [10, 250],
        IpAddr::V6(v6) => v6.segments()[..4] == [0xfd00, 0x250, 0, 0],
    }
}

fn come_from_the_prefix(attach: Attach) {
    let _turn = await_turn();
    let mut world = World::with_options(Replies::PastDirector, attach, &PREFIXES);
    let mut services = Vec::new();
    for way in [Way::IPIP, Way::GRE] {
        for family in FAMILIES {
            let port = PORT + u16::try_from(services.len()).unwrap();
            let service = world.serve(family, port, way);
            let seen = sources(&world, service, family);
            assert!(seen.len() > 1 && seen.iter().all(is_chosen), "{service}: {seen:?}");
            services.push((service, family));
        }
    }
    // The next director is not told of any.
    world.daemon.kill();
    world.daemon.restart_with(&["--attach", attach.name()]);
    for (service, family) in services {
        let seen = sources(&world, service, family);
        assert!(seen.len() == 1 && !seen.iter().any(is_chosen), "{service}: {seen:?}");
    }
}

#[test]
fn under_tc() {
    come_from_the_prefix(Attach::Tc);
}

#[test]
fn under_xdp() {
    come_from_the_prefix(Attach::Xdp);
}
