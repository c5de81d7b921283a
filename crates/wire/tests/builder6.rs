//! The builder's IPv6, SCTP, tunnels and tags against packets whose bytes are known, and what it says about damaged ones.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test")]

use rvs_wire::builder::{
    Chunk, Extension, Fault, Gre, Ipv4, Ipv6, Payload, Sctp, Tag, Tcp, Udp, checksums_ok,
    checksums_ok_with_gue, quoted_checksum_ok, tagged,
};
use rvs_wire::{eth, icmp, sctp, tcp};

const TO: [u8; 6] = [2, 0, 0, 0, 0, 1];
const FROM: [u8; 6] = [2, 0, 0, 0, 0, 2];
const CLIENT: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const VIP: [u8; 16] = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x80];
/// Where an IPv6 packet's payload begins in a frame.
const L4: usize = 54;

fn v4() -> Ipv4 {
    Ipv4::new([192, 0, 2, 2], [10, 0, 0, 1])
}

fn v6() -> Ipv6 {
    Ipv6::new(CLIENT, VIP)
}

fn syn() -> Payload {
    Payload::Tcp(Tcp::new(40000, 80, tcp::SYN))
}

/// Every kind of extension header.
fn extensions() -> Vec<Extension> {
    vec![
        Extension::HopByHop(vec![5, 2, 0, 0]),
        Extension::DestinationOptions(Vec::new()),
        Extension::Routing { kind: 2, segments_left: 0, data: vec![0; 20] },
        Extension::Fragment { offset: 0, more: false, id: 7 },
        Extension::Ah { spi: 1, sequence: 2, value: vec![0xaa; 12] },
        Extension::DestinationOptions(vec![1, 0]),
    ]
}

/// Checksums worked out by another program.
#[test]
fn headers_and_checksums_byte_by_byte() {
    let ip = Ipv6 { traffic_class: 0xb9, flow_label: 0x12345, hop_limit: 3, ..v6() };
    let frame = ip.frame(TO, FROM, &Payload::Icmp6(128, 0, b"\x12\x34\x00\x01ping!".to_vec()));
    assert_eq!(
        frame[..22],
        [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x86, 0xdd, 0x6b, 0x91, 0x23, 0x45, 0, 13, 58, 3]
    );
    assert_eq!((&frame[22..38], &frame[38..L4]), (&CLIENT[..], &VIP[..]));
    assert_eq!(frame[L4..], *b"\x80\x00\x11\xbd\x12\x34\x00\x01ping!");
    let udp = v6().frame(TO, FROM, &Payload::Udp(Udp::new(40000, 53, b"abc")));
    assert_eq!(udp[L4..], *b"\x9c\x40\x00\x35\x00\x0b\x43\x0babc");
    let tcp = v6().frame(TO, FROM, &syn());
    assert_eq!((tcp[20], &tcp[L4 + 16..][..2]), (6, &[0xb3, 0x75][..]));
    let data = Chunk { kind: sctp::chunk::DATA, flags: 3, value: b"abc".to_vec() };
    let chunks = vec![Chunk::new(sctp::chunk::SHUTDOWN_COMPLETE), data];
    let packet = Sctp { sport: 5000, dport: 2905, tag: 0x0102_0304, no_checksum: false, chunks };
    let frame = v6().frame(TO, FROM, &Payload::Sctp(packet));
    assert_eq!(frame[20], 132);
    assert_eq!(
        frame[L4..],
        *b"\x13\x88\x0b\x59\x01\x02\x03\x04\xe0\xf9\xc5\x02\x0e\0\0\x04\0\x03\0\x07abc\0"
    );
    let gre = Gre { checksum: true, ..Gre::ipv4(vec![0x45, 0, 0]) };
    assert_eq!(v4().packet(&Payload::Gre(gre))[20..], [0x80, 0, 8, 0, 0x32, 0xff, 0, 0, 0x45, 0, 0]);
}

