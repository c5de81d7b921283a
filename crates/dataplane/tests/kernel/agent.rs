//! The end of a tunnel: packets come out of it whole, and everything else passes untouched.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rvs_abi::DecapOutcome;
use rvs_dataplane::agent::{Decap, DecapMode, DecapOptions, attach_decap};
use rvs_dataplane::{Error, TcHook};
use rvs_netlink::Prefix;
use rvs_testkit::{Capture, wait_until};
use rvs_wire::builder::{Ipv4, Mac, Payload, Udp};

use crate::stage::{CLIENT, DIRECTOR, Stage};

/// A client far away, whose packets come through the tunnel from [`CLIENT`] to [`SERVER`].
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const REMOTE_PORT: u16 = 40_000;
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const PORT: u16 = 5300;
/// The tunnel's end.
const SERVER: Ipv4Addr = DIRECTOR;
const LIMIT: Duration = Duration::from_secs(5);

/// Every way to attach.
const WAYS: [DecapOptions; 4] = [
    DecapOptions::new(DecapMode::Tc),
    DecapOptions { tc: TcHook::Clsact, ..DecapOptions::new(DecapMode::Tc) },
    DecapOptions::new(DecapMode::XdpGeneric),
    DecapOptions::new(DecapMode::Xdp),
];

/// A stage whose second host is a real server, with the virtual address on its loopback and a socket at it.
struct Server {
    stage: Stage,
    socket: UdpSocket,
    wire: Capture,
    macs: [Mac; 2],
}

impl Server {
    fn new() -> Self {
        let stage = Stage::new();
        let mut netlink = stage.director.netlink().unwrap();
        netlink.add_address(1, Prefix::host(VIP)).unwrap();
        for interface in ["all", "d0"] {
            stage.director.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0").unwrap();
        }
        let to = netlink.link("d0").unwrap().mac.unwrap();
        let from = stage.client.netlink().unwrap().link("c0").unwrap().mac.unwrap();
        let socket = stage.director.enter(|| UdpSocket::bind(("0.0.0.0", PORT)).unwrap()).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let wire = Capture::open(&stage.client, "c0").unwrap();
        Self { stage, socket, wire, macs: [to.0, from.0] }
    }

    fn attach(&self, options: &DecapOptions) -> Decap {
        self.stage.director.enter(|| attach_decap("d0", options).unwrap()).unwrap()
    }

    fn frame(&self, header: &Ipv4, payload: &Payload) -> Vec<u8> {
        let [to, from] = self.macs;
        header.frame(to, from, payload)
    }

    /// A frame with a datagram in a tunnel.
    fn tunnelled(&self, data: &[u8]) -> Vec<u8> {
        self.frame(&outer(), &Payload::Ipip(inner(data)))
    }

    /// Sends a frame and waits until the program has counted it.
    fn send(&self, decap: &Decap, frame: &[u8]) {
        let before = counts(decap);
        self.wire.send(frame).unwrap();
        wait_until("the frame is counted", LIMIT, || counts(decap) != before).unwrap();
    }

    /// The next datagram at the socket.
    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 2048];
        let (len, from) = self.socket.recv_from(&mut buffer).unwrap();
        (buffer[..len].to_vec(), from)
    }
}

fn outer() -> Ipv4 {
    Ipv4::new(CLIENT.octets(), SERVER.octets())
}

fn inner(data: &[u8]) -> Vec<u8> {
    Ipv4::new(REMOTE.octets(), VIP.octets()).packet(&Payload::Udp(Udp::new(REMOTE_PORT, PORT, data)))
}

fn counts(decap: &Decap) -> [u64; DecapOutcome::ALL.len()] {
    DecapOutcome::ALL.map(|outcome| decap.count(outcome).unwrap())
}

/// One packet more in an outcome.
fn plus(mut counts: [u64; DecapOutcome::ALL.len()], outcome: DecapOutcome) -> [u64; DecapOutcome::ALL.len()] {
    counts[outcome as usize] += 1;
    counts
}

#[test]
fn packets_come_out_of_their_tunnel_as_the_client_sent_them() {
    let server = Server::new();
    for options in WAYS {
        let decap = server.attach(&options);
        for data in [&b""[..], b"x", &[7; 1400]] {
            server.send(&decap, &server.tunnelled(data));
            let (received, from) = server.receive();
            assert_eq!((received.as_slice(), from), (data, (REMOTE, REMOTE_PORT).into()), "{options:?}");
        }
        let mut padded = server.tunnelled(b"padded");
        padded.extend([0xff; 30]);
        server.send(&decap, &padded);
        assert_eq!(server.receive().0, b"padded");
        assert_eq!(counts(&decap), [0, 4, 0, 0, 0, 0, 0], "{options:?}");
    }
}

