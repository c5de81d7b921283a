//! Names of hosts and services, by the rules of the system (`nsswitch.conf`): files, DNS and whatever else is set up.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _};

use dns_lookup::{AddrInfoHints, getaddrinfo, getnameinfo};
use nix::libc::{
    AF_INET, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, NI_DGRAM, NI_NAMEREQD, NI_NUMERICHOST, SOCK_DGRAM,
    SOCK_STREAM,
};
use rvs_config::Protocol;
use rvs_ipvsadm::Names;

/// The system's resolver. What was found, or not, is remembered: listings have the same names again and again, and a name
/// server that doesn't answer costs seconds each time.
#[derive(Debug, Default)]
pub(crate) struct System {
    hosts: RefCell<BTreeMap<IpAddr, Option<String>>>,
    ports: RefCell<BTreeMap<(u16, Protocol), Option<String>>>,
}

/// The services database as a file. The C library's `getnameinfo` asks for names of TCP and UDP only.
const SERVICES: &str = "/etc/services";

/// The name of an SCTP port in the text of a services database: `NAME PORT/PROTOCOL [ALIAS...] [# COMMENT]` (services(5)).
fn sctp_name(database: &str, port: u16) -> Option<String> {
    let wanted = format!("{port}/sctp");
    let mut lines = database.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines.find_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        (words.next()? == wanted).then(|| name.to_owned())
    })
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
        let (socktype, protocol) = match protocol {
            Protocol::Tcp => (SOCK_STREAM, IPPROTO_TCP),
            Protocol::Udp => (SOCK_DGRAM, IPPROTO_UDP),
            Protocol::Sctp => (SOCK_STREAM, IPPROTO_SCTP),
            Protocol::Mark => return None,
        };
        let hints = AddrInfoHints { address: AF_INET, socktype, protocol, ..AddrInfoHints::default() };
        let mut found = getaddrinfo(None, Some(name), Some(hints)).ok()?;
        Some(found.next()?.ok()?.sockaddr.port())
    }

    fn host_of(&self, address: IpAddr) -> Option<String> {
        let look_up = || getnameinfo(&SocketAddr::new(address, 0), NI_NAMEREQD).ok().map(|(host, _)| host);
        self.hosts.borrow_mut().entry(address).or_insert_with(look_up).clone()
    }

    fn port_name(&self, port: u16, protocol: Protocol) -> Option<String> {
        let by_flags = |flags| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let (_, name) = getnameinfo(&address, NI_NUMERICHOST | flags).ok()?;
            // A port without a name comes back as its number.
            (name != port.to_string()).then_some(name)
        };
        let look_up = || match protocol {
            Protocol::Tcp => by_flags(0),
            Protocol::Udp => by_flags(NI_DGRAM),
            Protocol::Sctp => sctp_name(&fs::read_to_string(SERVICES).ok()?, port),
            // Packets of any protocol: no list knows a name.
            Protocol::Mark => None,
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

    /// Where the services database has an SCTP service, both directions agree with it.
    #[test]
    fn sctp_ports_have_the_names_of_the_services_database() {
        let database = fs::read_to_string(SERVICES).unwrap_or_default();
        let first = database.lines().find_map(|line| {
            let (name, rest) = line.split_once(char::is_whitespace)?;
            Some((name, rest.trim_start().split_once("/sctp")?.0.parse().ok()?))
        });
        let names = System::default();
        assert_eq!(names.port("no-such-service", Protocol::Sctp), None);
        if let Some((name, port)) = first {
            assert_eq!(names.port(name, Protocol::Sctp), Some(port));
            assert_eq!(names.port_name(port, Protocol::Sctp).as_deref(), Some(name));
        }
    }

    #[test]
    fn names_of_sctp_ports_are_those_of_the_file() {
        let database =
            "# x\nhttp 80/tcp www # 80/sctp\n#m2ua 2904/sctp\nm2ua\t2904/sctp\nm3ua 2905/sctp\n\nshort\n";
        assert_eq!(sctp_name(database, 2904).as_deref(), Some("m2ua"));
        assert_eq!(sctp_name(database, 80), None);
        assert_eq!(sctp_name("", 80), None);
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
