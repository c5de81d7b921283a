//! Random histories: commands and packets by a seed, the same to IPVS and to rvs. Whatever leaves the director is compared,
//! so that the destination of each new connection is, and what was made of each packet. There is a test per scheduler;
//! family, protocol, methods, sizes, times to live and errors are by the seed.

use anyhow::{Context as _, Result};
use rvs_wire::builder::{Chunk, Payload, Sctp, Tcp, Udp};
use rvs_wire::sctp::chunk;
use rvs_wire::{sctp, tcp, udp};

use super::frames::{self, FIN_ACK, Family, Flow, Head, SYN_ACK, Trouble};
use super::lab::Wire;
use super::scene::{Scene, chosen};
use super::tests;
use super::world::{Part, Rule};

tests![random_rr, random_wrr, random_lc, random_wlc, random_sh];

/// Those of this version.
const SCHEDULERS: [&str; 5] = ["rr", "wrr", "lc", "wlc", "sh"];
/// Histories per scheduler.
const SEEDS: u64 = 20;
/// Steps of a history: each some commands, then some packets.
const STEPS: u64 = 4;

fn random_rr(scene: &mut Scene<'_>) -> Result<()> {
    histories(scene, "rr")
}

fn random_wrr(scene: &mut Scene<'_>) -> Result<()> {
    histories(scene, "wrr")
}

fn random_lc(scene: &mut Scene<'_>) -> Result<()> {
    histories(scene, "lc")
}

fn random_wlc(scene: &mut Scene<'_>) -> Result<()> {
    histories(scene, "wlc")
}

fn random_sh(scene: &mut Scene<'_>) -> Result<()> {
    histories(scene, "sh")
}

fn histories(scene: &mut Scene<'_>, scheduler: &str) -> Result<()> {
    let seeds = scene.seed.map_or(1..SEEDS + 1, |seed| seed..seed + 1);
    for seed in seeds {
        // The places take turns.
        scene.world.choose(Part::One(usize::try_from(seed)?));
        History::new(scheduler, seed).play(scene).with_context(|| {
            format!(
                "repeat with: RVS_BINARY=$PWD/target/release/rvs cargo xtask refvm -t 600 -- \
                 target/release/refvm-suite random_{scheduler} --seed {seed}"
            )
        })?;
    }
    Ok(())
}

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    const fn option(self) -> &'static str {
        match self {
            Self::Tcp => "-t",
            Self::Udp => "-u",
            Self::Sctp => "--sctp-service",
        }
    }

    /// Bytes of the shortest payload, of which SCTP's has a chunk of data.
    const fn header_len(self) -> usize {
        match self {
            Self::Tcp => tcp::LEN,
            Self::Udp => udp::LEN,
            Self::Sctp => sctp::LEN + sctp::CHUNK_LEN,
        }
    }

    /// What a packet can mean: flags, or the type of a chunk.
    const fn meanings(self) -> &'static [u8] {
        match self {
            Self::Tcp => &[tcp::ACK, tcp::ACK, FIN_ACK, FIN_ACK, tcp::RST, SYN_ACK],
            Self::Udp => &[0],
            Self::Sctp => &[
                chunk::INIT,
                chunk::INIT_ACK,
                chunk::COOKIE_ECHO,
                chunk::COOKIE_ECHO,
                chunk::COOKIE_ACK,
                chunk::SHUTDOWN,
                chunk::SHUTDOWN_ACK,
                chunk::SHUTDOWN_COMPLETE,
                chunk::ABORT,
            ],
        }
    }

    /// What begins a connection.
    const fn beginning(self) -> u8 {
        match self {
            Self::Tcp => tcp::SYN,
            Self::Udp => 0,
            Self::Sctp => chunk::INIT,
        }
    }

    /// A payload that means this and carries so many bytes.
    fn payload(self, (sport, dport): (u16, u16), meaning: u8, len: usize) -> Payload {
        let data = vec![0x5a; len];
        match self {
            Self::Tcp => Payload::Tcp(Tcp { data, ..Tcp::new(sport, dport, meaning) }),
            Self::Udp => Payload::Udp(Udp::new(sport, dport, &data)),
            Self::Sctp if len == 0 => Payload::Sctp(Sctp::new(sport, dport, &[meaning])),
            Self::Sctp => {
                let chunk = Chunk { value: data, ..Chunk::new(chunk::DATA) };
                Payload::Sctp(Sctp { chunks: vec![chunk], ..Sctp::new(sport, dport, &[]) })
            }
        }
    }
}

