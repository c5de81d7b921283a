//! Address prefixes.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use netlink_packet_route::AddressFamily;

/// An address with the number of its leading bits that count: `10.0.0.0/24`.
///
/// Bits behind the prefix are kept: the same type says "this interface has 10.0.0.5 in a /24".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    addr: IpAddr,
    len: u8,
}

impl Prefix {
    /// A prefix of `len` bits; `None` if the address has fewer.
    #[must_use]
    pub fn new(addr: impl Into<IpAddr>, len: u8) -> Option<Self> {
        let addr = addr.into();
        (len <= bits(addr)).then_some(Self { addr, len })
    }

    /// The prefix that holds this address only: /32 or /128.
    #[must_use]
    pub fn host(addr: impl Into<IpAddr>) -> Self {
        let addr = addr.into();
        Self { addr, len: bits(addr) }
    }

    /// Everything: `0.0.0.0/0`.
    #[must_use]
    pub fn default_v4() -> Self {
        Self { addr: IpAddr::from([0u8; 4]), len: 0 }
    }

    /// Everything: `::/0`.
    #[must_use]
    pub fn default_v6() -> Self {
        Self { addr: IpAddr::from([0u8; 16]), len: 0 }
    }

    /// The address.
    #[must_use]
    pub fn addr(&self) -> IpAddr {
        self.addr
    }

    /// How many leading bits count.
    #[must_use]
    pub fn prefix_len(&self) -> u8 {
        self.len
    }
}

fn bits(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 32 } else { 128 }
}

/// The kernel's family of an address.
pub(crate) fn family(addr: IpAddr) -> AddressFamily {
    if addr.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.len)
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsePrefixError(String);

impl fmt::Display for ParsePrefixError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: expected ADDRESS/LENGTH, the length at most 32 for IPv4 and 128 for IPv6", self.0)
    }
}

impl std::error::Error for ParsePrefixError {}

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Self, ParsePrefixError> {
        let parse = || {
            let (addr, len) = text.split_once('/')?;
            Self::new(addr.parse::<IpAddr>().ok()?, len.parse().ok()?)
        };
        parse().ok_or_else(|| ParsePrefixError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
    use super::*;

    #[test]
    fn text_round_trip() {
        for text in ["0.0.0.0/0", "192.0.2.7/24", "203.0.113.10/32", "2001:db8::1/64", "::/0"] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn too_long_and_malformed_are_refused() {
        for text in ["192.0.2.7", "192.0.2.7/33", "2001:db8::1/129", "/24", "192.0.2/24", "192.0.2.7/-1"] {
            assert!(text.parse::<Prefix>().is_err(), "{text:?}");
        }
    }
}
