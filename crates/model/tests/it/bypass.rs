//! `cache_bypass`: packets of services by mark that have no destination (ipvs.md §2.6, §3.7).

use rvs_abi::{Method, NO_DEST, Outcome, ServiceFlags, Settings, proto, sched};
use rvs_core::{Flow, Frame, Link, NextHop, state};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Conn, Heap, Model, for_each_conn, records};
use rvs_wire::builder::{Ipv4, Payload, Tcp, Udp};
use rvs_wire::{eth, tcp};

const CAPACITY: Capacity = Capacity { services: 2, dests: 128, conns: 64, cpus: 1 };
const CLIENT: [u8; 4] = [192, 0, 2, 2];
const OWN: [u8; 4] = [192, 168, 9, 1];
const OTHER: [u8; 4] = [203, 0, 113, 7];
const RS: [u8; 4] = [192, 168, 9, 2];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const MARK: u32 = 7;
const NOW: u64 = 1 << 40;

type Routes = fn(&Flow) -> Result<NextHop, Outcome>;
type Large = Frame<2048>;

/// Nothing leads to the director's own address.
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    if flow.to == OWN.into() {
        return Err(Outcome::NoRoute);
    }
    let link = Link { ifindex: 7, resolved: 0, macs: [0; 3], gateway: flow.to };
    Ok(NextHop { link, mtu: 1000 })
}

/// A service by mark, for packets that come with one, under TC.
fn model(dests: Vec<DestSetup>, settings: u32) -> Model<Routes> {
    with_services(&[ServiceSetup::by_mark(MARK, true, dests)], settings)
}

fn with_services(services: &[ServiceSetup], settings: u32) -> Model<Routes> {
    let heap = Heap::new(&CAPACITY);
    install(&heap, services);
    let config = rvs_abi::Config { settings, ..records::config(&heap) };
    records::write_config(&heap, &config);
    let mut model = Model::new(heap, route as Routes);
    model.set_tc(true);
    model.set_packet_mark(MARK);
    model.set_now_ns(NOW);
    model
}

fn bypassing() -> Model<Routes> {
    model(vec![], Settings::DEFAULT | Settings::CACHE_BYPASS)
}

fn frame(ip: &Ipv4, payload: &Payload) -> Large {
    Frame::new(&ip.frame(MAC, MAC, payload)).unwrap()
}

fn segment(from: [u8; 4], to: [u8; 4], flags: u8) -> Large {
    frame(&Ipv4::new(from, to), &Payload::Tcp(Tcp::new(40_000, 80, flags)))
}

/// The one connection.
fn conn(model: &Model<Routes>) -> Conn {
    let mut conns = Vec::new();
    for_each_conn(model.heap(), rvs_core::conn::ticks(NOW), |conn| conns.push(*conn));
    assert_eq!(conns.len(), 1);
    conns[0]
}

/// Whether that is the packet as it came, one hop on.
fn is_sent_on(got: &Large, ip: &Ipv4, payload: &Payload) -> bool {
    got.bytes()[eth::LEN..] == frame(&Ipv4 { ttl: ip.ttl - 1, ..ip.clone() }, payload).bytes()[eth::LEN..]
}

#[test]
fn packets_without_a_destination_go_on_and_count_for_none() {
    let model = bypassing();
    for flags in [tcp::SYN, tcp::ACK] {
        let mut packet = segment(CLIENT, OTHER, flags);
        let verdict = model.ingress(&mut packet, 3);
        assert_eq!((verdict.outcome, verdict.link.gateway), (Outcome::ForwardBypass, OTHER.into()));
        let sent = Payload::Tcp(Tcp::new(40_000, 80, flags));
        assert!(is_sent_on(&packet, &Ipv4::new(CLIENT, OTHER), &sent));
    }
    let config = records::config(model.heap());
    assert_eq!(records::stats_part(model.heap(), &config, 0, 0), rvs_abi::Stats::default());
    assert!(records::dest(model.heap(), NO_DEST).is_none());
}

#[test]
fn a_connection_stays_there_when_the_setting_is_off_again() {
    let model = bypassing();
    assert_eq!(model.ingress(&mut segment(CLIENT, OTHER, tcp::SYN), 3).outcome, Outcome::ForwardBypass);
    let config = rvs_abi::Config { settings: Settings::DEFAULT, ..records::config(model.heap()) };
    records::write_config(model.heap(), &config);
    assert_eq!(model.ingress(&mut segment(CLIENT, OTHER, tcp::ACK), 3).outcome, Outcome::ForwardBypass);
    let mut other = frame(&Ipv4::new(CLIENT, OTHER), &Payload::Tcp(Tcp::new(40_001, 80, tcp::SYN)));
    assert_eq!(model.ingress(&mut other, 3).outcome, Outcome::NoDestination);
}

#[test]
fn addresses_of_the_director_and_of_groups_are_not_gone_on_to() {
    for to in [OWN, [224, 0, 0, 1]] {
        let mut packet = segment(CLIENT, to, tcp::SYN);
        assert_eq!(bypassing().ingress(&mut packet, 3).outcome, Outcome::NoDestination, "{to:?}");
    }
}

