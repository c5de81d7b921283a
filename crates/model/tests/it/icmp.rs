//! ICMP errors: what they count for, what they tell, and what came before them.

use std::net::Ipv6Addr;

use rvs_abi::{Method, Outcome, Stats, TunnelType};
use rvs_core::{Parsed, Signal};
use rvs_model::testing::DestSetup;
use rvs_model::{HostTables, Model, records, testing};
use rvs_wire::builder::{Ipv4, Ipv6, Payload, Udp};

use crate::fragments::{CLIENT, DIRECTOR, RS, Route, VIP, datagram, frame, model, request, run};
use crate::tunnel_fragments::tunnel_model_to;

/// What counts for the destination.
fn counted(model: &Model<Route>) -> Stats {
    records::stats_part(model.heap(), &records::config(model.heap()), 0, 0)
}

/// "Port unreachable" about a packet, of which 28 bytes are quoted.
fn unreachable(about: &[u8]) -> Payload {
    Payload::Icmp(3, 3, [&[0; 4], &about[..28]].concat())
}

/// ipvs.md §9.1: what counts for a destination does so while that is available.
#[test]
fn an_error_about_a_removed_destination_is_not_counted() {
    let cases =
        [(Method::MASQ, RS, 5353, Outcome::IcmpToClient), (Method::DR, VIP, 53, Outcome::ReplyUnchanged)];
    for (method, addr, port, outcome) in cases {
        let model = model(RS, method);
        assert_eq!(run(&model, &request(1).packet(&datagram(53, 10))).1.len(), 1);
        let about_request = unreachable(&Ipv4::new(CLIENT, addr).packet(&datagram(port, 10)));
        let reply = Payload::Udp(Udp::new(53, 40_000, b"a reply"));
        let about_reply = unreachable(&Ipv4::new(VIP, CLIENT).packet(&reply));
        let mut expected = Stats { conns: 1, in_packets: 1, in_bytes: 38, ..Stats::default() };
        for removed in [false, true] {
            if removed {
                testing::remove_dest(model.heap(), 0);
            } else {
                (expected.out_packets, expected.out_bytes) = (1, 56);
                (expected.in_packets, expected.in_bytes) = (2, 38 + 56);
            }
            assert_eq!(run(&model, &Ipv4::new(RS, CLIENT).packet(&about_request)).0, outcome);
            assert_eq!(run(&model, &Ipv4::new(CLIENT, VIP).packet(&about_reply)).0, Outcome::IcmpToServer);
            assert_eq!(counted(&model), expected, "method {method}, removed: {removed}");
        }
    }
}

/// As the first one, which IPVS counts for the whole packet.
#[test]
fn later_fragments_of_a_removed_destinations_reply_are_not_counted() {
    let model = model(RS, Method::MASQ);
    assert_eq!(run(&model, &request(1).packet(&datagram(53, 10))).1.len(), 1);
    let before = counted(&model);
    testing::remove_dest(model.heap(), 0);
    let reply = Payload::Udp(Udp::new(5353, 40_000, &[7; 100]));
    for fragment in Ipv4::new(RS, CLIENT).fragments(&reply, 48) {
        assert_eq!(run(&model, &fragment).0, Outcome::ReplyMasq);
    }
    assert_eq!(counted(&model), before);
}

/// In whatever memory it is parsed: that of the packet before it, which may have been a fragment.
#[test]
fn nothing_of_the_packet_before_it_is_said_of_an_error() {
    let model = model(RS, Method::MASQ);
    let error =
        Ipv4::new(RS, CLIENT).packet(&unreachable(&Ipv4::new(CLIENT, RS).packet(&datagram(5353, 10))));
    let tables = HostTables::without_packets(model.heap());
    let mut parsed = Parsed { signal: u8::MAX, ..Parsed::default() };
    assert_eq!(rvs_core::parse(&frame(&error), &tables, &mut parsed), Outcome::IcmpError);
    assert_eq!(parsed.signal, 0);
    let first = &Ipv4::new(RS, CLIENT).fragments(&Payload::Other(1, error[20..].to_vec()), 24)[0];
    assert_eq!(rvs_core::parse(&frame(first), &tables, &mut parsed), Outcome::IcmpError);
    assert_eq!(parsed.signal, Signal::FRAGMENT);
}

