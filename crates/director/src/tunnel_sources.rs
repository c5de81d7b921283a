//! The addresses that tunnels come from.

use core::net::IpAddr;

use rvs_abi::Addr;
use rvs_config::Prefix;
use rvs_model::{Memory, records};

use crate::director::Director;

/// How many bits of an address the flow chooses at most.
const CHOSEN_MAX: u32 = 32;

impl<M: Memory> Director<M> {
    /// Tells the programs which addresses tunnels in IPv4 and IPv6 come from, one for each flow; `None`: the director's own
    /// address on the way to the server.
    pub fn set_tunnel_sources(&mut self, v4: Option<Prefix>, v6: Option<Prefix>) {
        let mut config = records::config(&self.memory);
        let first =
            |prefix: Option<Prefix>| prefix.map_or_else(Addr::default, |p| Addr::from_ip(p.address()));
        config.tunnel_source_masks = [mask(v4), mask(v6)];
        config.tunnel_sources_v4 = first(v4);
        config.tunnel_sources_v6 = first(v6);
        records::write_config(&self.memory, &config);
    }
}

/// The bits behind the prefix among the last 32, network order.
fn mask(prefix: Option<Prefix>) -> u32 {
    let Some(prefix) = prefix else { return 0 };
    let all = match prefix.address() {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let chosen = (all - u32::from(prefix.bits())).min(CHOSEN_MAX);
    u32::MAX.checked_shr(CHOSEN_MAX - chosen).unwrap_or(0).to_be()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_chooses_what_is_behind_the_prefix() {
        let bytes = |text: &str| mask(text.parse().ok()).to_ne_bytes();
        assert_eq!(bytes("10.250.0.0/16"), [0, 0, 255, 255]);
        assert_eq!(bytes("10.250.0.0/29"), [0, 0, 0, 7]);
        assert_eq!(bytes("10.250.0.1"), [0; 4]);
        assert_eq!(bytes("2001:db8::/64"), [255; 4]);
        assert_eq!(bytes("2001:db8::/120"), [0, 0, 0, 255]);
        assert_eq!(mask(None), 0);
    }
}