/// RFC 8200 §4: each header says what comes behind it, and how long it is.
#[test]
fn extension_headers_byte_by_byte() {
    let ip = Ipv6 { extensions: extensions(), ..v6() };
    let frame = ip.frame(TO, FROM, &syn());
    let expected = [
        &[60, 0, 5, 2, 0, 0, 0, 0][..],
        &[43, 0, 0, 0, 0, 0, 0, 0],
        &[44, 2, 2, 0],
        &[0; 20],
        &[51, 0, 0, 0, 0, 0, 0, 7],
        &[60, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2],
        &[0xaa; 12],
        &[6, 0, 1, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!((frame[20], frame[19]), (0, u8::try_from(expected.len() + 20).unwrap()));
    assert_eq!(frame[L4..L4 + expected.len()], expected);
    assert_eq!(frame[L4 + expected.len()..], v6().frame(TO, FROM, &syn())[L4..], "the segment is the same");
    assert_eq!(checksums_ok(&frame), Ok(()));
    let later = Extension::Fragment { offset: 1448, more: true, id: 0x0102_0304 };
    let part = Ipv6 { extensions: vec![later], ..v6() }.packet(&Payload::Other(17, vec![9; 8]));
    assert_eq!(part[40..48], [17, 0, 0x05, 0xa9, 1, 2, 3, 4]);
}

/// Put together again, fragments are the packet.
#[test]
fn fragments_are_the_parts_of_a_packet() {
    let payload = Payload::Udp(Udp::new(1, 2, &[7; 100]));
    let whole = v4().packet(&payload);
    let parts = v4().fragments(&payload, 48);
    let fields: Vec<_> = parts.iter().map(|part| [part[6], part[7]]).collect();
    assert_eq!(fields, [[0x20, 0], [0x20, 6], [0, 12]]);
    assert_eq!(parts.iter().flat_map(|part| part[20..].to_vec()).collect::<Vec<u8>>(), whole[20..]);
    let whole = v6().packet(&payload);
    let parts = v6().fragments(&payload, 48, 9);
    let fields: Vec<_> = parts.iter().map(|part| part[40..48].to_vec()).collect();
    assert_eq!(fields, [[17, 0, 0, 1, 0, 0, 0, 9], [17, 0, 0, 49, 0, 0, 0, 9], [17, 0, 0, 96, 0, 0, 0, 9]]);
    assert_eq!(parts.iter().flat_map(|part| part[48..].to_vec()).collect::<Vec<u8>>(), whole[40..]);
    for part in parts {
        assert_eq!(checksums_ok(&rvs_wire::builder::ethernet(TO, FROM, eth::TYPE_IPV6, &part)), Ok(()));
    }
}

#[test]
fn tags_stand_behind_the_addresses() {
    let frame = v4().frame(TO, FROM, &syn());
    let tags = [Tag::service(100), Tag { control: 0xe007, ..Tag::customer(0) }];
    let both = tagged(&frame, &tags);
    assert_eq!(both[..12], frame[..12]);
    assert_eq!(both[12..20], [0x88, 0xa8, 0, 100, 0x81, 0, 0xe0, 7]);
    assert_eq!(both[20..], frame[12..]);
    assert_eq!(checksums_ok(&both), Ok(()));
}

/// Payloads, and what is wrong when their last byte is.
fn payloads() -> Vec<(Payload, Fault)> {
    let inner4 = v4().packet(&Payload::Udp(Udp::new(1, 2, b"inner")));
    let inner6 = v6().packet(&syn());
    let data = Chunk { kind: sctp::chunk::DATA, flags: 3, value: vec![1; 16] };
    let packet = Sctp { chunks: vec![data], ..Sctp::new(5000, 2905, &[]) };
    vec![
        (Payload::Tcp(Tcp { data: b"data".to_vec(), ..Tcp::new(1, 2, tcp::ACK) }), Fault::Tcp),
        (Payload::Udp(Udp::new(1, 2, b"data")), Fault::Udp),
        (Payload::Sctp(packet), Fault::Sctp),
        (Payload::Ipip(inner4.clone()), Fault::Udp),
        (Payload::Ipip6(inner6.clone()), Fault::Tcp),
        (Payload::Gre(Gre::ipv4(inner4.clone())), Fault::Udp),
        (Payload::Gre(Gre::ipv6(inner6.clone())), Fault::Tcp),
        (Payload::Gre(Gre { checksum: true, ..Gre::ipv6(inner6.clone()) }), Fault::Gre),
        (Payload::Udp(Udp::gue(40000, 6080, 4, &inner4)), Fault::Udp),
        (Payload::Udp(Udp { no_checksum: true, ..Udp::gue(40000, 6080, 41, &inner6) }), Fault::Tcp),
    ]
}

/// In both families, with and without headers between, right and damaged.
#[test]
fn every_checksum_is_checked() {
    let in_v4 = || payloads().into_iter().chain([(Payload::Icmp(8, 0, vec![0; 12]), Fault::Icmp)]);
    let in_v6 = || payloads().into_iter().chain([(Payload::Icmp6(128, 0, vec![0; 12]), Fault::Icmp6)]);
    let extended = Ipv6 { extensions: extensions(), ..v6() };
    let with_options = Ipv4 { options: vec![1; 8], ..v4() };
    let frames = in_v4()
        .flat_map(|(payload, fault)| {
            [v4(), with_options.clone()].map(|ip| (ip.frame(TO, FROM, &payload), fault))
        })
        .chain(in_v6().flat_map(|(payload, fault)| {
            [v6(), extended.clone()].map(|ip| (ip.frame(TO, FROM, &payload), fault))
        }));
    let mut checked = 0;
    for (frame, fault) in frames {
        assert_eq!(checksums_ok(&frame), Ok(()), "{frame:02x?}");
        for len in 0..frame.len() {
            assert_eq!(checksums_ok(&frame[..len]), Err(Fault::Lengths), "{len} bytes of {frame:02x?}");
        }
        let mut damaged = frame.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(checksums_ok(&damaged), Err(fault), "{frame:02x?}");
        let padded = [&frame[..], &[0xff; 10]].concat();
        assert_eq!(checksums_ok(&padded), Ok(()), "padding");
        checked += 1;
    }
    assert_eq!(checked, 44);
}

/// A checksum that isn't there can't be wrong, but UDP in IPv6 needs one (RFC 8200 §8.1) outside of tunnels (RFC 6935).
#[test]
fn checksums_of_0() {
    let none = Payload::Udp(Udp { no_checksum: true, ..Udp::new(1, 2, b"data") });
    assert_eq!(checksums_ok(&v4().frame(TO, FROM, &none)), Ok(()));
    assert_eq!(checksums_ok(&v6().frame(TO, FROM, &none)), Err(Fault::Udp));
    let none = Payload::Sctp(Sctp { no_checksum: true, ..Sctp::new(1, 2, &[sctp::chunk::INIT]) });
    assert_eq!(checksums_ok(&v6().frame(TO, FROM, &none)), Ok(()));
}

#[test]
fn gue_is_known_by_its_port() {
    let mut inner = v4().packet(&syn());
    inner[10] ^= 1;
    let frame = v4().frame(TO, FROM, &Payload::Udp(Udp::gue(40000, 7000, 4, &inner)));
    assert_eq!(checksums_ok(&frame), Ok(()));
    assert_eq!(checksums_ok_with_gue(&frame, 7000), Err(Fault::Ipv4));
}

/// ipvs.md §2.8: the checksums within a quote are another matter than the message's own.
#[test]
fn what_an_error_quotes_is_checked_by_itself() {
    let error = |quoted: &[u8]| {
        let rest = [&[0; 4][..], quoted].concat();
        Payload::Icmp(icmp::v4::UNREACHABLE, icmp::v4::PORT, rest)
    };
    let quoted = v4().packet(&syn());
    let frame = v4().frame(TO, FROM, &error(&quoted[..28]));
    assert_eq!((checksums_ok(&frame), quoted_checksum_ok(&frame)), (Ok(()), Ok(())));
    let mut wrong = quoted.clone();
    wrong[8] ^= 1;
    let frame = v4().frame(TO, FROM, &error(&wrong));
    assert_eq!((checksums_ok(&frame), quoted_checksum_ok(&frame)), (Ok(()), Err(Fault::Quoted)));
    let tunnel = v4().frame(TO, FROM, &Payload::Ipip(v4().packet(&error(&wrong))));
    assert_eq!((checksums_ok(&tunnel), quoted_checksum_ok(&tunnel)), (Ok(()), Err(Fault::Quoted)));
    for without in [error(&quoted[..19]), Payload::Icmp(icmp::v4::ECHO, 0, vec![0x45; 40]), syn()] {
        assert_eq!(quoted_checksum_ok(&v4().frame(TO, FROM, &without)), Err(Fault::Lengths));
    }
}

/// RFC 9260 §3.3: no chunk is shorter than its type asks for.
#[test]
fn chunks_have_their_least_lengths() {
    let lengths: Vec<usize> = (0..=14).map(|kind| 4 + Chunk::new(kind).value.len()).collect();
    assert_eq!(lengths, [17, 20, 24, 16, 8, 8, 4, 8, 4, 4, 4, 4, 8, 8, 4]);
}
