//! Fragments: what is remembered of a first one, those that come before it, and packets that leave in fragments.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::net::Ipv6Addr;

use rvs_abi::map::Region;
use rvs_abi::sched::id;
use rvs_abi::{Event, Method, Outcome, Rule, TICK_SHIFT, limits, proto};
use rvs_core::{Flow, Frame, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install, write_rules};
use rvs_model::{Capacity, Heap, Memory as _, Model};
use rvs_wire::builder::{Chunk, Ipv4, Ipv6, Payload, Sctp, Tcp, Udp, ethernet};
use rvs_wire::tcp::{ACK, SYN};
use rvs_wire::{eth, sctp};

pub(crate) const CAPACITY: Capacity = Capacity { services: 4, dests: 256, conns: 100, cpus: 1 };
pub(crate) const CLIENT: [u8; 4] = [192, 0, 2, 2];
pub(crate) const VIP: [u8; 4] = [10, 0, 0, 1];
pub(crate) const RS: [u8; 4] = [192, 168, 9, 2];
pub(crate) const DIRECTOR: [u8; 4] = [192, 168, 9, 1];
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const RS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 2);
/// The MTU of ways that are narrow.
pub(crate) const MTU: usize = 1380;
/// Bytes in a fragment of IPv4 that fits.
const SIZE: usize = (MTU - 20) & !7;
pub(crate) const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// Large enough for what is too long to be held.
pub(crate) type Large = Frame<20_000>;
pub(crate) type Route = fn(&Flow) -> Result<NextHop, Outcome>;

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
pub(crate) fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    let link = Link { ifindex: 7, resolved: 0, macs: [0; 3], gateway: flow.to };
    Ok(NextHop { link, mtu: 9000 })
}

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
pub(crate) fn narrow(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { mtu: u32::try_from(MTU).unwrap(), ..route(flow)? })
}

/// One with room for hardly anything.
#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn narrowest(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { mtu: 68, ..route(flow)? })
}

pub(crate) fn narrow_model(method: u8) -> Model<Route> {
    let mut model = model(RS, method);
    model.set_routes(narrow);
    model
}

/// A model under TC with a service of UDP port 53, and that server.
pub(crate) fn model(addr: [u8; 4], method: u8) -> Model<Route> {
    let heap = Heap::new(&CAPACITY);
    let dest = DestSetup::new(addr, if method == Method::MASQ { 5353 } else { 53 }, method);
    let dests = vec![DestSetup { source: DIRECTOR.into(), ..dest }];
    let dests6 = vec![DestSetup::new(RS6.octets(), 53, Method::DR)];
    let setup = |vip, dests| ServiceSetup {
        vip,
        port: 53,
        protocol: proto::UDP,
        scheduler: id::RR,
        sched_flags: 0,
        dests,
    };
    install(&heap, &[setup(VIP.into(), dests), setup(VIP6.octets().into(), dests6)]);
    let mut model = Model::new(heap, route as Route);
    model.set_now_ns(1 << 40);
    model.set_tc(true);
    model
}

pub(crate) fn frame(packet: &[u8]) -> Large {
    let kind = if packet[0] >> 4 == 4 { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 };
    Frame::new(&ethernet(MACS[0], MACS[1], kind, packet)).unwrap()
}

/// A request that may be fragmented, of so many bytes of data.
pub(crate) fn request(id: u16) -> Ipv4 {
    Ipv4 { id, dont_fragment: false, ..Ipv4::new(CLIENT, VIP) }
}

pub(crate) fn datagram(dport: u16, len: u16) -> Payload {
    Payload::Udp(Udp::new(40_000, dport, &(0..len).map(|i| i.to_le_bytes()[0]).collect::<Vec<_>>()))
}

pub(crate) fn events<R: Fn(&Flow) -> Result<NextHop, Outcome>>(model: &Model<R>, event: Event) -> u64 {
    let word = &model.heap().region(Region::Counters)[event as usize];
    word.load(core::sync::atomic::Ordering::Relaxed)
}

