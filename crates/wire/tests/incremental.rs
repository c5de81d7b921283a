//! What is updated incrementally is what a full computation gives, for every rewrite that a packet can meet.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;
use rvs_wire::builder::{Ipv4, Payload, Tcp, Udp, checksums_ok};
use rvs_wire::checksum::{self, Delta};
use rvs_wire::ipv4::{Header, Outer};
use rvs_wire::{eth, tcp, udp};

const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];

/// Addresses and ports at the edges of one's complement arithmetic are as frequent as others.
fn word() -> impl Strategy<Value = u16> {
    prop_oneof![any::<u16>(), Just(0), Just(0xffff), Just(1), Just(0xfffe)]
}

fn address() -> impl Strategy<Value = [u8; 4]> {
    (word(), word()).prop_map(|(a, b)| [a.to_be_bytes(), b.to_be_bytes()].concat().try_into().unwrap())
}

fn options() -> impl Strategy<Value = Vec<u8>> {
    (0..=10_usize).prop_flat_map(|words| prop::collection::vec(any::<u8>(), words * 4))
}

prop_compose! {
    fn header()(
        (tos, id, ttl) in (any::<u8>(), word(), 1..=255_u8),
        dont_fragment in any::<bool>(),
        (source, destination) in (address(), address()),
        options in options(),
    ) -> Ipv4 {
        Ipv4 { tos, id, dont_fragment, ttl, options, ..Ipv4::new(source, destination) }
    }
}

fn payload() -> impl Strategy<Value = Payload> {
    let data = || prop::collection::vec(any::<u8>(), 0..100);
    let tcp = (word(), word(), any::<u8>(), any::<u32>(), data()).prop_map(
        |(sport, dport, flags, sequence, data)| {
            Payload::Tcp(Tcp { sport, dport, flags, sequence, data, ..Tcp::default() })
        },
    );
    let udp = (word(), word(), any::<bool>(), data())
        .prop_map(|(sport, dport, no_checksum, data)| Payload::Udp(Udp { sport, dport, no_checksum, data }));
    prop_oneof![tcp, udp]
}

/// Which end of a packet is rewritten.
#[derive(Debug, Clone, Copy)]
enum End {
    Source,
    Destination,
}

/// The rewrite of NAT as it would be built anew.
fn rebuilt(ip: &Ipv4, payload: &Payload, end: End, address: [u8; 4], port: u16) -> Vec<u8> {
    let (mut ip, mut payload) = (ip.clone(), payload.clone());
    ip.ttl -= 1;
    match end {
        End::Source => ip.source = address,
        End::Destination => ip.destination = address,
    }
    let (sport, dport) = match &mut payload {
        Payload::Tcp(segment) => (&mut segment.sport, &mut segment.dport),
        Payload::Udp(datagram) => (&mut datagram.sport, &mut datagram.dport),
        other => panic!("{other:?}"),
    };
    match end {
        End::Source => *sport = port,
        End::Destination => *dport = port,
    }
    ip.frame(MACS[0], MACS[1], &payload)
}

