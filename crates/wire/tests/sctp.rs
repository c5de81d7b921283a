//! The checksum of SCTP: what is updated is what a full computation gives.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;
use rvs_wire::sctp::{CHECKSUM, LEN, checksum, crc32c, update_checksum};

/// RFC 3720 appendix B.4.
#[test]
fn known_checksums_of_known_bytes() {
    assert_eq!(crc32c([0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c([0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(0..32), 0x46dd_794e);
    assert_eq!(crc32c(*b"123456789"), 0xe306_9283);
    assert_eq!(crc32c([]), 0);
}

/// The field holds the lowest byte first (RFC 9260 appendix A), and is no part of what it is computed over.
#[test]
fn the_field_is_the_crc_lowest_byte_first() {
    let mut packet = *b"123456780000";
    let with_zeros = [&packet[..CHECKSUM], &[0; 4]].concat();
    assert_eq!(checksum(&packet), crc32c(with_zeros).to_le_bytes());
    let before = checksum(&packet);
    packet[CHECKSUM..].copy_from_slice(&before);
    assert_eq!(checksum(&packet), before);
}

/// It is still to be computed, or never will be.
#[test]
fn a_checksum_of_0_stays_0() {
    assert_eq!(update_checksum([0; 4], [1, 2, 3, 4], [5, 6, 7, 8], 100), [0; 4]);
}

fn finished(mut packet: Vec<u8>) -> Vec<u8> {
    let field = checksum(&packet);
    packet[CHECKSUM..LEN].copy_from_slice(&field);
    packet
}

/// Checks an update of the ports of a finished packet.
fn check(packet: &[u8], ports: [u8; 4]) {
    let (old, field) = (*packet.first_chunk().unwrap(), packet[CHECKSUM..LEN].try_into().unwrap());
    let new = update_checksum(field, old, ports, u16::try_from(packet.len()).unwrap());
    let mut rewritten = packet.to_vec();
    rewritten[..4].copy_from_slice(&ports);
    assert_eq!(new, checksum(&rewritten), "{} bytes, {old:?} to {ports:?}", packet.len());
    assert_eq!(update_checksum(new, ports, old, u16::try_from(packet.len()).unwrap()), field, "and back");
}

/// Each bit of the ports by itself, at the lengths where the tables of powers begin and end.
#[test]
fn each_bit_of_the_ports_counts() {
    for len in [12, 13, 16, 255, 256, 257, 511, 512, 1500, 65280, 65535] {
        let packet = finished((0..len).map(|at: u32| at.to_le_bytes()[0] ^ 0x5a).collect());
        let ports = u32::from_be_bytes(*packet.first_chunk().unwrap());
        for bit in 0..32 {
            check(&packet, (ports ^ 1 << bit).to_be_bytes());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any content, any length, any ports.
    #[test]
    fn an_updated_checksum_is_what_would_be_computed(
        seed in any::<[u8; 32]>(),
        len in prop_oneof![LEN..2000, LEN..=65535],
        ports in any::<[u8; 4]>(),
    ) {
        // Bytes of a short seed, stepped on, rather than 65535 drawn ones: a case takes a hundredth of the time.
        let content = (0..len).map(|at| seed[at % 32].wrapping_mul((at / 32).to_le_bytes()[0] | 1)).collect();
        let packet = finished(content);
        prop_assume!(packet[CHECKSUM..LEN] != [0; 4]);
        check(&packet, ports);
    }

    /// The field that is there takes no part.
    #[test]
    fn the_field_is_taken_as_zero(bytes in prop::collection::vec(any::<u8>(), LEN..100), field in any::<[u8; 4]>()) {
        let mut other = bytes.clone();
        other[CHECKSUM..LEN].copy_from_slice(&field);
        prop_assert_eq!(checksum(&bytes), checksum(&other));
    }
}