/// What servers get by which method, and whether by their address of the other family. By the number: IPVS keeps the route
/// of a destination that comes back with another method, and asks for the Ethernet address of the virtual address then.
const SERVERS: [(u8, &str, bool); 14] = [
    (2, "-m", false),
    (3, "-g", false),
    (4, "-i", false),
    (5, "-i --tun-type gue --tun-port 6080 --tun-nocsum", false),
    (6, "-i --tun-type gue --tun-port 6080 --tun-csum", false),
    (7, "-i --tun-type gre --tun-nocsum", false),
    (8, "-i --tun-type gre --tun-csum", false),
    (9, "-m", false),
    (10, "-i", true),
    (11, "-i --tun-type gue --tun-port 6080 --tun-remcsum", true),
    (12, "-i --tun-type gre --tun-csum", true),
    (13, "-i --tun-type gue --tun-port 6080 --tun-remcsum", false),
    (17, "-m", false),
    (18, "-g", false),
];

/// A connection of a history.
#[derive(Clone)]
struct Conn {
    flow: Flow,
    server: u8,
    /// The packet that the server got last.
    got: Vec<u8>,
}

struct History {
    scheduler: &'static str,
    family: Family,
    protocol: Protocol,
    port: u16,
    random: Random,
    dests: Vec<u8>,
    conns: Vec<Conn>,
}

impl History {
    fn new(scheduler: &str, seed: u64) -> Self {
        let index = SCHEDULERS.iter().position(|name| *name == scheduler).unwrap_or(0);
        // A port of its own: whatever is left of other histories belongs to other services.
        let port = 1000 * (u16::try_from(index).unwrap_or(0) + 1) + u16::try_from(seed % 1000).unwrap_or(0);
        let scheduler = SCHEDULERS[index];
        let mut random = Random::new(seed * 8 + u64::from(port) / 1000);
        let family = [Family::V4, Family::V6][random.index(2)];
        let protocol = [Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Sctp][random.index(4)];
        Self { scheduler, family, protocol, port, random, dests: Vec::new(), conns: Vec::new() }
    }

    fn play(mut self, scene: &mut Scene<'_>) -> Result<()> {
        scene.change_family(self.family)?;
        let options = match (self.scheduler, self.random.below(3)) {
            ("sh", 0) => " -b sh-port",
            ("sh", 1) => " -b sh-port,sh-fallback",
            _ => "",
        };
        let mut rules = format!("-C\n-A {} -s {}{options}\n", self.service(), self.scheduler);
        for _ in 0..=self.random.below(4) {
            rules += &self.add();
        }
        for step in 0..STEPS {
            scene.rules(&rules)?;
            self.packets(scene).with_context(|| format!("step {step}, after\n{}", scene.text(&rules)))?;
            rules = (0..self.random.below(4)).map(|_| self.edit()).collect();
        }
        scene.conns_to_port(self.port).map(drop)
    }

    fn service(&self) -> String {
        format!("{} VIP:{}", self.protocol.option(), self.port)
    }

    /// A command that adds a destination; none if there is none left.
    fn add(&mut self) -> String {
        let free =
            SERVERS.map(|(number, ..)| number).into_iter().filter(|number| !self.dests.contains(number));
        let free: Vec<u8> = free.collect();
        let Some(&number) = self.random.choose(&free) else { return String::new() };
        self.dests.push(number);
        self.command("-a", number)
    }

    fn command(&mut self, verb: &str, number: u8) -> String {
        let weight = [0, 1, 1, 2, 3, 5, 100][self.random.index(7)];
        let method = server(number).map_or("-m", |(_, method, _)| method);
        format!("{verb} {} -r {} {method} -w {weight}\n", self.service(), self.address(number))
    }

    fn address(&self, number: u8) -> String {
        let is_other = server(number).is_some_and(|(.., is_other)| is_other);
        let family = if is_other { self.family.other() } else { self.family };
        family.server(number).to_string()
    }

    /// A command that changes something.
    fn edit(&mut self) -> String {
        if self.dests.is_empty() {
            return self.add();
        }
        let index = self.random.index(self.dests.len());
        match self.random.below(10) {
            0..=2 => self.add(),
            3..=4 => {
                let number = self.dests.remove(index);
                format!("-d {} -r {}\n", self.service(), self.address(number))
            }
            5 => format!("-E {} -s {}\n", self.service(), self.scheduler),
            _ => self.command("-e", self.dests[index]),
        }
    }

