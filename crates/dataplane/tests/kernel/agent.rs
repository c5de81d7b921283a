//! The end of a tunnel: packets come out of it whole, and everything else passes untouched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use rvs_abi::DecapOutcome;
use rvs_dataplane::agent::{Decap, DecapMode, DecapOptions, attach_decap};
use rvs_dataplane::{Error, TcHook};
use rvs_netlink::Prefix;
use rvs_testkit::{Capture, wait_until};
use rvs_wire::builder::{Gre, Ipv4, Ipv6, Mac, Payload, Udp};
use rvs_wire::gue;

use crate::stage::{CLIENT, DIRECTOR, Stage};

/// A client far away, whose packets come through the tunnel from [`CLIENT`] to [`SERVER`].
const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
const REMOTE_PORT: u16 = 40_000;
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const PORT: u16 = 5300;
/// The same in IPv6.
const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 51, 0, 0, 0, 7);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 113, 0, 0, 0, 10);
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 10, 0, 0, 0, 2);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 10, 0, 0, 0, 1);
/// The tunnel's end.
const SERVER: Ipv4Addr = DIRECTOR;
const LIMIT: Duration = Duration::from_secs(5);

/// Every way to attach.
const WAYS: [DecapOptions; 4] = [
    way(DecapMode::Tc),
    DecapOptions { tc: TcHook::Clsact, ..way(DecapMode::Tc) },
    way(DecapMode::XdpGeneric),
    way(DecapMode::Xdp),
];

const fn way(mode: DecapMode) -> DecapOptions {
    DecapOptions { gue_port: Some(gue::PORT), ..DecapOptions::new(mode) }
}

/// Every tunnel.
const TUNNELS: [Tunnel; 5] = [
    Tunnel::Ipip,
    Tunnel::Gre { checksum: false },
    Tunnel::Gre { checksum: true },
    Tunnel::Gue { checksum: false },
    Tunnel::Gue { checksum: true },
];

#[derive(Debug, Clone, Copy)]
enum Tunnel {
    Ipip,
    Gre { checksum: bool },
    Gue { checksum: bool },
}

impl Tunnel {
    fn outcome(self) -> DecapOutcome {
        match self {
            Self::Ipip => DecapOutcome::Ipip,
            Self::Gre { .. } => DecapOutcome::Gre,
            Self::Gue { .. } => DecapOutcome::Gue,
        }
    }

    fn around(self, packet: Vec<u8>) -> Payload {
        let is_v4 = packet[0] >> 4 == 4;
        match self {
            Self::Ipip if is_v4 => Payload::Ipip(packet),
            Self::Ipip => Payload::Ipip6(packet),
            Self::Gre { checksum } => {
                let plain = if is_v4 { Gre::ipv4(packet) } else { Gre::ipv6(packet) };
                Payload::Gre(Gre { checksum, ..plain })
            }
            Self::Gue { checksum } => {
                let protocol = if is_v4 { 4 } else { 41 };
                let datagram = Udp::gue(50_000, gue::PORT, protocol, &packet);
                Payload::Udp(Udp { no_checksum: !checksum, ..datagram })
            }
        }
    }
}

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
        stage.director.sysctl("net/ipv6/conf/d0/disable_ipv6", "0").unwrap();
        stage.director.sysctl("net/ipv6/conf/lo/disable_ipv6", "0").unwrap();
        netlink.add_address(1, Prefix::host(VIP6)).unwrap();
        for interface in ["all", "d0"] {
            stage.director.sysctl(&format!("net/ipv4/conf/{interface}/rp_filter"), "0").unwrap();
        }
        let to = netlink.link("d0").unwrap().mac.unwrap();
        let from = stage.client.netlink().unwrap().link("c0").unwrap().mac.unwrap();
        let socket = stage.director.enter(|| UdpSocket::bind(("::", PORT)).unwrap()).unwrap();
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
        (buffer[..len].to_vec(), SocketAddr::new(from.ip().to_canonical(), from.port()))
    }

    /// A frame with a packet in a tunnel, outside of which is IPv4 or IPv6.
    fn in_tunnel(&self, tunnel: Tunnel, is_v4: bool, packet: Vec<u8>) -> Vec<u8> {
        let [to, from] = self.macs;
        let payload = tunnel.around(packet);
        if is_v4 {
            outer().frame(to, from, &payload)
        } else {
            Ipv6::new(CLIENT6.octets(), SERVER6.octets()).frame(to, from, &payload)
        }
    }
}

fn outer() -> Ipv4 {
    Ipv4::new(CLIENT.octets(), SERVER.octets())
}

fn inner(data: &[u8]) -> Vec<u8> {
    Ipv4::new(REMOTE.octets(), VIP.octets()).packet(&Payload::Udp(Udp::new(REMOTE_PORT, PORT, data)))
}

fn inner_v6(data: &[u8]) -> Vec<u8> {
    Ipv6::new(REMOTE6.octets(), VIP6.octets()).packet(&Payload::Udp(Udp::new(REMOTE_PORT, PORT, data)))
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
        assert_eq!(counts(&decap), [0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0], "{options:?}");
    }
}

#[test]
fn packets_come_out_of_every_tunnel_between_all_families() {
    let server = Server::new();
    for options in WAYS {
        let decap = server.attach(&options);
        for tunnel in TUNNELS {
            for (outside, inside) in [(true, true), (true, false), (false, true), (false, false)] {
                for data in [&b"x"[..], &[9; 1300], &[9; 1301]] {
                    let packet = if inside { inner(data) } else { inner_v6(data) };
                    let remote = if inside { IpAddr::from(REMOTE) } else { IpAddr::from(REMOTE6) };
                    let expected = plus(counts(&decap), tunnel.outcome());
                    server.send(&decap, &server.in_tunnel(tunnel, outside, packet));
                    let what = format!("{tunnel:?}, IPv4 {outside} around {inside}, {options:?}");
                    assert_eq!(counts(&decap), expected, "{what}");
                    assert_eq!(server.receive(), (data.to_vec(), (remote, REMOTE_PORT).into()), "{what}");
                }
            }
        }
    }
}

