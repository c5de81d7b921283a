//! What the link layer says about a packet: its VLAN, whom it is for, how much fits.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use rvs_netlink::MacAddr;
use rvs_testkit::{Capture, Cluster, wait_until};
use rvs_wire::builder::{Ipv4, Payload, Tcp};
use rvs_wire::{eth, tcp};

use crate::method::{Attach, Method};
use crate::stage::{LIMIT, Stage, WEIGHTS};

/// A client's ports, for a frame that is to be passed on and one that is to be balanced.
const PASSED: u16 = 50_001;
const BALANCED: u16 = 50_002;

/// A SYN to the service, to that Ethernet address.
fn syn(stage: &Stage, to: MacAddr, sport: u16) -> Vec<u8> {
    let client = &stage.cluster.client().interfaces()[0];
    let ip = Ipv4::new(stage.cluster.client().address().octets(), stage.cluster.vip().octets());
    ip.frame(to.0, client.mac.0, &Payload::Tcp(Tcp::new(sport, 80, tcp::SYN)))
}

/// Sends a frame that is not the director's, then one that is: by the time that this one has a connection, the other could
/// have had one.
fn is_left_alone(stage: &Stage, frame: &[u8]) {
    let client = stage.cluster.client();
    let capture = Capture::open(client.netns(), &client.interfaces()[0].name).unwrap();
    let director = stage.cluster.director().interface("to-client").mac;
    capture.send(frame).unwrap();
    capture.send(&syn(stage, director, BALANCED)).unwrap();
    let has = |port: u16| stage.ipvsadm("-Lnc").contains(&format!(":{port} "));
    wait_until("a connection", LIMIT, || has(BALANCED)).unwrap();
    assert!(!has(PASSED), "{}", stage.ipvsadm("-Lnc"));
}

fn other_vlans_are_left_alone(attach: Attach) {
    // A cable: a bridge would take the tag out of the frame, and a veth hands it on beside it, where XDP can't see it.
    let stage = Stage::build(Method::Nat, attach, Cluster::routed(WEIGHTS.len()));
    let mut frame = syn(&stage, stage.cluster.director().interface("to-client").mac, PASSED);
    let tag = [eth::TYPE_VLAN, [0, 100]].concat();
    frame.splice(12..12, tag);
    is_left_alone(&stage, &frame);
}

fn other_hosts_are_left_alone(attach: Attach) {
    let mut stage = Stage::new(Method::Nat, attach);
    is_left_alone(&stage, &syn(&stage, MacAddr([2, 0x11, 0x22, 0x33, 0x44, 0x55]), PASSED));

    // Nor is a frame to an address that the interface had before; one to the new address is balanced at once.
    let interface = stage.cluster.director().interface("to-client").clone();
    let new = MacAddr([2, 0xaa, 0xbb, 0xcc, 0xdd, 0xee]);
    stage.cluster.director_mut().netlink().set_mac(interface.index, new).unwrap();
    let client = stage.cluster.client();
    let capture = Capture::open(client.netns(), &client.interfaces()[0].name).unwrap();
    capture.send(&syn(&stage, interface.mac, PASSED)).unwrap();
    capture.send(&syn(&stage, new, PASSED + 10)).unwrap();
    let has = |port: u16| stage.ipvsadm("-Lnc").contains(&format!(":{port} "));
    wait_until("a connection", LIMIT, || has(PASSED + 10)).unwrap();
    assert!(!has(PASSED), "{}", stage.ipvsadm("-Lnc"));
}

#[test]
fn other_vlans_under_tc() {
    other_vlans_are_left_alone(Attach::Tc);
}

#[test]
fn other_vlans_under_xdp() {
    other_vlans_are_left_alone(Attach::Xdp);
}

#[test]
fn other_hosts_under_tc() {
    other_hosts_are_left_alone(Attach::Tc);
}

#[test]
fn other_hosts_under_xdp() {
    other_hosts_are_left_alone(Attach::Xdp);
}

/// The client's stack sends bundles of segments, each of which is too large for the way on.
#[test]
fn segments_in_bundles_have_to_fit_too() {
    let mut stage = Stage::new(Method::Nat, Attach::Tc);
    let index = stage.cluster.director().interface("to-servers").index;
    stage.cluster.director_mut().netlink().set_mtu(index, 1300).unwrap();
    let service = stage.service();
    let connect = || TcpStream::connect_timeout(&service, LIMIT).unwrap();
    let mut stream = stage.cluster.client().netns().enter(connect).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    // More than the first window, none of which arrives.
    stream.write_all(&[0; 10_000_000]).unwrap_err();
    wait_until("they are dropped", LIMIT, || stage.daemon.dropped("too_big") > 0).unwrap();
}
