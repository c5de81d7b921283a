//! What `monitor.rs` does on a real kernel.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use rvs_netlink::{Event, MacAddr, Monitor, Netns, Route};

use crate::pair::{Pair, RIGHT};

const LIMIT: Duration = Duration::from_secs(5);

/// Reads events until one satisfies `wanted`; returns those read before it.
fn until(monitor: &mut Monitor, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let deadline = Instant::now() + LIMIT;
    let mut skipped = Vec::new();
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        match monitor.next(Some(rest)).unwrap() {
            Some(event) if wanted(&event) => return skipped,
            Some(event) => skipped.push(event),
            None => panic!("not within {LIMIT:?}; instead: {skipped:?}"),
        }
    }
}

/// Reads all that has come so far.
fn drain(monitor: &mut Monitor) {
    while monitor.next(Some(Duration::from_millis(50))).unwrap().is_some() {}
}

#[test]
fn silence_ends_with_the_timeout() {
    let namespace = Netns::create_unique("rvs-test").unwrap();
    let mut monitor = namespace.enter(Monitor::new).unwrap().unwrap();
    drain(&mut monitor);
    let start = Instant::now();
    assert_eq!(monitor.next(Some(Duration::from_millis(30))).unwrap(), None);
    assert!(start.elapsed() >= Duration::from_millis(30));
}

#[test]
fn links_come_change_and_go() {
    let namespace = Netns::create_unique("rvs-test").unwrap();
    let mut monitor = namespace.enter(Monitor::new).unwrap().unwrap();
    let mut netlink = namespace.netlink().unwrap();
    netlink.create_bridge("br0").unwrap();
    let br0 = netlink.link("br0").unwrap().index;
    let is_br0 = |index: &u32, name: &String| *index == br0 && name == "br0";
    until(&mut monitor, |e| matches!(e, Event::LinkAdded { index, name } if is_br0(index, name)));
    netlink.set_mtu(br0, 1400).unwrap();
    until(&mut monitor, |e| matches!(e, Event::LinkChanged { index, name } if is_br0(index, name)));
    netlink.delete_link(br0).unwrap();
    until(&mut monitor, |e| matches!(e, Event::LinkRemoved { index, name } if is_br0(index, name)));
}

#[test]
fn a_port_that_leaves_its_bridge_is_not_gone() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    netlink.create_bridge("br0").unwrap();
    let br0 = netlink.link("br0").unwrap().index;
    netlink.set_master(pair.v0.index, Some(br0)).unwrap();
    let mut monitor = pair.left.enter(Monitor::new).unwrap().unwrap();
    netlink.set_master(pair.v0.index, None).unwrap();
    netlink.delete_link(br0).unwrap();
    let before = until(&mut monitor, |e| matches!(e, Event::LinkRemoved { index, .. } if *index == br0));
    assert!(before.iter().any(|e| matches!(e, Event::LinkChanged { index, .. } if *index == pair.v0.index)));
    assert!(
        !before.iter().any(|e| matches!(e, Event::LinkRemoved { .. } | Event::LinkAdded { .. })),
        "{before:?}"
    );
}

#[test]
fn routes_and_addresses() {
    let mut pair = Pair::new();
    let mut monitor = pair.left.enter(Monitor::new).unwrap().unwrap();
    drain(&mut monitor);
    pair.left_netlink.add_route(&Route::default_v4().via(RIGHT)).unwrap();
    until(&mut monitor, |e| *e == Event::RoutesChanged);
    drain(&mut monitor);
    pair.left_netlink.add_address(pair.v0.index, "203.0.113.10/32".parse().unwrap()).unwrap();
    until(&mut monitor, |e| *e == Event::AddressesChanged);
}

#[test]
fn neighbours() {
    let mut pair = Pair::new();
    let mut monitor = pair.left.enter(Monitor::new).unwrap().unwrap();
    let address: IpAddr = "192.0.2.9".parse().unwrap();
    let mac = MacAddr([2, 0, 0, 0, 0, 1]);
    pair.left_netlink.add_neighbour(pair.v0.index, address, mac).unwrap();
    until(
        &mut monitor,
        |e| matches!(e, Event::NeighbourChanged(n) if n.address == address && n.usable_mac() == Some(mac)),
    );
    pair.left_netlink.delete_neighbour(pair.v0.index, address).unwrap();
    until(&mut monitor, |e| {
        let ifindex = pair.v0.index;
        match e {
            Event::NeighbourRemoved { .. } => *e == Event::NeighbourRemoved { ifindex, address },
            Event::NeighbourChanged(n) => n.address == address && n.usable_mac().is_none(),
            _ => false,
        }
    });
}

#[test]
fn lost_events_are_reported_and_listening_goes_on() {
    let mut pair = Pair::new();
    let mut monitor = pair.left.enter(|| Monitor::with_receive_buffer(4096)).unwrap().unwrap();
    for last in 1..=200u8 {
        let address = IpAddr::from([192, 0, 2, last]);
        pair.left_netlink.add_neighbour(pair.v0.index, address, MacAddr([2, 0, 0, 0, 0, last])).unwrap();
    }
    // Not seen by the monitor's own message, but learnt when it takes stock after the loss.
    pair.left_netlink.create_bridge("br0").unwrap();
    let br0 = pair.left_netlink.link("br0").unwrap().index;
    until(&mut monitor, |e| *e == Event::Overrun);
    drain(&mut monitor);
    pair.left_netlink.set_mtu(br0, 1400).unwrap();
    let before = until(&mut monitor, |e| matches!(e, Event::LinkChanged { index, .. } if *index == br0));
    assert!(before.is_empty(), "{before:?}");
}
