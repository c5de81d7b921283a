//! Addresses of directors, as they are typed.

use core::fmt;
use core::net::IpAddr;

use rvs_abi::{Addr, DirectorPrefix};
use rvs_netlink::Prefix;

/// A director, or a network of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Director(Prefix);

impl Director {
    /// As the programs look it up.
    pub(super) fn key(self) -> DirectorPrefix {
        DirectorPrefix::new(Addr::from_ip(self.0.addr()), self.0.prefix_len().into())
    }
}

impl fmt::Display for Director {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Reads `ADDR` or `ADDR/LEN`.
///
/// # Errors
/// When it is neither, or bits behind the prefix are set: who is believed is no place for a guess.
pub(super) fn parse(text: &str) -> Result<Director, String> {
    let address = text.parse::<IpAddr>().map(Prefix::host);
    let prefix = address.or_else(|_| text.parse::<Prefix>());
    let prefix = prefix.map_err(|_| "expected an address, or ADDRESS/BITS".to_owned())?;
    if let IpAddr::V6(v6) = prefix.addr()
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        return Err(format!("expected an IPv4 address to be written as one: {v4}"));
    }
    let network = network(prefix);
    if network == prefix.addr() {
        Ok(Director(prefix))
    } else {
        let len = prefix.prefix_len();
        Err(format!("bits behind the first {len} are set; expected {network}/{len}, or an address"))
    }
}

/// The address without the bits behind its prefix.
fn network(prefix: Prefix) -> IpAddr {
    let len = u32::from(prefix.prefix_len());
    match prefix.addr() {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(u32::BITS - len).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(u128::BITS - len).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_networks_are_directors() {
        for (text, shown) in [
            ("10.0.0.1", "10.0.0.1/32"),
            ("10.0.0.1/32", "10.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(parse(text).map(|director| director.to_string()).as_deref(), Ok(shown));
        }
    }

    #[test]
    fn what_could_be_meant_otherwise_is_refused() {
        for (text, message) in [
            ("", "expected an address, or ADDRESS/BITS"),
            ("director", "expected an address, or ADDRESS/BITS"),
            ("10.0.0.1/33", "expected an address, or ADDRESS/BITS"),
            ("10.0.0.1/", "expected an address, or ADDRESS/BITS"),
            ("10.0.0.1/24", "bits behind the first 24 are set; expected 10.0.0.0/24, or an address"),
            ("2001:db8::1/32", "bits behind the first 32 are set; expected 2001:db8::/32, or an address"),
            ("::ffff:10.0.0.1", "expected an IPv4 address to be written as one: 10.0.0.1"),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn programs_look_up_by_family() {
        let bits = |text| parse(text).map(|director| (director.key().bits, director.key().family));
        assert_eq!(bits("10.0.0.0/8"), Ok((136, 4)));
        assert_eq!(bits("::/0"), Ok((32, 6)));
        assert_eq!(bits("2001:db8::1"), Ok((160, 6)));
    }
}
