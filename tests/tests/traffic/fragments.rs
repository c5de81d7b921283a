//! Datagrams that don't fit into a packet: their fragments on the way, in order and in any other.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use rvs_netlink::{Netns, Prefix, Route};
use rvs_testkit::{Capture, Family, Host, Replies, wait_until};
use rvs_wire::builder::{Ipv4, Ipv6, Payload, Udp, ethernet};
use rvs_wire::eth;

use crate::method::Attach;
use crate::stage::LIMIT;
use crate::turn::await_turn;
use crate::wire::wire;
use crate::world::{FAMILIES, Way, World};

/// The service.
pub(crate) const PORT: u16 = 5300;
/// The port of a client whose packets are written byte by byte.
const CLIENT_PORT: u16 = 40_000;
/// How often a question is asked again: the first may go while a neighbour is not known yet.
const ATTEMPTS: u32 = 5;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Bytes of questions and answers: what fits into a packet, what just does not, and what takes many.
const LENGTHS: [u32; 5] = [16, 1472, 1473, 4000, 30_000];
/// MTU of ways that are smaller than the client's and the server's own links, and bytes that are sent there.
pub(crate) const SMALL: u32 = 1400;
pub(crate) const CUT_LENGTHS: [u32; 6] = [16, 1372, 1373, 1472, 4000, 30_000];
/// A length that is none of them and is cut too.
pub(crate) const UNASKED: usize = 3000;
/// Bytes of a datagram whose fragments are sent one by one, and of each of these.
const LEN: usize = 4000;
const SIZE: usize = 1024;
/// Orders in which they come.
const ORDERS: [[usize; 4]; 5] = [[0, 1, 2, 3], [1, 0, 2, 3], [3, 2, 1, 0], [2, 3, 0, 1], [1, 2, 3, 0]];
/// Early fragments of somebody who never sends a first one.
const FLOOD: u16 = 500;

/// A name server, as far as sizes go: answers each datagram with as many bytes as its first four say, and all its bytes
/// count. Ends with the test.
struct Names(Option<std::thread::JoinHandle<()>>, SocketAddr, Netns);

impl Names {
    fn start(world: &World, address: SocketAddr) -> Self {
        let socket = open(world.server(), address);
        let answer = move || {
            let mut question = vec![0; 65_536];
            loop {
                let (len, from) = socket.recv_from(&mut question).unwrap();
                let question = &question[..len];
                let Some((wanted, rest)) = question.split_first_chunk::<4>() else { return };
                assert_eq!(rest, &pattern(len)[4..], "from {from}");
                socket.send_to(&pattern(u32::from_be_bytes(*wanted) as usize), from).unwrap();
            }
        };
        let netns = Netns::open(world.server().netns().name()).unwrap();
        Self(Some(std::thread::spawn(answer)), address, netns)
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        let tell = || UdpSocket::bind(any_of(self.1.ip())).unwrap().send_to(&[], self.1).unwrap();
        self.2.enter(tell).unwrap();
        let ended = self.0.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

pub(crate) fn any_of(address: IpAddr) -> SocketAddr {
    let any: IpAddr = if address.is_ipv4() { [0; 4].into() } else { [0_u16; 8].into() };
    (any, 0).into()
}

/// A socket of a host, which waits so long and no longer.
pub(crate) fn open(host: &Host, address: SocketAddr) -> UdpSocket {
    host.netns().enter(|| UdpSocket::bind(address).unwrap()).unwrap()
}

fn patient(socket: UdpSocket) -> UdpSocket {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256).to_le_bytes()[0]).collect()
}

fn outcomes(world: &World) -> Vec<(&'static str, u64)> {
    let named = [
        "forward_cut",
        "cut_failed",
        "fragment_held",
        "hold_full",
        "hold_too_long",
        "fragment",
        "too_big",
        "no_route",
    ];
    named.map(|name| (name, world.daemon.counted(name))).to_vec()
}

