//! Services and their destinations: every table of `-L` but the connections.

use rvs_config::{
    CommandError, Counters, DestListing, Destination, ForwardingMethod, Listing, Rates, ServiceKey,
    ServiceListing, Tunnel, TunnelChecksum,
};

use super::number::big;
use super::{Endpoints, sorted};
use crate::{Names, sched_flags};

/// Width of a service's name; longer IPv4 names are cut.
const SERVICE_WIDTH: usize = 33;
/// Width of a destination's name.
const DEST_WIDTH: usize = 28;

/// Which columns there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Method, weight and connections.
    #[default]
    Plain,
    /// `--stats`
    Stats,
    /// `--rate`
    Rate,
    /// `--thresholds`
    Thresholds,
    /// `--persistent-conn`
    PersistentConn,
    /// `--tun-info`
    TunInfo,
}

/// A table of services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceTable {
    /// Only this service.
    pub service: Option<ServiceKey>,
    /// The columns.
    pub format: Format,
    /// `-n`: no names.
    pub numeric: bool,
    /// `--exact`: no units.
    pub exact: bool,
    /// Not `--nosort`.
    pub sorted: bool,
}

impl Default for ServiceTable {
    fn default() -> Self {
        Self { service: None, format: Format::Plain, numeric: false, exact: false, sorted: true }
    }
}

impl ServiceTable {
    /// The whole table, with its titles.
    ///
    /// # Errors
    /// [`CommandError::NoSuchService`] if one service is asked for and not in `listing`; see
    /// [`Failure::not_listed`](crate::Failure::not_listed).
    pub fn render(&self, listing: &Listing, names: &dyn Names) -> Result<String, CommandError> {
        let services: Vec<&ServiceListing> = match self.service {
            None => listing.services.iter().collect(),
            Some(service) => {
                let found = listing.services.iter().find(|listed| listed.service.key == service);
                vec![found.ok_or(CommandError::NoSuchService { service })?]
            }
        };
        let services = if self.sorted { sorted(services, |listed| &listed.service.key) } else { services };
        let mut out = String::new();
        if self.service.is_none() {
            out = format!("IP Virtual Server version 1.2.1 (size={})\n", listing.conn_table_size);
        }
        out.push_str(&self.titles());
        let endpoints = Endpoints::new(self.numeric, names);
        for service in services {
            out.push_str(&self.service_line(service, endpoints));
            let dests: Vec<&DestListing> = service.destinations.iter().collect();
            let dests = if self.sorted { sorted(dests, |listed| &listed.destination.key) } else { dests };
            for dest in dests {
                out.push_str(&self.dest_line(dest, &service.service.key, endpoints));
            }
        }
        Ok(out)
    }

    fn titles(&self) -> String {
        const SERVICE: &str = "Prot LocalAddress:Port";
        const DEST: &str = "  -> RemoteAddress:Port";
        let columns = |names: [&str; 5]| {
            let columns = names.map(|name| format!(" {name:>8}")).concat();
            format!("{SERVICE:<SERVICE_WIDTH$}{columns}\n{DEST}\n")
        };
        match self.format {
            Format::Plain => {
                format!("{SERVICE} Scheduler Flags\n{DEST}           Forward Weight ActiveConn InActConn\n")
            }
            Format::TunInfo => format!(
                "{SERVICE} Scheduler Flags\n{DEST}           Forward TunnelInfo    Weight ActiveConn InActConn\n"
            ),
            Format::Stats => columns(["Conns", "InPkts", "OutPkts", "InBytes", "OutBytes"]),
            Format::Rate => columns(["CPS", "InPPS", "OutPPS", "InBPS", "OutBPS"]),
            Format::Thresholds => format!(
                "{SERVICE:<SERVICE_WIDTH$} {:<10} {:<10} {:<10} {:<10}\n{DEST}\n",
                "Uthreshold", "Lthreshold", "ActiveConn", "InActConn"
            ),
            Format::PersistentConn => format!(
                "{SERVICE:<SERVICE_WIDTH$} {:<9} {:<11} {:<10} {:<10}\n{DEST}\n",
                "Weight", "PersistConn", "ActiveConn", "InActConn"
            ),
        }
    }

