//! Full NAT from a pool of addresses: what the server sees, and what becomes of connections when the pool changes.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use rvs_netlink::{Prefix, Route};
use rvs_testkit::{Family, Replies};
use rvs_wire::builder::{Ipv4, Ipv6, Payload, Tcp, ethernet};
use rvs_wire::{eth, tcp};

use crate::method::Attach;
use crate::stage::LIMIT;
use crate::turn::await_turn;
use crate::wire::wire;
use crate::world::{FAMILIES, Way, World};

/// Behind the router, which sends them to the director.
pub(crate) const POOL: [&str; 4] =
    ["--full-nat-sources", "10.250.0.0/30", "--full-nat-sources", "fd00:250::/126"];
const OTHER_POOL: [&str; 4] = ["--full-nat-sources", "10.251.0.7", "--full-nat-sources", "fd00:251::7"];
/// Connections of a client.
const CONNECTIONS: usize = 24;
/// The first virtual port.
const PORT: u16 = 8000;

/// A server that sends back what it gets; who its clients are, by its own account.
fn echo(world: &World, port: u16) -> Receiver<SocketAddr> {
    let listen = SocketAddr::from(([0_u16; 8], port));
    let listener = world.server().netns().enter(|| TcpListener::bind(listen).unwrap()).unwrap();
    let (outbox, inbox) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let peer = stream.peer_addr().unwrap();
            // The test is over when nobody listens.
            if outbox.send(SocketAddr::new(peer.ip().to_canonical(), peer.port())).is_err() {
                return;
            }
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(len @ 1..) = stream.read(&mut buffer) {
                    stream.write_all(&buffer[..len]).unwrap();
                }
            });
        }
    });
    inbox
}

/// A client's connection, over which data went there and back.
fn connect(world: &World, service: SocketAddr) -> TcpStream {
    let connect = || TcpStream::connect_timeout(&service, LIMIT);
    let mut stream =
        world.client().netns().enter(connect).unwrap().unwrap_or_else(|e| panic!("{service}: {e}"));
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    talk(&mut stream);
    stream
}

fn talk(stream: &mut TcpStream) {
    let data: Vec<u8> = (0..100_u8).collect();
    stream.write_all(&data).unwrap();
    let mut back = vec![0; data.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, data);
}

/// Whose connections the server has seen, of as many as there were.
fn peers(inbox: &Receiver<SocketAddr>, count: usize) -> BTreeSet<IpAddr> {
    let next = || inbox.recv_timeout(LIMIT).unwrap().ip();
    (0..count).map(|_| next()).collect()
}

fn is_of_pool(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[..3] == [10, 250, 0] && v4.octets()[3] < 4,
        IpAddr::V6(v6) => v6.segments()[..7] == [0xfd00, 0x250, 0, 0, 0, 0, 0] && v6.segments()[7] < 4,
    }
}

/// A cluster whose router has routes to both pools by way of the director.
pub(crate) fn world(attach: Attach, options: &[&str]) -> World {
    let mut world = World::with_options(Replies::PastDirector, attach, options);
    let director = world.cluster.director().interface("to-servers").clone();
    let router = world.cluster.fabric_mut().unwrap().netlink();
    for prefix in ["10.250.0.0/16", "10.251.0.0/16", "fd00:250::/32", "fd00:251::/32"] {
        let (address, len) = prefix.split_once('/').unwrap();
        let prefix = Prefix::new(address.parse::<IpAddr>().unwrap(), len.parse().unwrap()).unwrap();
        let via: IpAddr = match prefix.addr() {
            IpAddr::V4(_) => director.address.unwrap().into(),
            IpAddr::V6(_) => director.address_v6.unwrap().into(),
        };
        router.add_route(&Route::to(prefix).via(via)).unwrap();
    }
    world
}