/// Asks with `len` bytes for as many as `wanted`.
fn ask_for(world: &World, service: SocketAddr, len: u32, wanted: u32) {
    let mut question = pattern(len as usize);
    question[..4].copy_from_slice(&wanted.to_be_bytes());
    let socket = patient(open(world.client(), any_of(service.ip())));
    let exchange = || {
        for _ in 0..ATTEMPTS {
            // An error of the way is told once, by the next call.
            if socket.send_to(&question, service).is_err() {
                continue;
            }
            let mut answer = vec![0; 65_536];
            match socket.recv_from(&mut answer) {
                Ok((len, from)) => return Some((answer[..len].to_vec(), from)),
                Err(e) => assert!(matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{e}"),
            }
        }
        None
    };
    let (answer, from) =
        exchange().unwrap_or_else(|| panic!("{service}: no answer to {len} bytes: {:?}", outcomes(world)));
    assert_eq!((from, answer == pattern(wanted as usize)), (service, true), "{len} bytes ask for {wanted}");
}

/// Large questions and large answers.
fn large_datagrams(way: Way, attach: Attach) {
    let _turn = await_turn();
    let world = World::new(way.replies(), attach);
    for family in FAMILIES {
        let service = world.add("-u", family, PORT, way);
        let _names = Names::start(&world, world.listening(family, way, PORT));
        for len in LENGTHS {
            ask_for(&world, service, len, len);
        }
    }
}

/// The frames of a datagram's fragments, from one end to another by way of the director.
fn fragments(macs: [[u8; 6]; 2], ends: [SocketAddr; 2], data: &[u8], id: u16) -> Vec<Vec<u8>> {
    let payload = Payload::Udp(Udp::new(ends[0].port(), ends[1].port(), data));
    let (kind, packets) = match (ends[0].ip(), ends[1].ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let ip = Ipv4 { id, ..Ipv4::new(from.octets(), to.octets()) };
            (eth::TYPE_IPV4, ip.fragments(&payload, SIZE))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let ip = Ipv6::new(from.octets(), to.octets());
            (eth::TYPE_IPV6, ip.fragments(&payload, SIZE, id.into()))
        }
        other => panic!("{other:?}"),
    };
    packets.iter().map(|packet| ethernet(macs[0], macs[1], kind, packet)).collect()
}

/// Sends a datagram's fragments in that order; the socket gets it whole.
fn send(wire: &Capture, socket: &UdpSocket, frames: &[Vec<u8>], order: &[usize], data: &[u8]) {
    for index in order {
        wire.send(&frames[*index]).unwrap();
    }
    let mut got = vec![0; 65_536];
    let (len, _) = socket.recv_from(&mut got).unwrap_or_else(|e| panic!("order {order:?}: {e}"));
    assert_eq!(&got[..len], data, "order {order:?}");
}

/// Questions in fragments out of order, and again while somebody floods with such that never become whole.
fn questions_out_of_order(way: Way, attach: Attach) {
    let _turn = await_turn();
    let world = World::new(way.replies(), attach);
    let macs =
        [world.cluster.director().interface("to-client").mac.0, world.client().interface("eth0").mac.0];
    let wire = wire(world.client());
    let data = pattern(LEN);
    for family in FAMILIES {
        let service = world.add("-u", family, PORT, way);
        let socket = patient(open(world.server(), world.listening(family, way, PORT)));
        let client = SocketAddr::new(world.client().address_in(family), CLIENT_PORT);
        let frames = |id| fragments(macs, [client, service], &data, id);
        // A first connection has its neighbours looked up.
        send(&wire, &socket, &frames(1), &ORDERS[0], &data);
        let held = world.daemon.counted("fragment_held");
        for (id, order) in (2..).zip(ORDERS) {
            send(&wire, &socket, &frames(id), &order, &data);
        }
        // Those before the first of each.
        assert_eq!(world.daemon.counted("fragment_held") - held, 1 + 3 + 2 + 3, "{:?}", outcomes(&world));
        let given_up = || world.daemon.noted("held_expired") + world.daemon.noted("held_evicted");
        let before = given_up();
        flood(&world, &wire, macs, service);
        // The client may share its group with the flood, but not all of these do: 16 to the power of -8.
        let others = (0..8).map(|host| another(client.ip(), host)).filter(|from| {
            let frames = fragments(macs, [SocketAddr::new(*from, CLIENT_PORT), service], &data, 9);
            ORDERS[1].iter().for_each(|index| wire.send(&frames[*index]).unwrap());
            socket.recv_from(&mut vec![0; 65_536]).is_ok()
        });
        assert!(others.count() > 0, "{:?}", outcomes(&world));
        // In time, though nobody needs their slots.
        let all = || given_up() - before >= u64::from(FLOOD);
        wait_until("the flood's fragments to be given up", LIMIT, all).unwrap();
    }
}

