//! What distinguishes the forwarding methods.

use std::net::Ipv4Addr;
use std::str::FromStr;

use rvs_testkit::Replies;

/// A forwarding method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Network address translation.
    Nat,
    /// Direct routing.
    Dr,
    /// IP tunnelling.
    Tun,
}

impl Method {
    /// In the order in which they are shown.
    pub(super) const ALL: &'static [Self] = &[Self::Nat, Self::Dr, Self::Tun];

    /// As it is asked for.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dr => "dr",
            Self::Tun => "tun",
        }
    }

    /// As a title.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Nat => "NAT (network address translation)",
            Self::Dr => "DR (direct routing)",
            Self::Tun => "TUN (IP tunnelling)",
        }
    }

    /// What it does, in a few lines.
    pub(super) const fn explanation(self) -> &'static str {
        match self {
            Self::Nat => {
                "The director rewrites the address and the port of requests to the server's, and of replies\n\
                 back to the virtual ones. The servers need no preparation, but their way back is the director."
            }
            Self::Dr => {
                "The director sends requests on as they are, to the server's Ethernet address. The servers have\n\
                 the virtual address too, without saying so by ARP, and answer the client past the director."
            }
            Self::Tun => {
                "The director sends requests as they are inside IP packets to the server, which may be anywhere.\n\
                 The servers unpack them, have the virtual address too, and answer the client past the director."
            }
        }
    }

    /// `ipvsadm`'s option.
    pub(super) const fn option(self) -> &'static str {
        match self {
            Self::Nat => "-m",
            Self::Dr => "-g",
            Self::Tun => "-i",
        }
    }

    /// The port that servers listen on. Only NAT can translate the virtual one.
    pub(super) const fn server_port(self) -> u16 {
        match self {
            Self::Nat => 8080,
            Self::Dr | Self::Tun => VIRTUAL_PORT,
        }
    }

    /// The way of replies.
    pub(super) const fn replies(self) -> Replies {
        match self {
            Self::Nat => Replies::ThroughDirector,
            Self::Dr | Self::Tun => Replies::PastDirector,
        }
    }

    /// What the servers have beside their own addresses.
    pub(super) fn at_servers(self, vip: Ipv4Addr) -> String {
        match self {
            Self::Nat => String::new(),
            Self::Dr => format!("has {vip} too"),
            Self::Tun => format!("has {vip} too, unpacks"),
        }
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.iter().find(|method| method.name() == text);
        found.copied().ok_or_else(|| format!("expected nat, dr or tun, got {text:?}"))
    }
}

/// The port of the virtual service.
pub(super) const VIRTUAL_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        for method in Method::ALL {
            assert_eq!(method.name().parse(), Ok(*method));
        }
        assert_eq!("NAT".parse::<Method>(), Err("expected nat, dr or tun, got \"NAT\"".to_owned()));
    }
}
