//! The director itself as a real server and as a client.

use rvs_abi::sched::id;
use rvs_abi::{Addr, ConnFlags, DestFlags, LOOPBACK, Method, Outcome, ServiceFlags, proto};
use rvs_core::{Flow, Frame, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, Model, records};
use rvs_wire::builder::{Ipv4, Payload, Tcp, Udp};
use rvs_wire::{eth, tcp};

const VIP: [u8; 4] = [10, 0, 0, 1];
const CLIENT: [u8; 4] = [192, 0, 2, 2];
const OWN: [u8; 4] = [192, 168, 9, 1];
const FAR: [u8; 4] = [192, 168, 9, 2];
/// Of the other family: one elsewhere, and one of this host.
const FAR6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const OWN6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

type Routes = fn(&Flow) -> Result<NextHop, Outcome>;

/// All but the director's own addresses are on interface 3.
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    if [VIP, OWN, [127, 0, 0, 1]].map(Addr::from).contains(&flow.to) {
        return Err(Outcome::NoRoute);
    }
    let mut hop = NextHop { mtu: 1500, ..NextHop::default() };
    (hop.link.ifindex, hop.link.gateway) = (3, flow.to);
    Ok(hop)
}

/// A service at TCP port 80 with one destination at port 8080.
fn model(to: impl Into<Addr>, method: u8) -> Model<Routes> {
    model_of(proto::TCP, to, method)
}

fn model_of(protocol: u8, to: impl Into<Addr>, method: u8) -> Model<Routes> {
    let to: Addr = to.into();
    let heap = Heap::new(&Capacity { services: 1, dests: 64, conns: 64, cpus: 1 });
    let dests = vec![DestSetup::new(to, 8080, method)];
    install(
        &heap,
        &[ServiceSetup { vip: VIP.into(), port: 80, protocol, scheduler: id::RR, sched_flags: 0, dests }],
    );
    if to != Addr::from(FAR) && to != Addr::from(FAR6) {
        let mut record = records::dest(&heap, 0).unwrap();
        record.flags |= DestFlags::LOCAL;
        records::write_dest(&heap, 0, &record);
    }
    let mut model = Model::new(heap, route as Routes);
    model.set_tc(true);
    model
}

/// A segment, as a frame.
fn frame((from, sport): ([u8; 4], u16), (to, dport): ([u8; 4], u16), flags: u8) -> Frame<128> {
    let bytes = Ipv4::new(from, to).frame(MAC, MAC, &Payload::Tcp(Tcp::new(sport, dport, flags)));
    Frame::new(&bytes).unwrap()
}

/// Whether that is the packet of a segment whose time to live is as it was sent.
fn is(got: &Frame<128>, from: ([u8; 4], u16), to: ([u8; 4], u16), flags: u8) -> bool {
    got.bytes()[eth::LEN..] == frame(from, to, flags).bytes()[eth::LEN..]
}

#[test]
fn a_request_to_a_local_nat_destination_is_rewritten_for_the_stack_and_its_reply_on_the_way_out() {
    let model = model(OWN, Method::MASQ);
    let mut packet = frame((CLIENT, 40_000), (VIP, 80), tcp::SYN);
    let verdict = model.ingress(&mut packet, 3);
    assert_eq!((verdict.outcome, verdict.link.ifindex), (Outcome::LocalNode, 0));
    assert!(is(&packet, (CLIENT, 40_000), (OWN, 8080), tcp::SYN));
    let mut packet = frame((OWN, 8080), (CLIENT, 40_000), tcp::SYN | tcp::ACK);
    let verdict = model.egress(&mut packet);
    assert_eq!((verdict.outcome, verdict.link.ifindex), (Outcome::ReplyMasq, 0));
    assert!(is(&packet, (VIP, 80), (CLIENT, 40_000), tcp::SYN | tcp::ACK));
    let counts = [Outcome::LocalNode, Outcome::ReplyMasq].map(|outcome| model.outcomes(outcome));
    assert_eq!(counts, [1, 1]);
}

#[test]
fn a_local_destination_of_another_method_gets_packets_as_they_are() {
    for method in [Method::DR, Method::TUNNEL] {
        let model = model(OWN, method);
        let mut packet = frame((CLIENT, 40_000), (VIP, 80), tcp::SYN);
        assert_eq!(model.ingress(&mut packet, 3).outcome, Outcome::LocalNode);
        assert!(is(&packet, (CLIENT, 40_000), (VIP, 80), tcp::SYN));
        let mut packet = frame((VIP, 80), (CLIENT, 40_000), tcp::SYN | tcp::ACK);
        assert_eq!(model.egress(&mut packet).outcome, Outcome::ReplyUnchanged);
        assert_eq!(model.outcomes(Outcome::ReplyUnchanged), 1);
    }
}

