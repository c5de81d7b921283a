//! Fragments and tunnels: those that come before the first of their packet, and packets that are too large in their tunnel.

use rvs_abi::{Addr, Config, Event, Method, Outcome, Settings, TunnelFlags, TunnelType, limits, proto};
use rvs_core::{Flow, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Heap, Model, records};
use rvs_wire::builder::{Ipv4, Ipv6, Payload, Udp};
use rvs_wire::{checksum, eth};

use crate::fragments::{
    CLIENT, DIRECTOR, MTU, RS, Route, VIP, datagram, events, frame, handle, model, narrow_model, request, run,
};

const DIRECTOR6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const RS6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];

/// A neighbour whose link address is known, on a narrow way.
#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn known(flow: &Flow) -> Result<NextHop, Outcome> {
    let link = Link { ifindex: 7, resolved: 0, macs: [0x0202_0202; 3], gateway: flow.to };
    Ok(NextHop { link, mtu: u32::try_from(MTU).unwrap() })
}

/// A model with that server behind a tunnel, under TC.
fn tunnel_model(dest: DestSetup) -> Model<Route> {
    tunnel_model_at(VIP.into(), dest)
}

/// The same for a service at that address.
fn tunnel_model_at(vip: Addr, dest: DestSetup) -> Model<Route> {
    tunnel_model_to(vip, vec![dest])
}

/// The same to some.
pub(crate) fn tunnel_model_to(vip: Addr, dests: Vec<DestSetup>) -> Model<Route> {
    let model = model(RS, Method::TUNNEL);
    let heap = Heap::new(&crate::fragments::CAPACITY);
    let service = ServiceSetup {
        vip,
        port: 53,
        protocol: proto::UDP,
        scheduler: rvs_abi::sched::id::RR,
        sched_flags: 0,
        dests,
    };
    install(&heap, &[service]);
    let now = model.now_ns();
    let mut model = Model::new(heap, known as Route);
    model.set_now_ns(now);
    model.set_tc(true);
    model
}

fn v4_dest() -> DestSetup {
    DestSetup { source: DIRECTOR.into(), ..DestSetup::new(RS, 53, Method::TUNNEL) }
}

/// The packet that fragments of IPv4 are of, and that all of them are right: headers, order, sizes.
fn joined_v4(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut whole = fragments[0][..20].to_vec();
    for (i, fragment) in fragments.iter().enumerate() {
        assert_eq!(checksum::full(0, &fragment[..20]), [0, 0], "fragment {i}");
        assert_eq!(usize::from(u16::from_be_bytes([fragment[2], fragment[3]])), fragment.len());
        assert!(fragment.len() <= MTU);
        assert_eq!((&fragment[4..6], &fragment[8..10]), (&whole[4..6], &whole[8..10]), "fragment {i}");
        assert_eq!(fragment[12..20], whole[12..20]);
        let offset = u16::from_be_bytes([fragment[6], fragment[7]]);
        assert_eq!(usize::from(offset & 0x1fff) * 8, whole.len() - 20);
        assert_eq!(offset & 0xe000, if i + 1 < fragments.len() { 0x2000 } else { 0 });
        whole.extend(&fragment[20..]);
    }
    assert_ne!(whole[4..6], [0, 0], "an identification");
    whole
}

/// As [`joined_v4`], of IPv6.
fn joined_v6(fragments: &[Vec<u8>]) -> Vec<u8> {
    let mut whole = fragments[0][..40].to_vec();
    whole[6] = fragments[0][40];
    for (i, fragment) in fragments.iter().enumerate() {
        assert_eq!(usize::from(u16::from_be_bytes([fragment[4], fragment[5]])), fragment.len() - 40);
        assert!(fragment.len() <= MTU);
        assert_eq!((fragment[6], fragment[40], fragment[41]), (44, whole[6], 0), "fragment {i}");
        assert_eq!(fragment[7..40], whole[7..40]);
        assert_eq!(fragment[44..48], fragments[0][44..48], "identification");
        let offset = u16::from_be_bytes([fragment[42], fragment[43]]);
        assert_eq!(usize::from(offset & 0xfff8), whole.len() - 40);
        assert_eq!(offset & 7, u16::from(i + 1 < fragments.len()));
        whole.extend(&fragment[48..]);
    }
    whole
}

