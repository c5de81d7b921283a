//! What distinguishes the things that are shown: a forwarding method, and the families of the virtual address and of the
//! servers'.

use std::net::IpAddr;
use std::str::FromStr;

use rvs_testkit::{Family, Replies};

/// A forwarding method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Network address translation.
    Nat,
    /// NAT from an address of the director's.
    FullNat,
    /// Direct routing.
    Dr,
    /// IP tunnelling.
    Tun(Tunnel),
}

/// A kind of tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tunnel {
    /// IP in IP.
    Ipip,
    /// GRE.
    Gre,
    /// GUE, to the port that it has by IANA.
    Gue,
}

/// What is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    /// As it is asked for.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// Family of the virtual address.
    pub(super) family: Family,
    /// Family of the servers' addresses.
    pub(super) servers: Family,
}

/// All that can be shown.
const METHODS: [Method; 16] = [
    Method::new("nat", Kind::Nat, Family::V4, Family::V4),
    Method::new("dr", Kind::Dr, Family::V4, Family::V4),
    Method::new("tun", Kind::Tun(Tunnel::Ipip), Family::V4, Family::V4),
    Method::new("nat6", Kind::Nat, Family::V6, Family::V6),
    Method::new("dr6", Kind::Dr, Family::V6, Family::V6),
    Method::new("tun6", Kind::Tun(Tunnel::Ipip), Family::V6, Family::V6),
    Method::new("fullnat", Kind::FullNat, Family::V4, Family::V4),
    Method::new("fullnat6", Kind::FullNat, Family::V6, Family::V6),
    Method::new("gre", Kind::Tun(Tunnel::Gre), Family::V4, Family::V4),
    Method::new("gre6", Kind::Tun(Tunnel::Gre), Family::V6, Family::V6),
    Method::new("gue", Kind::Tun(Tunnel::Gue), Family::V4, Family::V4),
    Method::new("gue6", Kind::Tun(Tunnel::Gue), Family::V6, Family::V6),
    Method::new("4in6", Kind::Tun(Tunnel::Ipip), Family::V4, Family::V6),
    Method::new("6in4", Kind::Tun(Tunnel::Ipip), Family::V6, Family::V4),
    Method::new("nat64", Kind::FullNat, Family::V6, Family::V4),
    Method::new("nat46", Kind::FullNat, Family::V4, Family::V6),
];

impl Method {
    /// What is shown if nothing is asked for, in that order: each method once.
    pub(super) const BASIC: &'static [Self] = &[METHODS[0], METHODS[1], METHODS[2]];

    const fn new(name: &'static str, kind: Kind, family: Family, servers: Family) -> Self {
        Self { name, kind, family, servers }
    }

    /// As a title.
    pub(super) fn title(self) -> String {
        let method = match self.kind {
            Kind::Nat => "NAT (network address translation)",
            Kind::FullNat => "full NAT (network address translation at both ends)",
            Kind::Dr => "DR (direct routing)",
            Kind::Tun(Tunnel::Ipip) => "TUN (IP tunnelling)",
            Kind::Tun(Tunnel::Gre) => "TUN (IP tunnelling, by GRE)",
            Kind::Tun(Tunnel::Gue) => "TUN (IP tunnelling, by GUE)",
        };
        let families = match (self.family, self.servers) {
            (Family::V4, Family::V4) => "",
            (Family::V6, Family::V6) => " of IPv6",
            (Family::V4, Family::V6) if self.is_translated() => " from IPv4 to IPv6",
            (Family::V6, Family::V4) if self.is_translated() => " from IPv6 to IPv4",
            (Family::V4, Family::V6) => " of IPv4 in IPv6",
            (Family::V6, Family::V4) => " of IPv6 in IPv4",
        };
        format!("{method}{families}")
    }

    /// Whether packets become packets of the other family.
    fn is_translated(self) -> bool {
        self.kind == Kind::FullNat && self.family != self.servers
    }

