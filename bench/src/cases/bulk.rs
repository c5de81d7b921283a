//! Bulk traffic: one TCP stream through the director beside one that the kernel forwards, over the same cables. The client
//! sends, so it is large segments that are rewritten or put into a tunnel.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rvs_config::{ForwardingMethod, Protocol, ServiceKey};
use rvs_dataplane::AttachMode;
use rvs_dataplane::agent::{Decap, DecapMode, DecapOptions, attach_decap};
use rvs_testkit::{Cluster, Neighbours, Offloads, Replies, wait_until};

use crate::measure::Series;
use crate::report::{Line, Report};
use crate::rig::{DataPlane, add_destination, add_service};
use crate::{Options, interrupt};

pub(super) const NAME: &str = "bulk";
/// The target: so much of what kernel forwarding does.
const TARGET: f64 = 0.9;
/// Segments of all streams, in bytes: they fit into a tunnel.
const MSS: &str = "1400";
/// Port of the service and of the server.
const PORT: u16 = 5201;
/// Connections that the table is made for.
const CONNS: u32 = 1 << 16;
/// How long the server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(5);

/// What a hook needs of the hosts, and what the kernel's forwarding is measured with beside it.
#[derive(Debug, Clone, Copy)]
struct Set {
    mode: AttachMode,
    method: ForwardingMethod,
    name: &'static str,
    offloads: Offloads,
    with: &'static str,
    target: Option<f64>,
}

const SETS: [Set; 3] = [
    Set {
        mode: AttachMode::Tc,
        method: ForwardingMethod::Masq,
        name: "rvs TC NAT",
        offloads: Offloads::Default,
        with: "offloads as they are",
        target: Some(TARGET),
    },
    Set {
        mode: AttachMode::Tc,
        method: ForwardingMethod::Tunnel,
        name: "rvs TC TUN",
        offloads: Offloads::Default,
        with: "over bridges, replies past the director",
        target: None,
    },
    Set {
        mode: AttachMode::Xdp,
        method: ForwardingMethod::Masq,
        name: "rvs XDP NAT",
        offloads: Offloads::XdpReady,
        with: "hosts' checksum offload off",
        target: None,
    },
];

pub(super) fn run(options: &Options, report: &mut Report) -> Result<()> {
    SETS.into_iter().filter(|set| options.wants(set.name)).try_for_each(|set| run_set(options, report, set))
}

fn run_set(options: &Options, report: &mut Report, set: Set) -> Result<()> {
    let cluster = cluster(set)?;
    let server = cluster.servers()[0].address();
    let mut plane = DataPlane::empty(CONNS)?;
    let key = ServiceKey { protocol: Protocol::Tcp, address: cluster.vip().into(), port: PORT };
    let commands = [add_service(key), add_destination(key, SocketAddrV4::new(server, PORT), set.method)];
    let link = &cluster.director().interfaces()[1];
    plane.apply(&commands, link.index, link.address.context("the director has no address there")?)?;
    let _tunnel_end = tunnel_end(&cluster, set)?;
    let _listener = Listener::start(&cluster)?;
    let seconds = if options.quick { 1 } else { 3 };
    let (mut kernel, mut rvs) = (Series::default(), Series::default());
    for _ in 0..options.rounds() {
        interrupt::check()?;
        kernel.push(stream(&cluster, server, seconds)?);
        attach(&cluster, &mut plane, Some(set.mode))?;
        let rate = stream(&cluster, cluster.vip(), seconds);
        attach(&cluster, &mut plane, None)?;
        rvs.push(rate?);
    }
    add(report, "kernel forwarding", set.with, &kernel, None);
    add(report, set.name, set.with, &rvs, Some(("kernel", &kernel)));
    if let Some(target) = set.target {
        report.at_least(
            format!("iperf3, {}: of kernel forwarding", set.name),
            rvs.ratio(&kernel).median(),
            target,
        );
    }
    Ok(())
}

fn add(report: &mut Report, name: &str, with: &str, series: &Series, to: Option<(&str, &Series)>) {
    let (subject, remark) = (name.to_owned(), Some(with.to_owned()));
    report.add(Line { case: NAME, subject, flows: None, unit: "Gbit/s", series, to, remark });
}

/// For a tunnel, replies go past the director, for which it takes a switch.
fn cluster(set: Set) -> Result<Cluster> {
    let builder = match set.method {
        ForwardingMethod::Masq => Cluster::routed(1),
        ForwardingMethod::Dr | ForwardingMethod::Tunnel | ForwardingMethod::FullNat => {
            Cluster::switched(1).replies(Replies::PastDirector)
        }
    };
    Ok(builder.neighbours(Neighbours::Static).offloads(set.offloads).build()?)
}

/// For a tunnel, what takes packets out of it at the server.
fn tunnel_end(cluster: &Cluster, set: Set) -> Result<Option<Decap>> {
    if set.method != ForwardingMethod::Tunnel {
        return Ok(None);
    }
    let attach = || attach_decap("eth0", &DecapOptions::new(DecapMode::Tc));
    Ok(Some(cluster.servers()[0].netns().enter(attach)??))
}

/// Attaches the director's interfaces, or detaches them.
fn attach(cluster: &Cluster, plane: &mut DataPlane, mode: Option<AttachMode>) -> Result<()> {
    let director = cluster.director();
    let kernel = plane.kernel()?;
    director.netns().enter(|| -> Result<()> {
        let Some(mode) = mode else { return Ok(kernel.detach_all()?) };
        for interface in director.interfaces() {
            kernel.attach(interface.index, mode)?;
        }
        Ok(())
    })?
}

/// Gigabits per second of one stream to an address.
fn stream(cluster: &Cluster, to: Ipv4Addr, seconds: u32) -> Result<f64> {
    let mut command = Command::new("iperf3");
    command.args(["--json", "--port", &PORT.to_string(), "--time", &seconds.to_string()]);
    command.args(["--connect-timeout", "3000", "--set-mss", MSS, "--client", &to.to_string()]);
    let output = cluster.client().netns().output(&mut command).context("Debian package iperf3 is needed")?;
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).context("iperf3 printed no JSON")?;
    if let Some(error) = json["error"].as_str() {
        bail!("iperf3 to {to}: {error}");
    }
    let bits = json["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 gave no rate")?;
    Ok(bits / 1e9)
}

/// A server that is stopped when this value is dropped.
#[derive(Debug)]
struct Listener(Child);

impl Listener {
    fn start(cluster: &Cluster) -> Result<Self> {
        let mut command = Command::new("iperf3");
        command.args(["--server", "--port", &PORT.to_string()]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let server = &cluster.servers()[0];
        let listener = Self(server.spawn(&mut command).context("Debian package iperf3 is needed")?);
        let listens = || {
            let table = server.netns().enter(|| std::fs::read_to_string("/proc/thread-self/net/tcp6"));
            // State 0A: listening.
            let port = format!(":{PORT:04X} ");
            matches!(table, Ok(Ok(text)) if text.lines().any(|l| l.contains(&port) && l.contains(" 0A ")))
        };
        wait_until("iperf3 listens", START_LIMIT, listens)?;
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}
