//! The PROXY protocol's header in front of a client's data, by full NAT.

use core::sync::atomic::Ordering::Relaxed;
use std::net::Ipv6Addr;

use rvs_abi::map::Region;
use rvs_abi::sched::id;
use rvs_abi::{Addr, Class, ClientTold, Event, Method, Outcome, proto};
use rvs_core::{Flow, Frame, Link, NextHop};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Heap, Memory as _, Model, records};
use rvs_wire::builder::{Ipv4, Ipv6, Payload, Tcp, checksums_ok, ethernet};
use rvs_wire::tcp::{ACK, FIN, RST, SYN};
use rvs_wire::{checksum, eth};

type Route = fn(&Flow) -> Result<NextHop, Outcome>;

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 1500 })
}

/// Addresses of one family.
#[derive(Debug, Clone, Copy)]
struct Net {
    client: Addr,
    vip: Addr,
    server: Addr,
    director: Addr,
}

fn v4() -> Net {
    Net {
        client: Addr::v4([192, 0, 2, 2]),
        vip: Addr::v4([10, 0, 0, 1]),
        server: Addr::v4([192, 168, 9, 2]),
        director: Addr::v4([192, 168, 9, 1]),
    }
}

fn v6() -> Net {
    let at = |last: u16, net| Addr::from_bytes(&Ipv6Addr::new(0x2001, 0xdb8, net, 0, 0, 0, 0, last).octets());
    Net { client: at(2, 2), vip: at(1, 0), server: at(2, 9), director: at(1, 9) }
}

/// A client of one family, real servers of the other.
fn between((clients, servers): (Net, Net)) -> Net {
    Net { server: servers.server, director: servers.director, ..clients }
}

fn nets() -> [Net; 4] {
    [v4(), v6(), between((v6(), v4())), between((v4(), v6()))]
}

const CPORT: u16 = 40_000;

/// A director with a service that asks for the header, and the client's end as the server sees it.
struct Site {
    model: Model<Route>,
    net: Net,
    seen: (Addr, u16),
}

/// A segment as it left.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    outcome: Outcome,
    source: (Addr, u16),
    seq: u32,
    ack: u32,
    flags: u8,
    options: Vec<u8>,
    data: Vec<u8>,
}

impl Site {
    fn new(net: Net) -> Self {
        let heap = Heap::new(&Capacity { services: 4, dests: 256, conns: 100, cpus: 1 });
        let dest = DestSetup { source: net.director, ..DestSetup::new(net.server, 8080, Method::FULL_NAT) };
        let (vip, port, protocol, scheduler) = (net.vip, 80, proto::TCP, id::RR);
        install(&heap, &[ServiceSetup { vip, port, protocol, scheduler, sched_flags: 0, dests: vec![dest] }]);
        let record = records::service(&heap, 0).unwrap();
        let client_address = ClientTold::PROXY;
        records::write_service(&heap, 0, &rvs_abi::Service { client_address, ..record });
        let mut model = Model::new(heap, route as Route);
        model.set_now_ns(1 << 40);
        model.set_tc(true);
        Self { model, net, seen: (net.director, 0) }
    }

    /// With its handshake, up to the SYN-ACK: the client's number is 1000, the server's 5000.
    fn opened(net: Net) -> Self {
        let mut site = Self::new(net);
        let syn = site.client(SYN, 1000, 0, b"");
        assert_eq!((syn.seq, syn.data.len()), (1000, 0));
        site.seen = syn.source;
        assert_eq!(site.server(SYN | ACK, 5000, 1001, b"").ack, 1001);
        site
    }

    fn send(&self, from: (Addr, u16), to: (Addr, u16), segment: Tcp) -> Left {
        let packet = packet(from.0, to.0, &Payload::Tcp(segment));
        let (outcome, frame) = self.ingress(&packet);
        left(outcome, &frame)
    }

    /// What becomes of an IP packet.
    fn ingress(&self, packet: &[u8]) -> (Outcome, Vec<u8>) {
        let kind = if packet[0] >> 4 == 4 { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 };
        let mut frame =
            Frame::<2000>::new(&ethernet([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], kind, packet)).unwrap();
        let outcome = self.model.ingress(&mut frame, 11).outcome;
        (outcome, frame.bytes().to_vec())
    }

