//! Full NAT from a pool of addresses: each has all ports to a server's port, a connection keeps its address and its port as long
//! as it lives, TIME_WAIT included, and what they were is then free again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::sched::id;
use rvs_abi::{Addr, Config, Event, Method, Outcome, limits, proto};
use rvs_core::conn::{local, ticks};
use rvs_core::{Flow, Frame, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, Memory, Model, records};
use rvs_wire::builder::{Ipv4, Payload, Tcp, Udp, ethernet};
use rvs_wire::eth;
use rvs_wire::tcp::{ACK, FIN, SYN};

const VIP: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [192, 168, 9, 2];
const DIRECTOR: [u8; 4] = [192, 168, 9, 1];
/// The addresses with the numbers from 1 on: some of a prefix, and some besides.
const POOL: [[u8; 4]; 6] = [
    [192, 168, 9, 100],
    [192, 168, 9, 101],
    [192, 168, 9, 102],
    [192, 168, 9, 103],
    [10, 250, 0, 1],
    [172, 31, 0, 255],
];
const START: u64 = 1 << 40;
const SECOND: u64 = 1_000_000_000;
const PORTS: usize = limits::LOCAL_PORTS.end as usize - limits::LOCAL_PORTS.start as usize;

type Routes = fn(&Flow) -> Result<NextHop, Outcome>;
type End = ([u8; 4], u16);

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 1500 })
}

/// Services of TCP and UDP with one server, room for so many connections, and a pool of the first `addresses`.
fn model(conns: u32, addresses: u32) -> Model<Routes> {
    let heap = Heap::new(&Capacity { services: 4, dests: 256, conns, cpus: 1 });
    let dest = DestSetup { source: DIRECTOR.into(), ..DestSetup::new(SERVER, 53, Method::FULL_NAT) };
    let service = |protocol| ServiceSetup {
        vip: VIP.into(),
        port: 53,
        protocol,
        scheduler: id::RR,
        sched_flags: 0,
        dests: vec![dest],
    };
    install(&heap, &[proto::UDP, proto::TCP].map(service));
    let places = heap.region(Region::LocalAddresses).as_chunks::<2>().0;
    for (place, address) in places[1..].iter().zip(POOL) {
        let Addr([high, low]) = Addr::v4(address);
        place[0].store(high, Relaxed);
        place[1].store(low, Relaxed);
    }
    set_pool(&heap, 1, addresses);
    let mut model = Model::new(heap, route as Routes);
    model.set_now_ns(START);
    model
}

fn set_pool(heap: &Heap, first: u32, addresses: u32) {
    let word = if addresses == 0 { 0 } else { first | addresses << 16 };
    records::write_config(heap, &Config { full_nat_sources: [word, 0], ..records::config(heap) });
}

/// A packet between two ends; what becomes of it, and its ends as it leaves.
fn send(
    model: &Model<Routes>,
    from: End,
    to: End,
    payload: impl Fn(u16, u16) -> Payload,
) -> (Outcome, (End, End)) {
    let packet = Ipv4::new(from.0, to.0).packet(&payload(from.1, to.1));
    let bytes = ethernet([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], eth::TYPE_IPV4, &packet);
    let mut frame = Frame::<512>::new(&bytes).unwrap();
    let outcome = model.ingress(&mut frame, 11).outcome;
    let word = |at: usize| <[u8; 4]>::try_from(&frame.bytes()[at..at + 4]).unwrap();
    let port = |at: usize| u16::from_be_bytes([frame.bytes()[at], frame.bytes()[at + 1]]);
    (outcome, ((word(26), port(34)), (word(30), port(36))))
}

fn datagram(sport: u16, dport: u16) -> Payload {
    Payload::Udp(Udp::new(sport, dport, b"data"))
}

fn segment(flags: u8) -> impl Fn(u16, u16) -> Payload {
    move |sport, dport| Payload::Tcp(Tcp::new(sport, dport, flags))
}

fn client(n: u32) -> End {
    let [_, b, c, d] = n.to_be_bytes();
    ([172, 16 + b, c, d], 40_000 + (n % 1000) as u16)
}

/// The local end of a connection that the client's next datagram is of.
fn local_end(model: &Model<Routes>, n: u32) -> End {
    let (outcome, (local, server)) = send(model, client(n), (VIP, 53), datagram);
    assert_eq!((outcome, server), (Outcome::ForwardFullNat, (SERVER, 53)), "{n}");
    local
}

