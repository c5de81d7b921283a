//! Destinations: the real servers of a virtual service (ipvs.md §1.2).

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{CommandError, Tunnel};

/// How packets reach a destination (ipvs.md §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardingMethod {
    /// NAT: addresses and ports are rewritten (`-m`, shown as `Masq`).
    Masq,
    /// Direct routing: only the link address changes (`-g`, shown as `Route`).
    Dr,
    /// Tunnel (`-i`, shown as `Tunnel`), of the kind that the destination's [`Tunnel`] says.
    Tunnel,
    /// Full NAT, which IPVS lacks: NAT, and from an address of the director's (`--fullnat`, shown as `FullNat`).
    FullNat,
}

impl ForwardingMethod {
    /// Every method there is.
    pub const ALL: &'static [Self] = &[Self::Masq, Self::Dr, Self::Tunnel, Self::FullNat];

    /// The name in JSON and in configuration files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Masq => "masq",
            Self::Dr => "dr",
            Self::Tunnel => "tunnel",
            Self::FullNat => "fullnat",
        }
    }
}

impl fmt::Display for ForwardingMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for ForwardingMethod {
    type Err = CommandError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().copied().find(|method| method.name() == name).ok_or_else(|| {
            CommandError::invalid(format_args!(
                "forwarding method `{name}': expected masq, dr, tunnel or fullnat"
            ))
        })
    }
}

/// What a destination is known by within its service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DestKey {
    /// The real server's address.
    pub address: IpAddr,
    /// The real server's port, host order.
    pub port: u16,
}

impl fmt::Display for DestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.address, self.port).fmt(f)
    }
}

/// Reads what `Display` writes: `10.0.0.2:80`, `[2001:db8::2]:80`.
impl FromStr for DestKey {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address: SocketAddr = text.parse().map_err(|_| {
            CommandError::invalid(format_args!("destination `{text}': expected ADDRESS:PORT"))
        })?;
        Ok(Self { address: address.ip(), port: address.port() })
    }
}

/// A destination and its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Its identity.
    #[serde(flatten)]
    pub key: DestKey,
    /// Forwarding method.
    pub method: ForwardingMethod,
    /// Weight; 0 means quiesced: no new connections.
    pub weight: u32,
    /// Connections above which it gets no new ones; 0 means no limit (`-x`).
    #[serde(default)]
    pub upper_threshold: u32,
    /// Connections below which it gets new ones again (`-y`).
    #[serde(default)]
    pub lower_threshold: u32,
    /// How packets are wrapped, if the method is [`ForwardingMethod::Tunnel`]; otherwise [`Tunnel::Ipip`].
    #[serde(default)]
    pub tunnel: Tunnel,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use super::*;

    #[test]
    fn keys_and_methods_are_read_back() {
        for text in ["10.0.0.2:80", "10.0.0.2:0", "[2001:db8::2]:65535"] {
            assert_eq!(text.parse::<DestKey>().unwrap().to_string(), text);
        }
        for method in ForwardingMethod::ALL {
            assert_eq!(method.to_string().parse::<ForwardingMethod>().unwrap(), *method);
        }
        let error = "10.0.0.2".parse::<DestKey>().unwrap_err();
        assert_eq!(error.to_string(), "destination `10.0.0.2': expected ADDRESS:PORT");
        let error = "nat".parse::<ForwardingMethod>().unwrap_err();
        assert_eq!(error.to_string(), "forwarding method `nat': expected masq, dr, tunnel or fullnat");
    }
}