    fn service_line(&self, listed: &ServiceListing, endpoints: Endpoints<'_>) -> String {
        let service = &listed.service;
        let name = endpoints.service_column(&service.key, SERVICE_WIDTH);
        match self.format {
            Format::Stats => format!("{name:<SERVICE_WIDTH$}{}\n", self.numbers(counters(&listed.counters))),
            Format::Rate => format!("{name:<SERVICE_WIDTH$}{}\n", self.numbers(rates(&listed.rates))),
            _ => {
                let flags = sched_flags::listed(service.flags, service.scheduler);
                let flags = if flags.is_empty() { flags } else { format!(" ({flags})") };
                let ops = if service.one_packet { " ops" } else { "" };
                format!("{name} {}{flags}{ops}\n", service.scheduler)
            }
        }
    }

    fn numbers(&self, numbers: [u64; 5]) -> String {
        numbers.map(|number| big(number, self.exact)).concat()
    }

    fn dest_line(&self, listed: &DestListing, service: &ServiceKey, endpoints: Endpoints<'_>) -> String {
        let DestListing { destination, active_conns: active, inactive_conns: inactive, .. } = listed;
        let key = destination.key;
        let name = endpoints.column(key.address, key.port, service.protocol, DEST_WIDTH);
        let weight = destination.weight;
        let columns = match self.format {
            Format::Plain => {
                format!(" {:<7} {weight:<6} {active:<10} {inactive:<10}", method(destination.method))
            }
            Format::TunInfo => format!(
                " {:<7} {:<13} {weight:<6} {active:<10} {inactive:<10}",
                method(destination.method),
                tunnel(destination)
            ),
            Format::Stats => self.numbers(counters(&listed.counters)),
            Format::Rate => {
                let [cps, in_pps, out_pps, in_bps, out_bps] = rates(&listed.rates);
                let (in_bps, out_bps) = (big(in_bps, self.exact), big(out_bps, self.exact));
                format!(" {cps:>8} {in_pps:>8} {out_pps:>8}{in_bps}{out_bps}")
            }
            Format::Thresholds => {
                let (upper, lower) = (destination.upper_threshold, destination.lower_threshold);
                format!(" {upper:<10} {lower:<10} {active:<10} {inactive:<10}")
            }
            Format::PersistentConn => {
                format!(" {weight:<9} {:<11} {active:<10} {inactive:<10}", listed.persistent_conns)
            }
        };
        format!("  -> {name:<DEST_WIDTH$}{columns}\n")
    }
}

/// The five counters in the order of the columns.
const fn counters(counters: &Counters) -> [u64; 5] {
    let Counters { conns, in_packets, out_packets, in_bytes, out_bytes } = *counters;
    [conns, in_packets, out_packets, in_bytes, out_bytes]
}

/// The five rates in the order of the columns.
const fn rates(rates: &Rates) -> [u64; 5] {
    let Rates { cps, in_pps, out_pps, in_bps, out_bps } = *rates;
    [cps, in_pps, out_pps, in_bps, out_bps]
}

const fn method(method: ForwardingMethod) -> &'static str {
    match method {
        ForwardingMethod::Masq => "Masq",
        ForwardingMethod::Dr => "Route",
        ForwardingMethod::Tunnel => "Tunnel",
        ForwardingMethod::FullNat => "FullNat",
    }
}

/// The column of `--tun-info`: `ipip`, `gue:PORT:CHECKSUM`, `gre:CHECKSUM`; at most 15 characters.
fn tunnel(dest: &Destination) -> String {
    let checksum = match dest.tunnel.checksum() {
        TunnelChecksum::None => "-c",
        TunnelChecksum::Csum => "+c",
        TunnelChecksum::Remcsum => "r+c",
    };
    match (dest.method, dest.tunnel) {
        (ForwardingMethod::Masq | ForwardingMethod::Dr | ForwardingMethod::FullNat, _) => "n/a".to_owned(),
        (ForwardingMethod::Tunnel, Tunnel::Ipip) => "ipip".to_owned(),
        (ForwardingMethod::Tunnel, Tunnel::Gue { port, .. }) => format!("gue:{port}:{checksum}"),
        (ForwardingMethod::Tunnel, Tunnel::Gre { .. }) => format!("gre:{checksum}"),
    }
}