#[test]
fn xdp_hands_over_what_is_for_the_stack_before_it_is_counted() {
    let mut model = model(OWN, Method::MASQ);
    model.set_tc(false);
    let mut packet = frame((CLIENT, 40_000), (VIP, 80), tcp::SYN);
    assert_eq!(model.ingress(&mut packet, 3).outcome, Outcome::HandOverRoute);
    assert!(is(&packet, (CLIENT, 40_000), (VIP, 80), tcp::SYN));
    assert_eq!(model.ingress_after_xdp(&mut packet, 3).outcome, Outcome::LocalNode);
    let stats = records::stats_part(model.heap(), &records::config(model.heap()), 0, 0);
    assert_eq!((stats.conns, stats.in_packets), (1, 1));
}

#[test]
fn a_client_on_this_host_is_balanced_and_its_replies_go_to_the_stack() {
    let model = model(FAR, Method::MASQ);
    let mut packet = frame((VIP, 40_000), (VIP, 80), tcp::SYN);
    let verdict = model.egress(&mut packet);
    assert_eq!((verdict.outcome, verdict.link.ifindex), (Outcome::ForwardMasq, 3));
    let mut packet = frame((FAR, 8080), (VIP, 40_000), tcp::SYN | tcp::ACK);
    let verdict = model.ingress(&mut packet, 3);
    assert_eq!((verdict.outcome, verdict.link.ifindex), (Outcome::ReplyLocal, LOOPBACK));
    assert!(is(&packet, (VIP, 80), (VIP, 40_000), tcp::SYN | tcp::ACK));
    assert_eq!(packet.bytes()[..12], [0; 12], "the loopback interface has no other address");
}

#[test]
fn loopback_addresses_stay_on_their_host() {
    let here = model([127, 0, 0, 1], Method::MASQ);
    let mut packet = frame((CLIENT, 40_000), (VIP, 80), tcp::SYN);
    assert_eq!(here.ingress(&mut packet, 3).outcome, Outcome::LoopbackAddress);
    let mut packet = frame((VIP, 40_000), (VIP, 80), tcp::SYN);
    assert_eq!(here.egress(&mut packet).outcome, Outcome::LocalNode);
    let far = model(FAR, Method::MASQ);
    let mut packet = frame(([127, 0, 0, 1], 40_000), (VIP, 80), tcp::SYN);
    assert_eq!(far.egress(&mut packet).outcome, Outcome::LoopbackAddress);
}

#[test]
fn what_this_host_sends_to_others_is_not_counted() {
    let model = model(FAR, Method::MASQ);
    let mut packet = frame((OWN, 40_000), (CLIENT, 22), tcp::SYN);
    let verdict = model.egress(&mut packet);
    assert_eq!((verdict.outcome, model.outcomes(Outcome::NotOurs)), (Outcome::NotOurs, 0));
    assert_eq!(ConnFlags::LOCAL_CLIENT & ConnFlags::METHOD, 0);
}

/// The same, of which each datagram is scheduled by itself.
fn one_packet_model(to: [u8; 4], method: u8) -> Model<Routes> {
    let model = model_of(proto::UDP, to, method);
    let mut service = records::service(model.heap(), 0).unwrap();
    service.flags |= ServiceFlags::ONE_PACKET;
    records::write_service(model.heap(), 0, &service);
    model
}

fn datagram((from, sport): ([u8; 4], u16), (to, dport): ([u8; 4], u16)) -> Frame<128> {
    let bytes = Ipv4::new(from, to).frame(MAC, MAC, &Payload::Udp(Udp::new(sport, dport, b"question")));
    Frame::new(&bytes).unwrap()
}

/// Connections, packets in and packets out of the service.
fn numbers(model: &Model<Routes>) -> (u64, u64, u64) {
    let stats = records::stats_part(model.heap(), &records::config(model.heap()), 0, 0);
    (stats.conns, stats.in_packets, stats.out_packets)
}

