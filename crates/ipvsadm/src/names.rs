//! Names of hosts and services. Finding them is I/O, so whoever calls this crate brings it.

use core::net::{IpAddr, Ipv4Addr};

use rvs_config::Protocol;

/// A resolver. Every method answers `None` for what it doesn't know.
pub trait Names {
    /// The first IPv4 address of a host (ipvs.md §10.3: host names resolve to IPv4 only).
    fn host(&self, name: &str) -> Option<Ipv4Addr>;

    /// The port of a service of the services database.
    fn port(&self, name: &str, protocol: Protocol) -> Option<u16>;

    /// The name of a host.
    fn host_of(&self, address: IpAddr) -> Option<String>;

    /// The name of a port in the services database.
    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String>;
}

/// Knows no names: only numbers are understood, and everything is shown in numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Numeric;

impl Names for Numeric {
    fn host(&self, _: &str) -> Option<Ipv4Addr> {
        None
    }

    fn port(&self, _: &str, _: Protocol) -> Option<u16> {
        None
    }

    fn host_of(&self, _: IpAddr) -> Option<String> {
        None
    }

    fn port_name(&self, _: u16, _: Protocol) -> Option<String> {
        None
    }
}