/// Fragments that come before a first one which never comes: some are held, the others make room for these.
fn flood(world: &World, wire: &Capture, macs: [[u8; 6]; 2], service: SocketAddr) {
    let flooder: IpAddr = match service.ip() {
        IpAddr::V4(_) => [198, 51, 100, 7].into(),
        IpAddr::V6(_) => [0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 7_u16].into(),
    };
    let noted = || world.daemon.noted("held_evicted");
    let before = noted();
    for id in 0..FLOOD {
        let frames = fragments(macs, [SocketAddr::new(flooder, CLIENT_PORT), service], &pattern(LEN), id);
        wire.send(&frames[1]).unwrap();
    }
    let held = u64::from(rvs_abi::limits::HOLD_SHARE);
    let evicted = noted() - before;
    // More than a share is held if the flood takes longer than a fragment is.
    assert!((1..=u64::from(FLOOD) - held).contains(&evicted), "{evicted} evicted: {:?}", outcomes(world));
}

/// Another network's address.
fn another(like: IpAddr, number: u8) -> IpAddr {
    match like {
        IpAddr::V4(_) => [203, 0, 113, number].into(),
        IpAddr::V6(_) => [0x2001, 0xdb8, 0xfffe, u16::from(number), 0, 0, 0, 9].into(),
    }
}

/// Answers in fragments out of order, by NAT, to a client's real socket.
fn answers_out_of_order(attach: Attach) {
    let _turn = await_turn();
    let world = World::new(Replies::ThroughDirector, attach);
    let macs =
        [world.cluster.director().interface("to-servers").mac.0, world.server().interface("eth0").mac.0];
    let wire = wire(world.server());
    let data = pattern(LEN);
    for family in FAMILIES {
        let service = world.add("-u", family, PORT, Way::NAT);
        let listen = world.listening(family, Way::NAT, PORT);
        let server = patient(open(world.server(), listen));
        let client = patient(open(world.client(), any_of(service.ip())));
        client.connect(service).unwrap();
        client.send(b"question").unwrap();
        let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
        for (id, order) in (1..).zip(ORDERS) {
            send(&wire, &client, &fragments(macs, [listen, from], &data, id), &order, &data);
        }
    }
    assert!(world.daemon.counted("fragment_held") >= 2 * (1 + 3 + 2 + 3), "{:?}", outcomes(&world));
}

/// Packets that may be fragmented and are too large for the way on. Neither end asks that its packets be left whole.
pub(crate) fn let_packets_be_cut(world: &World) {
    for host in [world.client(), world.server()] {
        host.netns().sysctl("net/ipv4/ip_no_pmtu_disc", "1").unwrap();
    }
}

/// Gives the way to `server` a route with a small MTU, and waits until the director knows of it: datagrams of [`UNASKED`] bytes
/// are cut, and counted as `outcome`.
pub(crate) fn make_way_small(world: &mut World, server: IpAddr, service: SocketAddr, outcome: &str) {
    let link = world.cluster.director().interface("to-servers").index;
    let route = Route::to(Prefix::host(server)).dev(link).mtu(SMALL);
    world.cluster.director_mut().netlink().add_route(&route).unwrap();
    let socket = open(world.client(), any_of(service.ip()));
    let mut question = pattern(UNASKED);
    // Asks a name server for nothing.
    question[..4].fill(0);
    let is_cut = || {
        // An error of the way is told once, by the next call.
        socket.send_to(&question, service).is_ok() && world.daemon.counted(outcome) > 0
    };
    wait_until("a packet to be cut", LIMIT, is_cut).unwrap();
}

