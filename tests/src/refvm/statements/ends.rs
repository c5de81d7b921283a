//! Real ends, beyond §13: sockets of SCTP, IPsec between client and server, and the kernel's own other ends of tunnels, all of
//! the reference kernel, since the one of the other tests need not have them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rvs_netlink::Netns;
use rvs_testkit::wait_until;

use super::super::links::{Family, LIMIT, Layer, Method, PORT, Rig, Tags, Uplink, echoes, ip};
use super::super::scene::Scene;
use super::super::tests;

tests![real_ends_under_tc, real_ends_under_xdp];

const MODULES: [&str; 10] =
    ["sctp", "esp4", "esp6", "xfrm_user", "ipip", "sit", "ip6_tunnel", "ip_gre", "ip6_gre", "fou6"];
/// Bytes that SCTP carries each way.
const ECHOED: usize = 20_000;
/// The port of the exchange of keys.
const KEYS: u16 = 500;
/// What tells how servers' ends are made.
const TUNNELS: &str = include_str!("../../../../docs/tunnels.md");
/// The addresses there, of each family.
const SHOWN_SERVERS: [&str; 2] = ["10.0.0.11", "2001:db8:10::11"];
const SHOWN_VIPS: [&str; 2] = ["192.0.2.20", "2001:db8:2::20"];
/// Strict or not, of all the server's devices; a device of its own can be less strict.
const FILTER: &str = "net/ipv4/conf/all/rp_filter";
/// Keys of both directions' encryption and authentication: nobody is to be kept from reading.
const SEALED: &str = "enc cbc(aes) 0x000102030405060708090a0b0c0d0e0f \
                      auth-trunc hmac(sha256) 0x000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f 128";

fn real_ends_under_tc(_: &mut Scene<'_>) -> Result<()> {
    real_ends("tc")
}

fn real_ends_under_xdp(_: &mut Scene<'_>) -> Result<()> {
    real_ends("xdp")
}

fn real_ends(attach: &str) -> Result<()> {
    let modprobe = Command::new("modprobe").arg("-a").args(MODULES).status()?;
    ensure!(modprobe.success(), "modprobe -a {}: {modprobe}", MODULES.join(" "));
    let rig = Rig::new(attach, Uplink::Cable, Tags::Aside)?;
    // Without: what leaves without its checksum (docs/tunnels.md) is refused by an end that insists on one.
    if attach == "tc" {
        let clients = rig.director.netlink()?.link("clients")?.index;
        rig.director.ethtool()?.set_gro(clients, false)?;
    }
    let mut numbers = 50..;
    let mut vip = |family: Family| family.virtual_address(numbers.next().unwrap_or(u8::MAX));
    for family in Family::ALL {
        for method in Method::ALL {
            sctp(&rig, family, method, vip(family))
                .with_context(|| format!("SCTP, {family:?}, {method:?}"))?;
        }
        for method in [Method::Nat, Method::Dr] {
            ipsec(&rig, family, method, vip(family))
                .with_context(|| format!("ESP, {family:?}, {method:?}"))?;
        }
        // A server as most distributions have it. The filter is in the way of packets whose answers leave elsewhere.
        rig.server.sysctl(FILTER, "1")?;
        for outer in Family::ALL {
            for tunnel in Tunnel::ALL {
                let about = || format!("{tunnel:?} of {outer:?} around {family:?}");
                through(&rig, (family, outer), tunnel, vip(family)).with_context(about)?;
            }
        }
        rig.server.sysctl(FILTER, "0")?;
    }
    Ok(())
}

/// Makes a service with one server.
fn add(rig: &Rig, service: &str, server: &str, options: &str) -> Result<()> {
    let lines = format!("-A {service} -s rr\n-a {service} -r {server} {options}\n");
    let ran = rig.tool.run(&rig.director, &["-R"], &lines)?;
    ensure!(ran.status == Some(0), "ipvsadm -R of {lines}: {ran:?}");
    Ok(())
}

/// The address by which the server knows itself as that of a service; it can be bound to.
fn own(rig: &Rig, family: Family, method: Method, vip: IpAddr) -> Result<IpAddr> {
    if method != Method::Dr {
        return Ok(family.server());
    }
    ip(&rig.server, &format!("{} addr add {vip} dev lo", family.option()))?;
    Ok(vip)
}

