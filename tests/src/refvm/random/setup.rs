//! What is balanced in a history: services, their destinations, settings. All by the seed, as commands.

use rvs_config::Setting;

use super::numbers::Random;
use crate::refvm::frames::Family;

/// Those of this version.
pub(super) const SCHEDULERS: [&str; 5] = ["rr", "wrr", "lc", "wlc", "sh"];

/// What servers get by which method, and whether by their address of the other family. By the number: IPVS keeps the route
/// of a destination that comes back with another method, and asks for the Ethernet address of the virtual address then. Not
/// those whose ways other tests narrow, which IPVS remembers too.
const SERVERS: [(u8, &str, bool); 15] = [
    (2, "-m", false),
    (3, "-g", false),
    (4, "-i", false),
    (5, "-i --tun-type gue --tun-port 6080 --tun-nocsum", false),
    (6, "-i --tun-type gue --tun-port 6080 --tun-csum", false),
    (7, "-i --tun-type gre --tun-nocsum", false),
    (8, "-i --tun-type gre --tun-csum", false),
    (9, "-m", false),
    (10, "-i", true),
    (11, "-i --tun-type gue --tun-port 6080 --tun-remcsum", true),
    (12, "-i --tun-type gre --tun-csum", true),
    (13, "-i --tun-type gue --tun-port 6080 --tun-remcsum", false),
    (21, "-m", false),
    (17, "-m", false),
    (18, "-g", false),
];
/// Ports of services. 21 is FTP's, for which IPVS has rules of its own (ipvs.md §2.5), 500 that of the exchange of keys that
/// AH and ESP follow (§4.2).
pub(super) const PORTS: [u16; 7] = [21, 53, 80, 443, 500, 5060, 8080];

fn server(number: u8) -> Option<(u8, &'static str, bool)> {
    SERVERS.into_iter().find(|&(it, ..)| it == number)
}

/// Whether that server gets packets by a tunnel.
fn is_tunnel(number: u8) -> bool {
    server(number).is_some_and(|(_, method, _)| method.starts_with("-i"))
}

/// Servers by NAT that have a port of their own.
const MAPPED: [u8; 2] = [9, 21];

/// What a service is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tcp,
    Udp,
    Sctp,
    /// All packets with this mark.
    Mark(u32),
}

/// A service.
pub(super) struct Service {
    pub(super) kind: Kind,
    /// 0: any.
    pub(super) port: u16,
    family: Family,
    scheduler: &'static str,
    may_be_one_packet: bool,
    may_have_tunnels: bool,
    dests: Vec<u8>,
    gone: Vec<u8>,
}

