//! Datagrams that are too large for the way once they are in a tunnel: what is around them is fragmented. The real server's
//! side is read from the wire, since a packet has to be put together before it can be taken out of its tunnel.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rvs_testkit::{Capture, Family, wait_until};
use rvs_wire::{checksum, eth, ipv4, ipv6};

use crate::fragments::{
    CUT_LENGTHS, PORT, SMALL, UNASKED, any_of, let_packets_be_cut, make_way_small, open, pattern,
};
use crate::method::Attach;
use crate::stage::LIMIT;
use crate::turn::await_turn;
use crate::wire::{receive, wire};
use crate::world::{Way, World};

/// Bytes of a fragment header of IPv6.
const FRAGMENT: usize = 8;

/// Neighbours ask for each other.
const ICMPV6: u8 = 58;

/// A fragment of a packet, or a packet that is whole.
struct Part {
    /// Its packet's identification; what a whole packet has is one of its own.
    id: u32,
    offset: usize,
    more: bool,
    protocol: u8,
    data: Vec<u8>,
}

impl Part {
    fn of(packet: &[u8]) -> Self {
        if packet[0] >> 4 == 4 {
            assert_eq!(checksum::full(0, &packet[..ipv4::LEN]), [0, 0], "IPv4 header checksum");
            let offset = u16::from_be_bytes([packet[6], packet[7]]);
            return Self {
                id: u16::from_be_bytes([packet[4], packet[5]]).into(),
                offset: usize::from(offset & 0x1fff) * 8,
                more: offset & 0x2000 != 0,
                protocol: packet[9],
                data: packet[ipv4::LEN..].to_vec(),
            };
        }
        let rest = &packet[ipv6::LEN..];
        if packet[6] != ipv6::next::FRAGMENT {
            return Self { id: 0, offset: 0, more: false, protocol: packet[6], data: rest.to_vec() };
        }
        let offset = u16::from_be_bytes([rest[2], rest[3]]);
        Self {
            id: u32::from_be_bytes([rest[4], rest[5], rest[6], rest[7]]),
            offset: usize::from(offset & 0xfff8),
            more: offset & 1 != 0,
            protocol: rest[0],
            data: rest[FRAGMENT..].to_vec(),
        }
    }
}

/// Packets that are being put together, by their identification.
#[derive(Default)]
struct Joined(BTreeMap<u32, Vec<Part>>);

impl Joined {
    /// One more; the protocol and data of its packet, if that is whole now.
    fn add(&mut self, part: Part) -> Option<(u8, Vec<u8>)> {
        let (id, protocol) = (part.id, part.protocol);
        if part.offset == 0 && !part.more {
            return Some((protocol, part.data));
        }
        let parts = self.0.entry(id).or_default();
        parts.push(part);
        parts.sort_by_key(|part| part.offset);
        let mut data = Vec::new();
        for part in parts.iter() {
            if part.offset != data.len() {
                return None;
            }
            data.extend(&part.data);
        }
        if parts.last()?.more {
            return None;
        }
        self.0.remove(&id);
        Some((protocol, data))
    }
}

/// What the tunnel's packet has inside.
fn inside(protocol: u8, data: &[u8]) -> &[u8] {
    match protocol {
        // UDP and a GUE header; a GRE header; nothing.
        17 => &data[12..],
        47 => &data[4..],
        4 => data,
        other => panic!("protocol {other}"),
    }
}

/// The next datagram for the server, as it comes out of all fragments and the tunnel; how many packets it took.
fn datagram(wire: &mut Capture, server: IpAddr) -> (Vec<u8>, usize) {
    let (mut outer, mut inner) = (Joined::default(), Joined::default());
    let mut count = 0;
    loop {
        let seen = receive(wire, |seen| seen.destination == server && seen.protocol != ICMPV6);
        count += 1;
        let packet = &seen.frame[eth::LEN..];
        assert!(packet.len() <= SMALL as usize, "{} bytes", packet.len());
        let Some((protocol, data)) = outer.add(Part::of(packet)) else { continue };
        let packet = inside(protocol, &data);
        let ends = [packet[12..16].try_into().unwrap(), packet[16..20].try_into().unwrap()];
        let Some((17, datagram)) = inner.add(Part::of(packet)) else { continue };
        let len = u16::try_from(datagram.len()).unwrap();
        let pseudo = checksum::pseudo_v4(ends[0], ends[1], 17, len);
        // Of a packet that is whole it may be left to a device.
        assert!(count == 1 || checksum::full(pseudo, &datagram) == [0, 0], "UDP checksum of {len} bytes");
        return (datagram, count);
    }
}

fn questions_in_outer_fragments(way: Way, attach: Attach) {
    let _turn = await_turn();
    let mut world = World::new(way.replies(), attach);
    let_packets_be_cut(&world);
    let service = world.add("-u", Family::V4, PORT, way);
    let server = world.server_address(Family::V4, way);
    make_way_small(&mut world, server, service, "forward_tunnel_cut");
    let socket = open(world.client(), any_of(service.ip()));
    let mut wire = wire(world.server());
    let mut ask = |len: usize| {
        socket.send_to(&pattern(len), service).unwrap();
        loop {
            let (datagram, count) = datagram(&mut wire, server);
            // Those from when the way was made small may still be on the wire.
            if datagram.len() != 8 + UNASKED {
                return (datagram, count);
            }
        }
    };
    // Has the neighbour looked up.
    ask(1);
    let mut is_known = || {
        let neighbours = world.cluster.director_mut().netlink().neighbours().unwrap();
        neighbours.iter().any(|known| known.address == server && known.usable_mac().is_some())
    };
    wait_until("the server's link address", LIMIT, &mut is_known).unwrap();
    let cut = world.daemon.counted("forward_tunnel_cut");
    for len in CUT_LENGTHS {
        let (datagram, count) = ask(len as usize);
        assert_eq!(datagram[8..], pattern(len as usize), "{len} bytes");
        assert_eq!(count == 1, len == 16, "{len} bytes in {count}");
    }
    assert!(world.daemon.counted("forward_tunnel_cut") >= cut + 4);
    assert_eq!(world.daemon.dropped("cut_failed"), 0);
}

fn under_both_hooks(way: Way) {
    questions_in_outer_fragments(way, Attach::Tc);
    questions_in_outer_fragments(way, Attach::Xdp);
}

#[test]
fn questions_in_outer_fragments_by_ipip() {
    under_both_hooks(Way::IPIP);
}

#[test]
fn questions_in_outer_fragments_by_gre_and_gue() {
    under_both_hooks(Way::GRE);
    under_both_hooks(Way::GUE);
}

#[test]
fn questions_in_outer_fragments_of_ipv6() {
    under_both_hooks(Way { mixed: true, ..Way::IPIP });
    under_both_hooks(Way { mixed: true, ..Way::GUE });
}