/// A program, until it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn socat(netns: &Netns, from: &str, to: &str) -> Result<Running> {
    let mut command = Command::new("socat");
    command.args(["-t", "0.1", from, to]).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(Running(netns.spawn(&mut command)?))
}

/// An association over which bytes go there and back.
fn sctp(rig: &Rig, family: Family, method: Method, vip: IpAddr) -> Result<()> {
    let service = SocketAddr::new(vip, PORT);
    let server = SocketAddr::new(family.server(), PORT);
    add(rig, &format!("--sctp-service {service}"), &server.to_string(), method.option())?;
    rig.route(family, vip, Layer::Untagged)?;
    let version = if family == Family::V4 { 4 } else { 6 };
    let bracketed = |address: IpAddr| {
        if address.is_ipv4() { address.to_string() } else { format!("[{address}]") }
    };
    let at = bracketed(own(rig, family, method, vip)?);
    let listener = socat(&rig.server, &format!("SCTP{version}-LISTEN:{PORT},bind={at},fork"), "PIPE")?;
    let listens =
        || fs::read_to_string("/proc/thread-self/net/sctp/eps").is_ok_and(|table| table.lines().count() > 1);
    wait_until("socat listens", LIMIT, || rig.server.enter(listens).unwrap_or(false))?;
    let from = bracketed(family.client());
    let mut client = socat(&rig.client, "STDIO", &format!("SCTP{version}-CONNECT:{service},bind={from}"))?;
    let sent: Vec<u8> = (0..=250).cycle().take(ECHOED).collect();
    let (mut stdin, mut stdout) =
        (client.0.stdin.take().context("no input")?, client.0.stdout.take().context("no output")?);
    stdin.write_all(&sent)?;
    let mut received = vec![0; ECHOED];
    stdout.read_exact(&mut received).context("the echo ended early")?;
    ensure!(received == sent, "other bytes came back");
    drop((client, listener));
    // The next one's listener is not to be taken for there.
    wait_until("socat ended", LIMIT, || rig.server.enter(|| !listens()).unwrap_or(false))?;
    Ok(())
}

/// A connection within IPsec's tunnel, after an exchange of keys; the server has no other way to the client's inner address.
fn ipsec(rig: &Rig, family: Family, method: Method, vip: IpAddr) -> Result<()> {
    let service = SocketAddr::new(vip, KEYS);
    let server = SocketAddr::new(family.server(), KEYS);
    add(rig, &format!("-u {service}"), &server.to_string(), method.option())?;
    rig.route(family, vip, Layer::Untagged)?;
    let (client, own) = (family.client(), own(rig, family, method, vip)?);
    let keys = rig.server.enter(|| UdpSocket::bind((own, KEYS)))??;
    keys.set_read_timeout(Some(LIMIT))?;
    let asks = rig.client.enter(|| UdpSocket::bind((client, KEYS)))??;
    asks.send_to(b"keys", service)?;
    keys.recv_from(&mut [0; 16]).context("the exchange of keys")?;
    let [inner_client, inner_server] = family.inner();
    let ends = [
        (&rig.client, [client, vip], [inner_client, inner_server], [1, 2]),
        (&rig.server, [own, client], [inner_server, inner_client], [2, 1]),
    ];
    for (netns, [here, there], [inside, outside], [out, back]) in ends {
        let option = family.option();
        ip(netns, &format!("{option} addr add {inside} dev lo"))?;
        for (from, to, spi) in [(here, there, out), (there, here, back)] {
            ip(
                netns,
                &format!("xfrm state add src {from} dst {to} proto esp spi {spi} mode tunnel {SEALED}"),
            )?;
        }
        let policies = [("out", [inside, outside], [here, there]), ("in", [outside, inside], [there, here])];
        for (dir, [from, to], [near, far]) in policies {
            let template = format!("tmpl src {near} dst {far} proto esp mode tunnel");
            ip(netns, &format!("{option} xfrm policy add src {from} dst {to} dir {dir} {template}"))?;
        }
    }
    let option = family.option();
    ip(&rig.client, &format!("{option} route replace {inner_server} dev clients src {inner_client}"))?;
    let result = rig.client.enter(|| echoes(SocketAddr::new(inner_server, PORT)))?;
    for (netns, _, [inside, _], _) in ends {
        ip(netns, "xfrm policy flush")?;
        ip(netns, "xfrm state flush")?;
        ip(netns, &format!("{} addr del {inside} dev lo", family.option()))?;
    }
    result
}

