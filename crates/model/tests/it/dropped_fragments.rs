//! Fragments behind a first one that is dropped: they don't wait for it.

use std::net::Ipv6Addr;

use rvs_abi::sched::id;
use rvs_abi::{Event, Method, Outcome, proto};
use rvs_core::{Flow, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Heap, Model};
use rvs_wire::builder::{Ipv4, Ipv6, Payload};

use crate::fragments::{
    CAPACITY, RS, Route, VIP, datagram, events, model, narrow, narrow_model, request, route, run,
};

const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 2);
const VIP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const RS6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, 2);

fn lost(_: &Flow) -> Result<NextHop, Outcome> {
    Err(Outcome::NoRoute)
}

/// A model under TC with a service of UDP port 53 in each family, and those servers.
fn with_dests(dests: Vec<DestSetup>, dests6: Vec<DestSetup>) -> Model<Route> {
    let heap = Heap::new(&CAPACITY);
    let (port, protocol, scheduler, sched_flags) = (53, proto::UDP, id::RR, 0);
    let setup = |vip, dests| ServiceSetup { vip, port, protocol, scheduler, sched_flags, dests };
    install(&heap, &[setup(VIP.into(), dests), setup(VIP6.octets().into(), dests6)]);
    let mut model = Model::new(heap, route as Route);
    model.set_now_ns(1 << 40);
    model.set_tc(true);
    model
}

/// A model whose services have no destination.
fn nobody() -> Model<Route> {
    with_dests(Vec::new(), Vec::new())
}

fn three() -> Vec<Vec<u8>> {
    request(5).fragments(&datagram(53, 100), 48)
}

/// The first is dropped for that reason, and those behind it at once.
#[track_caller]
fn dropped(model: &Model<Route>, fragments: &[Vec<u8>], reason: Outcome) {
    assert_eq!(run(model, &fragments[0]).0, reason);
    for fragment in &fragments[1..] {
        assert_eq!(run(model, fragment), (Outcome::FragmentDropped, vec![]), "{reason:?}");
    }
    assert_eq!(model.outcomes(Outcome::FragmentHeld), 0, "{reason:?}");
}

#[test]
fn fragments_behind_a_dropped_first_are_dropped() {
    dropped(&nobody(), &three(), Outcome::NoDestination);
    let odd = Ipv4 { options: vec![1; 4], ..request(5) };
    dropped(&narrow_model(Method::DR), &odd.fragments(&datagram(53, 4000), 1400), Outcome::CutFailed);
}

/// What was written down of it already does not count.
#[test]
fn fragments_behind_a_first_that_is_dropped_late_are_dropped() {
    for method in [Method::MASQ, Method::DR, Method::TUNNEL, Method::FULL_NAT] {
        let dying = Ipv4 { ttl: 1, ..request(5) };
        dropped(&model(RS, method), &dying.fragments(&datagram(53, 100), 48), Outcome::TtlExceeded);
        let mut model = model(RS, method);
        model.set_routes(lost);
        dropped(&model, &three(), Outcome::NoRoute);
    }
    let no_source = with_dests(vec![DestSetup::new(RS, 53, Method::TUNNEL)], Vec::new());
    dropped(&no_source, &three(), Outcome::NoTunnelSource);
}

#[test]
fn fragments_behind_a_dropped_first_are_dropped_in_ipv6() {
    let fragments = |hop_limit| {
        let ip = Ipv6 { hop_limit, ..Ipv6::new(CLIENT6.octets(), VIP6.octets()) };
        ip.fragments(&datagram(53, 100), 48, 7)
    };
    dropped(&nobody(), &fragments(64), Outcome::NoDestination);
    let somebody = || with_dests(Vec::new(), vec![DestSetup::new(RS6.octets(), 53, Method::DR)]);
    dropped(&somebody(), &fragments(1), Outcome::TtlExceeded);
    let mut way = somebody();
    way.set_routes(narrow);
    let large = Ipv6::new(CLIENT6.octets(), VIP6.octets()).fragments(&datagram(53, 4000), 1400, 7);
    dropped(&way, &large, Outcome::TooBig);
}

/// They go round behind it once more, and its sender is told about it, once.
#[test]
fn those_that_waited_for_a_dropped_first_are_dropped_behind_it() {
    let model = nobody();
    let fragments = three();
    assert_eq!(run(&model, &fragments[2]).0, Outcome::FragmentHeld);
    assert_eq!(run(&model, &fragments[1]).0, Outcome::FragmentHeld);
    let (outcome, left) = run(&model, &fragments[0]);
    assert_eq!((outcome, left.len()), (Outcome::NoDestination, 1));
    assert_eq!(left[0][28..], fragments[0], "the error quotes it");
    assert_eq!(model.outcomes(Outcome::FragmentDropped), 2);
    assert_eq!(events(&model, Event::HeldSent), 2);
    assert_eq!(events(&model, Event::ErrorSent), 1);
}

/// XDP can't send those that wait: TC is to drop the first.
#[test]
fn a_first_that_is_to_be_dropped_is_handed_over_while_others_wait() {
    let mut model = nobody();
    let fragments = three();
    assert_eq!(run(&model, &fragments[1]).0, Outcome::FragmentHeld);
    model.set_tc(false);
    assert_eq!(run(&model, &fragments[0]), (Outcome::HandOverFragment, vec![]));
    model.set_tc(true);
    assert_eq!(run(&model, &fragments[0]).0, Outcome::NoDestination);
    assert_eq!(model.outcomes(Outcome::FragmentDropped), 1);
    model.set_tc(false);
    assert_eq!(run(&model, &fragments[2]).0, Outcome::FragmentDropped);
    model.set_now_ns(model.now_ns() + 1_200_000_000);
    let later = request(6).fragments(&datagram(53, 100), 48);
    assert_eq!(run(&model, &later[0]).0, Outcome::NoDestination, "nothing waits any more");
    assert_eq!(run(&model, &later[1]).0, Outcome::FragmentDropped);
}

#[test]
fn a_dropped_packet_that_is_no_fragment_concerns_none() {
    let model = model(RS, Method::MASQ);
    let fragments = three();
    assert_eq!(run(&model, &fragments[0]).0, Outcome::ForwardMasq);
    let short = Payload::Other(proto::UDP, vec![0; 4]);
    assert_eq!(run(&model, &request(0).packet(&short)).0, Outcome::TruncatedTransport);
    assert_eq!(run(&model, &fragments[1]).0, Outcome::ForwardMasq);
}
