//! Damage to frames is what it is said to be, and frames that may be anything are many things.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test")]

use rvs_wire::builder::malformed::{
    Damage6, anything, carrying_less, chain, damaged6, first_chunk_len, insert_extensions, set_checksums,
    truncations,
};
use rvs_wire::builder::{Fault, Ipv4, Ipv6, Payload, Sctp, Tag, Tcp, Udp, checksums_ok, tagged};
use rvs_wire::{sctp, tcp};

const TO: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FROM: [u8; 6] = [2, 0, 0, 0, 0, 2];

fn v4(payload: &Payload) -> Vec<u8> {
    Ipv4::new([192, 0, 2, 2], [10, 0, 0, 1]).frame(TO, FROM, payload)
}

fn v6(payload: &Payload) -> Vec<u8> {
    Ipv6::new([0xfd; 16], [0x20; 16]).frame(TO, FROM, payload)
}

fn init() -> Payload {
    Payload::Sctp(Sctp::new(5000, 2905, &[sctp::chunk::INIT]))
}

fn good() -> Vec<Vec<u8>> {
    let common =
        [Payload::Tcp(Tcp::new(40000, 80, tcp::SYN)), Payload::Udp(Udp::new(40000, 53, b"query")), init()];
    let errors = [v4(&Payload::Icmp(3, 3, vec![0x45; 32])), v6(&Payload::Icmp6(1, 4, vec![0x60; 52]))];
    common.iter().flat_map(|payload| [v4(payload), v6(payload)]).chain(errors).collect()
}

#[test]
fn every_damage_to_an_ipv6_header_is_seen() {
    let good = v6(&init());
    assert_eq!(checksums_ok(&good), Ok(()));
    for frame in truncations(&good) {
        assert_eq!(checksums_ok(frame), Err(Fault::Lengths), "{} bytes", frame.len());
    }
    for version in (0..16).filter(|version| *version != 6) {
        assert_eq!(checksums_ok(&damaged6(&good, Damage6::Version(version))), Err(Fault::Lengths));
    }
    for len in (0..12).chain(33..60) {
        assert_eq!(checksums_ok(&damaged6(&good, Damage6::PayloadLen(len))), Err(Fault::Lengths));
    }
    assert_eq!(checksums_ok(&damaged6(&good, Damage6::NextHeader(6))), Err(Fault::Tcp));
    let segment = v6(&Payload::Tcp(Tcp::new(1, 2, tcp::SYN)));
    for bit in (4..8).chain(64..320) {
        let expected = if bit < 8 { Fault::Lengths } else { Fault::Tcp };
        assert_eq!(checksums_ok(&damaged6(&segment, Damage6::Bit(bit))), Err(expected), "bit {bit}");
    }
}

/// Only the transport is cut: everything about the IP header is right.
#[test]
fn a_packet_that_carries_less_is_right_but_for_that() {
    for (frame, header_len) in [(v4(&init()), 20), (v6(&init()), 40)] {
        for len in 0..32 {
            let cut = carrying_less(&frame, len);
            assert_eq!(cut.len(), 14 + header_len + len);
            let expected = if len < sctp::LEN { Fault::Lengths } else { Fault::Sctp };
            assert_eq!(checksums_ok(&cut), Err(expected), "{len} bytes");
        }
        assert_eq!(carrying_less(&frame, 32), frame);
    }
}

/// Of a chunk that lies, the length field and the checksum are other bytes.
#[test]
fn a_chunk_may_say_any_length() {
    for (frame, sctp_at) in [(v4(&init()), 34), (v6(&init()), 54)] {
        for len in [0, 3, 4, 21, 0xffff] {
            let changed = first_chunk_len(&frame, len);
            assert_eq!(changed[sctp_at + 14..][..2], len.to_be_bytes());
            assert_eq!(checksums_ok(&changed), Ok(()));
            let differing: Vec<usize> = (0..frame.len()).filter(|at| frame[*at] != changed[*at]).collect();
            assert!(differing.iter().all(|at| matches!(at - sctp_at, 8..12 | 14..16)), "{differing:?}");
        }
    }
}

/// However long a chain is, what comes behind it stays right.
#[test]
fn chains_are_put_in_behind_the_fixed_header() {
    let frame = v6(&init());
    assert_eq!(insert_extensions(&frame, &chain(0)), frame);
    for count in [1, 2, 8, 100, 8000] {
        let long = insert_extensions(&frame, &chain(count));
        assert_eq!((long.len(), long[20]), (frame.len() + 8 * count, 60));
        assert_eq!(checksums_ok(&long), Ok(()), "{count} headers");
    }
    let other = v4(&init());
    assert_eq!(insert_extensions(&other, &chain(3)), other, "no place for them");
}

/// What a generator damages is looked at further when checksums are right.
#[test]
fn checksums_are_made_right() {
    for frame in good() {
        for mut frame in [frame.clone(), tagged(&frame, &[Tag::customer(7)])] {
            let whole = frame.clone();
            set_checksums(&mut frame);
            assert_eq!(frame, whole, "they were right");
            let protocol_has_one = !matches!(checksums_ok(&flipped(&frame)), Err(Fault::Tcp | Fault::Udp));
            let mut damaged = flipped(&frame);
            set_checksums(&mut damaged);
            assert_eq!(checksums_ok(&damaged).is_ok(), protocol_has_one, "{damaged:02x?}");
        }
    }
}

fn flipped(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    *frame.last_mut().unwrap() ^= 0x10;
    frame
}

/// Frames are damaged in every way, and many are still whole; nothing here panics.
#[test]
fn anything_is_many_things() {
    let mut state = 0x5eed_u64;
    let mut random = || {
        // xorshift64: any source of bits would do.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let good = good();
    let mut faults = std::collections::BTreeMap::<String, u32>::new();
    for n in 0..200_000_usize {
        let frame = anything(&good[n % good.len()], &mut random);
        *faults.entry(format!("{:?}", checksums_ok(&frame))).or_default() += 1;
    }
    let named =
        ["Lengths", "Ipv4", "Tcp", "Udp", "Sctp", "Icmp", "Icmp6"].map(|fault| format!("Err({fault})"));
    for fault in named.into_iter().chain(["Ok(())".into()]) {
        assert!(faults.get(&fault).is_some_and(|count| *count > 1000), "{fault}: {faults:?}");
    }
}