/// Questions that the way to the server does not take whole: by its route, which says so.
fn questions_over_a_small_way(way: Way, attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(way.replies(), attach);
    let_packets_be_cut(&world);
    let service = world.add("-u", Family::V4, PORT, way);
    let _names = Names::start(&world, world.listening(Family::V4, way, PORT));
    let server = world.server().address_in(Family::V4);
    make_way_small(&mut world, server, service, "forward_cut");
    let cut = world.daemon.counted("forward_cut");
    for len in CUT_LENGTHS {
        ask_for(&world, service, len, 16);
    }
    assert!(world.daemon.counted("forward_cut") >= cut + 4, "{:?}", outcomes(&world));
    assert_eq!(world.daemon.dropped("cut_failed"), 0);
}

/// Answers that the way to the client does not take whole.
fn answers_over_a_small_link(attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(Replies::ThroughDirector, attach);
    let_packets_be_cut(&world);
    let service = world.add("-u", Family::V4, PORT, Way::NAT);
    let _names = Names::start(&world, world.listening(Family::V4, Way::NAT, PORT));
    let link = world.cluster.director().interface("to-client").index;
    world.cluster.director_mut().netlink().set_mtu(link, SMALL).unwrap();
    for len in CUT_LENGTHS {
        ask_for(&world, service, 16, len);
    }
    assert!(world.daemon.counted("forward_cut") >= 4, "{:?}", outcomes(&world));
    assert_eq!(world.daemon.dropped("cut_failed"), 0);
}

#[test]
fn questions_over_a_small_way_by_nat() {
    questions_over_a_small_way(Way::NAT, Attach::Tc);
    questions_over_a_small_way(Way::NAT, Attach::Xdp);
}

#[test]
fn questions_over_a_small_way_by_full_nat() {
    questions_over_a_small_way(Way::FULL_NAT, Attach::Tc);
    questions_over_a_small_way(Way::FULL_NAT, Attach::Xdp);
}

#[test]
fn answers_over_a_small_link_by_nat() {
    answers_over_a_small_link(Attach::Tc);
    answers_over_a_small_link(Attach::Xdp);
}

#[test]
fn large_datagrams_by_nat() {
    large_datagrams(Way::NAT, Attach::Tc);
    large_datagrams(Way::NAT, Attach::Xdp);
}

#[test]
fn large_datagrams_by_dr() {
    large_datagrams(Way::DR, Attach::Tc);
    large_datagrams(Way::DR, Attach::Xdp);
}

#[test]
fn large_datagrams_by_full_nat() {
    large_datagrams(Way::FULL_NAT, Attach::Tc);
    large_datagrams(Way::FULL_NAT, Attach::Xdp);
}

#[test]
fn large_datagrams_by_translation() {
    large_datagrams(Way::TRANSLATED, Attach::Tc);
    large_datagrams(Way::TRANSLATED, Attach::Xdp);
}

#[test]
fn questions_out_of_order_by_translation() {
    questions_out_of_order(Way::TRANSLATED, Attach::Tc);
    questions_out_of_order(Way::TRANSLATED, Attach::Xdp);
}

#[test]
fn questions_out_of_order_by_nat() {
    questions_out_of_order(Way::NAT, Attach::Tc);
    questions_out_of_order(Way::NAT, Attach::Xdp);
}

#[test]
fn questions_out_of_order_by_dr() {
    questions_out_of_order(Way::DR, Attach::Tc);
    questions_out_of_order(Way::DR, Attach::Xdp);
}

#[test]
fn questions_out_of_order_by_tun() {
    for way in [Way::IPIP, Way { mixed: true, ..Way::GUE }] {
        questions_out_of_order(way, Attach::Tc);
        questions_out_of_order(way, Attach::Xdp);
    }
}

#[test]
fn questions_out_of_order_by_full_nat() {
    questions_out_of_order(Way::FULL_NAT, Attach::Tc);
    questions_out_of_order(Way::FULL_NAT, Attach::Xdp);
}

#[test]
fn answers_out_of_order_by_nat() {
    answers_out_of_order(Attach::Tc);
    answers_out_of_order(Attach::Xdp);
}
