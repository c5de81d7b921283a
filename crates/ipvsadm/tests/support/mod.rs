//! What several of these tests need.
#![allow(dead_code, reason = "each test program uses some of this")]
#![allow(clippy::unwrap_used, reason = "what these tests are made of is right")]

use std::net::{IpAddr, Ipv4Addr};

use rvs_config::{
    Command, Counters, DestListing, Destination, ForwardingMethod, Listing, Protocol, Rates, Scheduler,
    SchedulerFlags, ServiceListing, Timeouts, Tunnel, VirtualService,
};
use rvs_ipvsadm::Names;

/// A resolver with a few names.
pub(crate) struct Few;

impl Names for Few {
    fn host(&self, name: &str) -> Option<Ipv4Addr> {
        let hosts = [("localhost", [127, 0, 0, 1]), ("www", [10, 0, 0, 1]), (LONG_NAME, [10, 9, 9, 9])];
        hosts.iter().find(|(host, _)| *host == name).map(|(_, address)| Ipv4Addr::from(*address))
    }

    fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        match (name, protocol) {
            ("http", Protocol::Tcp) => Some(80),
            ("domain", _) => Some(53),
            ("tftp", Protocol::Udp) => Some(69),
            ("diameter", Protocol::Sctp) => Some(3868),
            _ => None,
        }
    }

    fn host_of(&self, address: IpAddr) -> Option<String> {
        let known = ["localhost", "www", LONG_NAME].into_iter();
        known.map(str::to_owned).find(|name| self.host(name).map(IpAddr::V4) == Some(address))
    }

    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String> {
        let known = ["http", "domain", "tftp", "diameter"].into_iter();
        known.map(str::to_owned).find(|name| self.port(name, protocol) == Some(port))
    }
}

/// A name that fills its column.
pub(crate) const LONG_NAME: &str = "longlonglonglonglonglongname";

pub(crate) fn service(
    key: &str,
    scheduler: Scheduler,
    flags: u8,
    destinations: Vec<DestListing>,
) -> ServiceListing {
    ServiceListing {
        service: VirtualService {
            key: key.parse().unwrap(),
            scheduler,
            flags: SchedulerFlags(flags),
            one_packet: false,
            mss: 0,
            client_address: rvs_config::ClientAddress::default(),
        },
        destinations,
        counters: Counters::default(),
        rates: Rates::default(),
    }
}

pub(crate) fn dest(key: &str, method: ForwardingMethod, weight: u32) -> DestListing {
    let key = key.parse().unwrap();
    let tunnel = Tunnel::Ipip;
    let destination = Destination { key, method, weight, upper_threshold: 0, lower_threshold: 0, tunnel };
    DestListing {
        destination,
        active_conns: 0,
        inactive_conns: 0,
        persistent_conns: 0,
        counters: Counters::default(),
        rates: Rates::default(),
    }
}

pub(crate) fn listing(services: Vec<ServiceListing>) -> Listing {
    Listing { services, conn_table_size: 4096, timeouts: Timeouts::default() }
}

/// A director of a few lines: what is there after these commands. Every one of them has to succeed.
pub(crate) fn run(commands: impl IntoIterator<Item = Command>) -> Listing {
    let mut services: Vec<ServiceListing> = Vec::new();
    for command in commands {
        match command {
            Command::Clear => services.clear(),
            Command::AddService(service) => {
                assert!(services.iter().all(|listed| listed.service.key != service.key), "{service:?}");
                let (counters, rates) = (Counters::default(), Rates::default());
                services.push(ServiceListing { service, destinations: Vec::new(), counters, rates });
            }
            Command::AddDestination { service, destination } => {
                let listed = services.iter_mut().find(|listed| listed.service.key == service).unwrap();
                let key = destination.key.to_string();
                let new = DestListing { destination, ..dest(&key, destination.method, 0) };
                listed.destinations.insert(0, new);
            }
            other => panic!("no part of saved rules: {other:?}"),
        }
    }
    listing(services)
}