/// The rewrite of NAT by deltas.
fn rewritten(frame: &[u8], end: End, address: [u8; 4], port: u16) -> Vec<u8> {
    let mut frame = frame.to_vec();
    let header = Header::from_bytes(frame[eth::LEN..].first_chunk().unwrap());
    let l4 = eth::LEN + header.header_len();
    let (ip, ttl) = header.decrement_ttl();
    let ((ip, pseudo), port_at) = match end {
        End::Source => (ip.with_source(address), l4),
        End::Destination => (ip.with_destination(address), l4 + 2),
    };
    frame[eth::LEN..][..20].copy_from_slice(&ip.update_checksum(ttl.and(pseudo)).to_bytes());
    let old: [u8; 2] = frame[port_at..][..2].try_into().unwrap();
    let delta = pseudo.and(Delta::new().word(old, port.to_be_bytes()));
    frame[port_at..][..2].copy_from_slice(&port.to_be_bytes());
    let is_tcp = header.protocol() == 6;
    let field_at = l4 + if is_tcp { tcp::CHECKSUM } else { udp::CHECKSUM };
    let field: [u8; 2] = frame[field_at..][..2].try_into().unwrap();
    let new = if is_tcp { delta.apply(field) } else { delta.apply_udp(field) };
    frame[field_at..][..2].copy_from_slice(&new);
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// NAT of TCP and UDP in both directions: byte for byte the packet that would be built with the new address and port.
    #[test]
    fn nat_is_what_would_be_built(
        ip in header(),
        payload in payload(),
        end in prop_oneof![Just(End::Source), Just(End::Destination)],
        address in address(),
        port in word(),
    ) {
        let frame = ip.frame(MACS[0], MACS[1], &payload);
        prop_assert_eq!(checksums_ok(&frame), Ok(()));
        let new = rewritten(&frame, end, address, port);
        prop_assert_eq!(checksums_ok(&new), Ok(()));
        prop_assert_eq!(new, rebuilt(&ip, &payload, end, address, port));
    }

    /// Where the new checksum comes out as 0, UDP sends all ones and TCP sends 0.
    #[test]
    fn a_checksum_that_becomes_0_is_what_would_be_built(
        ip in header(),
        ports in (word(), word()),
        is_tcp in any::<bool>(),
        address in address(),
        port in word(),
    ) {
        let payload = |data: [u8; 2]| match is_tcp {
            true => Payload::Tcp(Tcp { data: data.to_vec(), ..Tcp::new(ports.0, ports.1, tcp::ACK) }),
            false => Payload::Udp(Udp::new(ports.0, ports.1, &data)),
        };
        let field_at = eth::LEN + 20 + ip.options.len() + if is_tcp { tcp::CHECKSUM } else { udp::CHECKSUM };
        // Data of the complement of all other words makes the sum all ones.
        let with_zeros = rebuilt(&ip, &payload([0, 0]), End::Destination, address, port);
        let complement = [with_zeros[field_at], with_zeros[field_at + 1]];
        let frame = ip.frame(MACS[0], MACS[1], &payload(complement));
        let new = rewritten(&frame, End::Destination, address, port);
        prop_assert_eq!(&new[field_at..][..2], if is_tcp { &[0, 0] } else { &[0xff, 0xff] });
        prop_assert_eq!(new, rebuilt(&ip, &payload(complement), End::Destination, address, port));
    }

    /// There and back again is where it began.
    #[test]
    fn a_rewrite_can_be_undone(ip in header(), address in address()) {
        let packet = ip.packet(&Payload::Other(99, Vec::new()));
        let old = Header::from_bytes(packet.first_chunk().unwrap());
        let (new, delta) = old.with_source(address);
        let (back, delta_back) = new.update_checksum(delta).with_source(old.source());
        prop_assert_eq!(back.update_checksum(delta_back), old);
    }

    /// The words of a header are its bytes.
    #[test]
    fn a_header_is_its_bytes(ip in header()) {
        let packet = ip.packet(&Payload::Other(99, Vec::new()));
        let header = Header::from_bytes(packet.first_chunk().unwrap());
        prop_assert_eq!(&header.to_bytes()[..], &packet[..20]);
        prop_assert_eq!(
            (header.version(), header.header_len(), header.tos(), header.total_len(), header.ttl()),
            (4, 20 + ip.options.len(), ip.tos, u16::try_from(packet.len()).unwrap(), ip.ttl)
        );
        prop_assert_eq!(
            (header.dont_fragment(), header.is_fragment(), header.protocol(), header.source(), header.destination()),
            (ip.dont_fragment, false, 99, ip.source, ip.destination)
        );
        prop_assert_eq!(&header.checksum()[..], &packet[10..12]);
        if ip.options.is_empty() {
            prop_assert_eq!(checksum::fold(header.sum()), 0xffff);
        }
    }

    /// The outer header of a tunnel is the one that would be built.
    #[test]
    fn an_outer_header_is_what_would_be_built(ip in header(), inner in prop::collection::vec(any::<u8>(), 0..200)) {
        let plain = Ipv4 { options: Vec::new(), ..ip };
        let packet = plain.packet(&Payload::Ipip(inner));
        let outer = Outer {
            tos: plain.tos,
            total_len: u16::try_from(packet.len()).unwrap(),
            id: plain.id,
            dont_fragment: plain.dont_fragment,
            ttl: plain.ttl,
            protocol: 4,
            source: plain.source,
            destination: plain.destination,
        };
        prop_assert_eq!(&outer.emit().to_bytes()[..], &packet[..20]);
    }

    /// Fragments are told by either of the two signs.
    #[test]
    fn a_fragment_is_recognised(ip in header(), more_fragments in any::<bool>(), fragment_offset in 0..0x2000_u16) {
        let ip = Ipv4 { more_fragments, fragment_offset, ..ip };
        let packet = ip.packet(&Payload::Other(17, Vec::new()));
        let header = Header::from_bytes(packet.first_chunk().unwrap());
        prop_assert_eq!(header.is_fragment(), more_fragments || fragment_offset != 0);
    }

    /// A sum over parts is the sum over all, for any data (RFC 1071 §2).
    #[test]
    fn sums_of_words_are_sums_of_bytes(bytes in any::<[u8; 60]>(), start in any::<u16>()) {
        let sum = checksum::sum(u32::from(start), &bytes);
        prop_assert_eq!((!checksum::fold(sum)).to_ne_bytes(), checksum::full(u32::from(start), &bytes));
    }
}
