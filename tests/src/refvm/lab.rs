//! One director between a wire to clients and a wire to real servers.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rvs_netlink::{MacAddr, Netlink, Netns, Prefix, Route, RouteKind};
use rvs_testkit::{Capture, Direction, wait_until};
use rvs_wire::builder::{Mac, Payload};

use super::frames::{
    self, DIRECTOR, DIRECTOR_CLIENT_MAC, DIRECTOR_SERVER_MAC, Family, GATEWAY, HOSTS, Head, remote_client,
};
use super::tool::{Daemon, Ran, Tool};

/// How long a director may take for a frame.
const FRAME_LIMIT: Duration = Duration::from_secs(10);
/// How long the kernel may take for a new address.
const ADDRESS_LIMIT: Duration = Duration::from_secs(10);
/// Kernel parameters of a director's namespace: it forwards, it answers as often as it is asked, it makes no noise.
const PARAMETERS: &[(&str, &str)] = &[
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/icmp_ratelimit", "0"),
    ("net/ipv4/icmp_ratemask", "0"),
    ("net/ipv6/icmp/ratelimit", "0"),
    // A label by a secret of the kernel's could not be compared.
    ("net/ipv6/auto_flowlabels", "0"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
    // No link-local addresses.
    ("net/ipv6/conf/default/addr_gen_mode", "1"),
];
/// And of what is outside, which has no stack.
const OUTSIDE: (&str, &str) = ("net/ipv6/conf/default/disable_ipv6", "1");
/// All addresses of IPv4 in it are the director's: each test has a virtual address of its own.
const VIPS: ([u8; 4], u8) = ([10, 0, 0, 1], 16);
/// Servers that are reached by a narrow way, and its MTU.
pub(crate) const NARROW: std::ops::RangeInclusive<u8> = 17..=18;
pub(crate) const NARROW_MTU: u16 = 1400;

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
    /// Why rvs passed on and dropped packets so far, for who reads about a difference.
    pub(crate) fn reasons(&self) -> String {
        let status = self.tool.command("status").run(&self.director, &["--drops"], "");
        let rows = status.map(|ran| ran.stdout).unwrap_or_default();
        let is_counted =
            |row: &&str| row.split_whitespace().next().is_some_and(|count| count.parse() != Ok(0_u64));
        rows.lines().filter(is_counted).map(|row| format!("  {row}\n")).collect()
    }

    pub(crate) fn new(kind: Kind, binary: &Path) -> Result<Self> {
        let director = Netns::create_unique("rvs-lab")?;
        let outside = Netns::create_unique("rvs-wire")?;
        for (path, value) in PARAMETERS {
            director.sysctl(path, value)?;
        }
        outside.sysctl(OUTSIDE.0, OUTSIDE.1)?;
        let mut netlink = director.netlink()?;
        let clients = connect(&director, &outside, Wire::Clients)?;
        for (family, len) in [(Family::V4, 15), (Family::V6, 96)] {
            let remote = Prefix::new(remote_client(family, 0), len).context("no prefix")?;
            netlink.add_route(&Route::to(remote).via(family.client(GATEWAY)).dev(clients))?;
        }
        let servers = connect(&director, &outside, Wire::Servers)?;
        for number in NARROW {
            for family in [Family::V4, Family::V6] {
                let server = Prefix::host(family.server(number));
                netlink.add_route(&Route::to(server).dev(servers).mtu(NARROW_MTU.into()))?;
            }
        }
        let loopback = netlink.link("lo")?.index;
        netlink.add_address(loopback, Prefix::new(VIPS.0, VIPS.1).context("no prefix")?)?;
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

    /// Sets some settings.
    pub(crate) fn set(&self, settings: &[(&str, u32)]) -> Result<()> {
        if self.kind == Kind::Ipvs {
            let mut settings = settings.iter();
            return settings.try_for_each(|(name, value)| {
                Ok(self.director.sysctl(&format!("net/ipv4/vs/{name}"), &value.to_string())?)
            });
        }
        let words: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = self.tool.command("sysctl").run(&self.director, &words, "")?;
        let line = |(name, value): &(&str, u32)| format!("net.ipv4.vs.{name} = {value}\n");
        let stdout = settings.iter().map(line).collect();
        let expected = Ran { status: Some(0), stdout, stderr: String::new() };
        ensure!(ran == expected, "rvs sysctl {words:?}: {ran:?}");
        Ok(())
    }

    /// Runs `ipvsadm`, and says how long ago it was, then, that frames were sent.
    pub(crate) fn show(&self, args: &[&str]) -> Result<Shown> {
        let begun = Instant::now();
        let ran = self.tool.run(&self.director, args, "")?;
        let took = begun.elapsed();
        Ok(Shown { ran, age: self.last.elapsed().saturating_sub(took / 2), within: took })
    }

    /// See [`Tool::mark`].
    pub(crate) fn mark(&self, to: std::net::IpAddr, mark: u32) -> Result<()> {
        self.tool.mark(&self.director, to, mark)
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
        // Mostly all is there already: the director handles frames as they are sent.
        let mut pause = Duration::ZERO;
        while !self.collect(&mut seen, pause)? {
            pause = Duration::from_millis(1);
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
                if frame.direction == Direction::Sent || is_chatter(&frame.bytes) {
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

impl Wire {
    const fn name(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Servers => "servers",
        }
    }

    /// Link address of the director on this wire.
    const fn director_mac(self) -> Mac {
        match self {
            Self::Clients => DIRECTOR_CLIENT_MAC,
            Self::Servers => DIRECTOR_SERVER_MAC,
        }
    }

    /// An address on this wire.
    const fn host(self, family: Family, number: u8) -> std::net::IpAddr {
        match self {
            Self::Clients => family.client(number),
            Self::Servers => family.server(number),
        }
    }

    const fn mac(self, number: u8) -> Mac {
        match self {
            Self::Clients => frames::client_mac(number),
            Self::Servers => frames::server_mac(number),
        }
    }
}

/// A cable between the director and outside, where nobody has a stack. Answers its number at the director.
fn connect(netns: &Netns, outside: &Netns, wire: Wire) -> Result<u32> {
    let mut director = netns.netlink()?;
    let name = wire.name();
    director.create_veth(name, name, outside)?;
    let link = director.link(name)?.index;
    director.set_mac(link, MacAddr(wire.director_mac()))?;
    // What its stack sends is compared with every checksum in it.
    netns.ethtool()?.set_tx_checksum(link, false)?;
    let mut peer = outside.netlink()?;
    let peer_link = peer.link(name)?.index;
    // With native XDP a frame is lost that is redirected to a veth whose other end has no GRO.
    outside.ethtool()?.set_gro(peer_link, true)?;
    peer.set_up(peer_link)?;
    director.set_up(link)?;
    for (family, len) in [(Family::V4, 24), (Family::V6, 64)] {
        let address = Prefix::new(wire.host(family, DIRECTOR), len).context("no prefix")?;
        add_address(&mut director, link, address)?;
        for number in HOSTS {
            director.add_neighbour(link, wire.host(family, number), MacAddr(wire.mac(number)))?;
        }
    }
    Ok(link)
}

/// Adds an address and waits until it can be used: one of IPv6 gets its local route a little later.
pub(crate) fn add_address(netlink: &mut Netlink, link: u32, address: Prefix) -> Result<()> {
    netlink.add_address(link, address)?;
    let is_local =
        || matches!(netlink.route_get(address.addr()), Ok(route) if route.kind == RouteKind::Local);
    Ok(wait_until("a new address can be used", ADDRESS_LIMIT, is_local)?)
}

/// Whether the director's stack talks to all neighbours that speak IPv6 (RFC 4861, RFC 3810), of itself.
fn is_chatter(frame: &[u8]) -> bool {
    frame.starts_with(&[0x33, 0x33])
}

/// What marks an echo request as ours.
const MARK: &[u8; 8] = b"handled?";

/// A question that the director's kernel answers when it has handled all before: packets of one wire keep their order.
fn echo(from: Wire, number: u16) -> Vec<u8> {
    let (host, director) = (from.host(Family::V4, 20), from.host(Family::V4, DIRECTOR));
    let mut rest = vec![0, 1];
    rest.extend(number.to_be_bytes());
    rest.extend(MARK);
    Head::new(host, director).frame(from.director_mac(), from.mac(20), &Payload::Icmp(8, 0, rest))
}

/// The number of the question that this frame answers.
fn echo_number(frame: &[u8]) -> Option<u16> {
    let message = frames::payload(frames::packet(frame));
    let is_answer = message.first() == Some(&0) && message.get(8..) == Some(MARK);
    let [a, b] = *message.get(6..)?.first_chunk()?;
    is_answer.then(|| u16::from_be_bytes([a, b]))
}