/// In both families and between them, and from all addresses of the pool.
fn come_from_the_pool(attach: Attach) {
    let _turn = await_turn();
    let world = world(attach, &POOL);
    let ways = FAMILIES.into_iter().flat_map(|family| [(family, Way::FULL_NAT), (family, Way::TRANSLATED)]);
    for ((family, way), port) in ways.zip(PORT..) {
        let inbox = echo(&world, way.server_port(port));
        let service = world.add("-t", family, port, way);
        let streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(&world, service)).collect();
        let seen = peers(&inbox, CONNECTIONS);
        let is_v4 = world.server_address(family, way).is_ipv4();
        let right = seen.iter().all(|address| is_of_pool(address) && address.is_ipv4() == is_v4);
        assert!(seen.len() > 1 && right, "{service} {way:?}: {seen:?}");
        drop(streams);
    }
    assert!(
        world.daemon.log().contains("full NAT: 8 of its 8 sources, 10.250.0.0 the first of them, are not")
    );
}

#[test]
fn come_from_the_pool_under_tc() {
    come_from_the_pool(Attach::Tc);
}

#[test]
fn come_from_the_pool_under_xdp() {
    come_from_the_pool(Attach::Xdp);
}

/// The first segment of a connection from an address that nobody has.
fn syn(world: &World, number: u32, service: SocketAddr) -> Vec<u8> {
    let macs =
        [world.cluster.director().interface("to-client").mac.0, world.client().interface("eth0").mac.0];
    let segment = Payload::Tcp(Tcp::new(1024, service.port(), tcp::SYN));
    match service.ip() {
        IpAddr::V4(to) => {
            let from = (Ipv4Addr::new(100, 64, 0, 0).to_bits() + number).to_be_bytes();
            ethernet(macs[0], macs[1], eth::TYPE_IPV4, &Ipv4::new(from, to.octets()).packet(&segment))
        }
        IpAddr::V6(to) => {
            let from = (0x2001_0db8_ffff << 80 | u128::from(number)).to_be_bytes();
            ethernet(macs[0], macs[1], eth::TYPE_IPV6, &Ipv6::new(from, to.octets()).packet(&segment))
        }
    }
}

/// More half-open connections than there are ports, and clients that find one all the same.
fn a_flood_keeps_nobody_from_a_port(attach: Attach) {
    let _turn = await_turn();
    let world = World::new(Way::FULL_NAT.replies(), attach);
    let wire = wire(world.client());
    for (family, port) in FAMILIES.into_iter().zip(PORT..) {
        let inbox = echo(&world, Way::FULL_NAT.server_port(port));
        let service = world.add("-t", family, port, Way::FULL_NAT);
        let mut before = connect(&world, service);
        let evicted = world.daemon.noted("port_taken");
        // Most may be lost on their way, at a queue that is full where the kernel takes its time over it.
        let mut numbers = 0..1 << 20;
        while world.daemon.noted("port_taken") - evicted < 1000 {
            let some: Vec<u32> = numbers.by_ref().take(4000).collect();
            assert!(!some.is_empty(), "no port was taken from anybody");
            some.iter().for_each(|number| wire.send(&syn(&world, *number, service)).unwrap());
        }
        let streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(&world, service)).collect();
        talk(&mut before);
        assert_eq!(peers(&inbox, 1 + CONNECTIONS).len(), 1);
        drop(streams);
    }
    assert_eq!(world.daemon.dropped("no_local_port"), 0);
}

#[test]
fn a_flood_keeps_nobody_from_a_port_under_tc() {
    a_flood_keeps_nobody_from_a_port(Attach::Tc);
}

#[test]
fn a_flood_keeps_nobody_from_a_port_under_xdp() {
    a_flood_keeps_nobody_from_a_port(Attach::Xdp);
}

/// A service, what its server sees, and the client's connections to it.
struct Open {
    service: SocketAddr,
    inbox: Receiver<SocketAddr>,
    is_v4: bool,
    streams: Vec<TcpStream>,
}

