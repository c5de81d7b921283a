//! How packets are wrapped on their way to a tunnel destination (ipvs.md §1.2, §3.5, §3.6).

use core::fmt;

use serde::{Deserialize, Serialize};

/// Kind of a tunnel, with what only that kind has. In JSON an object whose `type` is the kind's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Tunnel {
    /// IP in IP (`--tun-type ipip`), and what destinations of other methods have.
    #[default]
    Ipip,
    /// Generic UDP encapsulation (`--tun-type gue`).
    Gue {
        /// UDP port that the real server takes packets at, host order (`--tun-port`); never 0.
        port: u16,
        /// Checksum of the outer UDP header.
        #[serde(default)]
        checksum: TunnelChecksum,
    },
    /// Generic routing encapsulation (`--tun-type gre`).
    Gre {
        /// Checksum in the GRE header; never [`TunnelChecksum::Remcsum`].
        #[serde(default)]
        checksum: TunnelChecksum,
    },
}

/// Checksum of an outer header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelChecksum {
    /// None (`--tun-nocsum`).
    #[default]
    None,
    /// A checksum (`--tun-csum`).
    Csum,
    /// Remote checksum offload (`--tun-remcsum`), for GUE only.
    Remcsum,
}

impl TunnelChecksum {
    /// Every checksum there is.
    pub const ALL: &'static [Self] = &[Self::None, Self::Csum, Self::Remcsum];

    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Csum => "csum",
            Self::Remcsum => "remcsum",
        }
    }
}

impl Tunnel {
    /// Whether it is IP in IP, which nothing has to be said about.
    #[must_use]
    pub const fn is_ipip(&self) -> bool {
        matches!(self, Self::Ipip)
    }

    /// The name that `ipvsadm --tun-type` takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ipip => "ipip",
            Self::Gue { .. } => "gue",
            Self::Gre { .. } => "gre",
        }
    }

    /// The checksum of its outer header.
    #[must_use]
    pub const fn checksum(self) -> TunnelChecksum {
        match self {
            Self::Ipip => TunnelChecksum::None,
            Self::Gue { checksum, .. } | Self::Gre { checksum } => checksum,
        }
    }

    /// The UDP port it goes to, host order; 0 for those without.
    #[must_use]
    pub const fn port(self) -> u16 {
        match self {
            Self::Gue { port, .. } => port,
            Self::Ipip | Self::Gre { .. } => 0,
        }
    }
}

/// `ipip`, `gue 5555`, `gre csum`: kind, port, and the checksum if there is one.
impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Self::Gue { port, .. } = self {
            write!(f, " {port}")?;
        }
        match self.checksum() {
            TunnelChecksum::None => Ok(()),
            checksum => write!(f, " {}", checksum.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short() {
        let (none, csum, remcsum) = (TunnelChecksum::None, TunnelChecksum::Csum, TunnelChecksum::Remcsum);
        let texts = [
            (Tunnel::Ipip, "ipip"),
            (Tunnel::Gue { port: 5555, checksum: none }, "gue 5555"),
            (Tunnel::Gue { port: 6080, checksum: remcsum }, "gue 6080 remcsum"),
            (Tunnel::Gre { checksum: none }, "gre"),
            (Tunnel::Gre { checksum: csum }, "gre csum"),
        ];
        for (tunnel, text) in texts {
            assert_eq!(tunnel.to_string(), text);
        }
    }
}
