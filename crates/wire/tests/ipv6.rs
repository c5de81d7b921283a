//! The IPv6 header as words is the header as bytes, and sums over IPv6 addresses are those of a full computation.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test")]

use proptest::prelude::*;
use rvs_wire::checksum::{self, Delta};
use rvs_wire::ipv6::{self, Header, Outer, fragment, next};

/// Words at the edges of one's complement arithmetic are as frequent as others.
fn word() -> impl Strategy<Value = u16> {
    prop_oneof![any::<u16>(), Just(0), Just(0xffff), Just(1), Just(0xfffe)]
}

fn address() -> impl Strategy<Value = [u8; 16]> {
    prop::array::uniform8(word()).prop_map(|words| words.map(u16::to_be_bytes).concat().try_into().unwrap())
}

/// A header with each field in its place (RFC 8200 §3).
#[test]
fn a_header_byte_by_byte() {
    let mut bytes = [0_u8; 40];
    bytes[..8].copy_from_slice(&[0x6a, 0xb1, 0x23, 0x45, 0x01, 0x02, 58, 64]);
    bytes[8..24].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes[24..].copy_from_slice(&[0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xab, 0xcd]);
    let header = Header::from_bytes(&bytes);
    assert_eq!((header.version(), header.traffic_class(), header.flow_label()), (6, 0xab, 0x12345));
    assert_eq!((header.payload_len(), header.next_header(), header.hop_limit()), (0x0102, next::ICMP, 64));
    assert_eq!(header.source()[..], bytes[ipv6::at::SOURCE..][..16]);
    assert_eq!(header.destination()[..], bytes[ipv6::at::DESTINATION..][..16]);
    assert_eq!(header.to_bytes(), bytes);
}

#[test]
fn extension_headers_have_their_lengths() {
    let extensions: Vec<u8> = (0..=255).filter(|number| ipv6::is_extension(*number)).collect();
    assert_eq!(extensions, [0, 43, 44, 60]);
    assert_eq!(
        (ipv6::extension_len(next::HOP_BY_HOP, 0), ipv6::extension_len(next::ROUTING, 255)),
        (8, 2048)
    );
    assert_eq!(ipv6::extension_len(next::FRAGMENT, 255), 8, "the byte is reserved");
    assert_eq!(ipv6::extension_len(next::AH, 4), 24, "RFC 4302 §2.2: with a check value of 96 bits");
}

/// RFC 8200 §4.5: 13 bits of offset in units of 8 bytes, two reserved bits, one that says more.
#[test]
fn a_fragment_header_byte_by_byte() {
    let header = [17, 0, 0x05, 0xa9, 1, 2, 3, 4];
    assert_eq!(
        (fragment::offset(&header), fragment::more(&header), fragment::id(&header)),
        (1448, true, 0x0102_0304)
    );
    let last = [17, 0, 0xff, 0xfe, 0, 0, 0, 0];
    assert_eq!((fragment::offset(&last), fragment::more(&last)), (65528, false));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    /// An address rewritten by a delta gives the checksum of a full computation.
    #[test]
    fn a_rewritten_address_is_what_would_be_computed(
        (old, new, other) in (address(), address(), address()),
        data in prop::collection::vec(any::<u8>(), 0..64),
        is_source in any::<bool>(),
    ) {
        let bytes = |changed: [u8; 16]| if is_source { [changed, other].concat() } else { [other, changed].concat() };
        let field = |changed| checksum::full(0, &[bytes(changed), data.clone()].concat());
        let mut head = [0x60_u8; 40];
        head[8..].copy_from_slice(&bytes(old));
        let header = Header::from_bytes(&head);
        let (changed, delta) =
            if is_source { header.with_source(ipv6::words(new)) } else { header.with_destination(ipv6::words(new)) };
        prop_assert_eq!(&changed.to_bytes()[8..], &bytes(new)[..]);
        prop_assert_eq!(&changed.to_bytes()[..8], &head[..8]);
        // Two forms of zero are the same sum (RFC 1624 §3); a checksum over non-zero data has only one of them.
        prop_assume!(bytes(old).iter().chain(&data).any(|byte| *byte != 0));
        prop_assume!(bytes(new).iter().chain(&data).any(|byte| *byte != 0));
        prop_assert_eq!(delta.apply(field(old)), field(new));
        prop_assert_eq!(delta.and(Delta::new().address(ipv6::words(new), ipv6::words(old))).apply(field(old)), field(old));
    }

    /// Sums over pseudo headers are those over their bytes.
    #[test]
    fn a_pseudo_header_is_its_bytes(
        (source, destination) in (address(), address()),
        protocol in any::<u8>(),
        len in prop_oneof![any::<u32>(), word().prop_map(u32::from)],
    ) {
        let long = [&source[..], &destination, &len.to_be_bytes(), &[0, 0, 0, protocol]].concat();
        let sum = checksum::pseudo_v6(ipv6::words(source), ipv6::words(destination), protocol, len);
        prop_assert_eq!((!checksum::fold(sum)).to_ne_bytes(), checksum::full(0, &long));
        let half = |address: [u8; 16]| *address.first_chunk::<4>().unwrap();
        let len = u16::try_from(len & 0xffff).unwrap();
        let short = [&half(source)[..], &half(destination), &[0, protocol], &len.to_be_bytes()].concat();
        let sum = checksum::pseudo_v4(half(source), half(destination), protocol, len);
        prop_assert_eq!((!checksum::fold(sum)).to_ne_bytes(), checksum::full(0, &short));
    }

    /// What goes into an outer header comes out of it, and a hop takes one of its hop limit and nothing else.
    #[test]
    fn an_outer_header_says_what_it_is_made_of(
        (traffic_class, payload_len, next_header, hop_limit) in (any::<u8>(), any::<u16>(), any::<u8>(), any::<u8>()),
        (source, destination) in (address(), address()),
    ) {
        let (from, to) = (ipv6::words(source), ipv6::words(destination));
        let outer = Outer { traffic_class, payload_len, next_header, hop_limit, source: from, destination: to };
        let header = outer.emit();
        prop_assert_eq!((header.version(), header.traffic_class(), header.flow_label()), (6, traffic_class, 0));
        prop_assert_eq!(
            (header.payload_len(), header.next_header(), header.hop_limit()),
            (payload_len, next_header, hop_limit)
        );
        prop_assert_eq!((header.source(), header.destination()), (source, destination));
        prop_assert_eq!(Header::from_bytes(&header.to_bytes()), header);
        let later = header.decrement_hop_limit();
        prop_assert_eq!(later, Outer { hop_limit: hop_limit.wrapping_sub(1), ..outer }.emit());
    }
}
