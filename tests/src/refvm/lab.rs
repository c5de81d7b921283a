//! One director between a wire to clients and a wire to real servers.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rvs_netlink::{MacAddr, Netlink, Netns, Prefix};
use rvs_testkit::{Capture, Direction};
use rvs_wire::builder::{Ipv4, Payload};

use super::frames::{
    self, Address, DIRECTOR_CLIENT_MAC, DIRECTOR_CLIENT_SIDE, DIRECTOR_SERVER_MAC, DIRECTOR_SERVER_SIDE,
    HOSTS,
};
use super::tool::{Daemon, Ran, Tool};

/// How long a director may take for a frame.
const FRAME_LIMIT: Duration = Duration::from_secs(10);
/// Kernel parameters of a director's namespace: it forwards, it answers as often as it is asked, it makes no noise.
const PARAMETERS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_ratemask", "0"),
    ("net/ipv6/conf/all/disable_ipv6", "1"),
    ("net/ipv6/conf/default/disable_ipv6", "1"),
];
/// All addresses in it are the director's: each test has a virtual address of its own.
const VIPS: (Address, u8) = ([10, 0, 0, 1], 16);

/// What balances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// IPVS of the kernel.
    Ipvs,
    /// rvs, with its programs at this place (a value of `--attach`).
    Rvs(&'static str),
}

impl Kind {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ipvs => "IPVS",
            Self::Rvs(attach) => attach,
        }
    }
}

/// A wire of the director.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Clients,
    Servers,
}

/// What came out of a director.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) to_clients: Vec<Vec<u8>>,
    pub(crate) to_servers: Vec<Vec<u8>>,
}

impl Seen {
    pub(crate) fn describe(&self) -> String {
        let line = |side: &str, frame: &Vec<u8>| format!("  to {side}: {}\n", frames::describe(frame));
        let clients = self.to_clients.iter().map(|frame| line("clients", frame));
        let servers = self.to_servers.iter().map(|frame| line("servers", frame));
        let text: String = clients.chain(servers).collect();
        if text.is_empty() { "  nothing\n".to_owned() } else { text }
    }
}

/// What `ipvsadm` showed.
pub(crate) struct Shown {
    pub(crate) ran: Ran,
    /// Time since frames were sent, when it looked.
    pub(crate) age: Duration,
    /// How exactly the age is known.
    pub(crate) within: Duration,
}

/// One director and the wires to it. All labs have the same addresses.
pub(crate) struct Lab {
    /// First, so that it is dropped before its namespace.
    _daemon: Option<Daemon>,
    pub(crate) kind: Kind,
    pub(crate) tool: Tool,
    pub(crate) director: Netns,
    clients: Capture,
    servers: Capture,
    echoes: u16,
    /// When it was last sent frames.
    last: Instant,
    _outside: Netns,
}

impl Lab {
    pub(crate) fn new(kind: Kind, binary: &Path) -> Result<Self> {
        let director = Netns::create_unique("rvs-lab")?;
        let outside = Netns::create_unique("rvs-wire")?;
        for (path, value) in PARAMETERS {
            director.sysctl(path, value)?;
            outside.sysctl(path, value)?;
        }
        let mut netlink = director.netlink()?;
        connect(&mut netlink, &outside, "clients", DIRECTOR_CLIENT_SIDE, DIRECTOR_CLIENT_MAC)?;
        connect(&mut netlink, &outside, "servers", DIRECTOR_SERVER_SIDE, DIRECTOR_SERVER_MAC)?;
        let loopback = netlink.link("lo")?.index;
        netlink.add_address(loopback, prefix(VIPS.0, VIPS.1)?)?;
        let clients = Capture::open(&outside, "clients")?;
        let servers = Capture::open(&outside, "servers")?;
        let (tool, daemon) = match kind {
            Kind::Ipvs => (Tool::ipvsadm(), None),
            Kind::Rvs(attach) => {
                let socket = PathBuf::from(format!("/run/{}.sock", director.name()));
                let daemon = Daemon::start(binary, &director, &socket, attach)
                    .with_context(|| format!("rvs director --attach {attach}"))?;
                (Tool::rvs(binary, &socket), Some(daemon))
            }
        };
        Ok(Self {
            kind,
            tool,
            director,
            clients,
            servers,
            echoes: 0,
            last: Instant::now(),
            _daemon: daemon,
            _outside: outside,
        })
    }

