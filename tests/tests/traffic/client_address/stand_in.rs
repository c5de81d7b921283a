//! Full NAT as far as a server can tell: puts an address of its own before the client's, and the client's into a TCP option.
//! Frames are taken from one wire and sent on the other by threads of the test.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rvs_testkit::{Capture, Direction};
use rvs_wire::{checksum, eth, ipv4, tcp, toa};

/// How often a thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(20);
/// Between a client's port and the one that takes its place.
const PORT_SHIFT: u16 = 20_000;
const IPV6_LEN: usize = 40;
/// Offsets of the source address; the destination is behind it.
const IPV4_ADDRESSES: usize = 12;
const IPV6_ADDRESSES: usize = 8;

/// The port that a server sees instead of a client's.
pub(crate) fn translated(port: u16) -> u16 {
    port - PORT_SHIFT
}

/// What is put into the option.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// Nothing: there is none.
    Nothing,
    /// Who the client is.
    Client,
    /// Whatever these bytes say: a whole number of words.
    Bytes(Vec<u8>),
}

/// What is done to clients' segments.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Addresses that take the clients' place, one of each family.
    pub(crate) own: [IpAddr; 2],
    pub(crate) says: Says,
    /// Whether it says so in the SYN.
    pub(crate) in_syn: bool,
    /// Whether it says so in later segments without data.
    pub(crate) in_acks: bool,
}

/// A wire as seen by who sends on it: the Ethernet addresses to and from.
pub(crate) struct Wire {
    pub(crate) from: Capture,
    pub(crate) to: Capture,
    pub(crate) macs: [[u8; 6]; 2],
}

/// Both threads.
#[derive(Debug)]
pub(crate) struct StandIn {
    ended: Arc<AtomicBool>,
    plan: Arc<Mutex<Plan>>,
    threads: Vec<JoinHandle<()>>,
}

impl StandIn {
    /// Starts it between clients and a server: services' addresses become the server's (`places`: of a service, of the
    /// server, of the client; IPv4, then IPv6).
    pub(crate) fn start(plan: Plan, inward: Wire, outward: Wire, places: [[IpAddr; 3]; 2]) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let plan = Arc::new(Mutex::new(plan));
        let there = {
            let plan = Arc::clone(&plan);
            move |segment: &mut Segment| segment.turn_to_server(&plan.lock().unwrap(), places)
        };
        let back = move |segment: &mut Segment| segment.turn_to_client(places);
        let threads = vec![pass(inward, Arc::clone(&ended), there), pass(outward, Arc::clone(&ended), back)];
        Self { ended, plan, threads }
    }

    /// Does something else with the next segments.
    pub(crate) fn plan(&self, change: impl FnOnce(&mut Plan)) {
        change(&mut self.plan.lock().unwrap());
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let failed = self.threads.drain(..).filter_map(|thread| thread.join().err()).count();
        assert!(failed == 0 || thread::panicking(), "{failed} threads of the stand-in failed");
    }
}

fn pass(
    mut wire: Wire,
    ended: Arc<AtomicBool>,
    change: impl Fn(&mut Segment) + Send + 'static,
) -> JoinHandle<()> {
    thread::spawn(move || {
        while !ended.load(Ordering::Relaxed) {
            let Some(frame) = wire.from.next(LOOK).unwrap() else { continue };
            if frame.direction != Direction::Received {
                continue;
            }
            if let Some(mut segment) = Segment::parse(&frame.bytes) {
                change(&mut segment);
                wire.to.send(&segment.frame(wire.macs)).unwrap();
            }
        }
    })
}

/// A TCP segment with its IP header.
struct Segment {
    ip: Vec<u8>,
    tcp: Vec<u8>,
}

impl Segment {
    /// From a frame; `None` if there is something else in it.
    fn parse(frame: &[u8]) -> Option<Self> {
        let (head, packet) = frame.split_at_checked(eth::LEN)?;
        let (ip_len, len) = match [head[12], head[13]] {
            eth::TYPE_IPV4 if packet.get(9) == Some(&6) => {
                (ipv4::LEN, usize::from(u16::from_be_bytes([packet[2], packet[3]])))
            }
            eth::TYPE_IPV6 if packet.get(6) == Some(&6) => {
                (IPV6_LEN, IPV6_LEN + usize::from(u16::from_be_bytes([packet[4], packet[5]])))
            }
            _ => return None,
        };
        // Short frames are padded.
        let (ip, tcp) = packet.get(..len)?.split_at(ip_len);
        Some(Self { ip: ip.to_vec(), tcp: tcp.to_vec() })
    }

