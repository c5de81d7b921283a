//! Addresses of interfaces.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};

use crate::error::Result;
use crate::prefix::{Prefix, family};
use crate::socket::Netlink;

/// An address of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The link it belongs to.
    pub ifindex: u32,
    /// The address, with the length of its network's prefix.
    pub prefix: Prefix,
}

impl Address {
    fn from_message(message: &AddressMessage) -> Option<Self> {
        let mut address = None;
        let mut local = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(addr) => address = Some(*addr),
                AddressAttribute::Local(addr) => local = Some(*addr),
                _ => {}
            }
        }
        // On a point-to-point link the first is the peer's; IPv6 without a peer sends only the first.
        let addr: IpAddr = local.or(address)?;
        let prefix = Prefix::new(addr, message.header.prefix_len)?;
        Some(Self { ifindex: message.header.index, prefix })
    }
}

fn message(ifindex: u32, prefix: Prefix) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(prefix.addr());
    message.header.prefix_len = prefix.prefix_len();
    message.header.index = ifindex;
    if prefix.addr().is_ipv6() {
        // Usable at once: what rvs adds itself is not contended, and a tentative address refuses connections.
        message.header.flags = AddressHeaderFlags::Nodad;
    }
    message.attributes.push(AddressAttribute::Local(prefix.addr()));
    message.attributes.push(AddressAttribute::Address(prefix.addr()));
    message
}

impl Netlink {
    /// All addresses of all links, IPv4 and IPv6.
    pub fn addresses(&mut self) -> Result<Vec<Address>> {
        let answers = self
            .dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))
            .map_err(|e| e.during("list addresses"))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(message) => Address::from_message(&message),
                _ => None,
            })
            .collect())
    }

    /// Gives a link an address; the network of the prefix becomes reachable over it.
    pub fn add_address(&mut self, ifindex: u32, prefix: Prefix) -> Result<()> {
        let request = RouteNetlinkMessage::NewAddress(message(ifindex, prefix));
        self.request(request, NLM_F_CREATE | NLM_F_EXCL)
            .map(drop)
            .map_err(|e| e.during(format!("add address {prefix} to link {ifindex}")))
    }

    /// Takes an address from a link.
    pub fn delete_address(&mut self, ifindex: u32, prefix: Prefix) -> Result<()> {
        let request = RouteNetlinkMessage::DelAddress(message(ifindex, prefix));
        self.request(request, 0)
            .map(drop)
            .map_err(|e| e.during(format!("delete address {prefix} of link {ifindex}")))
    }
}