    /// New connections one by one, packets of old ones, and errors about those.
    fn packets(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        for _ in 0..5 + self.random.below(8) {
            if self.conns.is_empty() || self.random.below(3) == 0 {
                self.begin(scene)?;
                continue;
            }
            let index = self.random.index(self.conns.len());
            let conn = self.conns[index].clone();
            let (from, frame) = match self.random.below(8) {
                0..=1 => (Wire::Servers, self.reply(&conn)),
                2 => (Wire::Clients, self.error_of_client(&conn)),
                3 => (Wire::Servers, self.error_of_server(&conn)),
                _ => (Wire::Clients, self.request(&conn.flow, None)),
            };
            let seen = scene.world.exchange(from, &[frame], Rule::Same)?;
            if let (Wire::Clients, [got]) = (from, seen.to_servers.as_slice()) {
                let is_message = frames::error(frames::innermost(frames::packet(got))).is_some();
                if !is_message {
                    self.conns[index].got = frames::packet(got).to_vec();
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, scene: &mut Scene<'_>) -> Result<()> {
        let flow = self.new_flow(scene);
        let frame = self.request(&flow, Some(self.protocol.beginning()));
        let seen = scene.world.exchange(Wire::Clients, &[frame], Rule::Same)?;
        if let ([server], [got]) = (&chosen(&seen)[..], seen.to_servers.as_slice()) {
            self.conns.push(Conn { flow, server: *server, got: frames::packet(got).to_vec() });
        }
        Ok(())
    }

    /// A packet of the client.
    fn request(&mut self, flow: &Flow, meaning: Option<u8>) -> Vec<u8> {
        let payload = self.payload((flow.cport, flow.vport), meaning, true);
        flow.frame(&self.head(flow.ip(), &payload), payload)
    }

    /// A packet of the server, by its address of the clients' family.
    fn reply(&mut self, conn: &Conn) -> Vec<u8> {
        let payload = self.payload((self.port, conn.flow.cport), None, false);
        let replies = conn.flow.at(conn.server, self.port);
        replies.frame(&self.head(replies.ip(), &payload), payload)
    }

    fn payload(&mut self, ports: (u16, u16), meaning: Option<u8>, may_be_long: bool) -> Payload {
        let meanings = self.protocol.meanings();
        let meaning = meaning.unwrap_or(meanings[self.random.index(meanings.len())]);
        let headers = self.family.header_len() + self.protocol.header_len();
        let len = match self.random.below(4) {
            // Where some way or other begins to be too narrow.
            0 if may_be_long => {
                let most = [1500, 1400][self.random.index(2)];
                most - headers
                    - [0, 0, 3, 4, 8, 12, 20, 24, 28, 32, 40, 44, 48, 52, 56][self.random.index(15)]
            }
            1 => 1 + self.random.index(64),
            _ => 0,
        };
        self.protocol.payload(ports, meaning, len)
    }

    /// The header for a payload: one that may be too big is not to be fragmented, as rvs does not do that.
    fn head(&mut self, head: Head, payload: &Payload) -> Head {
        let ttl = if self.random.below(6) == 0 { 1 + self.random.below(3).to_le_bytes()[0] } else { 64 };
        let tos = [0, 0xb9, 3, 0x48][self.random.index(4)];
        let is_long = head.packet(payload).len() > 1000;
        let dont_fragment = is_long || self.random.below(2) == 0;
        Head { ttl, tos, dont_fragment, ..head }
    }

    /// An error of the client about what the service sent.
    fn error_of_client(&mut self, conn: &Conn) -> Vec<u8> {
        let Flow { vport, cport, .. } = conn.flow;
        let trouble = self.trouble();
        let payload = self.payload((vport, cport), None, false);
        conn.flow.error(trouble, &payload)
    }

    /// An error about what the server got: its own or of a router before it, to the one whose address stands there.
    fn error_of_server(&mut self, conn: &Conn) -> Vec<u8> {
        let is_tunnel = frames::tunnelled(&conn.got).is_some();
        let outer = frames::family(&conn.got).unwrap_or(Family::V4);
        let (to, _) = frames::addresses(&conn.got).unwrap_or((conn.flow.cip, conn.flow.vip));
        let host = conn.flow.at(conn.server, 0).to(to);
        let from = [conn.server, 20][self.random.index(2)];
        // Of tunnels, those of IPv4 in IPv4; and they keep no state of how wide a way is.
        let trouble = match (is_tunnel, self.trouble()) {
            (true, _) if outer == Family::V6 || self.family == Family::V6 => return self.reply(conn),
            (true, Trouble::TooBig(_)) => Trouble::Protocol,
            (_, trouble) => trouble,
        };
        let len = [conn.got.len(), 128].into_iter().min().unwrap_or_default();
        host.error(from, trouble, &conn.got[..len])
    }

    fn trouble(&mut self) -> Trouble {
        [Trouble::Port, Trouble::Protocol, Trouble::Time, Trouble::TooBig(1300)][self.random.index(4)]
    }

    fn new_flow(&mut self, scene: &Scene<'_>) -> Flow {
        let ports = u16::try_from(self.conns.len()).unwrap_or(0);
        let client = 2 + u8::try_from(self.random.below(8)).unwrap_or(0);
        let cport = 20000 + ports * 8 + u16::try_from(self.random.below(8)).unwrap_or(0);
        scene.flow(self.port).with_client(client).with_client_port(cport)
    }
}

fn server(number: u8) -> Option<(u8, &'static str, bool)> {
    SERVERS.into_iter().find(|&(it, ..)| it == number)
}

/// Numbers by a seed (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end.max(1)
    }

    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(u64::try_from(len).unwrap_or(1))).unwrap_or(0)
    }

    fn choose<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.index(of.len()))
    }
}