/// Replies move its connection along (ipvs.md §2.7 step 4) and go on as they are, whether the filter knows their source or not.
#[test]
fn replies_move_the_connection_along_and_count_for_none() {
    let other = ServiceSetup {
        vip: [10, 0, 0, 1].into(),
        port: 80,
        protocol: proto::TCP,
        scheduler: sched::id::RR,
        sched_flags: 0,
        dests: vec![DestSetup::new(OTHER, 80, Method::MASQ)],
    };
    let by_mark = ServiceSetup::by_mark(MARK, true, vec![]);
    for services in [&[by_mark.clone()][..], &[by_mark, other]] {
        let mut model = with_services(services, Settings::DEFAULT | Settings::CACHE_BYPASS);
        for flags in [tcp::SYN, tcp::ACK] {
            let went = model.ingress(&mut segment(CLIENT, OTHER, flags), 3);
            assert_eq!(went.outcome, Outcome::ForwardBypass);
        }
        assert_eq!(conn(&model).state, state::tcp::ESTABLISHED);
        model.set_packet_mark(0);
        let asked = Ipv4::new(CLIENT, OTHER).packet(&Payload::Tcp(Tcp::new(40_000, 80, tcp::ACK)));
        let replies = [
            (Payload::Icmp(3, 1, [vec![0; 4], asked].concat()), state::tcp::ESTABLISHED),
            (Payload::Tcp(Tcp::new(80, 40_000, tcp::FIN | tcp::ACK)), state::tcp::FIN_WAIT),
            (Payload::Tcp(Tcp::new(80, 40_000, tcp::RST)), state::tcp::CLOSE),
        ];
        for (payload, state) in replies {
            let mut packet = frame(&Ipv4::new(OTHER, CLIENT), &payload);
            let came = packet.clone();
            assert_eq!(model.ingress(&mut packet, 3).outcome, Outcome::ReplyUnchanged);
            assert_eq!(packet.bytes(), came.bytes());
            assert_eq!(conn(&model).state, state);
        }
        let config = records::config(model.heap());
        assert_eq!(records::stats_part(model.heap(), &config, 0, 0), rvs_abi::Stats::default());
    }
}

#[test]
fn a_service_with_a_destination_uses_that() {
    let dests = vec![DestSetup::new(RS, 80, Method::DR)];
    let model = model(dests, Settings::DEFAULT | Settings::CACHE_BYPASS);
    assert_eq!(model.ingress(&mut segment(CLIENT, OTHER, tcp::SYN), 3).outcome, Outcome::ForwardDr);
}

#[test]
fn fragments_go_where_the_first_went() {
    let model = bypassing();
    let payload = Payload::Udp(Udp::new(40_000, 53, b"question"));
    let first = Ipv4 { dont_fragment: false, more_fragments: true, id: 5, ..Ipv4::new(CLIENT, OTHER) };
    let later = Ipv4 { more_fragments: false, fragment_offset: 2, ..first.clone() };
    for ip in [&first, &later, &later] {
        let mut packet = frame(ip, &payload);
        assert_eq!(model.ingress(&mut packet, 3).outcome, Outcome::ForwardBypass, "{ip:?}");
        assert!(is_sent_on(&packet, ip, &payload), "{ip:?}");
    }
}

#[test]
fn what_is_too_large_is_cut_or_told_of() {
    let data = [0; 1200];
    let payload = Payload::Udp(Udp::new(40_000, 53, &data));
    for (dont_fragment, outcome) in [(true, Outcome::TooBig), (false, Outcome::ForwardCut)] {
        let ip = Ipv4 { dont_fragment, ..Ipv4::new(CLIENT, OTHER) };
        assert_eq!(bypassing().ingress(&mut frame(&ip, &payload), 3).outcome, outcome);
    }
}

#[test]
fn of_one_packet_scheduling_no_connection_is_kept() {
    let model = bypassing();
    let mut service = records::service(model.heap(), 0).unwrap();
    service.flags |= ServiceFlags::ONE_PACKET;
    records::write_service(model.heap(), 0, &service);
    let mut packet = frame(&Ipv4::new(CLIENT, OTHER), &Payload::Udp(Udp::new(40_000, 53, b"question")));
    assert_eq!(model.ingress(&mut packet, 3).outcome, Outcome::ForwardBypass);
    // With the setting off again, a connection would still be followed.
    let config = rvs_abi::Config { settings: Settings::DEFAULT, ..records::config(model.heap()) };
    records::write_config(model.heap(), &config);
    let mut packet = frame(&Ipv4::new(CLIENT, OTHER), &Payload::Udp(Udp::new(40_000, 53, b"question")));
    assert_eq!(model.ingress(&mut packet, 3).outcome, Outcome::NoDestination);
}

#[test]
fn packets_of_this_host_go_on_too_but_for_its_loopback_address() {
    let model = bypassing();
    let mut packet = segment(OWN, OTHER, tcp::SYN);
    assert_eq!(model.egress(&mut packet).outcome, Outcome::ForwardBypass);
    let mut packet = segment([127, 0, 0, 1], OTHER, tcp::SYN);
    assert_eq!(model.egress(&mut packet).outcome, Outcome::LoopbackAddress);
}
