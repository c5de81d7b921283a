//! Two namespaces with a cable between.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use rvs_netlink::{Link, Netlink, Netns, Prefix};

pub(crate) const LEFT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
pub(crate) const RIGHT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

/// `v0` at [`LEFT`] in one namespace, `v1` at [`RIGHT`] in the other, both up in one /24.
pub(crate) struct Pair {
    pub(crate) left: Netns,
    _right: Netns,
    pub(crate) left_netlink: Netlink,
    pub(crate) right_netlink: Netlink,
    pub(crate) v0: Link,
    pub(crate) v1: Link,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let left = Netns::create_unique("rvs-test").unwrap();
        let right = Netns::create_unique("rvs-test").unwrap();
        let mut left_netlink = left.netlink().unwrap();
        let mut right_netlink = right.netlink().unwrap();
        left_netlink.create_veth("v0", "v1", &right).unwrap();
        let v0 = configure(&mut left_netlink, "v0", LEFT);
        let v1 = configure(&mut right_netlink, "v1", RIGHT);
        Self { left, _right: right, left_netlink, right_netlink, v0, v1 }
    }
}

fn configure(netlink: &mut Netlink, name: &str, address: IpAddr) -> Link {
    let link = netlink.link(name).unwrap();
    netlink.add_address(link.index, Prefix::new(address, 24).unwrap()).unwrap();
    netlink.set_up(link.index).unwrap();
    link
}

/// Waits until `condition` holds; fails after five seconds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 5 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