/// Where full NAT comes from without a pool.
fn own_address(world: &World, is_v4: bool) -> IpAddr {
    let interface = world.cluster.director().interface("to-servers");
    if is_v4 { interface.address.unwrap().into() } else { interface.address_v6.unwrap().into() }
}

/// The next director has another pool, the one behind it has none: connections go on from where they came, new ones come from
/// where they shall.
fn stay_when_the_pool_changes(attach: Attach) {
    let _turn = await_turn();
    let mut world = world(attach, &POOL);
    let ways = FAMILIES.into_iter().flat_map(|family| [(family, Way::FULL_NAT), (family, Way::TRANSLATED)]);
    let open = |((family, way), port): ((Family, Way), u16)| {
        let inbox = echo(&world, way.server_port(port));
        let service = world.add("-t", family, port, way);
        let is_v4 = world.server_address(family, way).is_ipv4();
        let streams = vec![connect(&world, service)];
        assert!(peers(&inbox, 1).iter().all(is_of_pool), "{service}");
        Open { service, inbox, is_v4, streams }
    };
    let mut all: Vec<Open> = ways.zip(PORT..).map(open).collect();
    for options in [&OTHER_POOL[..], &[]] {
        world.daemon.kill();
        all.iter_mut().flat_map(|open| &mut open.streams).for_each(talk);
        world.daemon.restart_with(&[&["--attach", attach.name()], options].concat());
        for open in &mut all {
            open.streams.iter_mut().for_each(talk);
            open.streams.push(connect(&world, open.service));
            let expected = match (options, open.is_v4) {
                ([], is_v4) => own_address(&world, is_v4),
                ([_, v4, ..], true) => v4.parse().unwrap(),
                ([.., v6], false) => v6.parse().unwrap(),
                _ => unreachable!("a pool has addresses of both families"),
            };
            assert_eq!(peers(&open.inbox, 1), BTreeSet::from([expected]), "{}, {options:?}", open.service);
        }
    }
    all.iter_mut().flat_map(|open| &mut open.streams).for_each(talk);
}

#[test]
fn stay_when_the_pool_changes_under_tc() {
    stay_when_the_pool_changes(Attach::Tc);
}

#[test]
fn stay_when_the_pool_changes_under_xdp() {
    stay_when_the_pool_changes(Attach::Xdp);
}

/// Addresses of the servers' own network, which the director answers for by a local route; its own sockets there, at ports of
/// full NAT, go on working.
#[test]
fn a_pool_on_the_servers_link_leaves_the_directors_sockets_alone() {
    let _turn = await_turn();
    let world =
        World::with_options(Replies::PastDirector, Attach::Tc, &["--full-nat-sources", "10.10.0.128/30"]);
    let mut route = Command::new("ip");
    route.args(["route", "add", "local", "10.10.0.128/30", "dev", "lo"]);
    let director = world.cluster.director().netns();
    assert!(director.output(&mut route).unwrap().status.success());
    let inbox = echo(&world, Way::FULL_NAT.server_port(PORT));
    let service = world.add("-t", Family::V4, PORT, Way::FULL_NAT);
    let streams: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(&world, service)).collect();
    let own = |address: &IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[..3] == [10, 10, 0] && v4.octets()[3] & !3 == 128);
    let seen = peers(&inbox, CONNECTIONS);
    assert!(seen.len() > 1 && seen.iter().all(own), "{seen:?}");
    drop(streams);

    let address = Ipv4Addr::new(10, 10, 0, 129);
    let listener = director.enter(|| TcpListener::bind((address, 2000)).unwrap()).unwrap();
    let accepting = thread::spawn(move || listener.accept().unwrap().0.write_all(b"hello").unwrap());
    let mut text = String::new();
    let dial = || TcpStream::connect_timeout(&SocketAddr::from((address, 2000)), LIMIT).unwrap();
    let mut stream = world.server().netns().enter(dial).unwrap();
    stream.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    accepting.join().unwrap();
}