/// Handles a packet, and then what it left behind for the program: outcome, and the packets that leave.
pub(crate) fn run(model: &Model<Route>, packet: &[u8]) -> (Outcome, Vec<Vec<u8>>) {
    handle(model, frame(packet))
}

pub(crate) fn handle(model: &Model<Route>, mut frame: Large) -> (Outcome, Vec<Vec<u8>>) {
    let verdict = model.ingress(&mut frame, 11);
    let mut left = Vec::new();
    if verdict.link.ifindex != 0 {
        left.push(frame.bytes()[eth::LEN..].to_vec());
    }
    left.splice(0..0, frame.beside().map(|sent| sent.bytes()[eth::LEN..].to_vec()));
    for again in frame.behind() {
        left.extend(handle(model, again).1);
    }
    (verdict.outcome, left)
}

#[test]
fn a_first_fragment_is_remembered_for_two_seconds() {
    let mut model = model(RS, Method::MASQ);
    model.set_tc(false);
    let fragments = request(1).fragments(&datagram(53, 100), 48);
    assert_eq!(run(&model, &fragments[0]).0, Outcome::ForwardMasq);
    for (ms, outcome) in [(1900, Outcome::ForwardMasq), (2200, Outcome::HandOverFragment)] {
        model.set_now_ns((1 << 40) + ms * 1_000_000);
        assert_eq!(run(&model, &fragments[1]).0, outcome, "after {ms} ms");
    }
}

/// All orders of four fragments: what leaves is what leaves in order, the first one first.
#[test]
fn fragments_in_any_order_arrive() {
    let data = datagram(53, 180);
    let expected = Ipv4 { ttl: 63, id: 5, ..Ipv4::new(CLIENT, RS) }.fragments(&datagram(5353, 180), 48);
    assert_eq!(expected.len(), 4);
    for order in 0..24_usize {
        let mut left_to_send = request(5).fragments(&data, 48);
        let mut sent = Vec::new();
        let mut rest = order;
        for remaining in (1..=4).rev() {
            sent.push(left_to_send.remove(rest % remaining));
            rest /= remaining;
        }
        let model = model(RS, Method::MASQ);
        let mut arrived: Vec<_> = sent.iter().flat_map(|packet| run(&model, packet).1).collect();
        assert_eq!(arrived[0], expected[0], "order {order}");
        arrived.sort_by_key(|packet| [packet[6] & 0x1f, packet[7]]);
        assert_eq!(arrived, expected, "order {order}");
        let early = sent.iter().take_while(|packet| [packet[6] & 0x1f, packet[7]] != [0, 0]).count();
        assert_eq!(model.outcomes(Outcome::FragmentHeld), early as u64);
        assert_eq!(events(&model, Event::HeldSent), early as u64);
    }
}

/// Those of a packet that is not balanced go where their first goes: to the stack.
#[test]
fn fragments_of_what_is_passed_on_are_passed_on() {
    let model = model(RS, Method::MASQ);
    let fragments = request(5).fragments(&datagram(54, 100), 48);
    assert_eq!(run(&model, &fragments[1]).0, Outcome::FragmentHeld);
    assert_eq!(run(&model, &fragments[0]).0, Outcome::NoService);
    assert_eq!(run(&model, &fragments[2]).0, Outcome::Fragment);
    assert_eq!(model.outcomes(Outcome::Fragment), 2, "the held one too");
}

