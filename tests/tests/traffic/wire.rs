//! Packets on the wire, written and read byte by byte.

use std::net::IpAddr;

use rvs_netlink::MacAddr;
use rvs_testkit::{Capture, Direction, Frame, Host};
use rvs_wire::builder::{Ipv4, Ipv6, Payload};
use rvs_wire::{eth, ipv4, ipv6};

use crate::stage::LIMIT;

/// An IP packet that was seen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) payload: Vec<u8>,
    /// The frame that it was in.
    pub(crate) frame: Vec<u8>,
}

impl Seen {
    /// A received frame's packet, if it has no options or extension headers.
    fn new(frame: &Frame) -> Option<Self> {
        let bytes = &frame.bytes;
        let ip = bytes.get(eth::LEN..)?;
        let (source, destination, protocol, payload) = match bytes.get(12..14)?.try_into().ok()? {
            eth::TYPE_IPV4 => {
                (v4(ip, ipv4::at::SOURCE)?, v4(ip, ipv4::at::DESTINATION)?, ip[9], ip.get(ipv4::LEN..)?)
            }
            eth::TYPE_IPV6 => {
                (v6(ip, ipv6::at::SOURCE)?, v6(ip, ipv6::at::DESTINATION)?, ip[6], ip.get(ipv6::LEN..)?)
            }
            _ => return None,
        };
        let is_received = frame.direction == Direction::Received;
        let (payload, frame) = (payload.to_vec(), bytes.clone());
        is_received.then_some(Self { source, destination, protocol, payload, frame })
    }
}

fn v4(ip: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 4] = ip.get(at..at + 4)?.try_into().ok()?;
    Some(bytes.into())
}

fn v6(ip: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 16] = ip.get(at..at + 16)?.try_into().ok()?;
    Some(bytes.into())
}

/// Listens at a host's only interface, and sends from there.
pub(crate) fn wire(host: &Host) -> Capture {
    Capture::open(host.netns(), "eth0").unwrap()
}

/// The next packet that is received and wanted.
pub(crate) fn receive(wire: &mut Capture, wanted: impl Fn(&Seen) -> bool) -> Seen {
    let matches = |frame: &Frame| Seen::new(frame).is_some_and(|seen| wanted(&seen));
    let frame = wire.next_matching(LIMIT, matches).unwrap().expect("a frame in time");
    Seen::new(&frame).unwrap()
}

/// A frame between hosts.
pub(crate) fn frame(from: (&Host, IpAddr), to: (MacAddr, IpAddr), ttl: u8, payload: &Payload) -> Vec<u8> {
    let (to_mac, from_mac) = (to.0.0, from.0.interface("eth0").mac.0);
    match (from.1, to.1) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let header = Ipv4 { ttl, ..Ipv4::new(source.octets(), destination.octets()) };
            header.frame(to_mac, from_mac, payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let header = Ipv6 { hop_limit: ttl, ..Ipv6::new(source.octets(), destination.octets()) };
            header.frame(to_mac, from_mac, payload)
        }
        (source, destination) => panic!("from {source} to {destination}"),
    }
}