#[test]
fn two_addresses_have_forty_thousand_connections_to_one_port_and_none_is_lost() {
    let model = model(40_000, 2);
    let mut ends = BTreeMap::<End, u32>::new();
    for n in 0..40_000 {
        assert_eq!(ends.insert(local_end(&model, n), n), None, "{n}: an end twice");
    }
    let of = |address| ends.keys().filter(|end| end.0 == address).count();
    let counts = [of(POOL[0]), of(POOL[1])];
    assert!(counts[0] + counts[1] == 40_000 && counts[0].abs_diff(counts[1]) < 2000, "{counts:?}");
    assert!(ends.keys().all(|end| limits::LOCAL_PORTS.contains(&end.1)));
    for (end, n) in &ends {
        let reply = send(&model, (SERVER, 53), *end, datagram);
        assert_eq!(reply, (Outcome::ReplyFullNat, ((VIP, 53), client(*n))));
    }
    assert_eq!(model.outcomes(Outcome::NoLocalPort), 0);
}

/// Nine in ten ports are found without a miss, and of all more than 98 in 100; the rest is counted.
#[test]
fn a_pool_can_be_filled_and_its_exhaustion_is_counted() {
    let model = model(140_000, 4);
    let all = u32::try_from(4 * PORTS).unwrap();
    let (mut made, mut refused, mut ends) = (0, 0, BTreeSet::new());
    for n in 0..all + 10_000 {
        match send(&model, client(n), (VIP, 53), datagram) {
            (Outcome::ForwardFullNat, (end, _)) => {
                made += 1;
                assert!(ends.insert(end), "an end twice");
                // Of one packet only, it would give way.
                assert_eq!(local_end(&model, n), end);
            }
            (Outcome::NoLocalPort, _) => refused += 1,
            other => panic!("{other:?}"),
        }
        assert!(refused == 0 || n > all / 10 * 9, "refused with {made} of {all} made");
    }
    assert!(made > all / 100 * 98 && made <= all, "{made} of {all}");
    assert!(refused > 0 && model.outcomes(Outcome::NoLocalPort) == refused, "{refused}");
}

/// With the ports of one address taken by others, connections come from the other.
#[test]
fn who_finds_no_port_of_one_address_takes_one_of_another() {
    let taken = local::reservation(0, ticks(START) + 100_000);
    let one = model(40_000, 1);
    for n in 0..PORTS as u32 + 5000 {
        let _some = send(&one, client(n), (VIP, 53), datagram);
    }
    // The same words, as far as they are taken, in a memory with two addresses.
    let both = model(40_000, 2);
    for (word, of_one) in
        both.heap().region(Region::LocalPorts).iter().zip(one.heap().region(Region::LocalPorts))
    {
        if of_one.load(Relaxed) != 0 {
            word.store(taken, Relaxed);
        }
    }
    let mut ends = BTreeMap::<[u8; 4], usize>::new();
    for n in 0..5000 {
        *ends.entry(local_end(&both, n).0).or_default() += 1;
    }
    assert!(ends[&POOL[1]] > 4900, "{ends:?}");
}

#[test]
fn a_connection_keeps_its_address_when_pool_and_route_change() {
    let model = model(1000, 2);
    let ends: Vec<End> = (0..100).map(|n| local_end(&model, n)).collect();
    let mut dest = records::dest(model.heap(), 0).unwrap();
    dest.source = Addr::v4([192, 168, 9, 3]);
    records::write_dest(model.heap(), 0, &dest);
    for (first, addresses) in [(3, 4), (0, 0), (1, 1)] {
        set_pool(model.heap(), first, addresses);
        for (n, end) in (0..).zip(&ends) {
            assert_eq!(local_end(&model, n), *end);
            assert_eq!(send(&model, (SERVER, 53), *end, datagram).1, ((VIP, 53), client(n)));
        }
        let expected = match first {
            0 => vec![[192, 168, 9, 3]],
            _ => POOL[first as usize - 1..][..addresses as usize].to_vec(),
        };
        for n in 0..20 {
            let new = local_end(&model, 1000 * (first + 1) + n);
            assert!(expected.contains(&new.0), "{new:?}, pool {expected:?}");
        }
    }
}

/// A connection from before there was a pool is one of the director's own address, and stays that.
#[test]
fn connections_of_the_directors_address_go_on_beside_a_pool() {
    let model = model(1000, 0);
    let end = local_end(&model, 1);
    assert_eq!(end.0, DIRECTOR);
    set_pool(model.heap(), 1, 6);
    assert_eq!(local_end(&model, 1), end);
    assert_eq!(send(&model, (SERVER, 53), end, datagram).1, ((VIP, 53), client(1)));
    assert!(POOL.contains(&local_end(&model, 2).0));
}