/// By a mark alone no address tells that there is a service, and what comes before the first has no ports for a rule.
#[test]
fn fragments_by_mark_in_any_order_arrive() {
    let by_mark = |ports| {
        let heap = Heap::new(&CAPACITY);
        let service = ServiceSetup::by_mark(7, true, vec![DestSetup::new(RS, 0, Method::MASQ)]);
        install(&heap, &[service]);
        write_rules(
            &heap,
            &[Rule { source_ports: [0, u16::MAX], destination_ports: ports, mark: 7, ..Rule::default() }],
        );
        let mut model = Model::new(heap, route as Route);
        model.set_now_ns(1 << 40);
        model.set_tc(true);
        model
    };
    let fragments = request(5).fragments(&datagram(53, 100), 48);
    let model = by_mark([53, 53]);
    assert_eq!(run(&model, &fragments[1]).0, Outcome::FragmentHeld);
    assert_eq!(run(&model, &fragments[2]).0, Outcome::FragmentHeld);
    let (outcome, left) = run(&model, &fragments[0]);
    assert_eq!((outcome, left.len()), (Outcome::ForwardMasq, 3));
    // Those of a packet that no rule is for go where their first goes.
    let model = by_mark([54, 54]);
    assert_eq!(run(&model, &fragments[1]).0, Outcome::FragmentHeld);
    assert_eq!(run(&model, &fragments[0]).0, Outcome::NoService);
    assert_eq!(run(&model, &fragments[2]).0, Outcome::Fragment);
    assert_eq!(model.outcomes(Outcome::Fragment), 2, "the held one too");
    // So does one that begins nothing.
    let segment = Tcp { data: vec![7; 100], ..Tcp::new(40_000, 54, ACK) };
    let fragments = request(6).fragments(&Payload::Tcp(segment), 48);
    assert_eq!(run(&model, &fragments[1]).0, Outcome::FragmentHeld);
    assert_eq!(run(&model, &fragments[0]).0, Outcome::NoService);
    assert_eq!(run(&model, &fragments[2]).0, Outcome::Fragment);
}

/// They follow the exchange of keys between their ends; without one they are passed on.
#[test]
fn fragments_of_esp_in_any_order_arrive() {
    let heap = Heap::new(&CAPACITY);
    let (vip, port, protocol) = (VIP.into(), 500, proto::UDP);
    let dests = vec![DestSetup::new(RS, 500, Method::MASQ)];
    install(&heap, &[ServiceSetup { vip, port, protocol, scheduler: id::RR, sched_flags: 0, dests }]);
    let mut model = Model::new(heap, route as Route);
    model.set_now_ns(1 << 40);
    model.set_tc(true);
    let packet = |id| request(id).fragments(&Payload::Other(proto::ESP, vec![7; 100]), 48);
    let fragments = packet(5);
    assert_eq!(run(&model, &fragments[1]).0, Outcome::FragmentHeld);
    assert_eq!(run(&model, &fragments[0]).0, Outcome::NoKeyExchange);
    assert_eq!(run(&model, &fragments[2]).0, Outcome::Fragment);
    assert_eq!(model.outcomes(Outcome::Fragment), 2, "the held one too");
    let keys = Payload::Udp(Udp::new(500, 500, &[7; 16]));
    assert_eq!(run(&model, &request(6).packet(&keys)).0, Outcome::ForwardMasq);
    let fragments = packet(7);
    assert_eq!(run(&model, &fragments[2]).0, Outcome::FragmentHeld);
    assert_eq!(run(&model, &fragments[1]).0, Outcome::FragmentHeld);
    let (outcome, left) = run(&model, &fragments[0]);
    assert_eq!((outcome, left.len()), (Outcome::ForwardMasq, 3));
}

/// The second fragment of a packet from that client.
fn early(client: [u8; 4], id: u16) -> Vec<u8> {
    let ip = Ipv4 { id, dont_fragment: false, ..Ipv4::new(client, VIP) };
    ip.fragments(&datagram(53, 100), 48).remove(1)
}

/// The first fragment of that packet.
fn first(client: [u8; 4], id: u16) -> Vec<u8> {
    let ip = Ipv4 { id, dont_fragment: false, ..Ipv4::new(client, VIP) };
    ip.fragments(&datagram(53, 100), 48).remove(0)
}

/// Clients of a flood of early fragments, so many that they fill every group.
fn flooder(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [198, 18, high, low]
}

