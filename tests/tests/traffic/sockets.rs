//! Connections that live long, and programs that send datagrams.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rvs_testkit::{Family, Replies, wait_until};
use serde_json::Value;

use crate::method::Attach;
use crate::stage::LIMIT;
use crate::turn::await_turn;
use crate::world::{FAMILIES, Process, Way, World, output};

/// iperf3's own port, and that of the service.
const IPERF: u16 = 5201;
/// Bytes sent over TCP.
const BYTES: u64 = 50_000_000;
/// Datagrams: so many bytes, each of so many, at a speed that a busy machine keeps up with.
const DATAGRAMS: [&str; 7] = ["--udp", "--bytes", "2000000", "--length", "1000", "--bitrate", "20M"];
/// What the server answers to the request for a WebSocket (RFC 6455 §4.2.2).
const SWITCHING: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
/// Messages each way.
const MESSAGES: u8 = 100;

/// A server that switches to frames (RFC 6455 §5.2, opcode 2): sends each one back, and one of its own unasked.
fn websocket(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    stream.write_all(SWITCHING).unwrap();
    let mut frame = [0; 12];
    while stream.read_exact(&mut frame).is_ok() {
        stream.write_all(&frame).unwrap();
        stream.write_all(&[0x82, 10, b'p', b'u', b's', b'h', 0, 0, 0, 0, 0, frame[11]]).unwrap();
    }
}

/// Talks to it, over one connection from first to last, while the director is killed and started again.
fn converse(world: &mut World, service: SocketAddr) {
    let connect = || TcpStream::connect_timeout(&service, LIMIT).unwrap();
    let mut stream = world.client().netns().enter(connect).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        .unwrap();
    let mut head = vec![0; SWITCHING.len()];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head, SWITCHING);
    for number in 0..MESSAGES {
        if number == MESSAGES / 2 {
            world.daemon.kill();
        }
        let message = [0x82, 10, 0, 1, 2, 3, 4, 5, 6, 7, 8, number];
        stream.write_all(&message).unwrap();
        let mut received = [0; 24];
        stream.read_exact(&mut received).unwrap();
        assert_eq!((&received[..12], received[23]), (&message[..], number), "{service}");
    }
    world.daemon.restart();
    stream.shutdown(Shutdown::Both).unwrap();
}

fn long_conversation(way: Way, attach: Attach) {
    let mut world = World::new(way.replies(), attach);
    for (family, port) in FAMILIES.into_iter().zip(8000..) {
        let listen = SocketAddr::from(([0_u16; 8], way.server_port(port)));
        let listener = world.server().netns().enter(|| TcpListener::bind(listen).unwrap()).unwrap();
        let server = thread::spawn(move || websocket(&listener));
        let service = world.add("-t", family, port, way);
        converse(&mut world, service);
        server.join().unwrap();
    }
}

#[test]
fn long_conversation_through_nat() {
    long_conversation(Way::NAT, Attach::Tc);
}

#[test]
fn long_conversation_through_a_tunnel() {
    long_conversation(Way::GUE, Attach::Xdp);
}

/// Runs iperf3's client to the end; its account.
fn iperf3(world: &World, service: SocketAddr, more: &[&str]) -> Value {
    let (address, port) = (service.ip().to_string(), service.port().to_string());
    let args = [&["--client", &address, "--port", &port, "--json"], more].concat();
    let report: Value = serde_json::from_str(&output(world.client(), "iperf3", &args)).unwrap();
    report["end"].clone()
}

fn iperf3_in_ipv6(way: Way, attach: Attach) {
    let _turn = await_turn();
    let world = World::new(way.replies(), attach);
    let port = way.server_port(IPERF);
    // Bound to the address that it is to answer from: of a socket for all, the kernel would choose another for datagrams.
    let nat = way.replies() == Replies::ThroughDirector;
    let own = if nat { world.server_address(Family::V6, way) } else { world.cluster.vip_in(Family::V6) };
    let address = SocketAddr::new(own, port);
    let mut command = Command::new("iperf3");
    command.args(["--server", "--bind", &own.to_string(), "--port", &port.to_string()]).stdin(Stdio::null());
    let _server = Process::start(world.server(), command.stdout(Stdio::null()).stderr(Stdio::null()));
    let listens = || TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok();
    wait_until("iperf3 listens", LIMIT, || world.server().netns().enter(listens).unwrap()).unwrap();
    let service = world.add("-t", Family::V6, IPERF, way);
    world.add("-u", Family::V6, IPERF, way);

    let tcp = iperf3(&world, service, &["--bytes", &BYTES.to_string()]);
    assert!(tcp["sum_received"]["bytes"].as_u64().unwrap() >= BYTES / 2, "{tcp}");
    for reverse in [&[][..], &["--reverse"]] {
        let udp = iperf3(&world, service, &[&DATAGRAMS, reverse].concat());
        let (lost, sent) = (&udp["sum"]["lost_packets"], udp["sum"]["packets"].as_u64().unwrap());
        assert!(sent > 1000 && lost.as_u64().unwrap() < sent / 20, "{way:?} {reverse:?}: {udp}");
    }
}

#[test]
fn iperf3_through_nat_under_tc() {
    iperf3_in_ipv6(Way::NAT, Attach::Tc);
}

#[test]
fn iperf3_through_nat_under_xdp() {
    iperf3_in_ipv6(Way::NAT, Attach::Xdp);
}

#[test]
fn iperf3_through_a_tunnel_under_tc() {
    iperf3_in_ipv6(Way::GRE, Attach::Tc);
}