/// Frames of GRE and GUE, and of tunnels in IPv6, that are not as a director writes them.
fn odd_tunnels(server: &Server) -> Vec<(&'static str, Vec<u8>, DecapOutcome)> {
    use DecapOutcome::{BadChecksum, BadInner, BadOuter, BadTunnel, Fragment, NotTunnelled};
    let (gre, gue) = (Tunnel::Gre { checksum: true }, Tunnel::Gue { checksum: true });
    let frame = |tunnel, is_v4| server.in_tunnel(tunnel, is_v4, inner(b"lost"));
    let changed = |tunnel, is_v4: bool, at: usize, value: u8| {
        let mut frame = server.in_tunnel(tunnel, is_v4, inner(b"lost"));
        assert_ne!(frame[at], value);
        frame[at] = value;
        frame
    };
    let [to, from] = server.macs;
    let outer_v6 = Ipv6::new(CLIENT6.octets(), SERVER6.octets());
    let fragments = outer_v6.fragments(&gre.around(inner(&[1; 100])), 64, 1);
    let fragment = |n: usize| rvs_wire::builder::ethernet(to, from, rvs_wire::eth::TYPE_IPV6, &fragments[n]);
    let mut cut = frame(gue, false);
    cut.truncate(cut.len() - 1);
    let last = frame(gre, true).len() - 1;
    vec![
        ("GRE with a key", changed(Tunnel::Gre { checksum: false }, true, 34, 0x20), BadTunnel),
        ("GRE, version 1", changed(gre, true, 35, 1), BadTunnel),
        ("GRE around something else", changed(gre, false, 56, 0x65), BadTunnel),
        ("GRE's checksum", changed(gre, true, 38, 0), BadChecksum),
        ("GRE's last byte", changed(gre, true, last, 0), BadChecksum),
        ("GUE, version 1", changed(gue, true, 42, 0x40), BadTunnel),
        ("GUE, a message", changed(gue, true, 42, 0x20), BadTunnel),
        ("GUE with options", changed(gue, true, 42, 1), BadTunnel),
        ("GUE with flags", changed(gue, false, 64, 0x80), BadTunnel),
        ("GUE around something else", changed(gue, false, 63, 17), BadInner),
        ("UDP's length", changed(gue, true, 39, 9), BadTunnel),
        ("UDP's checksum", changed(gue, false, 60, 0), BadChecksum),
        ("UDP to another port", changed(gue, true, 37, 1), NotTunnelled),
        ("the other family inside", changed(Tunnel::Ipip, false, 54, 0x65), BadInner),
        ("a first fragment in IPv6", fragment(0), Fragment),
        ("a last fragment in IPv6", fragment(1), Fragment),
        ("a cut frame in IPv6", cut, BadOuter),
        ("version 5", changed(Tunnel::Ipip, false, 14, 0x50), BadOuter),
    ]
}

#[test]
fn odd_tunnels_pass_untouched_and_are_counted_by_what_is_wrong() {
    let server = Server::new();
    for options in WAYS {
        let decap = server.attach(&options);
        for (name, frame, outcome) in odd_tunnels(&server) {
            let expected = plus(counts(&decap), outcome);
            server.send(&decap, &frame);
            assert_eq!(counts(&decap), expected, "{name}, {options:?}");
        }
    }
}

#[test]
fn gue_ends_here_only_where_its_port_was_named() {
    let server = Server::new();
    let frame = server.in_tunnel(Tunnel::Gue { checksum: true }, true, inner(b"lost"));
    for (port, outcome) in [
        (None, DecapOutcome::NotTunnelled),
        (Some(1), DecapOutcome::NotTunnelled),
        (Some(gue::PORT), DecapOutcome::Gue),
    ] {
        let decap = server.attach(&DecapOptions { gue_port: port, ..way(DecapMode::Tc) });
        server.send(&decap, &frame);
        assert_eq!(decap.count(outcome).unwrap(), 1, "{port:?}");
    }
}

/// A frame of each kind that must not be touched, and what it is counted as.
fn strangers(server: &Server) -> Vec<(&'static str, Vec<u8>, DecapOutcome)> {
    use DecapOutcome::{BadInner, BadOuter, BadTunnel, Fragment, NotTunnelled};
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
        ("another protocol", server.frame(&outer(), &Payload::Other(99, inner(b"lost"))), NotTunnelled),
        ("no GRE header", server.frame(&outer(), &Payload::Other(47, inner(b"lost"))), BadTunnel),
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
    let other = Some(IpAddr::from([10, 0, 0, 99]));
    let (here, there) = (Some(IpAddr::from(SERVER)), Some(IpAddr::from(CLIENT)));
    for way in WAYS {
        for (destination, source, accepted) in [
            (here, there, DecapOutcome::Ipip),
            (here, None, DecapOutcome::Ipip),
            (other, there, DecapOutcome::NotAccepted),
            (here, other, DecapOutcome::NotAccepted),
            (Some(IpAddr::from(SERVER6)), None, DecapOutcome::NotAccepted),
        ] {
            let options = DecapOptions { destination, source, ..way };
            let decap = server.attach(&options);
            server.send(&decap, &server.tunnelled(b"named"));
            assert_eq!(decap.count(accepted).unwrap(), 1, "{options:?}");
            if accepted == DecapOutcome::Ipip {
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
