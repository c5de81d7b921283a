//! FTP's control connections: what is said there, and the data connections that follow.

use core::sync::atomic::Ordering::Relaxed;
use std::net::Ipv6Addr;

use rvs_abi::map::Region;
use rvs_abi::sched::id;
use rvs_abi::{Addr, ConnFlags, Event, Method, Outcome, limits, proto};
use rvs_core::state::tcp::{ESTABLISHED, LISTEN, SYN_RECV};
use rvs_core::{Flow, Frame, Link, NextHop, conn};
use rvs_model::testing::{DestSetup, ServiceSetup, install};
use rvs_model::{Capacity, Conn, Heap, Memory as _, Model, buckets, for_each_conn, records, sweep};
use rvs_wire::builder::{Ipv4, Ipv6, Payload, Tcp, ethernet};
use rvs_wire::tcp::{ACK, SYN};
use rvs_wire::{checksum, eth};

type Route = fn(&Flow) -> Result<NextHop, Outcome>;

#[allow(clippy::unnecessary_wraps, reason = "the model asks for routes that may fail")]
fn route(flow: &Flow) -> Result<NextHop, Outcome> {
    Ok(NextHop { link: Link { ifindex: 7, resolved: 1, macs: [1, 2, 3], gateway: flow.to }, mtu: 9500 })
}

const CPORT: u16 = 40_000;
const SECOND: u64 = 1_000_000_000;

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

/// A director with an FTP service, and where the control connection's numbers are.
struct Site {
    model: Model<Route>,
    net: Net,
    /// What the server sees as the client.
    client_end: (Addr, u16),
    method: u8,
}

/// A segment as it left: its ends, numbers and data.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Left {
    source: (Addr, u16),
    destination: (Addr, u16),
    seq: u32,
    ack: u32,
    data: String,
}

impl Site {
    fn new(net: Net, method: u8) -> Self {
        Self::with_room(net, method, 100)
    }

    fn with_room(net: Net, method: u8, conns: u32) -> Self {
        let heap = Heap::new(&Capacity { services: 4, dests: 256, conns, cpus: 1 });
        let dest = DestSetup { source: net.director, ..DestSetup::new(net.server, 2021, method) };
        let (vip, port, protocol, scheduler) = (net.vip, 21, proto::TCP, id::RR);
        install(&heap, &[ServiceSetup { vip, port, protocol, scheduler, sched_flags: 0, dests: vec![dest] }]);
        let mut config = records::config(&heap);
        config.ftp_ports[0] = 21_u16.to_be();
        config.full_nat |= u32::from(method == Method::FULL_NAT);
        records::write_config(&heap, &config);
        let mut model = Model::new(heap, route as Route);
        model.set_now_ns(1 << 40);
        model.set_tc(true);
        let mut site = Self { model, net, client_end: (net.client, CPORT), method };
        site.open();
        site
    }

    /// The control connection, up to ESTABLISHED.
    fn open(&mut self) {
        let syn = self.client(CPORT, 21, SYN, 0, 0, "").1;
        self.client_end = syn.source;
        self.server(2021, SYN | ACK, 0, 1, "");
        self.client(CPORT, 21, ACK, 1, 1, "");
        assert_eq!(self.conns()[0].state, ESTABLISHED);
        assert_eq!(self.conns()[0].entry.flags & ConnFlags::FTP, ConnFlags::FTP);
    }

    fn send(&self, from: (Addr, u16), to: (Addr, u16), segment: Tcp) -> (Outcome, Left) {
        let segment = Payload::Tcp(Tcp { ..segment });
        let (kind, packet) = if from.0.is_v4() {
            (eth::TYPE_IPV4, Ipv4::new(from.0.v4_bytes(), to.0.v4_bytes()).packet(&segment))
        } else {
            (eth::TYPE_IPV6, Ipv6::new(from.0.to_bytes(), to.0.to_bytes()).packet(&segment))
        };
        let mut frame =
            Frame::<10_000>::new(&ethernet([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2], kind, &packet)).unwrap();
        let outcome = self.model.ingress(&mut frame, 11).outcome;
        (outcome, left(frame.bytes()))
    }