#[test]
fn one_packet_scheduling_reaches_a_local_destination_and_its_replies_stay_as_they_are() {
    for is_tc in [true, false] {
        let mut model = one_packet_model(OWN, Method::MASQ);
        model.set_tc(is_tc);
        for number in 1..3 {
            let mut packet = datagram((CLIENT, 40_000), (VIP, 80));
            if !is_tc {
                assert_eq!(model.ingress(&mut packet, 3).outcome, Outcome::HandOverRoute);
                assert_eq!(model.ingress_after_xdp(&mut packet, 3).outcome, Outcome::LocalNode);
            } else {
                assert_eq!(model.ingress(&mut packet, 3).outcome, Outcome::LocalNode);
            }
            assert_eq!(packet.bytes(), datagram((CLIENT, 40_000), (OWN, 8080)).bytes());
            assert_eq!(numbers(&model), (number, number, 0));
        }
        let mut packet = datagram((OWN, 8080), (CLIENT, 40_000));
        assert_eq!(model.egress(&mut packet).outcome, Outcome::NoService);
        assert_eq!(packet.bytes(), datagram((OWN, 8080), (CLIENT, 40_000)).bytes());
    }
    let model = one_packet_model(OWN, Method::DR);
    let mut packet = datagram((CLIENT, 40_000), (VIP, 80));
    assert_eq!(model.ingress(&mut packet, 3).outcome, Outcome::LocalNode);
    assert_eq!(packet.bytes(), datagram((CLIENT, 40_000), (VIP, 80)).bytes());
}

#[test]
fn one_packet_scheduling_of_a_client_on_this_host() {
    let model = one_packet_model(FAR, Method::MASQ);
    let mut packet = datagram((OWN, 40_000), (VIP, 80));
    let verdict = model.egress(&mut packet);
    assert_eq!((verdict.outcome, verdict.link.ifindex), (Outcome::ForwardMasq, 3));
    assert_eq!(numbers(&model), (1, 1, 0));
    let mut packet = datagram(([127, 0, 0, 1], 40_000), (VIP, 80));
    assert_eq!(model.egress(&mut packet).outcome, Outcome::LoopbackAddress);
    let here = one_packet_model(OWN, Method::MASQ);
    let mut packet = datagram((OWN, 40_000), (VIP, 80));
    assert_eq!(here.egress(&mut packet).outcome, Outcome::LocalNode);
    assert_eq!(packet.bytes(), datagram((OWN, 40_000), (OWN, 8080)).bytes());
}

#[test]
fn a_packet_of_this_host_that_is_too_large_is_not_cut_but_told_of() {
    let model = model_of(proto::UDP, FAR, Method::DR);
    let data = [0; 1600];
    let large = Ipv4 { dont_fragment: false, ..Ipv4::new(OWN, VIP) };
    let frame = large.frame(MAC, MAC, &Payload::Udp(Udp::new(40_000, 80, &data)));
    let mut packet = Frame::<2048>::new(&frame).unwrap();
    let verdict = model.egress(&mut packet);
    assert_eq!((verdict.outcome, verdict.link.ifindex), (Outcome::TooBig, LOOPBACK));
}

#[test]
fn a_fragment_of_this_host_behind_an_unknown_first_one_is_not_held() {
    let model = model_of(proto::UDP, FAR, Method::DR);
    let later = Ipv4 { fragment_offset: 185, ..Ipv4::new(OWN, VIP) };
    let mut packet =
        Frame::<128>::new(&later.frame(MAC, MAC, &Payload::Udp(Udp::new(40_000, 80, b"question")))).unwrap();
    assert_eq!(model.egress(&mut packet).outcome, Outcome::Fragment);
    assert_eq!(model.outcomes(Outcome::FragmentHeld), 0);
}

/// There is no translation at this host itself: nothing leaves that is half of each family.
#[test]
fn nothing_is_translated_for_a_client_or_a_destination_on_this_host() {
    for protocol in [proto::TCP, proto::UDP] {
        let model = model_of(protocol, FAR6, Method::FULL_NAT);
        let mut packet = request(protocol, OWN);
        let before = packet.clone();
        assert_eq!(model.egress(&mut packet).outcome, Outcome::TranslateLocal);
        assert_eq!(packet.bytes(), before.bytes());
        let model = model_of(protocol, OWN6, Method::FULL_NAT);
        let mut packet = request(protocol, CLIENT);
        let before = packet.clone();
        assert_eq!(model.ingress(&mut packet, 3).outcome, Outcome::TranslateLocal);
        assert_eq!(packet.bytes(), before.bytes());
    }
}

fn request(protocol: u8, from: [u8; 4]) -> Frame<128> {
    if protocol == proto::TCP {
        frame((from, 40_000), (VIP, 80), tcp::SYN)
    } else {
        datagram((from, 40_000), (VIP, 80))
    }
}
