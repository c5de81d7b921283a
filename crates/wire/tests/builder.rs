//! The builder against packets whose bytes are known, and what it says about damaged ones.
#![forbid(unsafe_code)]

use rvs_wire::builder::malformed::{Damage, damaged, truncations};
use rvs_wire::builder::{Fault, Ipv4, Payload, Tcp, Udp, checksums_ok};
use rvs_wire::{eth, tcp};

const TO: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FROM: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn header() -> Ipv4 {
    Ipv4::new([192, 0, 2, 2], [10, 0, 0, 1])
}

fn syn() -> Vec<u8> {
    header().frame(TO, FROM, &Payload::Tcp(Tcp::new(40000, 80, tcp::SYN)))
}

/// Checksums worked out by another program.
#[test]
fn a_syn_byte_by_byte() {
    let expected: [u8; 54] = [
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, // Ethernet
        0x45, 0, 0, 40, 0x12, 0x34, 0x40, 0, 64, 6, 0x5c, 0x99, 192, 0, 2, 2, 10, 0, 0, 1, // IPv4
        0x9c, 0x40, 0, 80, 0, 0, 3, 0xe8, 0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0x43, 0x67, 0, 0, // TCP
    ];
    assert_eq!(syn(), expected);
}

/// A header that textbooks work through: its checksum is 0xb861.
#[test]
fn a_header_with_a_known_checksum() {
    let ip = Ipv4 { id: 0, ttl: 64, ..Ipv4::new([192, 168, 0, 1], [192, 168, 0, 199]) };
    let packet = ip.packet(&Payload::Other(17, vec![0; 95]));
    assert_eq!(packet[..2], [0x45, 0]);
    assert_eq!(packet[10..12], [0xb8, 0x61]);
}

#[test]
fn a_udp_datagram_may_go_without_a_checksum() {
    let with = header().frame(TO, FROM, &Payload::Udp(Udp::new(53, 53, b"abc")));
    let without =
        header().frame(TO, FROM, &Payload::Udp(Udp { no_checksum: true, ..Udp::new(53, 53, b"abc") }));
    assert_ne!(with[40..42], [0, 0]);
    assert_eq!(without[40..42], [0, 0]);
    assert_eq!((checksums_ok(&with), checksums_ok(&without)), (Ok(()), Ok(())));
}

/// RFC 768: a computed 0 is sent as all ones.
#[test]
fn a_udp_checksum_of_0_is_sent_as_ones() {
    let frame = |data: [u8; 2]| header().frame(TO, FROM, &Payload::Udp(Udp::new(53, 53, &data)));
    // With data 0 the field holds the complement of all other words; data with that value brings the sum to all ones.
    let complement = frame([0, 0]);
    let ones = frame([complement[40], complement[41]]);
    assert_eq!(ones[40..42], [0xff, 0xff]);
    assert_eq!(checksums_ok(&ones), Ok(()));
}

#[test]
fn options_fragments_and_packets_within_packets() {
    let inner = header().packet(&Payload::Tcp(Tcp { data: b"hello".to_vec(), ..Tcp::new(1, 2, tcp::ACK) }));
    let outer = Ipv4 { tos: 0xb9, ..Ipv4::new([1, 1, 1, 1], [2, 2, 2, 2]) };
    let mut tunnel = outer.frame(TO, FROM, &Payload::Ipip(inner));
    assert_eq!(checksums_ok(&tunnel), Ok(()));
    let last = tunnel.len() - 1;
    tunnel[last] ^= 1;
    assert_eq!(checksums_ok(&tunnel), Err(Fault::Tcp), "within the inner packet");

    let options = Ipv4 { options: vec![1, 1, 1, 0], ..header() };
    let frame = options.frame(TO, FROM, &Payload::Icmp(8, 0, vec![0; 4]));
    assert_eq!((frame[eth::LEN], frame.len()), (0x46, 14 + 24 + 8));
    assert_eq!(checksums_ok(&frame), Ok(()));

    let later = Ipv4 { fragment_offset: 185, more_fragments: true, dont_fragment: false, ..header() };
    assert_eq!(later.packet(&Payload::Other(17, vec![0; 8]))[6..8], [0x20, 185]);
}

#[test]
fn every_damage_is_seen() {
    let good = syn();
    assert_eq!(checksums_ok(&good), Ok(()));
    for frame in truncations(&good) {
        assert_eq!(checksums_ok(frame), Err(Fault::Lengths), "{} bytes", frame.len());
    }
    for version in (0..16).filter(|version| *version != 4) {
        assert_eq!(checksums_ok(&damaged(&good, Damage::Version(version))), Err(Fault::Lengths));
    }
    for words in 0..5 {
        assert_eq!(checksums_ok(&damaged(&good, Damage::HeaderWords(words))), Err(Fault::Lengths));
    }
    for len in (0..20).chain(41..60) {
        assert_eq!(checksums_ok(&damaged(&good, Damage::TotalLen(len))), Err(Fault::Lengths));
    }
    for bit in 0..160 {
        assert!(checksums_ok(&damaged(&good, Damage::Bit(bit))).is_err(), "bit {bit}");
    }
}