/// What is held takes room that one in so many shares, and for a second only.
#[test]
fn a_flood_of_fragments_takes_its_share_and_no_more() {
    let mut model = model(RS, Method::MASQ);
    let others = || (3..=252).map(|host| [192, 0, 2, host]);
    for other in others() {
        assert_eq!(run(&model, &early(other, 1)).0, Outcome::FragmentHeld);
    }
    for id in 0..1000 {
        assert_eq!(run(&model, &early(CLIENT, id)).0, Outcome::FragmentHeld);
    }
    // One in 16 shares with the flood, of these twice as many at most. All others' fragments are still there, and go on
    // behind their first.
    let whole = others().filter(|other| run(&model, &first(*other, 1)).1.len() == 2).count();
    assert!((250 - 2 * 250 / 16..250).contains(&whole), "{whole}");
    let share = u64::from(limits::HOLD_SHARE);
    assert_eq!(events(&model, Event::HeldEvicted), 1000 - share + 250 - whole as u64);
    assert_eq!(events(&model, Event::HeldExpired), 0);
    model.set_now_ns(model.now_ns() + 1_200_000_000);
    assert_eq!(run(&model, &early(CLIENT, 1000)).0, Outcome::FragmentHeld);
    assert_eq!(events(&model, Event::HeldExpired), 1);
}

/// The clock that a packet was handled by on one CPU may be ahead of another's packet's.
#[test]
fn a_fragment_that_was_held_a_tick_later_goes_on_behind_the_first() {
    let mut model = model(RS, Method::MASQ);
    assert_eq!(run(&model, &early(CLIENT, 1)).0, Outcome::FragmentHeld);
    model.set_now_ns(model.now_ns() - (1 << TICK_SHIFT));
    assert_eq!(run(&model, &first(CLIENT, 1)).1.len(), 2);
}

/// Likewise.
#[test]
fn a_fragment_goes_on_behind_a_first_one_of_a_tick_later() {
    let mut model = model(RS, Method::MASQ);
    assert_eq!(run(&model, &first(CLIENT, 1)).0, Outcome::ForwardMasq);
    model.set_now_ns(model.now_ns() - (1 << TICK_SHIFT));
    assert_eq!(run(&model, &early(CLIENT, 1)).0, Outcome::ForwardMasq);
}

/// Each fragment of the flood pushes out one of 32 at random: one whose first comes soon is most likely still there.
#[test]
fn a_flood_from_everywhere_leaves_others_fragments_their_chance() {
    let model = model(RS, Method::MASQ);
    let mut flood = (0..u16::MAX).map(|number| early(flooder(number), 1));
    for packet in flood.by_ref().take(4000) {
        assert_eq!(run(&model, &packet).0, Outcome::FragmentHeld);
    }
    let whole = (0..200).filter(|id| {
        assert_eq!(run(&model, &early(CLIENT, *id)).0, Outcome::FragmentHeld);
        // Four in each group, about.
        for packet in flood.by_ref().take(64) {
            run(&model, &packet);
        }
        run(&model, &first(CLIENT, *id)).1.len() == 2
    });
    // 31/32 to the power of four.
    let whole = whole.count();
    assert!((160..200).contains(&whole), "{whole}");
    assert_eq!(model.outcomes(Outcome::HoldFull), 0);
}

#[test]
fn what_is_given_up_is_counted_once_and_its_slot_free() {
    let slots = limits::HOLD_GROUPS * limits::HOLD_SHARE;
    // A slot is a word and something behind it.
    let held: Vec<_> = (0..slots).flat_map(|_| [AtomicU64::new(0), AtomicU64::new(7)]).collect();
    let words = [2 | 83 << 32, 2 | 84 << 32, 1 | 50 << 32, 2 | 101 << 32];
    (0..).step_by(2).zip(words).for_each(|(at, word): (usize, u64)| held[at].store(word, Relaxed));
    let heap = Heap::new(&CAPACITY);
    let counters = heap.region(Region::Counters);
    for _ in 0..2 {
        rvs_model::end_held(&held, counters, 100);
        assert_eq!(counters[rvs_abi::HELD_ENDED as usize].load(Relaxed), 2);
    }
    let left = held.chunks(2).take(4).map(|slot| slot[0].load(Relaxed));
    assert_eq!(left.collect::<Vec<_>>(), [0, words[1], 0, words[3]]);
    assert!(held.chunks(2).all(|slot| slot[1].load(Relaxed) == 7));
}

