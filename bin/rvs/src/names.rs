//! Names of hosts and services, by the rules of the system (`nsswitch.conf`): files, DNS and whatever else is set up.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use dns_lookup::{AddrInfoHints, getaddrinfo, getnameinfo};
use nix::libc::{AF_INET, NI_DGRAM, NI_NAMEREQD, NI_NUMERICHOST, SOCK_DGRAM, SOCK_STREAM};
use rvs_config::Protocol;
use rvs_ipvsadm::Names;

/// The system's resolver. What was found, or not, is remembered: listings have the same names again and again, and a name
/// server that doesn't answer costs seconds each time.
#[derive(Debug, Default)]
pub(crate) struct System {
    hosts: RefCell<BTreeMap<IpAddr, Option<String>>>,
    ports: RefCell<BTreeMap<(u16, Protocol), Option<String>>>,
}

impl Names for System {
    fn host(&self, name: &str) -> Option<Ipv4Addr> {
        let addresses = (name, 0).to_socket_addrs().ok()?;
        addresses.map(|address| address.ip()).find_map(|address| match address {
            IpAddr::V4(v4) => Some(v4),
            IpAddr::V6(_) => None,
        })
    }

    fn port(&self, name: &str, protocol: Protocol) -> Option<u16> {
        // A number that is no port is no name either; the C library would take it modulo 65536.
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let socktype = match protocol {
            Protocol::Tcp => SOCK_STREAM,
            Protocol::Udp => SOCK_DGRAM,
        };
        let hints = AddrInfoHints { address: AF_INET, socktype, ..AddrInfoHints::default() };
        let mut found = getaddrinfo(None, Some(name), Some(hints)).ok()?;
        Some(found.next()?.ok()?.sockaddr.port())
    }

    fn host_of(&self, address: IpAddr) -> Option<String> {
        let look_up = || getnameinfo(&SocketAddr::new(address, 0), NI_NAMEREQD).ok().map(|(host, _)| host);
        self.hosts.borrow_mut().entry(address).or_insert_with(look_up).clone()
    }

    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String> {
        let flags = match protocol {
            Protocol::Tcp => NI_NUMERICHOST,
            Protocol::Udp => NI_NUMERICHOST | NI_DGRAM,
        };
        let look_up = || {
            let (_, name) = getnameinfo(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), flags).ok()?;
            // A port without a name comes back as its number.
            (name != port.to_string()).then_some(name)
        };
        self.ports.borrow_mut().entry((port, protocol)).or_insert_with(look_up).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_their_own_names() {
        assert_eq!(System::default().host("192.0.2.7"), Some(Ipv4Addr::new(192, 0, 2, 7)));
    }

    #[test]
    fn names_that_are_none_are_not_found() {
        let names = System::default();
        assert_eq!(names.port("no such service", Protocol::Tcp), None);
        assert_eq!(names.port_name(0, Protocol::Udp), None);
    }

    /// Where there is a services database, what it says; port 80 is in every one of them.
    #[test]
    fn numbers_are_no_names_of_ports() {
        assert_eq!(System::default().port("99999", Protocol::Tcp), None);
    }

    #[test]
    fn ports_have_the_names_of_the_services_database() {
        let known = std::fs::read_to_string("/etc/services").is_ok_and(|text| {
            text.lines().any(|line| line.split_whitespace().take(2).eq(["http", "80/tcp"]))
        });
        let names = System::default();
        let (port, name) = if known { (Some(80), Some("http")) } else { (None, None) };
        assert_eq!(names.port("http", Protocol::Tcp), port);
        for _ in 0..2 {
            assert_eq!(names.port_name(80, Protocol::Tcp).as_deref(), name);
        }
    }
}
