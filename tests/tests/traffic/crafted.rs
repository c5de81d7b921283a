//! Protocols that this kernel may not have itself, SCTP and ESP: both ends are written byte by byte.

use std::net::IpAddr;

use rvs_netlink::MacAddr;
use rvs_testkit::{Capture, Family, Replies};
use rvs_wire::builder::{Payload, Sctp, Udp, checksums_ok};
use rvs_wire::sctp::chunk;

use crate::method::Attach;
use crate::wire::{Seen, frame, receive, wire};
use crate::world::{FAMILIES, Way, World};

/// A client's port, and the service's.
const CLIENT_PORT: u16 = 40_000;
const PORT: u16 = 8000;
/// Of IKE (RFC 7296 §2).
const IKE: u16 = 500;
const UDP: u8 = 17;
const ESP: u8 = 50;
const SCTP: u8 = 132;

/// Both ends of a service, and what they see.
struct Ends<'a> {
    world: &'a World,
    client: Capture,
    server: Capture,
    addresses: [IpAddr; 3],
    /// Where the server's packets go.
    gateway: MacAddr,
    is_nat: bool,
}

impl<'a> Ends<'a> {
    fn new(world: &'a World, family: Family) -> Self {
        let is_nat = world.cluster.replies() == Replies::ThroughDirector;
        let router = if is_nat {
            world.cluster.director().interface("to-servers")
        } else {
            world.cluster.fabric().unwrap().interface("servers")
        };
        Self {
            world,
            client: wire(world.client()),
            server: wire(world.server()),
            addresses: [
                world.client().address_in(family),
                world.cluster.vip_in(family),
                world.server().address_in(family),
            ],
            gateway: router.mac,
            is_nat,
        }
    }

    /// Sends from the client; what the server sees, with checksums that are right.
    fn ask(&mut self, payload: &Payload) -> Seen {
        let [client, vip, server] = self.addresses;
        let to = (self.world.cluster.director().interface("to-client").mac, vip);
        self.client.send(&frame((self.world.client(), client), to, 64, payload)).unwrap();
        let protocol = payload.protocol();
        let seen = receive(&mut self.server, |seen| seen.source == client && seen.protocol == protocol);
        assert_eq!(seen.destination, if self.is_nat { server } else { vip });
        checksums_ok(&seen.frame).unwrap();
        seen
    }

    /// Sends from the server; what the client sees.
    fn answer(&mut self, payload: &Payload) -> Seen {
        let [client, vip, server] = self.addresses;
        let from = (self.world.server(), if self.is_nat { server } else { vip });
        self.server.send(&frame(from, (self.gateway, client), 64, payload)).unwrap();
        let protocol = payload.protocol();
        let seen = receive(&mut self.client, |seen| seen.destination == client && seen.protocol == protocol);
        assert_eq!(seen.source, vip);
        checksums_ok(&seen.frame).unwrap();
        seen
    }
}

fn ports(seen: &Seen) -> [u16; 2] {
    let [a, b, c, d] = seen.payload[..4].try_into().unwrap();
    [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
}

/// An association: opened, used, closed.
fn sctp(world: &World, way: Way) {
    for family in FAMILIES {
        world.add("--sctp-service", family, PORT, way);
        let mut ends = Ends::new(world, family);
        let port = way.server_port(PORT);
        for (asked, answered) in [
            (chunk::INIT, chunk::INIT_ACK),
            (chunk::COOKIE_ECHO, chunk::COOKIE_ACK),
            (chunk::DATA, chunk::DATA),
            (chunk::SHUTDOWN, chunk::SHUTDOWN_ACK),
        ] {
            let seen = ends.ask(&Payload::Sctp(Sctp::new(CLIENT_PORT, PORT, &[asked])));
            assert_eq!((ports(&seen), seen.payload[12]), ([CLIENT_PORT, port], asked), "{way:?} {family:?}");
            let seen = ends.answer(&Payload::Sctp(Sctp::new(port, CLIENT_PORT, &[answered])));
            assert_eq!(
                (ports(&seen), seen.payload[12]),
                ([PORT, CLIENT_PORT], answered),
                "{way:?} {family:?}"
            );
            assert_eq!(seen.protocol, SCTP);
        }
        let listed = world.daemon.ipvsadm("-Lnc");
        assert!(listed.lines().any(|line| line.starts_with("SCTP")), "{listed}");
    }
}

/// ESP follows the exchange of keys between the same ends (ipvs.md §4.2), and goes nowhere without one.
fn esp(world: &World, way: Way) {
    for family in FAMILIES {
        let service = world.add_service("-u", family, IKE);
        let server = std::net::SocketAddr::new(world.server_address(family, way), IKE);
        world.daemon.ipvsadm(&format!("-a -u {service} -r {server} {}", way.options));
        let mut ends = Ends::new(world, family);
        let seen = ends.ask(&Payload::Udp(Udp::new(IKE, IKE, b"IKE_SA_INIT")));
        assert_eq!((seen.protocol, ports(&seen)), (UDP, [IKE, IKE]));
        let seen = ends.answer(&Payload::Udp(Udp::new(IKE, IKE, b"IKE_SA_INIT too")));
        assert_eq!((seen.protocol, ports(&seen)), (UDP, [IKE, IKE]));
        for number in 1..=3 {
            // Index of the association, sequence number, and what nobody on the way can read.
            let sealed = [&[0, 0, 0x10, 1, 0, 0, 0, number][..], &[0xa5; 40]].concat();
            assert_eq!(ends.ask(&Payload::Other(ESP, sealed.clone())).payload[..48], sealed);
            assert_eq!(ends.answer(&Payload::Other(ESP, sealed.clone())).payload[..48], sealed);
        }
    }
}

fn both(way: Way, attach: Attach) {
    let world = World::new(way.replies(), attach);
    sctp(&world, way);
    esp(&world, way);
}

#[test]
fn by_nat_under_tc() {
    both(Way::NAT, Attach::Tc);
}

#[test]
fn by_nat_under_xdp() {
    both(Way::NAT, Attach::Xdp);
}

#[test]
fn by_dr_under_tc() {
    both(Way::DR, Attach::Tc);
}

#[test]
fn by_dr_under_xdp() {
    both(Way::DR, Attach::Xdp);
}
