//! Tunnels that come from addresses of the operator's: one for each flow, of all of the prefix and none besides.

use std::collections::BTreeMap;

use rvs_abi::sched::id;
use rvs_abi::{Addr, Config, Method, Outcome, proto};
use rvs_core::{Flow, Frame, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, Model, records};
use rvs_wire::builder::{Ipv4, Payload, Udp, ethernet};
use rvs_wire::eth;

const VIP: [u8; 4] = [10, 0, 0, 1];
const SERVER: [u8; 4] = [192, 168, 9, 2];
const DIRECTOR: [u8; 4] = [192, 168, 9, 1];
/// 10.250.16.0/20.
const FIRST: [u8; 4] = [10, 250, 16, 0];
const MASK: [u8; 4] = [0, 0, 15, 255];

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 1500 })
}

/// The outer source of a datagram of this client's.
fn source<F: Fn(&Flow) -> Result<NextHop, Outcome>>(model: &Model<F>, client: u32) -> [u8; 4] {
    let [_, b, c, d] = client.to_be_bytes();
    let datagram = Payload::Udp(Udp::new(40_000 + (client % 1000) as u16, 53, b"data"));
    let packet = Ipv4::new([172, 16 + b, c, d], VIP).packet(&datagram);
    let bytes = ethernet([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], eth::TYPE_IPV4, &packet);
    let mut frame = Frame::<512>::new(&bytes).unwrap();
    assert_eq!(model.ingress(&mut frame, 11).outcome, Outcome::ForwardTunnel);
    frame.bytes()[26..30].try_into().unwrap()
}

#[test]
fn flows_spread_over_the_prefix() {
    let heap = Heap::new(&Capacity { services: 4, dests: 256, conns: 40_000, cpus: 1 });
    let dests = vec![DestSetup { source: DIRECTOR.into(), ..DestSetup::new(SERVER, 53, Method::TUNNEL) }];
    let (port, protocol, scheduler) = (53, proto::UDP, id::RR);
    install(&heap, &[ServiceSetup { vip: VIP.into(), port, protocol, scheduler, sched_flags: 0, dests }]);
    let config = Config {
        tunnel_sources_v4: Addr::v4(FIRST),
        tunnel_source_masks: [u32::from_ne_bytes(MASK), 0],
        ..records::config(&heap)
    };
    records::write_config(&heap, &config);
    let mut model = Model::new(heap, route);
    model.set_now_ns(1 << 40);

    let mut flows = BTreeMap::<_, u32>::new();
    for client in 0..16_384 {
        let address = source(&model, client);
        assert_eq!((0..4).map(|i| address[i] & !MASK[i]).collect::<Vec<_>>(), FIRST, "{address:?}");
        assert_eq!(source(&model, client), address, "the next packet comes from there too");
        *flows.entry(address).or_default() += 1;
    }
    // 4 flows an address: by chance 1.8 % of the addresses have none.
    assert!(flows.len() > 3900, "{}", flows.len());
    assert!(flows.values().all(|&count| count < 20), "{:?}", flows.values().max());
    // Queues are chosen by few bits: each of the last three alone is even.
    let queues = flows.iter().fold([0_u32; 8], |mut queues, (address, count)| {
        queues[usize::from(address[3] & 7)] += count;
        queues
    });
    assert!(queues.iter().all(|count| (1900..2200).contains(count)), "{queues:?}");
    assert!(!flows.contains_key(&DIRECTOR));
}