    fn is_ipv6(&self) -> bool {
        self.ip.len() == IPV6_LEN
    }

    /// The bytes of source and destination, one behind the other.
    fn addresses(&self) -> std::ops::Range<usize> {
        if self.is_ipv6() { IPV6_ADDRESSES..IPV6_LEN } else { IPV4_ADDRESSES..ipv4::LEN }
    }

    fn set_addresses(&mut self, source: IpAddr, destination: IpAddr) {
        let bytes = |address| match address {
            IpAddr::V4(v4) => v4.octets().to_vec(),
            IpAddr::V6(v6) => v6.octets().to_vec(),
        };
        let range = self.addresses();
        self.ip[range].copy_from_slice(&[bytes(source), bytes(destination)].concat());
    }

    fn port(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.tcp[at], self.tcp[at + 1]])
    }

    fn set_port(&mut self, at: usize, port: u16) {
        self.tcp[at..at + 2].copy_from_slice(&port.to_be_bytes());
    }

    fn turn_to_server(&mut self, plan: &Plan, places: [[IpAddr; 3]; 2]) {
        let family = usize::from(self.is_ipv6());
        let [_, server, client] = places[family];
        let port = self.port(0);
        self.set_addresses(plan.own[family], server);
        self.set_port(0, translated(port));
        let header_len = usize::from(self.tcp[tcp::DATA_OFFSET] >> 4) * 4;
        let is_syn = self.tcp[tcp::FLAGS] & tcp::SYN != 0;
        let wanted = if is_syn { plan.in_syn } else { plan.in_acks && self.tcp.len() == header_len };
        let option = match &plan.says {
            Says::Nothing => Vec::new(),
            Says::Client => option(SocketAddr::new(client, port)),
            Says::Bytes(bytes) => bytes.clone(),
        };
        if wanted && header_len + option.len() <= tcp::LEN_MAX {
            self.insert(header_len, &option);
        }
    }

    fn turn_to_client(&mut self, places: [[IpAddr; 3]; 2]) {
        let [service, _, client] = places[usize::from(self.is_ipv6())];
        let port = self.port(2);
        self.set_addresses(service, client);
        self.set_port(2, port + PORT_SHIFT);
    }

    /// Puts an option behind the others.
    fn insert(&mut self, at: usize, option: &[u8]) {
        self.tcp.splice(at..at, option.iter().copied());
        self.tcp[tcp::DATA_OFFSET] += u8::try_from(option.len() / 4).unwrap() << 4;
    }

    /// A frame, with lengths and checksums computed.
    fn frame(mut self, [to, from]: [[u8; 6]; 2]) -> Vec<u8> {
        let segment_len = u16::try_from(self.tcp.len()).unwrap();
        self.tcp[tcp::CHECKSUM..tcp::CHECKSUM + 2].fill(0);
        let addresses = &self.ip[self.addresses()];
        let pseudo = [addresses, &[0, 6], &segment_len.to_be_bytes()].concat();
        let sum = checksum::full(0, &[&pseudo, &self.tcp[..]].concat());
        self.tcp[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&sum);
        let kind = if self.is_ipv6() {
            self.ip[4..6].copy_from_slice(&segment_len.to_be_bytes());
            eth::TYPE_IPV6
        } else {
            let len = u16::try_from(ipv4::LEN).unwrap() + segment_len;
            self.ip[2..4].copy_from_slice(&len.to_be_bytes());
            self.ip[10..12].fill(0);
            let sum = checksum::full(0, &self.ip);
            self.ip[10..12].copy_from_slice(&sum);
            eth::TYPE_IPV4
        };
        [&to[..], &from, &kind, &self.ip, &self.tcp].concat()
    }
}

/// The option that says who a client is.
pub(crate) fn option(client: SocketAddr) -> Vec<u8> {
    let port = client.port().to_be_bytes();
    let (kind, address) = match client.ip() {
        IpAddr::V4(v4) => (toa::KIND_V4, v4.octets().to_vec()),
        IpAddr::V6(v6) => (toa::KIND_V6, v6.octets().to_vec()),
    };
    let len = u8::try_from(4 + address.len()).unwrap();
    [&[kind, len][..], &port, &address].concat()
}
