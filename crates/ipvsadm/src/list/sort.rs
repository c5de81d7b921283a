//! The order of listings. It is not the numeric order of addresses: `ipvsadm` subtracts them modulo 2^32 and takes the
//! result as a signed number, so addresses more than 2^31 apart change places (ipvs.md §10.5). That relation is not
//! transitive, so the order depends on the sorting algorithm, and a sort that insists on a total order may panic. Hence
//! a merge sort of our own, which merges as the C library's does.

use core::cmp::Ordering;
use core::net::IpAddr;

use rvs_config::{DestKey, ServiceKey};

/// Something that listings sort.
pub(crate) trait Listed {
    /// What of two comes first in a listing.
    fn listed_cmp(&self, other: &Self) -> Ordering;
}

impl Listed for ServiceKey {
    fn listed_cmp(&self, other: &Self) -> Ordering {
        // Those at addresses, whose mark is 0, come first; IPv4 before IPv6.
        let mark = self.mark().cmp(&other.mark());
        let family = self.address.is_ipv6().cmp(&other.address.is_ipv6());
        mark.then(family)
            .then_with(|| self.protocol.number().cmp(&other.protocol.number()))
            .then_with(|| address_cmp(self.address, other.address))
            .then_with(|| self.port.cmp(&other.port))
    }
}

impl Listed for DestKey {
    fn listed_cmp(&self, other: &Self) -> Ordering {
        address_cmp(self.address, other.address).then_with(|| self.port.cmp(&other.port))
    }
}

/// The first words that differ decide. The family of `a` says how many words there are.
fn address_cmp(a: IpAddr, b: IpAddr) -> Ordering {
    let count = if a.is_ipv4() { 1 } else { 4 };
    let pairs = words(a).into_iter().zip(words(b)).take(count);
    pairs
        .map(|(a, b)| a.wrapping_sub(b).cast_signed().cmp(&0))
        .find(|order| order.is_ne())
        .unwrap_or(Ordering::Equal)
}

/// An address as `ipvsadm` keeps it: four words, of which IPv4 uses the first.
fn words(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(v4) => [v4.to_bits(), 0, 0, 0],
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            [96, 64, 32, 0].map(|shift| u32::try_from(bits >> shift & 0xffff_ffff).unwrap_or(u32::MAX))
        }
    }
}

/// The items in the order of listings; `key` finds what is compared.
pub(crate) fn sorted<T, K: Listed>(mut items: Vec<T>, key: impl Fn(&T) -> &K + Copy) -> Vec<T> {
    // The first half is the smaller one, and of equals the one of the first half comes first: this is what decides
    // between elements whose order is circular.
    if items.len() < 2 {
        return items;
    }
    let right = items.split_off(items.len() / 2);
    let (left, right) = (sorted(items, key), sorted(right, key));
    let mut merged = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let next = if key(a).listed_cmp(key(b)).is_le() { left.next() } else { right.next() };
        merged.extend(next);
    }
    merged.extend(left);
    merged.extend(right);
    merged
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use core::net::Ipv4Addr;

    use super::*;

    fn dests(texts: &[&str]) -> Vec<DestKey> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    /// Kernel order and listing of `ipvsadm` 1.31 on Linux 6.1.
    #[test]
    fn destinations_as_ipvsadm_lists_them() {
        let in_kernel = [
            "10.0.0.3:81",
            "10.0.0.3:80",
            "10.0.0.2:81",
            "10.0.0.2:80",
            "200.1.2.3:81",
            "200.1.2.3:80",
            "1.2.3.4:81",
            "1.2.3.4:80",
            "11.0.0.1:81",
            "11.0.0.1:80",
            "192.168.9.2:81",
            "192.168.9.2:80",
            "172.16.0.2:81",
            "172.16.0.2:80",
            "10.0.0.1:81",
            "10.0.0.1:80",
        ];
        let listed = [
            "172.16.0.2:80",
            "172.16.0.2:81",
            "192.168.9.2:80",
            "192.168.9.2:81",
            "200.1.2.3:80",
            "200.1.2.3:81",
            "1.2.3.4:80",
            "1.2.3.4:81",
            "10.0.0.1:80",
            "10.0.0.1:81",
            "10.0.0.2:80",
            "10.0.0.2:81",
            "10.0.0.3:80",
            "10.0.0.3:81",
            "11.0.0.1:80",
            "11.0.0.1:81",
        ];
        assert_eq!(sorted(dests(&in_kernel), |key| key), dests(&listed));
    }

    /// The same for services; their addresses span more than half of all, so only the algorithm gives this order.
    #[test]
    fn services_as_ipvsadm_lists_them() {
        let in_kernel = [
            ("udp", "1 128 127 11 10 192 172 200", &[53][..]),
            ("tcp", "1 192 172 200 128 127 11 10", &[80]),
            ("tcp", "1 128 127 11 10 192 172 200", &[443]),
        ];
        let listed = [
            ("tcp", "172 192 200 1 10 11 127 128", &[80, 443][..]),
            ("udp", "172 192 200 1 10 11 127 128", &[53]),
        ];
        assert_eq!(sorted(services(&in_kernel), |key| key), services(&listed));
    }

    /// Services at the eight addresses of that run, called by their first numbers.
    fn services(groups: &[(&str, &str, &[u16])]) -> Vec<ServiceKey> {
        const ADDRESSES: [&str; 8] = [
            "1.2.3.4",
            "10.0.0.1",
            "11.0.0.1",
            "127.0.0.1",
            "128.0.0.1",
            "172.16.0.2",
            "192.168.9.2",
            "200.1.2.3",
        ];
        let mut keys = Vec::new();
        for (protocol, heads, ports) in groups {
            for head in heads.split(' ') {
                let address = ADDRESSES.iter().find(|a| a.split('.').next() == Some(head)).unwrap();
                keys.extend(
                    ports
                        .iter()
                        .map(|port| format!("{address}:{port}/{protocol}").parse::<ServiceKey>().unwrap()),
                );
            }
        }
        keys
    }

    #[test]
    fn families_and_protocols_come_before_addresses() {
        let keys = |texts: [&str; 4]| texts.map(|text| text.parse::<ServiceKey>().unwrap()).to_vec();
        let mixed = ["[::1]:1/tcp", "10.0.0.9:9/udp", "10.0.0.1:1/udp", "10.0.0.9:9/tcp"];
        let listed = ["10.0.0.9:9/tcp", "10.0.0.1:1/udp", "10.0.0.9:9/udp", "[::1]:1/tcp"];
        assert_eq!(sorted(keys(mixed), |key| key), keys(listed));
    }

    /// No order of input makes it panic, lose or double an element, however circular the relation is.
    #[test]
    fn circles_are_harmless() {
        let circle: Vec<DestKey> = (0..97_u32)
            .map(|i| Ipv4Addr::from_bits(i.wrapping_mul(0x9e37_79b9)))
            .map(|address| DestKey { address: address.into(), port: 80 })
            .collect();
        let mut kept = sorted(circle.clone(), |key| key);
        kept.sort();
        let mut expected = circle;
        expected.sort();
        assert_eq!(kept, expected);
    }
}