    /// What it does, in a few lines.
    pub(super) fn explanation(self) -> String {
        let inside = match self.kind {
            Kind::Nat => {
                return "The director rewrites the address and the port of requests to the server's, and of replies\n\
                        back to the virtual ones. The servers need no preparation, but their way back is the director."
                    .to_owned();
            }
            Kind::FullNat if self.is_translated() => {
                return "The director makes packets of the servers' address family of the clients', sends them from its own\n\
                        address, and translates the replies back. The servers need no preparation."
                    .to_owned();
            }
            Kind::FullNat => {
                return "The director rewrites requests as NAT does, and sends them from its own address: replies come back to\n\
                        it wherever the servers' routes lead. They need no preparation; those of TCP are told the client's\n\
                        address in an option, which `rvs agent` hears."
                    .to_owned();
            }
            Kind::Dr => {
                return format!(
                    "The director sends requests on as they are, to the server's Ethernet address. The servers have\n\
                     the virtual address too, without saying so by {}, and answer the client past the director.",
                    if self.family == Family::V4 { "ARP" } else { "NDP" }
                );
            }
            Kind::Tun(Tunnel::Ipip) => "IP",
            Kind::Tun(Tunnel::Gre) => "GRE",
            Kind::Tun(Tunnel::Gue) => "UDP",
        };
        format!(
            "The director sends requests as they are inside {inside} packets to the server, which may be anywhere.\n\
             The servers unpack them, have the virtual address too, and answer the client past the director."
        )
    }

    /// `ipvsadm`'s options.
    pub(super) const fn options(self) -> &'static str {
        match self.kind {
            Kind::Nat => "-m",
            Kind::FullNat => "--fullnat",
            Kind::Dr => "-g",
            Kind::Tun(Tunnel::Ipip) => "-i",
            Kind::Tun(Tunnel::Gre) => "-i --tun-type gre",
            Kind::Tun(Tunnel::Gue) => "-i --tun-type gue --tun-port 6080",
        }
    }

    /// The port that servers listen on. Only NAT can translate the virtual one.
    pub(super) const fn server_port(self) -> u16 {
        match self.kind {
            Kind::Nat | Kind::FullNat => 8080,
            Kind::Dr | Kind::Tun(_) => VIRTUAL_PORT,
        }
    }

    /// The way of the servers to clients.
    pub(super) const fn replies(self) -> Replies {
        match self.kind {
            Kind::Nat => Replies::ThroughDirector,
            Kind::FullNat | Kind::Dr | Kind::Tun(_) => Replies::PastDirector,
        }
    }

    /// Whether replies come back to the director: because servers' routes lead there, or because it asked them itself.
    pub(super) const fn comes_back(self) -> bool {
        matches!(self.kind, Kind::Nat | Kind::FullNat)
    }

    /// Whether IPv6 is needed.
    pub(super) fn has_ipv6(self) -> bool {
        self.family == Family::V6 || self.servers == Family::V6
    }

    /// What the servers have beside their own addresses.
    pub(super) fn at_servers(self, vip: IpAddr) -> String {
        match self.kind {
            Kind::Nat | Kind::FullNat => String::new(),
            Kind::Dr => format!("has {vip} too"),
            Kind::Tun(_) => format!("has {vip} too, unpacks"),
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = METHODS.iter().find(|method| method.name == text);
        found.copied().ok_or_else(|| {
            let names = METHODS.map(|method| method.name);
            format!(
                "expected {} or {}, got {text:?}",
                names[..names.len() - 1].join(", "),
                names[names.len() - 1]
            )
        })
    }
}

/// The port of the virtual service.
pub(super) const VIRTUAL_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for method in METHODS {
            assert_eq!(method.name.parse(), Ok(method));
        }
        let expected = "expected nat, dr, tun, nat6, dr6, tun6, fullnat, fullnat6, gre, gre6, gue, gue6, 4in6, 6in4, nat64 or nat46, got \"NAT\"";
        assert_eq!("NAT".parse::<Method>(), Err(expected.to_owned()));
    }
}