impl Service {
    /// The services of a history: mostly one, else of several protocols or ports, and by mark. `number` makes the mark one
    /// that no other history has.
    pub(super) fn some(
        random: &mut Random,
        family: Family,
        (scheduler, may_be_one_packet): (&'static str, bool),
        number: u16,
    ) -> Vec<Self> {
        let may_have_tunnels = !random.one_in(3);
        let mut kinds = vec![random.of(&[Kind::Tcp, Kind::Tcp, Kind::Udp, Kind::Udp, Kind::Sctp])];
        match random.below(8) {
            0 => kinds = vec![Kind::Mark(1_000_000 + u32::from(number))],
            1 => kinds.push(Kind::Mark(1_000_000 + u32::from(number))),
            2 | 3 => kinds.push(random.of(&[Kind::Tcp, Kind::Udp, Kind::Sctp])),
            _ => {}
        }
        let mut services: Vec<Self> = Vec::new();
        for kind in kinds {
            let port = if matches!(kind, Kind::Mark(_)) { 0 } else { random.of(&PORTS) };
            let is_there = services.iter().any(|service| service.kind == kind && service.port == port);
            if !is_there {
                let (dests, gone) = (Vec::new(), Vec::new());
                services.push(Self {
                    kind,
                    port,
                    family,
                    scheduler,
                    may_be_one_packet,
                    may_have_tunnels,
                    dests,
                    gone,
                });
            }
        }
        services
    }

    /// As `ipvsadm` has it.
    pub(super) fn name(&self) -> String {
        let port = self.port;
        match self.kind {
            Kind::Tcp => format!("-t VIP:{port}"),
            Kind::Udp => format!("-u VIP:{port}"),
            Kind::Sctp => format!("--sctp-service VIP:{port}"),
            Kind::Mark(mark) if self.family == Family::V4 => format!("-f {mark}"),
            Kind::Mark(mark) => format!("-f {mark} -6"),
        }
    }

    /// Whether some destination is, or was, behind a tunnel.
    pub(super) fn has_tunnels(&self) -> bool {
        self.dests.iter().chain(&self.gone).any(|&number| is_tunnel(number))
    }

    /// Whether packets may get another port.
    pub(super) fn may_map(&self) -> bool {
        self.dests.iter().chain(&self.gone).any(|number| MAPPED.contains(number))
    }

    /// Whether that server was deleted and did not come back.
    pub(super) fn has_lost(&self, number: u8) -> bool {
        self.gone.contains(&number) && !self.dests.contains(&number)
    }

    fn options(&self, random: &mut Random) -> String {
        let is_for_datagrams = matches!(self.kind, Kind::Udp | Kind::Mark(_));
        let one_packet = self.may_be_one_packet && is_for_datagrams && random.one_in(5);
        let hash = if self.scheduler == "sh" {
            random.of(&["", " -b sh-port", " -b sh-fallback", " -b sh-port,sh-fallback"])
        } else {
            ""
        };
        format!("-s {}{hash}{}", self.scheduler, if one_packet { " -o" } else { "" })
    }

    /// Commands that make it and its first destinations.
    pub(super) fn begin(&mut self, random: &mut Random) -> String {
        let mut rules = format!("-A {} {}\n", self.name(), self.options(random));
        for _ in 0..random.of(&[0, 1, 2, 2, 3, 3, 4, 5]) {
            rules += &self.add(random, true);
        }
        rules
    }

    /// A command that adds a destination; none if there is none left. One that was deleted comes back if it `may_return`.
    fn add(&mut self, random: &mut Random, may_return: bool) -> String {
        let is_free = |number: &u8| {
            !self.dests.contains(number)
                && (may_return || !self.gone.contains(number))
                && (self.may_have_tunnels || !is_tunnel(*number))
        };
        let free: Vec<u8> = SERVERS.map(|(number, ..)| number).into_iter().filter(is_free).collect();
        let Some(&number) = random.choose(&free) else { return String::new() };
        self.dests.push(number);
        self.command(random, "-a", number)
    }

    fn command(&self, random: &mut Random, verb: &str, number: u8) -> String {
        let weight = random.of(&[0, 1, 1, 2, 3, 5, 100]);
        let method = server(number).map_or("-m", |(_, method, _)| method);
        format!("{verb} {} -r {} {method} -w {weight}\n", self.name(), self.address(number))
    }

    /// With the port; of those by NAT, some have one of their own. A service by mark takes port 0 for the packet's.
    fn address(&self, number: u8) -> String {
        let is_other = server(number).is_some_and(|(.., is_other)| is_other);
        let family = if is_other { self.family.other() } else { self.family };
        let port = if MAPPED.contains(&number) { 30000 + u16::from(number) } else { self.port };
        match family.server(number) {
            std::net::IpAddr::V4(address) => format!("{address}:{port}"),
            std::net::IpAddr::V6(address) => format!("[{address}]:{port}"),
        }
    }

    /// A command that changes something.
    pub(super) fn edit(&mut self, random: &mut Random, may_return: bool) -> String {
        if self.dests.is_empty() {
            return self.add(random, may_return);
        }
        let index = random.index(self.dests.len());
        match random.below(10) {
            0..=2 => self.add(random, may_return),
            3..=4 => {
                let number = self.dests.remove(index);
                self.gone.push(number);
                format!("-d {} -r {}\n", self.name(), self.address(number))
            }
            5 => format!("-E {} {}\n", self.name(), self.options(random)),
            _ => self.command(random, "-e", self.dests[index]),
        }
    }
}

/// Settings of a history that are not the defaults: of half of them none.
pub(super) fn settings(random: &mut Random) -> Vec<(Setting, u32)> {
    if random.one_in(2) {
        return Vec::new();
    }
    let some = [
        (Setting::ConnReuseMode, [0, 2, 3][random.index(3)]),
        (Setting::ExpireNodestConn, 1),
        (Setting::NatIcmpSend, 1),
        (Setting::PmtuDisc, 0),
        (Setting::ScheduleIcmp, 1),
        (Setting::SloppySctp, 1),
        (Setting::SloppyTcp, 1),
        (Setting::SnatReroute, 0),
    ];
    some.into_iter().filter(|_| random.one_in(3)).collect()
}