    fn client(&self, cport: u16, vport: u16, flags: u8, seq: u32, ack: u32, data: &str) -> (Outcome, Left) {
        let segment =
            Tcp { sequence: seq, acknowledgement: ack, data: data.into(), ..Tcp::new(cport, vport, flags) };
        self.send((self.net.client, cport), (self.net.vip, vport), segment)
    }

    /// From the control connection's server.
    fn server(&self, sport: u16, flags: u8, seq: u32, ack: u32, data: &str) -> (Outcome, Left) {
        self.server_to(self.client_end, sport, flags, seq, ack, data)
    }

    fn server_to(
        &self,
        to: (Addr, u16),
        sport: u16,
        flags: u8,
        seq: u32,
        ack: u32,
        data: &str,
    ) -> (Outcome, Left) {
        let segment =
            Tcp { sequence: seq, acknowledgement: ack, data: data.into(), ..Tcp::new(sport, to.1, flags) };
        self.send((self.net.server, sport), to, segment)
    }

    fn conns(&self) -> Vec<Conn> {
        let mut conns = Vec::new();
        for_each_conn(self.model.heap(), conn::ticks(self.model.now_ns()), |conn| conns.push(*conn));
        conns.sort_by_key(|conn| u16::from_be(conn.entry.vport));
        conns
    }

    /// The connection at that virtual port.
    fn conn(&self, vport: u16) -> Option<Conn> {
        self.conns().into_iter().find(|conn| conn.entry.vport == vport.to_be())
    }

    fn wait(&mut self, seconds: u64) {
        self.model.set_now_ns(self.model.now_ns() + seconds * SECOND);
    }

    fn events(&self, event: Event) -> u64 {
        self.model.heap().region(Region::Counters)[event as usize].load(Relaxed)
    }

    const fn forward(&self) -> Outcome {
        if self.method == Method::FULL_NAT { Outcome::ForwardFullNat } else { Outcome::ForwardMasq }
    }

    const fn reply(&self) -> Outcome {
        if self.method == Method::FULL_NAT { Outcome::ReplyFullNat } else { Outcome::ReplyMasq }
    }
}

