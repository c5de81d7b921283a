//! Neighbours: which Ethernet address a next hop has.

use std::fmt;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState as WireState,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;

use crate::error::Result;
use crate::mac::MacAddr;
use crate::prefix::family;
use crate::socket::Netlink;

/// An entry of the neighbour tables (ARP and neighbour discovery).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// The link it is on.
    pub ifindex: u32,
    /// Its IP address.
    pub address: IpAddr,
    /// Its Ethernet address, once known.
    pub mac: Option<MacAddr>,
    /// How much the kernel trusts the entry.
    pub state: NeighbourState,
}

impl Neighbour {
    /// `None` for entries of other tables, such as a bridge's forwarding table.
    pub(crate) fn from_message(message: &NeighbourMessage) -> Option<Self> {
        if !matches!(message.header.family, AddressFamily::Inet | AddressFamily::Inet6) {
            return None;
        }
        let mut address = None;
        let mut mac = None;
        for attribute in &message.attributes {
            match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => address = Some((*v4).into()),
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => address = Some((*v6).into()),
                NeighbourAttribute::LinkLayerAddress(bytes) => mac = MacAddr::from_attribute(bytes),
                _ => {}
            }
        }
        let state = NeighbourState::from_wire(message.header.state);
        Some(Self { ifindex: message.header.ifindex, address: address?, mac, state })
    }

    /// The Ethernet address, if the kernel itself would send to it now.
    #[must_use]
    pub fn usable_mac(&self) -> Option<MacAddr> {
        self.mac.filter(|_| self.state.is_valid())
    }
}

/// State of a neighbour entry (the kernel's `NUD_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighbourState {
    /// Just made, nothing sent yet.
    None,
    /// Being resolved for the first time.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Known, but not confirmed lately.
    Stale,
    /// Known and in use; a confirmation is awaited.
    Delay,
    /// Known; a confirmation has been asked for.
    Probe,
    /// Did not answer.
    Failed,
    /// The link needs no resolution.
    NoArp,
    /// Set by the administrator.
    Permanent,
    /// A combination or bit that this crate does not know.
    Other(u16),
}

impl NeighbourState {
    /// Whether the kernel sends packets to an entry in this state without resolving first.
    #[must_use]
    pub fn is_valid(self) -> bool {
        matches!(
            self,
            Self::Reachable | Self::Stale | Self::Delay | Self::Probe | Self::NoArp | Self::Permanent
        )
    }

    fn from_wire(state: WireState) -> Self {
        match state {
            WireState::None => Self::None,
            WireState::Incomplete => Self::Incomplete,
            WireState::Reachable => Self::Reachable,
            WireState::Stale => Self::Stale,
            WireState::Delay => Self::Delay,
            WireState::Probe => Self::Probe,
            WireState::Failed => Self::Failed,
            WireState::Noarp => Self::NoArp,
            WireState::Permanent => Self::Permanent,
            other => Self::Other(other.into()),
        }
    }
}

impl fmt::Display for NeighbourState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Incomplete => "incomplete",
            Self::Reachable => "reachable",
            Self::Stale => "stale",
            Self::Delay => "delay",
            Self::Probe => "probe",
            Self::Failed => "failed",
            Self::NoArp => "noarp",
            Self::Permanent => "permanent",
            Self::Other(bits) => return write!(f, "state {bits:#x}"),
        })
    }
}

fn message(ifindex: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = ifindex;
    message.attributes.push(NeighbourAttribute::Destination(match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    }));
    message
}

impl Netlink {
    /// All neighbours, IPv4 and IPv6, of all links.
    pub fn neighbours(&mut self) -> Result<Vec<Neighbour>> {
        let answers = self
            .dump(RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default()))
            .map_err(|e| e.during("list neighbours"))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewNeighbour(message) => Neighbour::from_message(&message),
                _ => None,
            })
            .collect())
    }

    /// Sets a neighbour for good, in place of whatever was known about the address.
    pub fn add_neighbour(&mut self, ifindex: u32, address: IpAddr, mac: MacAddr) -> Result<()> {
        let mut message = message(ifindex, address);
        message.header.state = WireState::Permanent;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        self.request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
            .map(drop)
            .map_err(|e| e.during(format!("add neighbour {address} at {mac} on link {ifindex}")))
    }

    /// Forgets a neighbour.
    pub fn delete_neighbour(&mut self, ifindex: u32, address: IpAddr) -> Result<()> {
        self.request(RouteNetlinkMessage::DelNeighbour(message(ifindex, address)), 0)
            .map(drop)
            .map_err(|e| e.during(format!("delete neighbour {address} on link {ifindex}")))
    }

    /// Forgets everything learnt on a link. Entries of the administrator, and those that need no resolution, stay.
    /// Returns how many were forgotten.
    pub fn flush_neighbours(&mut self, ifindex: u32) -> Result<usize> {
        let learnt = |n: &Neighbour| {
            n.ifindex == ifindex && !matches!(n.state, NeighbourState::Permanent | NeighbourState::NoArp)
        };
        let mut forgotten = 0;
        for neighbour in self.neighbours()?.iter().filter(|n| learnt(n)) {
            let request = RouteNetlinkMessage::DelNeighbour(message(ifindex, neighbour.address));
            match self.request(request, 0) {
                Ok(_) => forgotten += 1,
                // Aged away since it was listed.
                Err(e) if e.errno() == Some(Errno::ENOENT) => {}
                Err(e) => {
                    return Err(e.during(format!("flush neighbour {} on link {ifindex}", neighbour.address)));
                }
            }
        }
        Ok(forgotten)
    }

    /// Makes the kernel resolve or confirm a neighbour, as if a packet were to be sent to it (`NTF_USE`). Returns at
    /// once; the outcome shows in [`Netlink::neighbours`] and as an [`Event`](crate::Event).
    pub fn probe_neighbour(&mut self, ifindex: u32, address: IpAddr) -> Result<()> {
        let mut message = message(ifindex, address);
        message.header.flags = NeighbourFlags::Use;
        self.request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE)
            .map(drop)
            .map_err(|e| e.during(format!("probe neighbour {address} on link {ifindex}")))
    }
}