/// A host has as many addresses of its IPv6 network as it likes.
#[test]
fn an_ipv6_network_has_one_share() {
    let model = model(RS, Method::MASQ);
    let fragment = |host, index| {
        let client = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, host, 0, 0, 9);
        Ipv6::new(client.octets(), VIP6.octets()).fragments(&datagram(53, 100), 48, 7).remove(index)
    };
    for host in 0..200 {
        assert_eq!(run(&model, &fragment(host, 1)).0, Outcome::FragmentHeld);
    }
    let share = limits::HOLD_SHARE as usize;
    assert_eq!(events(&model, Event::HeldEvicted), 200 - share as u64);
    let whole = (0..200).filter(|host| run(&model, &fragment(*host, 0)).1.len() == 2);
    assert_eq!(whole.count(), share);
}

#[test]
fn a_frame_that_is_too_long_is_not_held() {
    let model = model(RS, Method::MASQ);
    let most = limits::HOLD_FRAME as usize - eth::LEN - 20;
    for (size, outcome) in [(most & !7, Outcome::FragmentHeld), ((most + 8) & !7, Outcome::HoldTooLong)] {
        let fragments = request(5).fragments(&datagram(53, 19_000), size);
        assert_eq!(run(&model, &fragments[1]).0, outcome, "{size} bytes");
    }
}

/// XDP hands over what is to be held, and first fragments while any is held of their source.
#[test]
fn what_needs_tc_is_handed_over() {
    for method in [Method::MASQ, Method::DR, Method::TUNNEL] {
        let mut model = model(RS, method);
        let fragments = request(5).fragments(&datagram(53, 100), 48);
        let handed_over = |model: &Model<Route>, packet: &[u8]| {
            assert_eq!(run(model, packet), (Outcome::HandOverFragment, vec![]));
        };
        model.set_tc(false);
        handed_over(&model, &fragments[1]);
        model.set_tc(true);
        assert_eq!(run(&model, &fragments[1]).0, Outcome::FragmentHeld);
        model.set_tc(false);
        handed_over(&model, &fragments[0]);
        model.set_tc(true);
        assert_eq!(run(&model, &fragments[0]).1.len(), 2, "{method}");
        model.set_tc(false);
        assert_eq!(run(&model, &fragments[2]).1.len(), 1, "known now");
        model.set_now_ns(model.now_ns() + 1_200_000_000);
        let later = request(6).fragments(&datagram(53, 100), 48);
        assert_eq!(run(&model, &later[0]).1.len(), 1, "nothing is held any more");
    }
}

/// As the stack makes them (RFC 791 §3.2): all but the last are as long as they can be. Their packet is counted once.
#[test]
fn a_packet_leaves_in_fragments_by_nat_and_direct_routing() {
    for (method, outer, dport) in [
        (Method::MASQ, Ipv4 { ttl: 63, ..Ipv4::new(CLIENT, RS) }, 5353),
        (Method::DR, Ipv4 { ttl: 63, ..Ipv4::new(CLIENT, VIP) }, 53),
    ] {
        for len in [1353_u16, 1360, 1361, 4000] {
            let model = narrow_model(method);
            let (outcome, left) = run(&model, &request(7).packet(&datagram(53, len)));
            let expected = Ipv4 { id: 7, ..outer.clone() }.fragments(&datagram(dport, len), SIZE);
            assert_eq!((outcome, &left), (Outcome::ForwardCut, &expected), "{method}, {len} bytes");
            assert_eq!(events(&model, Event::PieceMade), expected.len() as u64);
            let total = model.heap().region(Region::Stats).first_chunk::<5>().unwrap();
            let total = total.each_ref().map(|word| word.load(core::sync::atomic::Ordering::Relaxed));
            assert_eq!(total, [1, 1, 0, u64::from(len) + 28, 0], "connections, packets and bytes in and out");
        }
        let (outcome, left) = run(&narrow_model(method), &request(7).packet(&datagram(53, 1352)));
        assert!(outcome != Outcome::ForwardCut && left.len() == 1, "what fits is left whole");
    }
}

