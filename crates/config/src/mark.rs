//! Rules that give packets a firewall mark, as an operator means them.

use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{CommandError, Protocol};

/// The addresses that begin with some bits: `10.0.0.0/24`. Bits behind them are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// `None` if the address has fewer bits, others are set behind them, or it is IPv4 in the form of IPv6.
    #[must_use]
    pub fn new(address: IpAddr, bits: u8) -> Option<Self> {
        let is_clean = match address {
            IpAddr::V4(v4) => bits <= 32 && v4.to_bits().checked_shl(bits.into()).unwrap_or(0) == 0,
            IpAddr::V6(v6) => {
                bits <= 128
                    && v6.to_bits().checked_shl(bits.into()).unwrap_or(0) == 0
                    && v6.to_ipv4_mapped().is_none()
            }
        };
        is_clean.then_some(Self { address, bits })
    }

    /// The first of the addresses.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits they have in common.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.bits
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

/// Reads `ADDRESS` and `ADDRESS/BITS`.
impl FromStr for Prefix {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let parsed = address.parse::<IpAddr>().ok().and_then(|address| {
            let all = if address.is_ipv4() { 32 } else { 128 };
            Self::new(address, bits.map_or(Some(all), |bits| bits.parse().ok())?)
        });
        parsed.ok_or_else(|| {
            let expected = "expected ADDRESS or ADDRESS/BITS with no bit set behind them";
            CommandError::invalid(format_args!("prefix `{text}': {expected}"))
        })
    }
}

impl TryFrom<String> for Prefix {
    type Error = CommandError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> Self {
        prefix.to_string()
    }
}

/// Ports, the last one included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last; not below the first.
    pub last: u16,
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last { write!(f, "{first}") } else { write!(f, "{first}-{last}") }
    }
}

/// Reads `PORT` and `FIRST-LAST`.
impl FromStr for PortRange {
    type Err = CommandError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let range = first.parse().ok().zip(last.parse().ok()).map(|(first, last)| Self { first, last });
        range.filter(|range| range.first <= range.last).ok_or_else(|| {
            CommandError::invalid(format_args!("ports `{text}': expected PORT or FIRST-LAST, 0 to 65535"))
        })
    }
}

/// Which packets get which mark. What is not said takes every packet. Of several rules the first that takes it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRule {
    /// The mark; not 0.
    pub mark: u32,
    /// Where they come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Prefix>,
    /// Where they go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Prefix>,
    /// Their protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// The port that they come from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_ports: Option<PortRange>,
    /// The port that they go to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ports: Option<PortRange>,
}

impl MarkRule {
    /// Whether a packet can have what it asks for.
    ///
    /// # Errors
    /// [`CommandError::Invalid`], with what contradicts what.
    pub fn check(&self) -> Result<(), CommandError> {
        let wrong = |what: fmt::Arguments<'_>| Err(CommandError::invalid(format_args!("mark rule: {what}")));
        if self.mark == 0 {
            return wrong(format_args!("mark 0, expected 1 to {}", u32::MAX));
        }
        if let (Some(source), Some(destination)) = (self.source, self.destination)
            && source.address().is_ipv4() != destination.address().is_ipv4()
        {
            return wrong(format_args!("{source} to {destination}: expected two of one address family"));
        }
        for range in [self.source_ports, self.ports].into_iter().flatten() {
            if range.first > range.last {
                return wrong(format_args!("ports {range}: expected the first not to be above the last"));
            }
        }
        Ok(())
    }
}

/// The rules, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRules {
    /// The first that takes a packet counts. Number 1 is the first.
    pub rules: Vec<MarkRule>,
    /// How many there may be.
    pub rules_max: u32,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use super::*;

    #[test]
    fn prefixes_are_read_back() {
        for text in ["10.0.0.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32", "10.0.0.1/32", "2001:db8::1/128"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
        assert_eq!("10.0.0.1".parse::<Prefix>().unwrap().to_string(), "10.0.0.1/32");
        for text in
            ["", "10.0.0.1/24", "10.0.0.0/33", "2001:db8::1/64", "::ffff:10.0.0.1", "x/8", "10.0.0.0/"]
        {
            let expected = "expected ADDRESS or ADDRESS/BITS with no bit set behind them";
            assert_eq!(
                text.parse::<Prefix>().unwrap_err().to_string(),
                format!("prefix `{text}': {expected}")
            );
        }
    }

    #[test]
    fn port_ranges_are_read_back() {
        for text in ["80", "80-90", "0-65535"] {
            assert_eq!(text.parse::<PortRange>().unwrap().to_string(), text);
        }
        for text in ["", "90-80", "65536", "80-", "http"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_no_packet_can_have_is_refused() {
        let rule = MarkRule {
            mark: 7,
            source: Some("10.0.0.0/8".parse().unwrap()),
            destination: None,
            protocol: None,
            source_ports: None,
            ports: None,
        };
        assert_eq!(rule.check(), Ok(()));
        let error = |rule: MarkRule| rule.check().unwrap_err().to_string();
        assert_eq!(error(MarkRule { mark: 0, ..rule }), "mark rule: mark 0, expected 1 to 4294967295");
        assert_eq!(
            error(MarkRule { destination: Some("::/0".parse().unwrap()), ..rule }),
            "mark rule: 10.0.0.0/8 to ::/0: expected two of one address family"
        );
        assert_eq!(
            error(MarkRule { ports: Some(PortRange { first: 2, last: 1 }), ..rule }),
            "mark rule: ports 2-1: expected the first not to be above the last"
        );
    }
}
