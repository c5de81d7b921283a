//! What `link.rs` does on a real kernel.

use std::io;

use rvs_netlink::{Error, MacAddr, Netns, Prefix};

use crate::pair::{LEFT, Pair, wait_until};

#[test]
fn veth_pair_across_namespaces() {
    let mut pair = Pair::new();
    let v0 = pair.left_netlink.link("v0").unwrap();
    assert_eq!(v0.kind.as_deref(), Some("veth"));
    assert!(v0.up && !v0.loopback && v0.master.is_none());
    assert_eq!(v0.mtu, 1500);
    let v1 = pair.right_netlink.link("v1").unwrap();
    assert_ne!(v0.mac.unwrap(), v1.mac.unwrap());
    wait_until("carrier", || pair.left_netlink.link("v0").unwrap().carrier);
    assert!(pair.left_netlink.links().unwrap().iter().any(|link| link.index == v0.index));
}

#[test]
fn attributes_are_set() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    let mac: MacAddr = "02:00:00:00:00:aa".parse().unwrap();
    netlink.set_mtu(pair.v0.index, 1400).unwrap();
    netlink.set_mac(pair.v0.index, mac).unwrap();
    netlink.set_down(pair.v0.index).unwrap();
    let link = netlink.link_by_index(pair.v0.index).unwrap().unwrap();
    assert_eq!((link.mtu, link.mac, link.up), (1400, Some(mac), false));
    netlink.set_up(pair.v0.index).unwrap();
    assert!(netlink.link("v0").unwrap().up);
}

#[test]
fn a_link_gets_another_name() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    netlink.set_down(pair.v0.index).unwrap();
    netlink.rename(pair.v0.index, "other0").unwrap();
    assert_eq!(netlink.link("other0").unwrap().index, pair.v0.index);
    assert!(matches!(netlink.link("v0"), Err(Error::NoSuchLink { .. })));
}

#[test]
fn bridge_with_a_port() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    netlink.create_bridge("br0").unwrap();
    let bridge = netlink.link("br0").unwrap();
    assert_eq!(bridge.kind.as_deref(), Some("bridge"));
    netlink.set_master(pair.v0.index, Some(bridge.index)).unwrap();
    assert_eq!(netlink.link("v0").unwrap().master, Some(bridge.index));
    netlink.set_master(pair.v0.index, None).unwrap();
    assert_eq!(netlink.link("v0").unwrap().master, None);
}

#[test]
fn deleting_one_end_deletes_both() {
    let mut pair = Pair::new();
    pair.left_netlink.delete_link(pair.v0.index).unwrap();
    assert_eq!(pair.left_netlink.link_by_index(pair.v0.index).unwrap(), None);
    let error = pair.right_netlink.link("v1").unwrap_err();
    assert!(matches!(&error, Error::NoSuchLink { name } if name == "v1"));
    assert_eq!(error.to_string(), "link v1: no such link in this network namespace");
}

#[test]
fn errors_name_operation_and_object() {
    let mut pair = Pair::new();
    let other = Netns::create_unique("rvs-test").unwrap();
    let error = pair.left_netlink.create_veth("v0", "v9", &other).unwrap_err();
    assert_eq!(error.kind(), Some(io::ErrorKind::AlreadyExists));
    assert!(error.to_string().starts_with("create veth v0/v9: File exists"), "{error}");
    let error = pair.left_netlink.delete_link(4242).unwrap_err();
    assert!(error.to_string().starts_with("delete link 4242: No such device"), "{error}");
    let error = pair.left_netlink.set_mtu(pair.v0.index, 1).unwrap_err();
    let expected =
        format!("set MTU of link {} to 1: Invalid argument (mtu less than device minimum)", pair.v0.index);
    assert_eq!(error.to_string(), expected, "with the kernel's own sentence");
}

#[test]
fn addresses_of_both_families() {
    let mut pair = Pair::new();
    let netlink = &mut pair.left_netlink;
    let v4: Prefix = "203.0.113.10/32".parse().unwrap();
    let v6: Prefix = "2001:db8::10/64".parse().unwrap();
    for prefix in [v4, v6] {
        netlink.add_address(pair.v0.index, prefix).unwrap();
        let error = netlink.add_address(pair.v0.index, prefix).unwrap_err();
        assert_eq!(error.kind(), Some(io::ErrorKind::AlreadyExists));
    }
    let present = netlink.addresses().unwrap();
    let has = |prefix| present.iter().any(|a| a.ifindex == pair.v0.index && a.prefix == prefix);
    assert!(has(v4) && has(v6) && has(Prefix::new(LEFT, 24).unwrap()), "{present:?}");

    netlink.delete_address(pair.v0.index, v4).unwrap();
    assert!(netlink.addresses().unwrap().iter().all(|a| a.prefix != v4));
    let error = netlink.delete_address(pair.v0.index, v4).unwrap_err();
    assert_eq!(error.kind(), Some(io::ErrorKind::AddrNotAvailable));
}
