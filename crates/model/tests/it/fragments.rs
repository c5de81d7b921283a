//! What is known of a first fragment is forgotten: identifications come again.

use rvs_abi::sched::id;
use rvs_abi::{Method, Outcome, proto};
use rvs_core::{Flow, Frame, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, Model};
use rvs_wire::builder::{Ipv4, Payload, Udp, ethernet};
use rvs_wire::eth;

const CAPACITY: Capacity = Capacity { services: 4, dests: 256, conns: 100, cpus: 1 };

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 1500 })
}

#[test]
fn a_first_fragment_is_remembered_for_two_seconds() {
    let heap = Heap::new(&CAPACITY);
    let dests = vec![DestSetup::new([192, 168, 9, 2], 53, Method::MASQ)];
    let vip = [10, 0, 0, 1];
    let (port, protocol, scheduler) = (53, proto::UDP, id::RR);
    install(&heap, &[ServiceSetup { vip: vip.into(), port, protocol, scheduler, sched_flags: 0, dests }]);
    let mut model = Model::new(heap, route);
    let datagram = Payload::Udp(Udp::new(40_000, 53, &[7; 100]));
    let fragments = Ipv4::new([192, 0, 2, 2], vip).fragments(&datagram, 48);
    let run = |model: &Model<_>, packet: &[u8]| {
        let bytes = ethernet([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], eth::TYPE_IPV4, packet);
        model.ingress(&mut Frame::<512>::new(&bytes).unwrap(), 11).outcome
    };
    model.set_now_ns(1 << 40);
    assert_eq!(run(&model, &fragments[0]), Outcome::ForwardMasq);
    for (ms, outcome) in [(1900, Outcome::ForwardMasq), (2200, Outcome::Fragment)] {
        model.set_now_ns((1 << 40) + ms * 1_000_000);
        assert_eq!(run(&model, &fragments[1]), outcome, "after {ms} ms");
    }
}