/// What is a fragment already is cut once more: its offset and "more fragments" hold on.
#[test]
fn fragments_are_cut_too() {
    let model = narrow_model(Method::DR);
    let came = request(9).fragments(&datagram(53, 4000), 1400);
    let left: Vec<_> = came.iter().flat_map(|packet| run(&model, packet).1).collect();
    let expected = [(0, SIZE), (SIZE, 40), (1400, SIZE), (2760, 40), (2800, 1208)];
    let data = request(9).packet(&datagram(53, 4000))[20..].to_vec();
    for (packet, (at, len)) in left.iter().zip(expected) {
        let offset = u16::from_be_bytes([packet[6], packet[7]]);
        assert_eq!((usize::from(offset & 0x1fff) * 8, &packet[20..]), (at, &data[at..at + len]));
        assert_eq!(offset & 0x2000 != 0, at + len < data.len(), "more fragments at {at}");
        assert_eq!(packet[4..6], [0, 9]);
    }
    assert_eq!(left.len(), expected.len());
}

#[test]
fn packets_that_may_not_be_fragmented_are_dropped() {
    let large = datagram(53, 1400);
    let whole = Ipv4 { dont_fragment: true, ..request(7) };
    let (outcome, _) = run(&narrow_model(Method::MASQ), &whole.packet(&large));
    assert_eq!(outcome, Outcome::TooBig);
    let with_options = Ipv4 { options: vec![1; 4], ..request(7) };
    let (outcome, left) = run(&narrow_model(Method::MASQ), &with_options.packet(&large));
    assert_eq!((outcome, left), (Outcome::CutFailed, vec![]));
}

#[test]
fn so_many_fragments_are_made_and_no_more() {
    let mut model = model(RS, Method::DR);
    model.set_routes(narrowest);
    // 48 bytes in each.
    let most = u16::try_from(limits::PIECES_MAX).unwrap() * 48 - 8;
    let (outcome, left) = run(&model, &request(1).packet(&datagram(53, most)));
    assert_eq!((outcome, left.len()), (Outcome::ForwardCut, limits::PIECES_MAX as usize));
    let (outcome, _) = run(&model, &request(2).packet(&datagram(53, most + 1)));
    assert_eq!(outcome, Outcome::CutFailed);
    model.set_routes(narrow);
    let longest = u16::try_from(limits::HOLD_FRAME).unwrap() - 14 - 28;
    assert_eq!(run(&model, &request(3).packet(&datagram(53, longest))).0, Outcome::ForwardCut);
    assert_eq!(run(&model, &request(4).packet(&datagram(53, longest + 1))).0, Outcome::CutFailed);
}

/// XDP hands over what is to be cut, before it is counted.
#[test]
fn what_is_to_be_cut_is_handed_over() {
    let mut model = narrow_model(Method::MASQ);
    model.set_tc(false);
    let (outcome, _) = run(&model, &request(4).packet(&datagram(53, 1400)));
    assert_eq!(outcome, Outcome::HandOverFragment);
    model.set_tc(true);
    let (outcome, left) = run(&model, &request(4).packet(&datagram(53, 1400)));
    assert_eq!((outcome, left.len()), (Outcome::ForwardCut, 2));
    assert_eq!(model.outcomes(Outcome::ForwardMasq), 2);
}

#[test]
fn first_fragments_that_are_passed_on_are_known_one_after_the_other() {
    let model = model(RS, Method::MASQ);
    for id in [70, 71, 72] {
        for (offset, more) in [(0, true), (3, false)] {
            let ip = Ipv4 {
                id,
                dont_fragment: false,
                more_fragments: more,
                fragment_offset: offset,
                ..Ipv4::new(CLIENT, VIP)
            };
            let packet = ip.packet(&Payload::Udp(Udp::new(40_000, 5, &[0; 16])));
            let outcome = model.ingress(&mut frame(&packet), 3).outcome;
            assert_eq!(outcome, if more { Outcome::NoService } else { Outcome::Fragment }, "{id}");
        }
    }
}