/// Takes a frame apart, whose checksums and lengths are right.
fn left(frame: &[u8]) -> Left {
    let packet = &frame[eth::LEN..];
    let is_v4 = packet[0] >> 4 == 4;
    let word = |at: usize| u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (l4, source, destination, pseudo) = if is_v4 {
        assert_eq!(usize::from(port(2)), packet.len());
        assert_eq!(checksum::full(0, &packet[..20]), [0; 2]);
        let [from, to] = [12, 16].map(|at| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
        let len = (packet.len() - 20) as u16;
        (20, Addr::v4(from), Addr::v4(to), checksum::pseudo_v4(from, to, proto::TCP, len))
    } else {
        assert_eq!(usize::from(port(4)), packet.len() - 40);
        let [from, to] = [8, 24].map(|at| Addr::from_bytes(packet[at..at + 16].try_into().unwrap()));
        let len = (packet.len() - 40) as u32;
        (40, from, to, checksum::pseudo_v6(from.words(), to.words(), proto::TCP, len))
    };
    assert_eq!(checksum::full(pseudo, &packet[l4..]), [0; 2], "TCP's checksum");
    let header = usize::from(packet[l4 + 12] >> 4) * 4;
    Left {
        source: (source, port(l4)),
        destination: (destination, port(l4 + 2)),
        seq: word(l4 + 4),
        ack: word(l4 + 8),
        data: String::from_utf8_lossy(&packet[l4 + header..]).into_owned(),
    }
}

/// What a server of IPv4 answers to PASV, and what a client sees: three bytes less.
const REPLY: &str = "227 Entering Passive Mode (192,168,9,2,200,10).\r\n";
const SEEN: &str = "227 Entering Passive Mode (10,0,0,1,200,10).\r\n";
/// The port in it.
const DATA: u16 = 51210;

#[test]
fn a_passive_address_becomes_the_services() {
    for method in [Method::MASQ, Method::FULL_NAT] {
        let site = Site::new(v4(), method);
        assert_eq!(site.client(CPORT, 21, ACK, 1, 1, "PASV\r\n").0, site.forward());
        let (outcome, left) = site.server(2021, ACK, 5000, 7, REPLY);
        assert_eq!((outcome, left.seq, left.data.as_str()), (site.reply(), 5000, SEEN));
        assert_eq!((left.source, left.destination), ((site.net.vip, 21), (site.net.client, CPORT)));
        let expected = site.conn(DATA).unwrap();
        assert_eq!(
            (expected.state, expected.entry.cport, expected.entry.client),
            (LISTEN, 0, site.net.client)
        );
        assert_eq!(expected.entry.flags, u16::from(method) | ConnFlags::NO_CPORT);
        // ipvs.md §12.4.
        assert_eq!(site.server(2021, ACK, 5049, 7, "x").1.seq, 5046);
        assert_eq!(site.client(CPORT, 21, ACK, 7, 5046, "").1.ack, 5049);

        let (outcome, left) = site.client(CPORT + 1, DATA, SYN, 9, 0, "");
        assert_eq!((outcome, left.destination), (site.forward(), (site.net.server, DATA)));
        let data = site.conn(DATA).unwrap();
        assert_eq!((data.state, u16::from_be(data.entry.cport)), (SYN_RECV, CPORT + 1));
        assert_eq!(site.conns().len(), 2, "what was expected is there");
        let (outcome, left) = site.server_to(left.source, DATA, SYN | ACK, 9, 1, "");
        assert_eq!((outcome, left.source), (site.reply(), (site.net.vip, DATA)));
        assert_eq!(site.events(Event::FtpExpected), 1);
        assert_eq!(records::dest_conns(site.model.heap(), 0).active, 2);
        let config = records::config(site.model.heap());
        assert_eq!(records::stats_part(site.model.heap(), &config, 0, 0).conns, 1, "the client made one");
        // Another connection to that port is nobody's.
        assert_eq!(site.client(CPORT + 2, DATA, SYN, 9, 0, "").0, Outcome::FtpPort);
    }
}

#[test]
fn shifts_add_up_and_what_is_sent_again_becomes_the_same() {
    let site = Site::new(v4(), Method::MASQ);
    let (mut sent, mut seen, mut asked) = (5000_u32, 5000_u32, 1_u32);
    for round in 0..20 {
        site.client(CPORT, 21, ACK, asked, seen, "PASV\r\n");
        asked += 6;
        for again in 0..2 {
            let (_, left) = site.server(2021, ACK, sent, asked, REPLY);
            assert_eq!((left.seq, left.data.as_str()), (seen, SEEN), "round {round}, {again}");
        }
        (sent, seen) = (sent + REPLY.len() as u32, seen + SEEN.len() as u32);
        assert_eq!(site.client(CPORT, 21, ACK, asked, seen, "").1.ack, sent);
    }
    assert_eq!(site.events(Event::FtpRewritten), 40);
    assert_eq!(site.conns().len(), 2, "each takes the place of the one before");
}

#[test]
fn extended_passive_mode_in_both_families() {
    for (net, ask) in [(v4(), "EPSV\r\n"), (v6(), "EPSV\r\n"), (v6(), "epsv 2\r\n")] {
        for method in [Method::MASQ, Method::FULL_NAT] {
            let site = Site::new(net, method);
            site.client(CPORT, 21, ACK, 1, 1, ask);
            let (outcome, left) =
                site.server(2021, ACK, 1, 7, "229 Entering Extended Passive Mode (!!!051210!)\r\n");
            let data = "229 Entering Extended Passive Mode (|||51210|)\r\n";
            assert_eq!((outcome, left.data.as_str()), (site.reply(), data));
            let (outcome, left) = site.client(CPORT + 1, DATA, SYN, 9, 0, "");
            assert_eq!((outcome, left.destination), (site.forward(), (net.server, DATA)));
        }
    }
}

#[test]
fn nobody_is_told_who_did_not_ask() {
    let site = Site::new(v4(), Method::MASQ);
    assert_eq!(site.server(2021, ACK, 1, 1, REPLY).1.data, REPLY);
    site.client(CPORT, 21, ACK, 1, 1, "EPSV\r\n");
    assert_eq!(site.server(2021, ACK, 1, 7, REPLY).1.data, REPLY, "it asked for another");
    assert_eq!(site.conns().len(), 1);
}

#[test]
fn active_mode_by_nat() {
    for (net, command) in [(v4(), "PORT 192,0,2,2,7,9\r\n"), (v6(), "EPRT |2|2001:db8:2::2|1801|\r\n")] {
        let site = Site::new(net, Method::MASQ);
        let (outcome, left) = site.client(CPORT, 21, ACK, 1, 1, command);
        assert_eq!((outcome, left.data.as_str()), (Outcome::ForwardMasq, command));
        let data = site.conn(20).unwrap();
        assert_eq!(
            (data.state, u16::from_be(data.entry.cport), u16::from_be(data.entry.dport)),
            (LISTEN, 1801, 2020)
        );
        let (outcome, left) = site.server_to((net.client, 1801), 2020, SYN, 9, 0, "");
        assert_eq!(
            (outcome, left.source, left.destination),
            (Outcome::ReplyMasq, (net.vip, 20), (net.client, 1801))
        );
        assert_eq!(site.client(1801, 20, SYN | ACK, 9, 10, "").0, Outcome::ForwardMasq);
    }
}

#[test]
fn active_mode_by_full_nat_names_the_director() {
    for (net, command) in [
        (v4(), "PORT 192,0,2,2,7,9\r\n"),
        (v4(), "EPRT |1|192.0.2.2|1801|\r\n"),
        (v6(), "EPRT |2|2001:db8:2::2|1801|\r\n"),
    ] {
        let site = Site::new(net, Method::FULL_NAT);
        let (_, left) = site.client(CPORT, 21, ACK, 1, 1, command);
        let port = u16::from_be(site.conn(20).unwrap().entry.lport);
        let named = match command.as_bytes()[..6] {
            [b'P', ..] => format!("PORT 192,168,9,1,{},{}\r\n", port >> 8, port & 0xff),
            _ if net.vip.is_v4() => format!("EPRT |1|192.168.9.1|{port}|\r\n"),
            _ => format!("EPRT |2|2001:db8:9:0:0:0:0:1|{port}|\r\n"),
        };
        assert_eq!(left.data, named);
        // Sent again it names the same port.
        assert_eq!(site.client(CPORT, 21, ACK, 1, 1, command).1.data, named);
        let next = 1 + command.len() as u32;
        let seen = 1 + named.len() as u32;
        assert_eq!(site.client(CPORT, 21, ACK, next, 1, "").1.seq, seen);
        assert_eq!(site.server(2021, ACK, 1, seen, "").1.ack, next);
        let (outcome, left) = site.server_to((net.director, port), 2020, SYN, 9, 0, "");
        assert_eq!(
            (outcome, left.source, left.destination),
            (Outcome::ReplyFullNat, (net.vip, 20), (net.client, 1801))
        );
        let (outcome, left) = site.client(1801, 20, SYN | ACK, 9, 10, "");
        assert_eq!((outcome, left.source), (Outcome::ForwardFullNat, (net.director, port)));
    }
}

/// The server, which sees the director's address only, could not tell.
#[test]
fn full_nat_does_not_name_itself_for_a_third_party() {
    let site = Site::new(v4(), Method::FULL_NAT);
    let command = "PORT 198,51,100,7,0,25\r\n";
    assert_eq!(site.client(CPORT, 21, ACK, 1, 1, command).1.data, command);
    assert_eq!(site.conns().len(), 1);
}

#[test]
fn selective_acknowledgements_follow() {
    let site = Site::new(v4(), Method::MASQ);
    site.client(CPORT, 21, ACK, 1, 1, "PASV\r\n");
    site.server(2021, ACK, 5000, 7, REPLY);
    let edges: Vec<u8> = [5046_u32, 5100, 4000, 5000].iter().flat_map(|edge| edge.to_be_bytes()).collect();
    for lead in [&[1, 1][..], &[1, 1, 1], &[2, 4, 5, 180]] {
        let options = [lead, &[5, 18], &edges, &[0; 4][..4 - (lead.len() + 18) % 4]].concat();
        let segment = Tcp { sequence: 7, acknowledgement: 5000, options, ..Tcp::new(CPORT, 21, ACK) };
        let packet =
            Ipv4::new(site.net.client.v4_bytes(), site.net.vip.v4_bytes()).packet(&Payload::Tcp(segment));
        let mut frame = Frame::<10_000>::new(&ethernet([2; 6], [4; 6], eth::TYPE_IPV4, &packet)).unwrap();
        assert_eq!(site.model.ingress(&mut frame, 11).outcome, Outcome::ForwardMasq);
        left(frame.bytes());
        let at = eth::LEN + 40 + lead.len() + 2;
        let shown =
            frame.bytes()[at..at + 16].chunks(4).map(|edge| u32::from_be_bytes(edge.try_into().unwrap()));
        assert_eq!(shown.collect::<Vec<_>>(), [5049, 5103, 4000, 5000]);
    }
}

#[test]
fn a_control_connection_lives_as_long_as_its_data() {
    let mut site = Site::new(v4(), Method::MASQ);
    site.client(CPORT, 21, ACK, 1, 1, "PASV\r\n");
    site.server(2021, ACK, 5000, 7, REPLY);
    site.client(CPORT + 1, DATA, SYN, 9, 0, "");
    site.server_to((site.net.client, CPORT + 1), DATA, SYN | ACK, 9, 10, "");
    for _ in 0..10 {
        site.client(CPORT + 1, DATA, ACK, 10, 10, "data");
        site.wait(600);
    }
    assert_eq!(site.conns().len(), 2);
    assert_eq!(site.server(2021, ACK, 5049, 7, "226 done\r\n").0, Outcome::ReplyMasq);
    site.wait(1000);
    assert_eq!(site.conns().len(), 0);
}

#[test]
fn what_is_expected_is_not_forever() {
    let mut site = Site::new(v4(), Method::MASQ);
    site.client(CPORT, 21, ACK, 1, 1, "PASV\r\n");
    site.server(2021, ACK, 5000, 7, REPLY);
    site.wait(125);
    assert_eq!(site.client(CPORT + 1, DATA, SYN, 9, 0, "").0, Outcome::FtpPort);
}

#[test]
fn only_whole_commands_count_and_only_where_they_are_listened_to() {
    let site = Site::new(v4(), Method::MASQ);
    for said in
        ["PORT 192,0,2,2,7", "XPORT 192,0,2,2,7,9\r\n", "EPRT |1|192.0.2.2|", "EPRT |2|::1|5|\r\n", "P", ""]
    {
        assert_eq!(site.client(CPORT, 21, ACK, 1, 1, said).1.data, said);
        assert_eq!(site.conns().len(), 1, "{said}");
    }
    let mut config = records::config(site.model.heap());
    config.ftp_ports = [0; limits::FTP_PORTS];
    records::write_config(site.model.heap(), &config);
    site.client(CPORT + 5, 21, SYN, 0, 0, "");
    assert!(site.conns().iter().any(|conn| conn.entry.flags & ConnFlags::FTP == 0));
}

/// Clients that asked and were not told yet have places, eight for each, until their connections end.
#[test]
fn places_are_as_many_as_there_are_and_come_back() {
    let mut site = Site::with_room(v4(), Method::MASQ, 40_000);
    let ask = |site: &Site| {
        let mut refused = 0;
        for n in 0..20_000_u16 {
            let cport = 1024 + n;
            site.client(cport, 21, SYN, 0, 0, "");
            site.server_to((site.net.client, cport), 2021, SYN | ACK, 0, 1, "");
            site.client(cport, 21, ACK, 1, 1, "");
            match site.client(cport, 21, ACK, 1, 1, "PASV\r\n").0 {
                Outcome::ForwardMasq => {}
                Outcome::FtpFull => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        refused
    };
    let most = 20_000 - limits::FTP_CONTROLS..6000;
    let refused = ask(&site);
    assert!(most.contains(&refused), "{refused}");
    site.wait(1000);
    sweep(site.model.heap(), 0, buckets(site.model.heap()), conn::ticks(site.model.now_ns()));
    assert_eq!(site.conns().len(), 0);
    // Other places: a connection's are by its slot's generation too.
    let refused = ask(&site);
    assert!(most.contains(&refused), "{refused}");
}

/// It comes again, alone.
#[test]
fn an_address_in_a_segment_that_is_too_long_is_dropped() {
    let site = Site::new(v4(), Method::MASQ);
    site.client(CPORT, 21, ACK, 1, 1, "PASV\r\n");
    let data = format!("{REPLY}{}", "x".repeat(9100));
    assert_eq!(site.server(2021, ACK, 5000, 7, &data).0, Outcome::FtpBundle);
    assert_eq!(site.server(2021, ACK, 5000, 7, REPLY).1.data, SEEN);
}

/// Under XDP what is said is not listened to but handed over.
#[test]
fn xdp_hands_over() {
    let mut site = Site::new(v4(), Method::MASQ);
    site.model.set_tc(false);
    assert_eq!(site.client(CPORT, 21, ACK, 1, 1, "PASV\r\n").0, Outcome::HandOverFtp);
    assert_eq!(site.server(2021, ACK, 1, 1, "").0, Outcome::HandOverFtp);
}

/// Servers refuse data that come from elsewhere: those of a control connection from before there was a pool come from the
/// director's own address, those of one from the pool from the same address of it.
#[test]
fn data_come_from_the_address_of_their_control_connection() {
    const POOL: [[u8; 4]; 4] = [[10, 250, 0, 1], [10, 250, 0, 2], [10, 250, 0, 3], [10, 250, 0, 4]];
    let mut site = Site::new(v4(), Method::FULL_NAT);
    let heap = site.model.heap();
    for (place, address) in heap.region(Region::LocalAddresses).as_chunks::<2>().0[1..].iter().zip(POOL) {
        place.iter().zip(Addr::v4(address).0).for_each(|(word, value)| word.store(value, Relaxed));
    }
    let mut config = records::config(heap);
    config.full_nat_sources[0] = 1 | 4 << 16;
    records::write_config(heap, &config);
    for control in [CPORT, CPORT + 100, CPORT + 101, CPORT + 102] {
        if control != CPORT {
            site.client_end = site.client(control, 21, SYN, 0, 0, "").1.source;
            site.server(2021, SYN | ACK, 0, 1, "");
            site.client(control, 21, ACK, 1, 1, "");
            assert!(POOL.contains(&site.client_end.0.v4_bytes()));
        }
        let (local, _) = site.client_end;
        let (mut asked, mut sent) = (1, 5000);
        for data in 0..8_u16 {
            site.client(control, 21, ACK, asked, 1, "PASV\r\n");
            asked += 6;
            let vport = (control - CPORT) * 10 + 50_000 + data;
            let reply = format!("227 Mode (192,168,9,2,{},{}).\r\n", vport >> 8, vport & 0xff);
            site.server(2021, ACK, sent, asked, &reply);
            sent += reply.len() as u32;
            let (outcome, left) = site.client(CPORT - 1 - data, vport, SYN, 9, 0, "");
            assert_eq!((outcome, left.source.0), (Outcome::ForwardFullNat, local), "passive, {vport}");
        }
        let (outcome, left) = site.client(control, 21, ACK, asked, 1, "PORT 192,0,2,2,7,9\r\n");
        let [a, b, c, d] = local.v4_bytes();
        let is_named = left.data.starts_with(&format!("PORT {a},{b},{c},{d},"));
        assert!(outcome == Outcome::ForwardFullNat && is_named, "{}", left.data);
        let port = u16::from_be(site.conn(20).unwrap().entry.lport);
        assert_eq!(site.server_to((local, port), 2020, SYN, 9, 0, "").0, Outcome::ReplyFullNat);
        let (outcome, left) = site.client(1801, 20, SYN | ACK, 9, 10, "");
        assert_eq!((outcome, left.source), (Outcome::ForwardFullNat, (local, port)));
    }
}

/// Its receiver has it already.
#[test]
fn a_late_copy_of_an_earlier_command_does_not_shift_numbers() {
    let site = Site::new(v4(), Method::FULL_NAT);
    let first = "PORT 192,0,2,2,7,9\r\n";
    let second = "PORT 192,0,2,2,7,10\r\n";
    let len = |text: &str| u32::try_from(text.len()).unwrap();
    site.client(CPORT, 21, ACK, 1, 1, first);
    let at = 1 + len(first);
    let left = site.client(CPORT, 21, ACK, at, 1, second).1;
    let next = left.seq + len(&left.data);
    assert_eq!(site.client(CPORT, 21, ACK, at + len(second), 1, "").1.seq, next);
    site.client(CPORT, 21, ACK, 1, 1, first);
    assert_eq!(site.client(CPORT, 21, ACK, at + len(second), 1, "NOOP\r\n").1.seq, next);
}

/// Numbers may have zeros in front, as many as a line has room for: RFC 959 §4.1.2 bounds the value.
#[test]
fn a_command_with_many_zeros_is_sent_again_at_its_number() {
    let site = Site::new(v4(), Method::FULL_NAT);
    let text = format!("PORT {}192,0,2,2,7,9\r\n", "0".repeat(170));
    let sent = site.client(CPORT, 21, ACK, 1, 1, &text).1;
    let again = site.client(CPORT, 21, ACK, 1, 1, &text).1;
    assert_eq!(sent, again);
}

/// Clients of one family, servers of the other.
fn between(clients: Net, servers: Net) -> Net {
    Net { server: servers.server, director: servers.director, ..clients }
}

#[test]
fn extended_passive_mode_between_families() {
    for net in [between(v6(), v4()), between(v4(), v6())] {
        let site = Site::new(net, Method::FULL_NAT);
        site.client(CPORT, 21, ACK, 1, 1, "EPSV\r\n");
        let (outcome, left) = site.server(2021, ACK, 1, 7, "229 Entering (|||51210|)\r\n");
        assert_eq!((outcome, left.data.as_str()), (Outcome::ReplyTranslated, "229 Entering (|||51210|)\r\n"));
        let (outcome, left) = site.client(CPORT + 1, DATA, SYN, 9, 0, "");
        assert_eq!((outcome, left.destination), (Outcome::ForwardTranslated, (net.server, DATA)));
    }
}

/// `PORT` has no words for an address in IPv6 (RFC 2428 §1).
#[test]
fn port_to_a_server_in_ipv6_names_the_directors_address() {
    let net = between(v4(), v6());
    let site = Site::new(net, Method::FULL_NAT);
    let command = "PORT 192,0,2,2,7,9\r\n";
    let (outcome, left) = site.client(CPORT, 21, ACK, 1, 1, command);
    let port = u16::from_be(site.conn(20).unwrap().entry.lport);
    let named = format!("EPRT |2|2001:db8:9:0:0:0:0:1|{port}|\r\n");
    assert_eq!((outcome, &left.data), (Outcome::ForwardTranslated, &named));
    assert_eq!(site.client(CPORT, 21, ACK, 1, 1, command).1.data, named, "sent again");
    let next = 1 + command.len() as u32;
    assert_eq!(site.client(CPORT, 21, ACK, next, 1, "").1.seq, 1 + named.len() as u32);
    let (outcome, left) = site.server_to((net.director, port), 2020, SYN, 9, 0, "");
    assert_eq!(
        (outcome, left.source, left.destination),
        (Outcome::ReplyTranslated, (net.vip, 20), (net.client, 1801))
    );
}

/// A server in IPv4 takes EPRT of its own family.
#[test]
fn eprt_to_a_server_in_ipv4_names_the_directors_address() {
    let net = between(v6(), v4());
    let site = Site::new(net, Method::FULL_NAT);
    let (_, left) = site.client(CPORT, 21, ACK, 1, 1, "EPRT |2|2001:db8:2::2|1801|\r\n");
    let port = u16::from_be(site.conn(20).unwrap().entry.lport);
    assert_eq!(left.data, format!("EPRT |1|192.168.9.1|{port}|\r\n"));
    let (outcome, left) = site.server_to((net.director, port), 2020, SYN, 9, 0, "");
    assert_eq!((outcome, left.destination), (Outcome::ReplyTranslated, (net.client, 1801)));
}

/// ipvs.md §5.4: a data connection in LISTEN that the server begins goes to SYN_RECV with the client's SYN-ACK ("IN syn, LI: SR").
#[test]
fn a_clients_syn_ack_moves_an_announced_connection_along() {
    let site = Site::new(v4(), Method::MASQ);
    site.client(CPORT, 21, ACK, 1, 1, "PORT 192,0,2,2,7,9\r\n");
    assert_eq!(site.server_to((site.net.client, 1801), 2020, SYN, 9, 0, "").0, Outcome::ReplyMasq);
    assert_eq!(site.conn(20).unwrap().state, LISTEN);
    assert_eq!(site.client(1801, 20, SYN | ACK, 9, 10, "").0, Outcome::ForwardMasq);
    assert_eq!(site.conn(20).unwrap().state, SYN_RECV);
}
