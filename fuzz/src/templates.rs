//! Packets that fuzzing begins with: of clients, of real servers, and errors about both, of either family.

use rvs_wire::builder::{Extension, Ipv4, Ipv6, Payload, Sctp, Tcp, Udp};
use rvs_wire::sctp::chunk;
use rvs_wire::tcp;

pub(crate) const VIP: [u8; 4] = [10, 0, 0, 1];
pub(crate) const SERVER: [u8; 4] = [192, 168, 9, 2];
pub(crate) const DIRECTOR: [u8; 4] = [192, 168, 9, 1];
pub(crate) const VIP6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
pub(crate) const SERVER6: [u8; 16] = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
pub(crate) const DIRECTOR6: [u8; 16] = [0xfd, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const CLIENT: [u8; 4] = [192, 0, 2, 2];
const CLIENT6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2];
const ROUTER: [u8; 4] = [198, 51, 100, 1];
const ROUTER6: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Ports of services: TCP by each method, UDP, UDP by full NAT, UDP datagram by datagram, SCTP.
pub(crate) const TCP_PORTS: [u16; 6] = [80, 81, 82, 83, 84, 85];
pub(crate) const DNS: u16 = 53;
pub(crate) const DNS_FULL: u16 = 54;
pub(crate) const DNS_ONE: u16 = 55;
pub(crate) const IKE: u16 = 500;
pub(crate) const SCTP: u16 = 90;
/// FTP by NAT and by full NAT.
pub(crate) const FTP: u16 = 21;
pub(crate) const FTP_FULL: u16 = 2121;
/// A TCP service whose server is of the other family.
pub(crate) const OTHER: u16 = 86;
/// The port of real servers.
pub(crate) const MAPPED: u16 = 8080;
/// The UDP port of tunnels.
pub(crate) const GUE: u16 = 6080;
/// The port of the client.
const CPORT: u16 = 4000;

const MACS: ([u8; 6], [u8; 6]) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);

fn segment(sport: u16, dport: u16, flags: u8) -> Payload {
    Payload::Tcp(Tcp { data: b"GET / HTTP/1.1".to_vec(), ..Tcp::new(sport, dport, flags) })
}

fn bare(sport: u16, dport: u16, flags: u8) -> Payload {
    Payload::Tcp(Tcp::new(sport, dport, flags))
}

fn requests() -> Vec<Payload> {
    let mut all = Vec::new();
    for port in TCP_PORTS {
        all.extend([tcp::SYN, tcp::ACK, tcp::ACK | tcp::FIN].map(|flags| bare(CPORT, port, flags)));
        all.push(segment(CPORT, port, tcp::ACK));
    }
    all.extend([DNS, DNS_FULL, DNS_ONE, IKE].map(|port| Payload::Udp(Udp::new(CPORT, port, b"query"))));
    all.extend(
        [chunk::INIT, chunk::COOKIE_ECHO, chunk::SHUTDOWN]
            .map(|c| Payload::Sctp(Sctp::new(CPORT, SCTP, &[c]))),
    );
    all
}

fn replies() -> Vec<Payload> {
    vec![
        bare(MAPPED, CPORT, tcp::SYN | tcp::ACK),
        segment(MAPPED, CPORT, tcp::ACK),
        bare(MAPPED, CPORT, tcp::RST),
        Payload::Udp(Udp::new(MAPPED, CPORT, b"answer")),
        Payload::Sctp(Sctp::new(MAPPED, CPORT, &[chunk::INIT_ACK, chunk::DATA])),
        // To the first ports of the director's own.
        segment(MAPPED, 1024, tcp::ACK),
        Payload::Udp(Udp::new(MAPPED, 1024, b"answer")),
    ]
}

