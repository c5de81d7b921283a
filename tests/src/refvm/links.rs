//! A client, a director of rvs and a real server with stacks of their own, on cables that carry untagged frames, a VLAN and
//! a VLAN within another; or, towards the client, on two cables that are one bond.
//!
//! IPVS balances what the stack has received, by whatever device that was: what is to be seen here is that connections
//! begin and end, and that every byte arrives.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rvs_netlink::Netns;

use super::tool::{Daemon, Tool};

/// How long a connection may take to begin, and then to bring the next bytes.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);
/// Bytes that go each way: several windows.
const LEN: usize = 100_000;
/// The port of all services, and of the server.
pub(crate) const PORT: u16 = 7000;
/// Modules of the kernel: VLANs and bonds.
const MODULES: [&str; 2] = ["8021q", "bonding"];
/// Of all namespaces: packets may come from anywhere, addresses can be used at once.
const PARAMETERS: [(&str, &str); 6] = [
    ("net/ipv4/conf/all/rp_filter", "0"),
    ("net/ipv4/conf/default/rp_filter", "0"),
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv6/conf/all/forwarding", "1"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
];
/// The routing table of virtual addresses' replies that go past the director, and the first one of those that don't.
const PAST: u8 = 10;
const THROUGH: u8 = 20;

/// How a cable's frames are marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layer {
    /// Not at all.
    Untagged,
    /// By one tag (IEEE 802.1Q).
    Vlan,
    /// By two (IEEE 802.1ad).
    InVlan,
}

impl Layer {
    pub(crate) const ALL: [Self; 3] = [Self::Untagged, Self::Vlan, Self::InVlan];

    /// The device of that layer on top of another.
    fn device(self, lower: &str) -> String {
        let tags = ["", ".100", ".200.7"];
        format!("{lower}{}", tags[self as usize])
    }
}

/// A family's notation: `ip`'s option, and the length of a network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const ALL: [Self; 2] = [Self::V4, Self::V6];

    fn address(self, side: u8, layer: Layer, host: u8) -> IpAddr {
        let layer = layer as u8;
        match self {
            Self::V4 => [10, side, layer, host].into(),
            Self::V6 => Ipv6Addr::new(0xfd00, side.into(), layer.into(), 0, 0, 0, 0, host.into()).into(),
        }
    }

    const fn prefix_len(self) -> u8 {
        if matches!(self, Self::V4) { 24 } else { 64 }
    }

    /// The virtual address of a way between two layers.
    fn vip(self, way: Way) -> IpAddr {
        let Way { method, client, server, .. } = way;
        let number = 100 + 10 * method as u8 + 3 * client as u8 + server as u8;
        match self {
            Self::V4 => [10, VIRTUAL, 0, number].into(),
            Self::V6 => Ipv6Addr::new(0xfd00, VIRTUAL.into(), 0, 0, 0, 0, 0, number.into()).into(),
        }
    }

    /// All virtual addresses.
    fn vips(self) -> &'static str {
        if self == Self::V4 { "10.3.0.0/24" } else { "fd00:3::/64" }
    }

    pub(crate) fn option(self) -> &'static str {
        if self == Self::V4 { "-4" } else { "-6" }
    }

    /// A virtual address that is nobody else's.
    pub(crate) fn virtual_address(self, number: u8) -> IpAddr {
        self.address(VIRTUAL, Layer::Untagged, number)
    }

    /// The addresses on the untagged cables.
    pub(crate) fn client(self) -> IpAddr {
        self.address(CLIENTS, Layer::Untagged, CLIENT)
    }

    pub(crate) fn server(self) -> IpAddr {
        self.address(SERVERS, Layer::Untagged, SERVER)
    }

    /// Addresses of client and server that no cable has.
    pub(crate) fn inner(self) -> [IpAddr; 2] {
        [CLIENT, SERVER].map(|host| self.address(INNER, Layer::Untagged, host))
    }
}

/// The second part of addresses, by where they are.
const CLIENTS: u8 = 1;
const SERVERS: u8 = 2;
const VIRTUAL: u8 = 3;
const AROUND: u8 = 9;
const INNER: u8 = 77;
/// The last part, by who has them.
const DIRECTOR: u8 = 1;
const CLIENT: u8 = 10;
const SERVER: u8 = 11;

/// Forwarding methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Nat,
    FullNat,
    Dr,
}

impl Method {
    pub(crate) const ALL: [Self; 3] = [Self::Nat, Self::FullNat, Self::Dr];

    pub(crate) const fn option(self) -> &'static str {
        match self {
            Self::Nat => "-m",
            Self::FullNat => "--fullnat",
            Self::Dr => "-g",
        }
    }
}

/// The way of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) family: Family,
    pub(crate) method: Method,
    pub(crate) client: Layer,
    pub(crate) server: Layer,
}

/// Where the tags are that a cable's frames come with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tags {
    /// Beside the frame, as cards hand them in that take them out.
    Aside,
    /// In it.
    InFrames,
}