/// All of them to the stack: a first one that went on alone would be of no use.
#[test]
fn all_fragments_of_an_error_go_the_same_way() {
    let reply = Payload::Udp(Udp::new(53, 40_000, &[7; 100]));
    for method in [Method::MASQ, Method::DR, Method::TUNNEL] {
        let model = model(RS, method);
        assert_eq!(run(&model, &request(1).packet(&datagram(53, 10))).1.len(), 1);
        let about = Ipv4::new(VIP, CLIENT).packet(&reply);
        let error = Payload::Icmp(3, 3, [&[0; 4], &about[..]].concat());
        assert_eq!(run(&model, &Ipv4::new(CLIENT, VIP).packet(&error)).0, Outcome::IcmpToServer);
        for fragment in Ipv4::new(CLIENT, VIP).fragments(&error, 64) {
            assert_eq!(run(&model, &fragment), (Outcome::Fragment, vec![]), "method {method}");
        }
    }
}

#[test]
fn all_fragments_of_an_error_of_ipv6_go_the_same_way() {
    let at = |net, last| Ipv6Addr::new(0x2001, 0xdb8, 0, net, 0, 0, 0, last).octets();
    let (client, vip) = (at(2, 2), at(0, 1));
    let model = model(RS, Method::DR);
    assert_eq!(run(&model, &Ipv6::new(client, vip).packet(&datagram(53, 10))).1.len(), 1);
    let about = Ipv6::new(vip, client).packet(&Payload::Udp(Udp::new(53, 40_000, &[7; 100])));
    let error = Payload::Icmp6(1, 4, [&[0; 4], &about[..]].concat());
    assert_eq!(run(&model, &Ipv6::new(client, vip).packet(&error)).0, Outcome::IcmpToServer);
    for fragment in Ipv6::new(client, vip).fragments(&error, 64, 7) {
        assert_eq!(run(&model, &fragment), (Outcome::Fragment, vec![]));
    }
}

/// ipvs.md §2.8: of which destination the tunnel is, not the connection's.
#[test]
fn an_error_about_a_tunnels_packet_is_told_while_anything_has_such_a_tunnel() {
    let dest = |last, tunnel| DestSetup {
        source: DIRECTOR.into(),
        tunnel,
        tunnel_port: if tunnel == TunnelType::GUE { 6080 } else { 0 },
        ..DestSetup::new([192, 168, 9, last], 53, Method::TUNNEL)
    };
    let dests = vec![dest(2, TunnelType::GUE), dest(3, TunnelType::IPIP), dest(4, TunnelType::GRE)];
    let model = tunnel_model_to(VIP.into(), dests);
    let asked = request(1).packet(&datagram(53, 10));
    let to = |packet: &[u8]| packet[19];
    let server = to(&run(&model, &asked).1[0]);
    let tell = |last, payload: &Payload| {
        let sent = Ipv4::new(DIRECTOR, [192, 168, 9, last]).packet(payload);
        let error = Payload::Icmp(3, 1, [&[0; 4], &sent[..]].concat());
        run(&model, &Ipv4::new([192, 168, 9, 20], DIRECTOR).packet(&error))
    };
    let gue = |port| Payload::Udp(Udp::new(40_000, port, &[&[0, 4, 0, 0], &asked[..]].concat()));
    let gre = Payload::Other(47, [&[0, 0, 8, 0], &asked[..]].concat());
    let ipip = Payload::Ipip(asked.clone());
    for (last, payload) in [(2, &gue(6080)), (3, &ipip), (4, &gre)] {
        let (outcome, left) = tell(last, payload);
        assert_eq!((outcome, left.len()), (Outcome::IcmpFromTunnel, 1), "server {last} of {server}");
        assert_eq!(left[0][12..20], [VIP, CLIENT].concat());
    }
    let others = [(2, &gue(6081)), (3, &gue(6080)), (2, &ipip), (4, &ipip), (3, &gre), (5, &ipip)];
    for (last, payload) in others {
        assert_eq!(tell(last, payload), (Outcome::IcmpNoConnection, vec![]), "server {last}");
    }
    testing::remove_dest(model.heap(), 2);
    assert_eq!(tell(4, &gre), (Outcome::IcmpNoConnection, vec![]));
    assert_eq!(tell(3, &ipip).0, Outcome::IcmpFromTunnel);
}