    /// What the client is told of a segment of its own that left with those ends and that number, quoted by so many bytes.
    fn told(&self, sequence: u32, quoted: usize) -> Vec<u8> {
        let (server, router) = (self.net.server, self.net.server);
        let sent = Payload::Tcp(Tcp { sequence, data: b"data".to_vec(), ..Tcp::new(self.seen.1, 8080, ACK) });
        let sent = packet(self.seen.0, server, &sent);
        let head = if server.is_v4() { 20 } else { 40 };
        let quote = [&[0; 4], &sent[..head + quoted]].concat();
        // Host unreachable, address unreachable.
        let error = if server.is_v4() { Payload::Icmp(3, 1, quote) } else { Payload::Icmp6(1, 3, quote) };
        let (outcome, frame) = self.ingress(&packet(router, self.seen.0, &error));
        assert_eq!(outcome, Outcome::IcmpToClient);
        assert_eq!(checksums_ok(&frame), Ok(()));
        let quote = eth::LEN + if self.net.client.is_v4() { 28 } else { 48 };
        frame[quote..].to_vec()
    }

    fn client(&self, flags: u8, sequence: u32, acknowledgement: u32, data: &[u8]) -> Left {
        let segment = Tcp { sequence, acknowledgement, data: data.into(), ..Tcp::new(CPORT, 80, flags) };
        self.send((self.net.client, CPORT), (self.net.vip, 80), segment)
    }

    fn server(&self, flags: u8, sequence: u32, acknowledgement: u32, data: &[u8]) -> Left {
        self.server_with(&[], flags, (sequence, acknowledgement), data)
    }

    fn server_with(&self, options: &[u8], flags: u8, numbers: (u32, u32), data: &[u8]) -> Left {
        let segment = Tcp {
            sequence: numbers.0,
            acknowledgement: numbers.1,
            options: options.into(),
            data: data.into(),
            ..Tcp::new(8080, self.seen.1, flags)
        };
        self.send((self.net.server, 8080), self.seen, segment)
    }

    fn events(&self, event: Event) -> u64 {
        self.model.heap().region(Region::Counters)[event as usize].load(Relaxed)
    }

    /// The header that the specification asks for.
    fn header(&self) -> Vec<u8> {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
        if self.net.client.is_v4() {
            header.extend([0x11, 0, 12]);
            header.extend(self.net.client.v4_bytes());
            header.extend(self.net.vip.v4_bytes());
        } else {
            header.extend([0x21, 0, 36]);
            header.extend(self.net.client.to_bytes());
            header.extend(self.net.vip.to_bytes());
        }
        header.extend(CPORT.to_be_bytes());
        header.extend(80_u16.to_be_bytes());
        header
    }

    fn len(&self) -> u32 {
        u32::try_from(self.header().len()).unwrap()
    }
}

fn packet(from: Addr, to: Addr, payload: &Payload) -> Vec<u8> {
    if from.is_v4() {
        Ipv4::new(from.v4_bytes(), to.v4_bytes()).packet(payload)
    } else {
        Ipv6::new(from.to_bytes(), to.to_bytes()).packet(payload)
    }
}