/// All frames, in an order that stays.
pub(crate) fn frames() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let (request, reply) = (Ipv4::new(CLIENT, VIP), Ipv4::new(SERVER, CLIENT));
    let (request6, reply6) = (Ipv6::new(CLIENT6, VIP6), Ipv6::new(SERVER6, CLIENT6));
    let mut add = |v4: &Ipv4, v6: &Ipv6, payload: &Payload| {
        frames.extend([v4.frame(MACS.0, MACS.1, payload), v6.frame(MACS.0, MACS.1, payload)]);
    };
    for payload in requests() {
        add(&request, &request6, &payload);
    }
    for payload in replies() {
        add(&reply, &reply6, &payload);
        add(&Ipv4::new(SERVER, DIRECTOR), &Ipv6::new(SERVER6, DIRECTOR6), &payload);
    }
    let extensions = vec![Extension::DestinationOptions(Vec::new())];
    let with_options = Ipv4 { options: vec![1; 8], ..request.clone() };
    add(&with_options, &Ipv6 { extensions, ..request6.clone() }, &segment(CPORT, 82, tcp::ACK));
    // Errors about what clients sent, as it left, and about what real servers sent.
    let (told, told6) = (Ipv4::new(ROUTER, DIRECTOR), Ipv6::new(ROUTER6, DIRECTOR6));
    let (back, back6) = (Ipv4::new(ROUTER, VIP), Ipv6::new(ROUTER6, VIP6));
    for (kind, code, kind6, code6) in [(3, 4, 2, 0), (3, 1, 1, 3), (11, 0, 3, 0)] {
        for payload in [segment(CPORT, MAPPED, tcp::ACK), Payload::Udp(Udp::new(CPORT, MAPPED, b"query"))] {
            let quoted = [&[0, 0, 5, 120][..], &Ipv4::new(CLIENT, SERVER).packet(&payload)].concat();
            let quoted6 = [&[0, 0, 5, 120][..], &Ipv6::new(CLIENT6, SERVER6).packet(&payload)].concat();
            frames.push(told.frame(MACS.0, MACS.1, &Payload::Icmp(kind, code, quoted)));
            frames.push(told6.frame(MACS.0, MACS.1, &Payload::Icmp6(kind6, code6, quoted6)));
        }
        let payload = segment(80, CPORT, tcp::ACK);
        let quoted = [&[0, 0, 5, 120][..], &Ipv4::new(VIP, CLIENT).packet(&payload)].concat();
        let quoted6 = [&[0, 0, 5, 120][..], &Ipv6::new(VIP6, CLIENT6).packet(&payload)].concat();
        frames.push(back.frame(MACS.0, MACS.1, &Payload::Icmp(kind, code, quoted)));
        frames.push(back6.frame(MACS.0, MACS.1, &Payload::Icmp6(kind6, code6, quoted6)));
    }
    // Fragments.
    let large = Payload::Udp(Udp::new(CPORT, DNS, &[0x5a; 200]));
    for packet in request.fragments(&large, 80).into_iter().chain(request6.fragments(&large, 80, 7)) {
        let kind = if packet[0] >> 4 == 4 { rvs_wire::eth::TYPE_IPV4 } else { rvs_wire::eth::TYPE_IPV6 };
        frames.push(rvs_wire::builder::ethernet(MACS.0, MACS.1, kind, &packet));
    }
    let mut add = |v4: &Ipv4, v6: &Ipv6, payload: &Payload| {
        frames.extend([v4.frame(MACS.0, MACS.1, payload), v6.frame(MACS.0, MACS.1, payload)]);
    };
    for payload in commands() {
        add(&request, &request6, &payload);
    }
    for payload in answers() {
        add(&reply, &reply6, &payload);
        add(&Ipv4::new(SERVER, DIRECTOR), &Ipv6::new(SERVER6, DIRECTOR6), &payload);
    }
    for flags in [tcp::SYN, tcp::ACK, tcp::ACK | tcp::FIN] {
        add(&request, &request6, &bare(CPORT, OTHER, flags));
    }
    frames
}

/// What clients of FTP say: one after the other, as in a conversation.
fn commands() -> Vec<Payload> {
    let said = ["PASV\r\n", "EPSV\r\n", "PORT 192,0,2,2,15,161\r\n", "EPRT |2|2001:db8:2::2|4001|\r\n"];
    let mut all = Vec::new();
    for port in [FTP, FTP_FULL] {
        all.extend([tcp::SYN, tcp::ACK].map(|flags| bare(CPORT, port, flags)));
        all.extend(said.map(|said| told(CPORT, port, said)));
        // Data, passive and active.
        all.extend(
            [(CPORT + 2, 51210, tcp::SYN), (4001, 20, tcp::SYN | tcp::ACK)]
                .map(|(from, to, flags)| bare(from, to, flags)),
        );
    }
    all
}

/// What servers of FTP say, and that they begin active data.
fn answers() -> Vec<Payload> {
    let said = [
        "227 Entering Passive Mode (192,168,9,2,200,10).\r\n",
        "229 Entering Extended Passive Mode (|||51210|)\r\n",
    ];
    let mut all = Vec::new();
    for to in [CPORT, 1024] {
        all.extend(said.map(|said| told(MAPPED, to, said)));
        all.push(bare(MAPPED - 1, to + 1, tcp::SYN));
    }
    all
}

fn told(sport: u16, dport: u16, said: &str) -> Payload {
    Payload::Tcp(Tcp { data: said.as_bytes().to_vec(), ..Tcp::new(sport, dport, tcp::ACK) })
}