/// RFC 1122 §3.2.2, RFC 1812 §4.3.2.7, and the same in IPv6.
#[test]
fn no_error_is_sent_about_a_fragment_behind_the_first() {
    for method in [Method::MASQ, Method::DR, Method::TUNNEL, Method::FULL_NAT] {
        let model = model(RS, method);
        let fragments = request(3).fragments(&datagram(53, 100), 48);
        assert_eq!(run(&model, &fragments[0]).1.len(), 1);
        let dying = Ipv4 { ttl: 1, ..request(3) }.fragments(&datagram(53, 100), 48);
        assert_eq!(run(&model, &dying[1]), (Outcome::TtlExceeded, vec![]), "method {method}");
        assert_eq!(run(&model, &dying[0]).1.len(), 1, "about the first");
    }
}

#[test]
fn no_error_is_sent_about_a_fragment_behind_the_first_in_ipv6() {
    let model = model(RS, Method::DR);
    let fragments = |hop_limit| {
        let ip = Ipv6::new(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 2).octets(), VIP6.octets());
        Ipv6 { hop_limit, ..ip }.fragments(&datagram(53, 100), 48, 7)
    };
    assert_eq!(run(&model, &fragments(64)[0]).1.len(), 1);
    let dying = fragments(1);
    assert_eq!(run(&model, &dying[1]), (Outcome::TtlExceeded, vec![]));
    assert_eq!(run(&model, &dying[0]).1.len(), 1, "about the first");
}

/// A model with a NAT service of port 80, whose server's port is another.
fn mapped(protocol: u8, routes: Route) -> Model<Route> {
    let heap = Heap::new(&CAPACITY);
    let dests = vec![DestSetup { source: DIRECTOR.into(), ..DestSetup::new(RS, 8080, Method::MASQ) }];
    let (vip, port, scheduler) = (VIP.into(), 80, id::RR);
    install(&heap, &[ServiceSetup { vip, port, protocol, scheduler, sched_flags: 0, dests }]);
    let mut model = Model::new(heap, routes);
    model.set_now_ns(1 << 40);
    model.set_tc(true);
    model
}

/// Its flags and its checksum are in the second (RFC 1858 §3, RFC 3128).
#[test]
fn a_first_fragment_without_all_of_a_tcp_header_is_dropped() {
    let model = mapped(proto::TCP, route);
    let syn = Payload::Tcp(Tcp::new(40_000, 80, SYN));
    assert_eq!(run(&model, &request(1).packet(&syn)).0, Outcome::ForwardMasq);
    let segment = Payload::Tcp(Tcp { data: vec![0; 40], ..Tcp::new(40_000, 80, ACK) });
    let fragments = request(2).fragments(&segment, 16);
    assert_eq!(run(&model, &fragments[0]), (Outcome::TruncatedTransport, vec![]));
    assert_eq!(run(&model, &fragments[1]), (Outcome::FragmentDropped, vec![]));
}

/// Its parts come round as fragments, of which none tells the length that SCTP's checksum is over.
#[test]
fn an_sctp_packet_that_is_too_large_is_dropped_if_its_port_is_mapped() {
    let model = mapped(proto::SCTP, narrow);
    let init = Sctp::new(40_000, 80, &[sctp::chunk::INIT]);
    assert_eq!(run(&model, &request(1).packet(&Payload::Sctp(init.clone()))).0, Outcome::ForwardMasq);
    let chunks = vec![Chunk { value: vec![0x5a; 1400], ..Chunk::new(sctp::chunk::DATA) }];
    let large = Payload::Sctp(Sctp { chunks, ..init });
    assert_eq!(run(&model, &request(2).packet(&large)), (Outcome::ForwardCut, vec![]));
    assert_eq!(model.outcomes(Outcome::FragmentedSctp), 1);
    assert_eq!(model.outcomes(Outcome::FragmentDropped), 1);
}