/// In whatever order the fragments of a packet come: each goes into a packet of its own, the first before all others.
#[test]
fn fragments_come_in_any_order() {
    let inner = Ipv4 { ttl: 63, ..request(5) };
    let expected = inner.fragments(&datagram(53, 180), 48);
    for order in 0..24_usize {
        let mut left_to_send = request(5).fragments(&datagram(53, 180), 48);
        let mut sent = Vec::new();
        let mut rest = order;
        for remaining in (1..=4).rev() {
            sent.push(left_to_send.remove(rest % remaining));
            rest /= remaining;
        }
        let model = tunnel_model(v4_dest());
        let arrived: Vec<_> = sent.iter().flat_map(|packet| run(&model, packet).1).collect();
        assert!(
            arrived.iter().all(|packet| packet[9] == proto::IPIP && packet[16..20] == RS),
            "order {order}"
        );
        let mut arrived: Vec<_> = arrived.iter().map(|packet| packet[20..].to_vec()).collect();
        assert_eq!(arrived[0], expected[0], "order {order}");
        arrived.sort_by_key(|packet| [packet[6] & 0x1f, packet[7]]);
        assert_eq!(arrived, expected, "order {order}");
        let early = sent.iter().take_while(|packet| [packet[6] & 0x1f, packet[7]] != [0, 0]).count();
        assert_eq!(events(&model, Event::HeldSent), early as u64);
        assert_eq!(model.outcomes(Outcome::ForwardTunnel), 4);
    }
}

/// What may be fragmented and is too large in its tunnel leaves in fragments of the outer packet; it is counted once.
#[test]
fn the_outer_packet_is_fragmented() {
    let tunnels = [
        (TunnelType::IPIP, 0, 20),
        (TunnelType::GRE, 0, 24),
        (TunnelType::GRE, TunnelFlags::CSUM, 28),
        (TunnelType::GUE, 0, 32),
        (TunnelType::GUE, TunnelFlags::CSUM, 32),
    ];
    let inner = Ipv4 { ttl: 63, ..request(7) };
    for (tunnel, tunnel_flags, added) in tunnels {
        let v4 = DestSetup { tunnel, tunnel_flags, tunnel_port: 6080, ..v4_dest() };
        let v6 = DestSetup { addr: RS6.into(), source: DIRECTOR6.into(), ..v4 };
        for (dest, added, is_v4) in [(v4, added, true), (v6, added + 20, false)] {
            let most = u16::try_from(MTU - added - 28).unwrap();
            for len in [most + 1, 1400, 4000] {
                let model = tunnel_model(dest);
                let (outcome, left) = run(&model, &request(7).packet(&datagram(53, len)));
                assert_eq!(outcome, Outcome::ForwardTunnelCut, "{tunnel} {tunnel_flags} {len}");
                let whole = if is_v4 { joined_v4(&left) } else { joined_v6(&left) };
                let expected = inner.packet(&datagram(53, len));
                assert_eq!(whole[added..], expected, "{tunnel} {tunnel_flags} {len}");
                assert_eq!(events(&model, Event::PieceMade), left.len() as u64);
                let room = if is_v4 { (MTU - 20) & !7 } else { (MTU - 48) & !7 };
                let payload = whole.len() - if is_v4 { 20 } else { 40 };
                assert_eq!(left.len(), payload.div_ceil(room));
            }
            let (outcome, left) = run(&tunnel_model(dest), &request(7).packet(&datagram(53, most)));
            assert_eq!((outcome, left.len()), (Outcome::ForwardTunnel, 1), "what fits is left whole");
        }
    }
}

/// "Don't fragment" counts, unless `pmtu_disc` is 0 (ipvs.md §13.3, 61).
#[test]
fn dont_fragment_counts_unless_the_setting_is_off() {
    let whole = Ipv4 { dont_fragment: true, ..request(7) }.packet(&datagram(53, 1400));
    let model = tunnel_model(v4_dest());
    assert_eq!(run(&model, &whole).0, Outcome::TooBig);
    let settings = Settings::DEFAULT & !Settings::PMTU_DISC;
    records::write_config(model.heap(), &Config { settings, ..records::config(model.heap()) });
    let (outcome, left) = run(&model, &whole);
    assert_eq!((outcome, left.len()), (Outcome::ForwardTunnelCut, 2));
    let inner = Ipv4 { dont_fragment: true, ttl: 63, ..request(7) };
    assert_eq!(joined_v4(&left)[20..], inner.packet(&datagram(53, 1400)));
}

/// Only the last can leave where the neighbour is not known: it is asked for by that.
#[test]
fn an_unknown_neighbour_gets_the_last() {
    let (outcome, left) = run(&narrow_model(Method::TUNNEL), &request(7).packet(&datagram(53, 1400)));
    assert_eq!((outcome, left.len()), (Outcome::ForwardTunnelCut, 1));
    assert_ne!(left[0][6..8], [0, 0]);
}