/// What the cable to the client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Uplink {
    Cable,
    /// Two of them, of which one is in use.
    Bond,
}

/// What a test stands on.
pub(crate) struct Rig {
    /// First, so that it is dropped before its namespace.
    _daemon: Daemon,
    pub(crate) tool: Tool,
    pub(crate) client: Netns,
    pub(crate) director: Netns,
    pub(crate) server: Netns,
}

impl Rig {
    /// With the director's programs at that place (a value of `--attach`).
    pub(crate) fn new(attach: &str, uplink: Uplink, tags: Tags) -> Result<Self> {
        let modprobe = Command::new("modprobe").arg("-a").args(MODULES).status()?;
        ensure!(modprobe.success(), "modprobe -a {}: {modprobe}", MODULES.join(" "));
        let [client, director, server] = [(); 3].map(|()| Netns::create_unique("rvs-links"));
        let (client, director, server) = (client?, director?, server?);
        for netns in [&client, &director, &server] {
            PARAMETERS.iter().try_for_each(|(path, value)| netns.sysctl(path, value))?;
        }
        match uplink {
            Uplink::Cable => cable(&director, "clients", &client)?,
            Uplink::Bond => {
                bond(&director)?;
                bond(&client)?;
                for port in BOND_PORTS {
                    cable(&director, port, &client)?;
                    for netns in [&director, &client] {
                        ip(netns, &format!("link set {port} down"))?;
                        ip(netns, &format!("link set {port} master clients"))?;
                    }
                }
            }
        }
        cable(&director, "servers", &server)?;
        cable(&server, "around", &client)?;
        if tags == Tags::InFrames {
            for (netns, name) in [(&client, "clients"), (&server, "servers")] {
                let index = netns.netlink()?.link(name)?.index;
                netns.ethtool()?.set_features(index, &[("tx-vlan-hw-insert", false)])?;
            }
        }
        let netns = [&client, &director, &server];
        for family in Family::ALL {
            let around =
                |host| format!("{}/{}", family.address(AROUND, Layer::Untagged, host), family.prefix_len());
            ip(&client, &format!("addr add {} dev around", around(CLIENT)))?;
            ip(&server, &format!("addr add {} dev around", around(SERVER)))?;
        }
        for layer in Layer::ALL {
            stack(netns, layer)?;
        }
        let binary = std::env::var_os("RVS_BINARY").context("RVS_BINARY does not say where rvs is")?;
        let binary: &Path = binary.as_ref();
        let socket = PathBuf::from(format!("/run/{}.sock", director.name()));
        let daemon = Daemon::start(binary, &director, &socket, attach)?;
        serve(&server)?;
        Ok(Self { _daemon: daemon, tool: Tool::rvs(binary, &socket), client, director, server })
    }

    /// Makes a service for each of those ways.
    pub(crate) fn add(&self, ways: &[Way]) -> Result<()> {
        let lines = ways.iter().map(|way| {
            let service = SocketAddr::new(way.family.vip(*way), PORT);
            let server = SocketAddr::new(way.family.address(SERVERS, way.server, SERVER), PORT);
            format!("-A -t {service} -s rr\n-a -t {service} -r {server} {}\n", way.method.option())
        });
        let ran = self.tool.run(&self.director, &["-R"], &lines.collect::<String>())?;
        ensure!(ran.status == Some(0), "ipvsadm -R: {ran:?}");
        Ok(())
    }

    /// Bytes there and back again by that way.
    pub(crate) fn exchange(&self, way: Way) -> Result<()> {
        let service = SocketAddr::new(way.family.vip(way), PORT);
        self.route(way.family, service.ip(), way.client)?;
        self.client.enter(|| echoes(service))?.with_context(|| format!("{way:?}"))
    }

    /// Makes the client reach an address by way of the director. Which of its addresses it has then is the layer's.
    pub(crate) fn route(&self, family: Family, to: IpAddr, layer: Layer) -> Result<()> {
        let gateway = family.address(CLIENTS, layer, DIRECTOR);
        ip(&self.client, &format!("{} route replace {to} via {gateway}", family.option()))
    }

    /// Takes a cable of the bond away, or gives it back.
    pub(crate) fn set_port(&self, port: &str, state: &str) -> Result<()> {
        ip(&self.client, &format!("link set {port} {state}"))
    }

    /// How a device is attached, as `rvs status` says.
    pub(crate) fn attached(&self, device: &str) -> Result<String> {
        let ran = self.tool.command("status").run(&self.director, &[], "")?;
        let mut rows = ran.stdout.lines().map(|line| line.split_whitespace());
        let row = rows.find_map(|mut row| if row.next() == Some(device) { row.next() } else { None });
        Ok(row.with_context(|| format!("no {device} in {ran:?}"))?.to_owned())
    }

