//! What `neighbour.rs` does on a real kernel.

use std::net::IpAddr;

use rvs_netlink::{MacAddr, Neighbour, NeighbourState, Netlink};

use crate::pair::{Pair, RIGHT, wait_until};

fn find(netlink: &mut Netlink, address: IpAddr) -> Option<Neighbour> {
    netlink.neighbours().unwrap().into_iter().find(|n| n.address == address)
}

#[test]
fn permanent_entry() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    let address: IpAddr = "192.0.2.9".parse().unwrap();
    for mac in [MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2])] {
        netlink.add_neighbour(pair.v0.index, address, mac).unwrap();
        let entry = find(netlink, address).unwrap();
        assert_eq!((entry.mac, entry.state), (Some(mac), NeighbourState::Permanent));
        assert_eq!(entry.usable_mac(), Some(mac));
    }
    netlink.delete_neighbour(pair.v0.index, address).unwrap();
    wait_until("entry gone", || find(netlink, address).is_none_or(|n| n.usable_mac().is_none()));
    let error = netlink.delete_neighbour(pair.v0.index, "192.0.2.77".parse().unwrap()).unwrap_err();
    let expected =
        format!("delete neighbour 192.0.2.77 on link {}: No such file or directory", pair.v0.index);
    assert_eq!(error.to_string(), expected);
}

#[test]
fn probe_resolves_a_live_neighbour() {
    let mut pair = Pair::new();
    let mac = pair.v1.mac;
    pair.left_netlink.probe_neighbour(pair.v0.index, RIGHT).unwrap();
    wait_until("resolved", || find(&mut pair.left_netlink, RIGHT).and_then(|n| n.usable_mac()) == mac);
}

#[test]
fn probe_of_nobody_fails_later() {
    let mut pair = Pair::new();
    pair.left.sysctl("net/ipv4/neigh/v0/retrans_time_ms", "20").unwrap();
    let address: IpAddr = "192.0.2.99".parse().unwrap();
    pair.left_netlink.probe_neighbour(pair.v0.index, address).unwrap();
    wait_until("failed", || {
        find(&mut pair.left_netlink, address).is_some_and(|n| n.state == NeighbourState::Failed)
    });
    assert_eq!(find(&mut pair.left_netlink, address).unwrap().usable_mac(), None);
}

#[test]
fn flush_spares_permanent_entries() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    let fixed: IpAddr = "192.0.2.9".parse().unwrap();
    netlink.add_neighbour(pair.v0.index, fixed, MacAddr([2, 0, 0, 0, 0, 1])).unwrap();
    netlink.probe_neighbour(pair.v0.index, RIGHT).unwrap();
    wait_until("resolved", || find(netlink, RIGHT).is_some_and(|n| n.usable_mac().is_some()));

    assert!(netlink.flush_neighbours(pair.v0.index).unwrap() >= 1);
    wait_until("forgotten", || find(netlink, RIGHT).is_none_or(|n| n.usable_mac().is_none()));
    assert_eq!(find(netlink, fixed).unwrap().state, NeighbourState::Permanent);
}
