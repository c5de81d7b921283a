//! What a sender is told, and at once, of what can't go on.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use rvs_wire::builder::{Payload, Tcp, Udp, checksums_ok};
use rvs_wire::{icmp, tcp};

use crate::method::Attach;
use crate::stage::LIMIT;
use crate::wire::{Seen, frame, receive, wire};
use crate::world::{FAMILIES, Way, World};

/// What counts as at once: less than the first repetition of a SYN (RFC 6298: 1 s).
const AT_ONCE: Duration = Duration::from_millis(900);
/// The same for TCP: on one machine the error may come back while `connect` still holds the socket, and then the kernel
/// only remembers it (`LockDroppedIcmps`); a repeated SYN is refused as the first one was.
const SOON: Duration = Duration::from_secs(5);
const PORT: u16 = 8000;

/// Sends a datagram to the service from the client; what it is told.
fn datagram(world: &World, service: SocketAddr) -> ErrorKind {
    let any: IpAddr = if service.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    let socket = world.client().netns().enter(|| UdpSocket::bind((any, 0)).unwrap()).unwrap();
    socket.connect(service).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    // The first may find no neighbour yet; that is no refusal.
    socket.send(b"anybody there?").unwrap();
    let start = Instant::now();
    let refused = socket.recv(&mut [0; 100]).unwrap_err();
    assert!(start.elapsed() < AT_ONCE, "{service}: {refused} after {:?}", start.elapsed());
    refused.kind()
}

/// A server's closed port: its kernel says so, and the director sends that on.
fn closed_ports_are_told(world: &World) {
    for family in FAMILIES {
        let service = world.add("-u", family, PORT, Way::NAT);
        assert_eq!(datagram(world, service), ErrorKind::ConnectionRefused, "{family:?}");
    }
}

/// A service without destinations: the director says that the port is closed.
fn empty_services_refuse(world: &World) {
    for family in FAMILIES {
        let service = world.add_service("-u", family, PORT + 1);
        assert_eq!(datagram(world, service), ErrorKind::ConnectionRefused, "{family:?}");
        let service = world.add_service("-t", family, PORT + 1);
        let start = Instant::now();
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--max-time", "10", &format!("http://{service}/")]);
        let output = world.client().netns().output(&mut command).unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // CURLE_COULDNT_CONNECT.
        assert_eq!(output.status.code(), Some(7), "{family:?}: {said}");
        assert!(start.elapsed() < SOON, "{family:?}: after {:?}: {said}", start.elapsed());
    }
}

/// Whether it is "time exceeded".
fn is_time_exceeded(seen: &Seen) -> bool {
    match seen.protocol {
        icmp::v4::PROTOCOL => seen.payload[0] == icmp::v4::TIME_EXCEEDED,
        icmp::v6::PROTOCOL => seen.payload[0] == icmp::v6::TIME_EXCEEDED,
        _ => false,
    }
}

/// Probes as traceroute sends them: the director is a hop, and answers with the virtual address. No more of them than one
/// sender is told of at once (six errors), with what came before.
fn probes_are_answered(world: &World) {
    for family in FAMILIES {
        for (way, port) in [(Way::NAT, PORT + 2), (Way::GRE, PORT + 3)] {
            let (kind, payload) = if way.options == Way::NAT.options {
                ("-u", Payload::Udp(Udp::new(40_000, port, b"probe")))
            } else {
                ("-t", Payload::Tcp(Tcp::new(40_001, port, tcp::SYN)))
            };
            world.add(kind, family, port, way);
            let mut client = wire(world.client());
            let from = (world.client(), world.client().address_in(family));
            let to = (world.cluster.director().interface("to-client").mac, world.cluster.vip_in(family));
            client.send(&frame(from, to, 1, &payload)).unwrap();
            let answer = receive(&mut client, is_time_exceeded);
            assert_eq!(answer.source, to.1, "{way:?} {family:?}");
            checksums_ok(&answer.frame).unwrap();
        }
    }
}

fn senders_are_told(attach: Attach) {
    let world = World::new(Way::NAT.replies(), attach);
    // One after the other: a sender is told only so often.
    closed_ports_are_told(&world);
    empty_services_refuse(&world);
    probes_are_answered(&world);
}

#[test]
fn senders_are_told_under_tc() {
    senders_are_told(Attach::Tc);
}

#[test]
fn senders_are_told_under_xdp() {
    senders_are_told(Attach::Xdp);
}