/// With a pool nobody asks for the director's own address.
#[test]
fn a_pool_needs_no_address_on_the_way() {
    let model = model(1000, 1);
    let mut dest = records::dest(model.heap(), 0).unwrap();
    dest.source = Addr::default();
    records::write_dest(model.heap(), 0, &dest);
    assert_eq!(local_end(&model, 1).0, POOL[0]);
}

#[test]
fn a_reply_to_another_address_of_the_pool_is_none() {
    let model = model(1000, 2);
    let (address, port) = local_end(&model, 1);
    let other = if address == POOL[0] { POOL[1] } else { POOL[0] };
    for nobodys in [(other, port), (DIRECTOR, port), (address, port ^ 1)] {
        assert_eq!(send(&model, (SERVER, 53), nobodys, datagram).0, Outcome::NoService, "{nobodys:?}");
    }
}

/// All other ports are taken: the one that a closed connection had is refused while that is in TIME_WAIT, and found after.
#[test]
fn a_port_is_used_again_after_time_wait_and_not_before() {
    let mut model = model(40_000, 2);
    let (syn, ack, fin) = (segment(SYN), segment(ACK), segment(FIN | ACK));
    let to_server = |model: &Model<Routes>, n, what: &dyn Fn(u16, u16) -> Payload| {
        send(model, client(n), (VIP, 53), what)
    };
    let (outcome, (end, _)) = to_server(&model, 0, &syn);
    assert_eq!(outcome, Outcome::ForwardFullNat);
    let taken = local::reservation(0, ticks(START) + 1_000_000);
    for word in model.heap().region(Region::LocalPorts) {
        let _was_taken = word.compare_exchange(0, taken, Relaxed, Relaxed);
    }
    let from_server = |model: &Model<Routes>, what: &dyn Fn(u16, u16) -> Payload| {
        assert_eq!(send(model, (SERVER, 53), end, what).0, Outcome::ReplyFullNat);
    };
    from_server(&model, &segment(SYN | ACK));
    for (from_client, what) in [(true, &ack), (true, &fin), (false, &fin), (true, &ack)] {
        if from_client {
            assert_eq!(to_server(&model, 0, what).1.0, end);
        } else {
            from_server(&model, what);
        }
    }
    // It is in TIME_WAIT for 120 seconds (ipvs.md §5.3).
    model.set_now_ns(START + 118 * SECOND);
    for n in 1..5000 {
        assert_eq!(to_server(&model, n, &syn).0, Outcome::NoLocalPort, "{n}");
    }
    model.set_now_ns(START + 122 * SECOND);
    let found =
        (5000..15_000).map(|n| to_server(&model, n, &syn)).find(|sent| sent.0 != Outcome::NoLocalPort);
    assert_eq!(found, Some((Outcome::ForwardFullNat, (end, (SERVER, 53)))));
}

/// Half-open connections, as a flood makes them, keep nobody out; those of more than one packet keep their ports.
#[test]
fn half_open_connections_give_their_ports_to_others() {
    let model = model(100_000, 1);
    let (syn, ack) = (segment(SYN), segment(ACK));
    let honest = |n| {
        let (outcome, (end, _)) = send(&model, client(n), (VIP, 53), &syn);
        assert_eq!(outcome, Outcome::ForwardFullNat, "{n}");
        let answer = send(&model, (SERVER, 53), end, segment(SYN | ACK));
        assert_eq!(answer, (Outcome::ReplyFullNat, ((VIP, 53), client(n))));
        assert_eq!(send(&model, client(n), (VIP, 53), &ack).1.0, end, "{n}");
        end
    };
    let before: Vec<End> = (0..1000).map(honest).collect();
    let flood = 100_000..160_000;
    for n in flood.clone() {
        let outcome = send(&model, client(n), (VIP, 53), &syn).0;
        assert_eq!(outcome, Outcome::ForwardFullNat, "{n}");
    }
    let during: Vec<End> = (1000..1020).map(honest).collect();
    for (n, end) in (0..).zip(before.into_iter().chain(during)) {
        let reply = send(&model, (SERVER, 53), end, segment(ACK));
        assert_eq!(reply, (Outcome::ReplyFullNat, ((VIP, 53), client(n))));
    }
    assert_eq!(model.outcomes(Outcome::NoLocalPort), 0);
    let evicted = model.heap().region(Region::Counters)[Event::PortTaken as usize].load(Relaxed);
    let room = PORTS as u64 - 1000;
    assert!(evicted >= flood.len() as u64 - room, "{evicted}");
}
