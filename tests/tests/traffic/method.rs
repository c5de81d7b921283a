//! What a test is about: a forwarding method, and where packets are taken.

use rvs_testkit::{Offloads, Replies};

/// A forwarding method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Nat,
    Dr,
    Tun,
}

impl Method {
    /// `ipvsadm`'s option.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::Nat => "-m",
            Self::Dr => "-g",
            Self::Tun => "-i",
        }
    }

    pub(crate) fn replies(self) -> Replies {
        match self {
            Self::Nat => Replies::ThroughDirector,
            Self::Dr | Self::Tun => Replies::PastDirector,
        }
    }

    /// The port that servers listen on for virtual port 80.
    pub(crate) fn server_port(self) -> u16 {
        match self {
            Self::Nat => 8080,
            Self::Dr | Self::Tun => 80,
        }
    }
}

/// Where the director takes packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attach {
    Tc,
    Xdp,
}

impl Attach {
    /// As `--attach` takes it and `rvs status` shows it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tc => "tc",
            Self::Xdp => "xdp",
        }
    }

    /// What the hosts' interfaces need to be set to.
    pub(crate) fn offloads(self) -> Offloads {
        match self {
            Self::Tc => Offloads::Default,
            Self::Xdp => Offloads::XdpReady,
        }
    }
}