/// A first fragment that is too large in its tunnel, with others that came before it.
#[test]
fn a_first_fragment_is_gathered_and_cut() {
    let fragments = request(8).fragments(&datagram(53, 4000), (MTU - 20) & !7);
    let model = tunnel_model(v4_dest());
    assert_eq!(run(&model, &fragments[2]).0, Outcome::FragmentHeld);
    let (outcome, left) = run(&model, &fragments[0]);
    assert_eq!((outcome, left.len()), (Outcome::ForwardTunnelCut, 3));
    let inner = Ipv4 { ttl: 63, ..request(8) }.fragments(&datagram(53, 4000), (MTU - 20) & !7);
    assert_eq!(joined_v4(&left[..2])[20..], inner[0]);
    assert_eq!(left[2][20..], inner[2]);
}

/// XDP hands over what may have to be cut, before it is counted; what surely fits it sends itself.
#[test]
fn what_is_to_be_cut_is_handed_over() {
    let mut model = tunnel_model(v4_dest());
    model.set_tc(false);
    let surely = u16::try_from(MTU - 28 - 52).unwrap();
    let packet = request(4).packet(&datagram(53, surely));
    // Neighbours are not looked at in the model: it leaves.
    assert_eq!(handle(&model, frame(&packet)).0, Outcome::ForwardTunnel);
    let packet = request(5).packet(&datagram(53, surely + 1));
    assert_eq!(run(&model, &packet).0, Outcome::HandOverFragment);
    let whole = Ipv4 { dont_fragment: true, ..Ipv4::new(CLIENT, VIP) };
    assert_eq!(run(&model, &whole.packet(&datagram(53, surely + 1))).0, Outcome::ForwardTunnel);
    model.set_tc(true);
    let (outcome, left) = run(&model, &packet);
    assert_eq!((outcome, left.len()), (Outcome::ForwardTunnel, 1), "it fits after all");
}

/// Frames of more bytes are not cut, nor are more fragments made.
#[test]
fn limits() {
    let longest = u16::try_from(limits::HOLD_FRAME).unwrap() - 14 - 20 - 28;
    let model = tunnel_model(v4_dest());
    let left = |len| run(&model, &request(3).packet(&datagram(53, len)));
    assert_eq!(left(longest).0, Outcome::ForwardTunnelCut);
    assert_eq!(left(longest + 1), (Outcome::CutFailed, vec![]));
    assert_eq!(eth::LEN, 14);
}

/// RFC 768, RFC 9868: a checksum inside is over the datagram, the tunnel's over all of the packet.
#[test]
fn the_outer_checksum_is_right_for_a_datagram_that_is_shorter_than_its_packet() {
    let mut inner = request(7).packet(&datagram(53, 100));
    inner.extend([0x12, 0x34, 0x56, 0x78]);
    let len = u16::try_from(inner.len()).unwrap();
    inner[2..4].copy_from_slice(&len.to_be_bytes());
    inner[10..12].copy_from_slice(&[0, 0]);
    let sum = checksum::full(0, &inner[..20]);
    inner[10..12].copy_from_slice(&sum);
    for (tunnel, added) in [(TunnelType::GRE, 28), (TunnelType::GUE, 32)] {
        let dest = DestSetup { tunnel, tunnel_flags: TunnelFlags::CSUM, tunnel_port: 6080, ..v4_dest() };
        let (outcome, left) = run(&tunnel_model(dest), &inner);
        assert_eq!((outcome, left.len()), (Outcome::ForwardTunnel, 1));
        let outer = &left[0];
        assert_eq!(outer.len(), inner.len() + added);
        let len = u16::try_from(outer.len() - 20).unwrap();
        let pseudo =
            if tunnel == TunnelType::GRE { 0 } else { checksum::pseudo_v4(DIRECTOR, RS, proto::UDP, len) };
        assert_eq!(checksum::full(pseudo, &outer[20..]), [0, 0], "tunnel {tunnel}");
    }
}

