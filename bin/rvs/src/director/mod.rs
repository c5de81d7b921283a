//! `rvs director`: the daemon.
//!
//! One thread, the main one, owns everything: the data plane, the director, the interfaces, the routes ([`daemon`]).
//! All that happens comes to it as a [`message::Message`] through one channel: requests from the threads of the control
//! socket, events of netlink and signals from a thread each. Work that nobody asked for (sweeping, averages, routes) is
//! done between messages in steps of a bounded size ([`limits`]).
//!
//! Packets don't need it: when it ends, in whatever way, programs and maps stay as they are, and the next start adopts
//! them ([`start`]).

mod answers;
mod auditor;
mod changes;
mod clock;
mod conns;
mod daemon;
mod interfaces;
mod journal;
mod limits;
mod listeners;
mod log;
mod loopback;
mod message;
mod neighbours;
mod reverse_path;
mod routes;
mod start;
mod stop;
mod sweeper;

use anyhow::{Result, anyhow, bail};
use rvs_abi::limits as data_plane;
use rvs_config::Prefix;
use rvs_dataplane::{AttachMode, Options};
use rvs_director::FullNatSources;

use crate::{output, socket};

/// Most of anything that `--services-max` and the like take; the kernel's memory ends before.
const MAX: i64 = 1 << 24;
/// Most connections: 64-byte entries for all of them are 17 GB.
const CONNS_MAX: i64 = 1 << 28;

/// How to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    socket: socket::Which,
    /// Interface whose packets are balanced; may be given several times [default: all but loopback, new ones as they
    /// appear]
    #[arg(long = "interface", value_name = "NAME")]
    interfaces: Vec<String>,
    /// Where programs are attached: auto, xdp, xdp-generic or tc
    #[arg(long, value_name = "MODE", default_value = "auto")]
    attach: AttachMode,
    /// Addresses that tunnels come from, one for each flow, so that servers spread flows over their receive queues; once for
    /// IPv4 and once for IPv6 [default: this host's address on the way to the server]
    #[arg(long = "tunnel-sources", value_name = "PREFIX")]
    tunnel_sources: Vec<Prefix>,
    /// Addresses that full NAT comes from, instead of this host's address on the way to the server: each has 31744 connections
    /// to a server's port; may be given several times, 1024 addresses of each family at most
    #[arg(long = "full-nat-sources", value_name = "PREFIX")]
    full_nat_sources: Vec<Prefix>,
    /// Virtual ports of FTP, two at most, separated by a comma, or none: control connections there are listened to, so that
    /// data connections find their way by NAT and full NAT
    #[arg(long, value_name = "PORTS", default_value = "21", value_parser = FtpPorts::parse)]
    ftp_ports: FtpPorts,
    /// Room for virtual services, when the data plane is made
    #[arg(long, value_name = "N", default_value_t = data_plane::SERVICES_DEFAULT, value_parser = count(MAX))]
    services_max: u32,
    /// Room for destinations of all services together, when the data plane is made
    #[arg(long, value_name = "N", default_value_t = data_plane::DESTS_DEFAULT, value_parser = count(MAX))]
    dests_max: u32,
    /// Room for connections, when the data plane is made
    #[arg(long, value_name = "N", default_value_t = data_plane::CONNS_DEFAULT, value_parser = count(CONNS_MAX))]
    conns_max: u32,
    /// On SIGTERM and SIGINT, take the programs off the interfaces; otherwise packets go on being balanced
    #[arg(long)]
    detach_on_exit: bool,
    /// Take everything down and end when standard input ends: for a child whose parent may be killed
    #[arg(long, hide = true)]
    end_with_stdin: bool,
    /// Print the OpenAPI document of the control protocol, and end
    #[arg(long)]
    openapi: bool,
    /// Take everything down, with or without a running daemon: programs, services, connections
    #[arg(long, conflicts_with = "openapi")]
    stop: bool,
}

/// Ports of FTP.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FtpPorts(Vec<u16>);

impl FtpPorts {
    /// From `none`, or ports with commas between.
    fn parse(text: &str) -> Result<Self, String> {
        const MAX: usize = data_plane::FTP_PORTS;
        if text == "none" {
            return Ok(Self(Vec::new()));
        }
        let parse = |word: &str| match word.parse() {
            Ok(port) if port != 0 => Ok(port),
            _ => Err(format!("port {word:?}: expected a number from 1 to 65535, or 'none' alone")),
        };
        let ports = text.split(',').map(parse).collect::<Result<Vec<u16>, _>>()?;
        if let Some(port) = (1..ports.len()).find(|i| ports[..*i].contains(&ports[*i])).map(|i| ports[i]) {
            return Err(format!("port {port} twice: expected each once"));
        }
        if ports.len() > MAX {
            return Err(format!("{} ports: expected at most {MAX}", ports.len()));
        }
        Ok(Self(ports))
    }
}

fn count(most: i64) -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..=most)
}

impl Args {
    /// The addresses that tunnels come from, in IPv4 and IPv6.
    fn tunnel_sources(&self) -> Result<[Option<Prefix>; 2]> {
        let mut sources = [None; 2];
        for &prefix in &self.tunnel_sources {
            if prefix.address().is_unspecified() || prefix.address().is_multicast() {
                bail!("--tunnel-sources {prefix}: expected addresses that packets can come from");
            }
            let place = &mut sources[usize::from(prefix.address().is_ipv6())];
            if let Some(first) = place.replace(prefix) {
                bail!(
                    "--tunnel-sources {prefix}: expected one prefix of each family, there is {first} already"
                );
            }
        }
        Ok(sources)
    }

    /// The addresses that full NAT comes from.
    fn full_nat_sources(&self) -> Result<FullNatSources> {
        FullNatSources::new(&self.full_nat_sources).map_err(|error| anyhow!("--full-nat-sources {error}"))
    }

    /// What to open.
    fn options(&self) -> Result<Options> {
        let mut options = Options::new(self.socket.instance())?;
        options.capacity.services = self.services_max;
        options.capacity.dests = self.dests_max;
        options.capacity.conns = self.conns_max;
        Ok(options)
    }
}

/// Runs the daemon until it is told to end, or does one of the other things.
///
/// # Errors
/// When it can't start, or can't go on.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.openapi {
        return output::print_json(&rvs_control::openapi::document());
    }
    if args.stop {
        return stop::run(&args.socket, &args.options()?);
    }
    start::run(args)
}
