//! Headers of tunnels and the kinds of ICMP, byte by byte.
#![forbid(unsafe_code)]

use proptest::prelude::*;
use rvs_wire::{checksum, eth, gre, gue, icmp, udp};

/// ipvs.md §3.6.2.
#[test]
fn gre_headers() {
    assert_eq!(gre::plain(eth::TYPE_IPV4), [0, 0, 8, 0]);
    assert_eq!(gre::plain(eth::TYPE_IPV6), [0, 0, 0x86, 0xdd]);
    assert_eq!(gre::with_checksum(eth::TYPE_IPV4, 0), [0x80, 0, 8, 0, 0x77, 0xff, 0, 0]);
    assert_eq!((gre::header_len([0, 0]), gre::header_len([0x80, 0])), (Some(4), Some(8)));
    for other in [[0x40, 0], [0x20, 0], [0x10, 0], [0xa0, 0], [0, 1], [0x80, 1], [0x88, 0]] {
        assert_eq!(gre::header_len(other), None, "{other:?}");
    }
}

/// ipvs.md §3.6.1.
#[test]
fn gue_headers() {
    assert_eq!(gue::plain(4), [0, 4, 0, 0]);
    let plain = gue::plain(41);
    assert_eq!((gue::version(&plain), gue::is_control(&plain), gue::header_len(&plain)), (0, false, 4));
    let private = [0b0000_0010, 4, 0, 1];
    assert_eq!((gue::header_len(&private), gue::protocol(&private), gue::flags(&private)), (12, 4, 1));
    let control = [0b0110_0001, 9, 0x80, 0];
    assert_eq!((gue::version(&control), gue::is_control(&control), gue::header_len(&control)), (1, true, 8));
    assert_eq!((gue::protocol(&control), gue::flags(&control)), (9, 0x8000));
    assert_eq!(gue::header_len(&[0x1f, 0, 0, 0]), 128);
}

/// ipvs.md §2.8: which types are looked at.
#[test]
fn errors_of_icmp() {
    let v4: Vec<u8> = (0..=255).filter(|kind| icmp::v4::is_error(*kind)).collect();
    assert_eq!(v4, [3, 4, 11]);
    let v6: Vec<u8> = (0..=255).filter(|kind| icmp::v6::is_error(*kind)).collect();
    assert_eq!(v6, (0..128).collect::<Vec<u8>>());
}

#[test]
fn a_udp_header() {
    assert_eq!(udp::header(0x8001, 6080, 0x0203, [0xab, 0xcd]), [0x80, 1, 0x17, 0xc0, 2, 3, 0xab, 0xcd]);
    assert_eq!(udp::checksum(0xffff), [0xff, 0xff], "RFC 768: a computed 0");
    assert_eq!(udp::checksum(u32::from(u16::from_ne_bytes([0x12, 0x34]))), [0xed, 0xcb]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The checksum of a GRE header covers it and all behind it (RFC 2784 §2.3).
    #[test]
    fn a_gre_checksum_is_what_would_be_computed(payload in any::<[u8; 60]>(), start in 0..2_u16) {
        let protocol_type = if start == 0 { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 };
        let header = gre::with_checksum(protocol_type, checksum::sum(0, &payload));
        prop_assert_eq!(checksum::full(0, &[&header[..], &payload].concat()), [0, 0]);
    }
}
