//! Connections that live long.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::method::Attach;
use crate::stage::LIMIT;
use crate::world::{FAMILIES, Way, World};

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