/// What the kernel ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tunnel {
    Ipip,
    Gre,
    /// The server refuses what has no checksum.
    GreSummed,
    Gue,
    GueSummed,
}

impl Tunnel {
    const ALL: [Self; 5] = [Self::Ipip, Self::Gre, Self::GreSummed, Self::Gue, Self::GueSummed];

    const fn options(self) -> &'static str {
        match self {
            Self::Ipip => "-i",
            Self::Gre => "-i --tun-type gre",
            Self::GreSummed => "-i --tun-type gre --tun-csum",
            Self::Gue => "-i --tun-type gue --tun-port 6080 --tun-nocsum",
            Self::GueSummed => "-i --tun-type gue --tun-port 6080 --tun-csum",
        }
    }

    const fn is_gue(self) -> bool {
        matches!(self, Self::Gue | Self::GueSummed)
    }

    /// The kind of the device of the other end.
    const fn kind(self, family: Family, outer: Family) -> &'static str {
        match (self, family, outer) {
            (Self::Gre | Self::GreSummed, _, Family::V4) => "gre",
            (Self::Gre | Self::GreSummed, _, Family::V6) => "ip6gre",
            (_, Family::V4, Family::V4) => "ipip",
            (_, Family::V6, Family::V4) => "sit",
            (_, _, Family::V6) => "ip6tnl",
        }
    }
}

/// The section on the server's end, from its heading on.
fn section() -> Result<&'static str> {
    Ok(TUNNELS.split_once("## The other end on the server").context("no section")?.1)
}

/// The only command in the section's text that begins so and holds that word.
fn shown(begin: &str, word: &str) -> Result<&'static str> {
    let code = section()?.split("```").next().unwrap_or_default().split('`').skip(1).step_by(2);
    let mut found = code.filter(|code| code.starts_with(begin) && code.split(' ').any(|part| part == word));
    let command = found.next().with_context(|| format!("{begin} … {word}: not shown"))?;
    ensure!(found.all(|other| other == command), "{begin} … {word}: shown in two ways");
    Ok(command)
}

/// The commands that make the server's end, as the document shows them, at this server and for this virtual address.
fn commands((family, outer): (Family, Family), tunnel: Tunnel, vip: IpAddr) -> Result<Vec<String>> {
    let mut commands = vec![shown("ip link add end type", tunnel.kind(family, outer))?.to_owned()];
    if tunnel == Tunnel::GreSummed {
        commands[0].push_str(" icsum");
    }
    if tunnel.is_gue() {
        commands.push(fou(outer)?.to_owned());
    }
    let (_, block) = section()?.split_once("```sh\n").context("no block")?;
    let (block, _) = block.split_once("```").context("no end of the block")?;
    commands.extend(block.lines().map(str::to_owned));
    let other = if family == Family::V4 { SHOWN_VIPS[1] } else { SHOWN_VIPS[0] };
    commands.retain(|line| !line.contains(other));
    for line in &mut commands {
        for (shown, real) in SHOWN_SERVERS.into_iter().zip(Family::ALL.map(Family::server)) {
            *line = line.replace(shown, &real.to_string());
        }
        for shown in SHOWN_VIPS {
            *line = line.replace(shown, &vip.to_string());
        }
    }
    Ok(commands)
}

/// The command for GUE's port.
fn fou(outer: Family) -> Result<&'static str> {
    if outer == Family::V6 { shown("ip fou add", "-6") } else { shown("ip fou add port 6080 gue", "gue") }
}

/// A connection through a tunnel, whose segments have to become smaller.
fn through(rig: &Rig, (family, outer): (Family, Family), tunnel: Tunnel, vip: IpAddr) -> Result<()> {
    let service = SocketAddr::new(vip, PORT);
    let server = SocketAddr::new(outer.server(), PORT);
    add(rig, &format!("-t {service}"), &server.to_string(), tunnel.options())?;
    rig.route(family, vip, Layer::Untagged)?;
    let script = commands((family, outer), tunnel, vip)?.join("\n");
    let made = rig.server.output(Command::new("sh").args(["-euc", &script]))?;
    ensure!(made.status.success(), "{script}\n{}", String::from_utf8_lossy(&made.stderr));
    let result = rig.client.enter(|| echoes(service))?;
    if tunnel.is_gue() {
        ip(&rig.server, &fou(outer)?.replacen("ip fou add", "fou del", 1).replace(" gue", ""))?;
    }
    ip(&rig.server, "link del end")?;
    result.with_context(|| script)
}