    /// Runs `ipvsadm`, and says how long ago it was, then, that frames were sent.
    pub(crate) fn show(&self, args: &[&str]) -> Result<Shown> {
        let begun = Instant::now();
        let ran = self.tool.run(&self.director, args, "")?;
        let took = begun.elapsed();
        Ok(Shown { ran, age: self.last.elapsed().saturating_sub(took / 2), within: took })
    }

    /// Sends frames to the director, and answers what comes out until it has handled them.
    pub(crate) fn exchange(&mut self, from: Wire, sent: &[Vec<u8>]) -> Result<Seen> {
        self.last = Instant::now();
        for frame in sent {
            self.wire(from).send(frame)?;
        }
        self.echoes = self.echoes.wrapping_add(1);
        let echo = echo(from, self.echoes);
        self.wire(from).send(&echo)?;
        let mut seen = Seen::default();
        let deadline = Instant::now() + FRAME_LIMIT;
        while !self.collect(&mut seen, Duration::from_millis(1))? {
            if Instant::now() >= deadline {
                bail!(
                    "{}: the director does not answer; so far it sent\n{}",
                    self.kind.name(),
                    seen.describe()
                );
            }
        }
        Ok(seen)
    }

    /// Takes in what has come out, and waits a moment if there is nothing. True if the last echo came back.
    pub(crate) fn collect(&mut self, seen: &mut Seen, timeout: Duration) -> Result<bool> {
        let mut is_answered = false;
        for wire in [Wire::Clients, Wire::Servers] {
            while let Some(frame) = self.wire(wire).next(timeout)? {
                if frame.direction == Direction::Sent {
                    continue;
                }
                match echo_number(&frame.bytes) {
                    Some(number) => is_answered |= number == self.echoes,
                    None if wire == Wire::Clients => seen.to_clients.push(frame.bytes),
                    None => seen.to_servers.push(frame.bytes),
                }
            }
        }
        Ok(is_answered)
    }

    fn wire(&mut self, wire: Wire) -> &mut Capture {
        match wire {
            Wire::Clients => &mut self.clients,
            Wire::Servers => &mut self.servers,
        }
    }
}

fn prefix(address: Address, len: u8) -> Result<Prefix> {
    Prefix::new(address, len).with_context(|| format!("no prefix of {len} bits"))
}

/// A cable between the director and outside, where nobody has a stack.
fn connect(
    director: &mut Netlink,
    outside: &Netns,
    name: &str,
    address: Address,
    mac: [u8; 6],
) -> Result<()> {
    director.create_veth(name, name, outside)?;
    let link = director.link(name)?.index;
    director.set_mac(link, MacAddr(mac))?;
    director.add_address(link, prefix(address, 24)?)?;
    let mut peer = outside.netlink()?;
    let peer_link = peer.link(name)?.index;
    // With native XDP a frame is lost that is redirected to a veth whose other end has no GRO.
    outside.ethtool()?.set_gro(peer_link, true)?;
    peer.set_up(peer_link)?;
    director.set_up(link)?;
    for number in HOSTS {
        let host = [address[0], address[1], address[2], number];
        director.add_neighbour(link, IpAddr::from(host), MacAddr(frames::mac(host)))?;
    }
    Ok(())
}

/// What marks an echo request as ours.
const MARK: &[u8; 8] = b"handled?";

/// A question that the director's kernel answers when it has handled all before: packets of one wire keep their order.
fn echo(from: Wire, number: u16) -> Vec<u8> {
    let (host, director, mac) = match from {
        Wire::Clients => (frames::client(20), DIRECTOR_CLIENT_SIDE, DIRECTOR_CLIENT_MAC),
        Wire::Servers => (frames::server(20), DIRECTOR_SERVER_SIDE, DIRECTOR_SERVER_MAC),
    };
    let mut rest = vec![0, 1];
    rest.extend(number.to_be_bytes());
    rest.extend(MARK);
    Ipv4::new(host, director).frame(mac, frames::mac(host), &Payload::Icmp(8, 0, rest))
}

/// The number of the question that this frame answers.
fn echo_number(frame: &[u8]) -> Option<u16> {
    let message = frames::payload(frames::packet(frame));
    let is_answer = message.first() == Some(&0) && message.get(8..) == Some(MARK);
    let [a, b] = *message.get(6..)?.first_chunk()?;
    is_answer.then(|| u16::from_be_bytes([a, b]))
}