    /// How many packets were passed on because of a tag, as `rvs status --drops` says.
    pub(crate) fn tagged(&self) -> Result<u64> {
        let ran = self.tool.command("status").run(&self.director, &["--drops"], "")?;
        let mut rows = ran.stdout.lines().map(|line| line.split_whitespace());
        let row = rows.find_map(|mut row| row.next().filter(|_| row.next() == Some("vlan")));
        Ok(row.with_context(|| format!("no vlan in {ran:?}"))?.parse()?)
    }
}

/// The cables of the bond.
pub(crate) const BOND_PORTS: [&str; 2] = ["cable1", "cable2"];

/// Makes a bond that uses one of its cables, and sees within a tenth of a second when that is gone.
fn bond(netns: &Netns) -> Result<()> {
    ip(netns, "link add clients type bond mode active-backup miimon 50")?;
    ip(netns, "link set clients up")
}

/// A cable of that name at both ends, ready for XDP at the first.
fn cable(netns: &Netns, name: &str, other: &Netns) -> Result<()> {
    netns.netlink()?.create_veth(name, name, other)?;
    for end in [netns, other] {
        let index = end.netlink()?.link(name)?.index;
        let mut ethtool = end.ethtool()?;
        ethtool.set_tx_checksum(index, false)?;
        ethtool.set_gro(index, true)?;
        ip(end, &format!("link set {name} up"))?;
    }
    Ok(())
}

/// Makes the devices of a layer on both cables, their networks and the ways back.
fn stack([client, director, server]: [&Netns; 3], layer: Layer) -> Result<()> {
    let ends = [
        (client, "clients", CLIENTS, CLIENT),
        (director, "clients", CLIENTS, DIRECTOR),
        (director, "servers", SERVERS, DIRECTOR),
        (server, "servers", SERVERS, SERVER),
    ];
    for (netns, lower, side, host) in ends {
        let device = layer.device(lower);
        match layer {
            Layer::Untagged => {}
            Layer::Vlan => ip(netns, &format!("link add link {lower} name {device} type vlan id 100"))?,
            Layer::InVlan => {
                let outer = format!("{lower}.200");
                ip(netns, &format!("link add link {lower} name {outer} type vlan proto 802.1ad id 200"))?;
                ip(netns, &format!("link set {outer} up"))?;
                // A cable takes one tag more than its MTU says, not two.
                ip(netns, &format!("link add link {outer} name {device} mtu 1496 type vlan id 7"))?;
            }
        }
        ip(netns, &format!("link set {device} up"))?;
        for family in Family::ALL {
            let address = family.address(side, layer, host);
            ip(netns, &format!("addr add {address}/{} dev {device}", family.prefix_len()))?;
        }
    }
    for family in Family::ALL {
        ways_back(server, layer, family)?;
    }
    Ok(())
}

/// What the server sends from a virtual address goes past the director; from its own address, back to the director as it came.
fn ways_back(server: &Netns, layer: Layer, family: Family) -> Result<()> {
    let ip = |command: &str| ip(server, &format!("{} {command}", family.option()));
    let own = family.address(SERVERS, layer, SERVER);
    let director = family.address(SERVERS, layer, DIRECTOR);
    let table = THROUGH + layer as u8;
    ip(&format!("rule add from {own} lookup {table}"))?;
    ip(&format!("route add default via {director} table {table}"))?;
    if layer == Layer::Untagged {
        ip(&format!("route add local {} dev lo", family.vips()))?;
        let client = family.address(AROUND, Layer::Untagged, CLIENT);
        ip(&format!("rule add from {} lookup {PAST}", family.vips()))?;
        ip(&format!("route add default via {client} table {PAST}"))?;
        // Before one answers, a route to the client there must be.
        ip(&format!("route add default via {client}"))?;
    }
    Ok(())
}

/// Runs `ip` in a namespace.
pub(crate) fn ip(netns: &Netns, command: &str) -> Result<()> {
    let output = netns.output(Command::new("ip").args(command.split_whitespace()))?;
    if !output.status.success() {
        bail!("ip {command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Sends back what clients send.
fn serve(server: &Netns) -> Result<()> {
    let listener = server.enter(|| TcpListener::bind((Ipv6Addr::UNSPECIFIED, PORT)))??;
    // It ends with the process.
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            thread::spawn(move || {
                let mut bytes = Vec::new();
                let read = stream.set_read_timeout(Some(LIMIT)).and_then(|()| stream.read_to_end(&mut bytes));
                // The client sees what is missing.
                read.and_then(|_| stream.write_all(&bytes)).ok();
            });
        }
    });
    Ok(())
}

/// Sends bytes over a connection and sees that they come back.
pub(crate) fn echoes(service: SocketAddr) -> Result<()> {
    let sent: Vec<u8> = (0..=250).cycle().take(LEN).collect();
    let mut stream = TcpStream::connect_timeout(&service, LIMIT).context("connect")?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    stream.write_all(&sent).context("send")?;
    stream.shutdown(Shutdown::Write)?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received).context("receive")?;
    ensure!(received == sent, "{} of {LEN} bytes came back, or others", received.len());
    Ok(())
}
