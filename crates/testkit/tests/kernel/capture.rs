//! What `capture.rs` does on a real kernel.

use std::net::UdpSocket;
use std::time::Duration;

use rvs_testkit::{Capture, Cluster, Direction};

const LIMIT: Duration = Duration::from_secs(5);
/// EtherType for experiments (IEEE 802, "local experimental 1"): no stack reacts to it.
const EXPERIMENT: [u8; 2] = [0x88, 0xb5];

#[test]
fn a_frame_arrives_as_it_was_sent() {
    let cluster = Cluster::routed(1).build().unwrap();
    let client = cluster.client();
    let sender = Capture::open(client.netns(), "eth0").unwrap();
    let mut receiver = Capture::open(cluster.director().netns(), "to-client").unwrap();
    let mut other = Capture::open(cluster.director().netns(), "to-s1").unwrap();
    let mut frame = cluster.director().interface("to-client").mac.0.to_vec();
    frame.extend(client.interface("eth0").mac.0);
    frame.extend(EXPERIMENT);
    frame.extend((0..100).collect::<Vec<u8>>());
    sender.send(&frame).unwrap();

    let is_ours = |f: &rvs_testkit::Frame| f.bytes.get(12..14) == Some(&EXPERIMENT);
    let received = receiver.next_matching(LIMIT, is_ours).unwrap().unwrap();
    assert_eq!(received.bytes, frame);
    assert_eq!(received.direction, Direction::Received);
    assert_eq!(other.next_matching(Duration::ZERO, is_ours).unwrap(), None);
}

#[test]
fn own_frames_are_marked_as_sent() {
    let cluster = Cluster::routed(1).build().unwrap();
    let mut capture = Capture::open(cluster.client().netns(), "eth0").unwrap();
    let director = cluster.director().interface("to-client").address.unwrap();
    let send = || UdpSocket::bind("0.0.0.0:0").and_then(|s| s.send_to(b"hello", (director, 9)));
    cluster.client().netns().enter(send).unwrap().unwrap();
    let frame = capture.next_matching(LIMIT, |f| f.bytes.ends_with(b"hello")).unwrap().unwrap();
    assert_eq!(frame.direction, Direction::Sent);
}

#[test]
fn silence_and_missing_interfaces() {
    let cluster = Cluster::routed(1).build().unwrap();
    let mut capture = Capture::open(cluster.client().netns(), "lo").unwrap();
    assert_eq!(capture.next(Duration::from_millis(20)).unwrap(), None);
    let error = Capture::open(cluster.client().netns(), "eth9").unwrap_err();
    let name = cluster.client().netns().name();
    assert_eq!(error.to_string(), format!("capture on eth9 in {name}: entity not found"));
}