/// Takes a frame apart, whose checksums and lengths are right.
fn left(outcome: Outcome, frame: &[u8]) -> Left {
    let packet = &frame[eth::LEN..];
    let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    let half = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (l4, source, pseudo) = if packet[0] >> 4 == 4 {
        assert_eq!(usize::from(half(2)), packet.len());
        assert_eq!(checksum::full(0, &packet[..20]), [0; 2]);
        let [from, to] = [12, 16].map(|at| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        let len = u16::try_from(packet.len() - 20).unwrap();
        (20, Addr::v4(from), checksum::pseudo_v4(from, to, proto::TCP, len))
    } else {
        assert_eq!(usize::from(half(4)), packet.len() - 40);
        let [from, to] = [8, 24].map(|at| Addr::from_bytes(packet[at..at + 16].try_into().unwrap()));
        let len = u32::try_from(packet.len() - 40).unwrap();
        (40, from, checksum::pseudo_v6(from.words(), to.words(), proto::TCP, len))
    };
    assert_eq!(checksum::full(pseudo, &packet[l4..]), [0; 2], "TCP's checksum");
    let header = usize::from(packet[l4 + 12] >> 4) * 4;
    Left {
        outcome,
        source: (source, half(l4)),
        seq: word(l4 + 4),
        ack: word(l4 + 8),
        flags: packet[l4 + 13],
        options: packet[l4 + 20..l4 + header].to_vec(),
        data: packet[l4 + header..].to_vec(),
    }
}

#[test]
fn the_first_acknowledgement_carries_it_and_numbers_follow() {
    for net in nets() {
        let site = Site::opened(net);
        let len = site.len();
        let first = site.client(ACK, 1001, 5001, b"");
        assert_eq!((first.seq, first.ack, &first.data), (1001, 5001, &site.header()), "{net:?}");
        let second = site.client(ACK, 1001, 5001, b"GET /");
        assert_eq!((second.seq, second.data.as_slice()), (1001 + len, &b"GET /"[..]));
        let answer = site.server(ACK, 5001, 1006 + len, b"200");
        assert_eq!((answer.seq, answer.ack, answer.data.as_slice()), (5001, 1006, &b"200"[..]));
        let third = site.client(ACK | FIN, 1006, 5004, b"");
        assert_eq!((third.seq, third.ack), (1006 + len, 5004));
        assert_eq!(site.server(ACK, 5004, 1007 + len, b"").ack, 1007);
        // A late copy of what came first is data that the server has.
        assert_eq!(site.client(ACK, 1001, 5001, b"").data, b"");
        assert_eq!(site.events(Event::ProxySent), 1);
    }
}

#[test]
fn data_that_come_with_it_stand_behind_it() {
    for net in nets() {
        let site = Site::opened(net);
        let first = site.client(ACK | FIN, 1001, 5001, b"odd");
        assert_eq!((first.seq, first.flags & FIN), (1001, FIN));
        assert_eq!(first.data, [&site.header()[..], b"odd"].concat());
        assert_eq!(site.events(Event::ProxyAlone), 0);
    }
}

/// A segment that is full leaves no room: its data come again.
#[test]
fn it_goes_alone_where_both_would_not_fit() {
    for net in nets() {
        let site = Site::opened(net);
        let data = [0x5a; 1400];
        let first = site.client(ACK | FIN, 1001, 5001, &data);
        assert_eq!((first.seq, first.flags & FIN, &first.data), (1001, 0, &site.header()), "{net:?}");
        assert_eq!(site.server(ACK, 5001, 1001 + site.len(), b"").ack, 1001);
        let again = site.client(ACK | FIN, 1001, 5001, &data);
        assert_eq!((again.seq, again.flags & FIN, again.data.len()), (1001 + site.len(), FIN, 1400));
        assert_eq!((site.events(Event::ProxyAlone), site.events(Event::ProxySent)), (1, 1));
    }
}

/// The server says by acknowledging nothing that it has not got it, or by its SYN-ACK.
#[test]
fn one_that_was_lost_is_sent_again() {
    let site = Site::opened(v4());
    assert_eq!(site.client(ACK, 1001, 5001, b"").data, site.header());
    assert_eq!(site.server(SYN | ACK, 5000, 1001, b"").ack, 1001);
    assert_eq!(site.client(ACK, 1001, 5001, b"").data, site.header());
    assert_eq!(site.client(ACK, 1001, 5001, b"x").seq, 1001 + site.len());
    // A selective acknowledgement of what came behind the hole.
    let (from, to) = (1001 + site.len(), 1002 + site.len());
    let sack = [&[1, 1, 5, 10], &from.to_be_bytes()[..], &to.to_be_bytes()].concat();
    let told = site.server_with(&sack, ACK, (5001, 1001), b"");
    assert_eq!(told.ack, 1001);
    let again = site.client(ACK, 1001, 5001, b"x");
    assert_eq!((again.seq, again.data), (1001, [&site.header()[..], b"x"].concat()));
    assert_eq!(site.events(Event::ProxySent), 3);
}

#[test]
fn selective_acknowledgements_move_back() {
    for net in nets() {
        let site = Site::opened(net);
        let len = site.len();
        site.client(ACK, 1001, 5001, b"");
        let edge = |at: u32| (at + len).to_be_bytes();
        let sack = [&[1, 1, 5, 10], &edge(1101)[..], &edge(1201)].concat();
        let seen = site.server_with(&sack, ACK, (5001, 1051 + len), b"");
        let [from, to] = [1101_u32, 1201].map(u32::to_be_bytes);
        assert_eq!((seen.ack, seen.options), (1051, [&[1, 1, 5, 10], &from[..], &to].concat()));
    }
}

#[test]
fn a_reset_before_it_is_a_reset() {
    let site = Site::opened(v6());
    let reset = site.client(RST, 1001, 0, b"");
    assert_eq!((reset.seq, reset.data.len()), (1001, 0));
    let site = Site::opened(v6());
    site.client(ACK, 1001, 5001, b"");
    assert_eq!(site.client(RST, 1001, 0, b"").seq, 1001 + site.len());
}

/// XDP puts nothing into segments: it hands over until the header is sent, and renumbers itself from then on.
#[test]
fn until_it_is_sent_xdp_hands_over() {
    for net in nets() {
        let mut site = Site::opened(net);
        site.model.set_tc(false);
        let is_untouched = |left: &Left| left.source == (net.client, CPORT) && left.data.is_empty();
        let over = site.client(ACK, 1001, 5001, b"");
        assert!(over.outcome == Outcome::HandOverProxy && is_untouched(&over), "{over:?}");
        site.model.set_tc(true);
        assert_eq!(site.client(ACK, 1001, 5001, b"").data, site.header());
        site.model.set_tc(false);
        assert_eq!(site.client(ACK, 1001, 5001, b"x").seq, 1001 + site.len());
        assert_eq!(site.server(ACK, 5001, 1002 + site.len(), b"").ack, 1002);
    }
}

/// A client that comes again from the same port begins anew, if its server says so.
#[test]
fn another_syn_is_another_beginning() {
    let site = Site::opened(v4());
    site.client(ACK, 1001, 5001, b"");
    assert_eq!(site.client(SYN, 77_000, 0, b"").seq, 77_000);
    assert_eq!(site.server(SYN | ACK, 9000, 77_001, b"").ack, 77_001);
    let first = site.client(ACK, 77_001, 9001, b"");
    assert_eq!((first.seq, first.data), (77_001, site.header()));
}

/// Nobody breaks a connection by a SYN that its server has no use for (RFC 5961 §4).
#[test]
fn a_syn_that_is_not_answered_is_none() {
    let site = Site::opened(v4());
    let len = site.len();
    site.client(ACK, 1001, 5001, b"");
    assert_eq!(site.server(ACK, 5001, 1001 + len, b"").ack, 1001);
    assert_eq!(site.client(SYN, 77_000, 0, b"").seq, 77_000);
    // What the server asks by this, the client that it was answers by a reset.
    assert_eq!(site.server(ACK, 5001, 1001 + len, b"").ack, 1001);
    assert_eq!(site.client(RST, 1001, 0, b"").seq, 1001 + len);
    let site = Site::opened(v4());
    site.client(ACK, 1001, 5001, b"");
    assert_eq!(site.client(SYN, 77_000, 0, b"").seq, 77_000);
    assert_eq!(site.client(ACK, 1001, 5001, b"x").seq, 1001 + len);
    assert_eq!(site.server(ACK, 5001, 1002 + len, b"").ack, 1002);
}

/// A SYN-ACK that comes late is no reason to send it for ever.
#[test]
fn a_late_answer_does_no_harm() {
    let site = Site::opened(v6());
    let len = site.len();
    site.client(ACK, 1001, 5001, b"");
    assert_eq!(site.client(ACK, 1001, 5001, b"abc").seq, 1001 + len);
    assert_eq!(site.server(ACK, 5001, 1004 + len, b"").ack, 1004);
    assert_eq!(site.server(SYN | ACK, 5000, 1001, b"").ack, 1001);
    assert_eq!(site.client(ACK, 1004, 5001, b"d").seq, 1004 + len);
    assert_eq!(site.server(ACK, 5001, 1005 + len, b"").ack, 1005);
    assert_eq!(site.client(ACK, 1001, 5001, b"a").seq, 1001 + len);
    assert_eq!(site.events(Event::ProxySent), 1);
}

/// Fragments behind the first have no number, whatever stands there.
#[test]
fn fragments_behind_the_first_are_left_alone() {
    for net in nets() {
        let site = Site::opened(net);
        let len = site.len();
        site.client(ACK, 1001, 5001, b"");
        assert_eq!(site.server(ACK, 5001, 1001 + len, b"").ack, 1001);
        let data = (0..1200).map(|n: u16| n.to_be_bytes()[1]).collect();
        let segment = Tcp { sequence: 1001, acknowledgement: 5001, data, ..Tcp::new(CPORT, 80, ACK) };
        let (segment, client, vip) = (Payload::Tcp(segment), net.client, net.vip);
        let fragments = if client.is_v4() {
            Ipv4::new(client.v4_bytes(), vip.v4_bytes()).fragments(&segment, 800)
        } else {
            Ipv6::new(client.to_bytes(), vip.to_bytes()).fragments(&segment, 800, 7)
        };
        let (old, new) = (headers(client), headers(net.server));
        let outcome = |is_translated| match is_translated {
            true => Outcome::ForwardTranslated,
            false => Outcome::ForwardFullNat,
        };
        for (fragment, at) in fragments.iter().zip([0, 1]) {
            let (left, frame) = site.ingress(fragment);
            assert_eq!(left, outcome(client.is_v4() != net.server.is_v4()));
            let (came, left) = (&fragment[old..], &frame[eth::LEN + new..]);
            if at == 0 {
                assert_eq!(left[4..8], (1001 + len).to_be_bytes());
                assert_eq!((&left[8..16], &left[18..]), (&came[8..16], &came[18..]));
            } else {
                assert_eq!(left, came);
            }
        }
    }
}

/// Bytes of a fragment's headers.
const fn headers(of: Addr) -> usize {
    if of.is_v4() { 20 } else { 48 }
}

/// A host takes an error for true if it quotes a number of its own (RFC 5927 §4.1).
#[test]
fn errors_quote_the_numbers_of_the_client() {
    for net in nets() {
        let site = Site::opened(net);
        let len = site.len();
        let sequence = |quote: Vec<u8>| {
            let at = if net.client.is_v4() { 20 } else { 40 } + 4;
            u32::from_be_bytes(quote[at..at + 4].try_into().unwrap())
        };
        // Before the header is sent, of it, and behind it; eight bytes as in old times, and all.
        assert_eq!(sequence(site.told(1000, 24)), 1000);
        site.client(ACK, 1001, 5001, b"");
        for quoted in [8, 24] {
            assert_eq!(sequence(site.told(1001, quoted)), 1001);
            assert_eq!(sequence(site.told(1005 + len, quoted)), 1005);
        }
        let quote = site.told(1001 + len, 24);
        let sent = Payload::Tcp(Tcp { sequence: 1001, data: b"data".to_vec(), ..Tcp::new(CPORT, 80, ACK) });
        let sent = packet(net.client, net.vip, &sent);
        let at = if net.client.is_v4() { 20 } else { 40 };
        // IPVS leaves the checksum that is quoted as it is (ipvs.md §2.8), translation does not.
        let end = if net.client.is_v4() == net.server.is_v4() { at + 16 } else { at + 24 };
        assert_eq!(quote[at..end], sent[at..end]);
    }
}

/// What a server gets at the number of the connection's first byte by a segment, if anything.
fn at_first(left: &Left) -> &[u8] {
    let place = 1001_u32.wrapping_sub(left.seq);
    let is_sent = left.outcome.class() == Class::Forward && place < 1 << 31;
    if is_sent { left.data.get(place as usize..).unwrap_or_default() } else { &[] }
}

/// Receivers trim what is old of a segment and take the rest (RFC 9293 §3.4, §3.10.7.4).
#[test]
fn a_client_cant_put_data_before_the_header_by_a_segment_that_overlaps_its_syn() {
    for net in nets() {
        let site = Site::opened(net);
        let forged = site.client(ACK, 1000, 5001, b"\0PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\nGET /");
        assert_eq!((at_first(&forged), forged.outcome), (&[][..], Outcome::ProxyPlace), "{net:?}");
        // What keeps a connection alive has none.
        assert_eq!(site.client(ACK, 1000, 5001, b"").seq, 1000);
    }
}

/// Whoever can have the header lost behind the director, by a time to live that ends there.
#[test]
fn a_client_cant_put_data_in_the_place_of_a_header_that_was_lost() {
    for net in nets() {
        let site = Site::opened(net);
        assert_eq!(site.client(ACK, 1001, 5001, b"").data, site.header());
        let header = vec![0x41; site.header().len()];
        for begin in [1001 - site.len(), 1000] {
            let forged = site.client(ACK, begin, 5001, &[&header[..], b"GET /"].concat());
            assert_eq!((at_first(&forged), forged.outcome), (&[][..], Outcome::ProxyPlace), "{net:?}");
        }
    }
}

/// The numbers of a fragment's data can be changed, but nothing can be put before them.
#[test]
fn a_client_cant_put_data_before_the_header_by_fragments() {
    for net in nets() {
        for sequence in [1000, 1001] {
            let site = Site::opened(net);
            let data: Vec<u8> = [&b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"[..], &[0x41; 1000]].concat();
            let segment = Tcp { sequence, acknowledgement: 5001, data, ..Tcp::new(CPORT, 80, ACK) };
            let (segment, client, vip) = (Payload::Tcp(segment), net.client, net.vip);
            let fragments = if client.is_v4() {
                Ipv4::new(client.v4_bytes(), vip.v4_bytes()).fragments(&segment, 800)
            } else {
                Ipv6::new(client.to_bytes(), vip.to_bytes()).fragments(&segment, 800, 7)
            };
            assert_eq!(site.ingress(&fragments[0]).0, Outcome::ProxyPlace);
        }
    }
}

/// Its packets are rewritten as by NAT: a server that wants the header refuses it (docs/client-address.md).
#[test]
fn a_client_on_the_director_gets_no_header() {
    for net in [v4(), v6()] {
        let site = Site::new(net);
        let send = |flags, sequence, data: &[u8]| {
            let segment =
                Tcp { sequence, acknowledgement: 5001, data: data.into(), ..Tcp::new(CPORT, 80, flags) };
            let packet = packet(net.vip, net.vip, &Payload::Tcp(segment));
            let kind = if packet[0] >> 4 == 4 { eth::TYPE_IPV4 } else { eth::TYPE_IPV6 };
            let mut frame = Frame::<2000>::new(&ethernet([0; 6], [0; 6], kind, &packet)).unwrap();
            let outcome = site.model.egress(&mut frame).outcome;
            left(outcome, frame.bytes())
        };
        assert_eq!(send(SYN, 1000, b"").outcome, Outcome::ForwardMasq);
        let first = send(ACK, 1001, b"its data");
        assert_eq!((first.outcome, first.source), (Outcome::ForwardMasq, (net.vip, CPORT)));
        assert_eq!((first.seq, &first.data[..]), (1001, &b"its data"[..]));
    }
}

/// A SYN-ACK that comes late, or that somebody makes up, says nothing about a connection that is established: a client's SYN
/// counts only while it begins (`request`), and a server's must not count for more.
#[test]
fn a_syn_ack_in_the_middle_changes_nothing() {
    for net in nets() {
        let site = Site::opened(net);
        let len = site.len();
        assert_eq!(site.client(ACK, 1001, 5001, b"").data, site.header());
        assert_eq!(site.server(ACK, 5001, 1001 + len, b"").ack, 1001);
        assert_eq!(site.client(ACK, 1001, 5001, b"GET /").seq, 1001 + len);
        assert_eq!(site.server(ACK, 5001, 1006 + len, b"200").ack, 1006);
        site.server(SYN | ACK, 77, 900_000, b"");
        let sent = site.client(ACK, 1006, 5004, b"more");
        assert_eq!(
            (sent.outcome.class(), sent.seq),
            (Class::Forward, 1006 + len),
            "{net:?}: client {sent:?}"
        );
        assert_eq!(site.server(ACK, 5004, 1010 + len, b"").ack, 1010, "{net:?}");
    }
}