/// ipvs.md §3.6: whosever packet came before it.
#[test]
fn the_source_port_of_later_fragments_is_that_of_their_flow() {
    let model = tunnel_model(DestSetup { tunnel: TunnelType::GUE, tunnel_port: 6080, ..v4_dest() });
    let port = |packet: &[u8]| {
        let left = run(&model, packet).1;
        u16::from_be_bytes([left[0][20], left[0][21]])
    };
    let whole = port(&request(8).packet(&datagram(53, 180)));
    for fragment in request(9).fragments(&datagram(53, 180), 48) {
        assert_eq!(port(&fragment), whole);
        let other = Payload::Udp(Udp::new(1234, 53, b"somebody else's"));
        assert_ne!(port(&Ipv4::new([192, 0, 2, 99], VIP).packet(&other)), whole);
    }
}

/// RFC 6864 §4.1: the more identifications, the later one comes again.
#[test]
fn identifications_of_outer_packets_are_of_all_numbers() {
    let model = tunnel_model(v4_dest());
    let sent = (0..64).map(|id| run(&model, &request(id).packet(&datagram(53, 10))).1.remove(0));
    let even = sent.filter(|packet| packet[5] & 1 == 0).count();
    assert!((16..48).contains(&even), "{even} of 64 are even");
}

const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const ROUTER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

/// A request of so many bytes, as it comes or with another hop limit.
fn request6(hop_limit: u8, len: u16) -> Vec<u8> {
    Ipv6 { hop_limit, ..Ipv6::new(CLIENT6, VIP6) }.packet(&datagram(53, len - 48))
}

/// The largest MTU of a way on which IPv6 through this tunnel has less than 1280 bytes.
#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn below_1280(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { mtu: 1299, ..known(flow)? })
}

/// What an error of ICMPv6 says: type, and the word behind the checksum.
fn said(packet: &[u8]) -> (u8, u32) {
    (packet[40], u32::from_be_bytes(*packet[44..].first_chunk().unwrap()))
}

/// RFC 4213 §3.2, RFC 8201 §4: nothing in IPv6 is made smaller than that.
#[test]
fn ipv6_packets_of_1280_bytes_go_through_any_tunnel_in_ipv4() {
    let mut model = tunnel_model_at(VIP6.into(), v4_dest());
    model.set_routes(below_1280);
    let (outcome, left) = run(&model, &request6(64, 1280));
    assert_eq!((outcome, left.len()), (Outcome::ForwardTunnelCut, 2));
    assert_eq!(joined_v4(&left)[20..], request6(63, 1280));
    let (outcome, left) = run(&model, &request6(64, 1281));
    assert_eq!((outcome, said(&left[0])), (Outcome::TooBig, (2, 1280)));
    let (outcome, left) = run(&model, &request6(64, 1279));
    assert_eq!((outcome, left.len()), (Outcome::ForwardTunnel, 1), "it fits");
}

/// XDP hands over what may have to be cut.
#[test]
fn ipv6_packets_of_1280_bytes_are_handed_over_to_be_cut() {
    let mut model = tunnel_model_at(VIP6.into(), v4_dest());
    model.set_routes(below_1280);
    model.set_tc(false);
    assert_eq!(run(&model, &request6(64, 1280)).0, Outcome::HandOverFragment);
    let (outcome, left) = run(&model, &request6(64, 1281));
    assert_eq!((outcome, said(&left[0])), (Outcome::TooBig, (2, 1280)));
}

/// RFC 2473 §7.1, §8.2, RFC 8201 §4.
#[test]
fn no_sender_in_ipv6_is_told_less_than_1280_of_a_tunnels_way() {
    let dest = DestSetup { source: DIRECTOR6.into(), ..DestSetup::new(RS6, 53, Method::TUNNEL) };
    let model = tunnel_model_at(VIP6.into(), dest);
    assert_eq!(run(&model, &request6(64, 100)).0, Outcome::ForwardTunnel);
    let tell = |len, mtu: u32| {
        let sent = Ipv6::new(DIRECTOR6, RS6).packet(&Payload::Ipip6(request6(63, len)));
        let error = Payload::Icmp6(2, 0, [&mtu.to_be_bytes(), &sent[..400]].concat());
        run(&model, &Ipv6::new(ROUTER6, DIRECTOR6).packet(&error))
    };
    for (mtu, expected) in [(1400, 1360), (1320, 1280), (1319, 1280), (1280, 1280), (0, 1280)] {
        let (outcome, left) = tell(1400, mtu);
        assert_eq!((outcome, said(&left[0])), (Outcome::IcmpFromTunnel, (2, expected)), "{mtu}");
    }
    assert_eq!(tell(1281, 1300).0, Outcome::IcmpFromTunnel);
    assert_eq!(tell(1280, 1300), (Outcome::TunnelMtu, vec![]), "which its sender can't make smaller");
}