/// A frame of each kind that must not be touched, and what it is counted as.
fn strangers(server: &Server) -> Vec<(&'static str, Vec<u8>, DecapOutcome)> {
    use DecapOutcome::{BadInner, BadOuter, Fragment, NotTunnelled};
    let ipip = |header: Ipv4, packet: Vec<u8>| server.frame(&header, &Payload::Ipip(packet));
    let changed = |at: usize, value: u8| {
        let mut frame = server.tunnelled(b"lost");
        frame[at] = value;
        frame
    };
    let broken = |at: usize, value: u8| {
        let mut packet = inner(b"lost");
        packet[at] = value;
        ipip(outer(), packet)
    };
    let mut cut = server.tunnelled(b"lost");
    cut.truncate(cut.len() - 1);
    vec![
        ("multicast frame", changed(0, 1), NotTunnelled),
        ("IPv6 frame", changed(12, 0x86), NotTunnelled),
        ("cut outer header", server.tunnelled(b"")[..33].to_vec(), NotTunnelled),
        ("another protocol", server.frame(&outer(), &Payload::Other(47, inner(b"lost"))), NotTunnelled),
        ("first fragment", ipip(Ipv4 { more_fragments: true, ..outer() }, inner(b"lost")), Fragment),
        ("last fragment", ipip(Ipv4 { fragment_offset: 3, ..outer() }, inner(b"lost")), Fragment),
        ("options", ipip(Ipv4 { options: vec![1; 4], ..outer() }, inner(b"lost")), BadOuter),
        ("header checksum", changed(24, 0), BadOuter),
        ("cut frame", cut, BadOuter),
        ("nothing inside", ipip(outer(), Vec::new()), BadInner),
        ("half a header inside", ipip(outer(), inner(b"lost")[..19].to_vec()), BadInner),
        ("IPv6 inside", broken(0, 0x65), BadInner),
        ("short header inside", broken(0, 0x44), BadInner),
        ("length below its header's inside", broken(3, 19), BadInner),
        ("length beyond the packet inside", broken(3, 33), BadInner),
    ]
}

#[test]
fn other_packets_pass_untouched_and_are_counted_by_what_is_wrong() {
    let server = Server::new();
    for options in WAYS {
        let decap = server.attach(&options);
        for (name, frame, outcome) in strangers(&server) {
            let expected = plus(counts(&decap), outcome);
            server.send(&decap, &frame);
            assert_eq!(counts(&decap), expected, "{name}, {options:?}");
        }
        // None of them came out before this one, which is for the server itself.
        let plain = Ipv4::new(CLIENT.octets(), SERVER.octets());
        let plain = server.frame(&plain, &Payload::Udp(Udp::new(REMOTE_PORT, PORT, b"plain")));
        let expected = plus(counts(&decap), DecapOutcome::NotTunnelled);
        server.send(&decap, &plain);
        assert_eq!(server.receive(), (b"plain".to_vec(), (CLIENT, REMOTE_PORT).into()), "{options:?}");
        assert_eq!(counts(&decap), expected, "{options:?}");
    }
}

#[test]
fn only_the_tunnels_that_were_named_end_here() {
    let server = Server::new();
    let other = Some(Ipv4Addr::new(10, 0, 0, 99));
    for way in WAYS {
        for (destination, source, accepted) in [
            (Some(SERVER), Some(CLIENT), DecapOutcome::Decapsulated),
            (Some(SERVER), None, DecapOutcome::Decapsulated),
            (other, Some(CLIENT), DecapOutcome::NotAccepted),
            (Some(SERVER), other, DecapOutcome::NotAccepted),
        ] {
            let options = DecapOptions { destination, source, ..way };
            let decap = server.attach(&options);
            server.send(&decap, &server.tunnelled(b"named"));
            assert_eq!(decap.count(accepted).unwrap(), 1, "{options:?}");
            if accepted == DecapOutcome::Decapsulated {
                assert_eq!(server.receive().0, b"named");
            }
        }
    }
}

#[test]
fn an_interface_is_as_before_when_the_guard_is_gone() {
    let server = Server::new();
    for options in WAYS {
        // A second one finds the place free.
        for _ in 0..2 {
            let decap = server.attach(&options);
            server.send(&decap, &server.tunnelled(b"first"));
            assert_eq!(server.receive().0, b"first");
        }
        server.wire.send(&server.tunnelled(b"second")).unwrap();
        server.wire.send(&server.frame(&outer(), &Payload::Udp(Udp::new(1, PORT, b"third")))).unwrap();
        assert_eq!(server.receive().0, b"third", "{options:?}");
    }
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let refused = attach_decap("nosuch", &DecapOptions::new(DecapMode::Tc)).unwrap_err();
    assert!(matches!(refused, Error::NoSuchInterface { .. }), "{refused:?}");
}
