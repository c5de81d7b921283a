//! Who sends on what another director balanced: Ethernet addresses of hosts that are destinations of a service by direct
//! routing or through a tunnel, on the same link as the director.
//!
//! Each has a key in `SERVICE_KEYS`, whose value is the service's id again, and its bit in the address filter.

use crate::{Addr, ServiceKey};

/// An Ethernet address in the form of an address: no packet of IPv4 has it as its own, and none of IPv6 that is from anywhere.
#[inline(always)]
#[must_use]
pub const fn address(mac: [u8; 6]) -> Addr {
    let [a, b, c, d, e, f] = mac;
    Addr([u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]), 0])
}

/// The key of a host that is a destination of that service; its address is one of [`address`].
#[inline(always)]
#[must_use]
pub const fn key(service: u32, address: Addr) -> ServiceKey {
    ServiceKey {
        vip: Addr([address.0[0], service as u64]),
        vport: 0,
        protocol: 0,
        family: 0,
        zero: ServiceKey::PEER,
    }
}

/// The service and the Ethernet address of a key; `None` if it is of another kind.
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "an id has 32 bits")]
pub const fn parse(key: &ServiceKey) -> Option<(u32, [u8; 6])> {
    if key.zero != ServiceKey::PEER {
        return None;
    }
    let [a, b, c, d, e, f, _, _] = key.vip.0[0].to_ne_bytes();
    Some((key.vip.0[1] as u32, [a, b, c, d, e, f]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let mac = [2, 0, 0xff, 0xff, 7, 1];
        let key = key(0x1_0003, address(mac));
        assert_eq!(parse(&key), Some((0x1_0003, mac)));
        assert_eq!(parse(&ServiceKey { zero: 0, ..key }), None);
        assert!(!address(mac).is_v4() && !address([0; 6]).is_v4());
    }
}
