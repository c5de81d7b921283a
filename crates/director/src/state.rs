//! What is configured, as read from memory once and kept in step with it.

use core::fmt;
use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use rvs_abi::ProgramSet;
use rvs_config::{
    ClientAddress, DestKey, Scheduler, SchedulerFlags, ServiceKey, Settings, Timeouts, VirtualService,
};

use crate::action::Block;
use crate::marks::{RuleList, Special};
use crate::members::{Member, Members};
use crate::peers::Peer;
use crate::real_servers::RealServers;
use crate::space::Ranges;

/// Number of a service in the data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceId(pub u32);

/// Number of a destination in the data plane. Connections refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestId(pub u32);

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service #{}", self.0)
    }
}

impl fmt::Display for DestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "destination #{}", self.0)
    }
}

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Of an address.
    pub(crate) const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Its number in the data plane, [`rvs_abi::family`].
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::V4 => rvs_abi::family::V4,
            Self::V6 => rvs_abi::family::V6,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// How many services exist, by family: a family's packets are looked at only while it has one (ipvs.md §1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LiveCounts {
    v4: u32,
    v6: u32,
}

impl LiveCounts {
    pub(crate) const fn get(self, family: Family) -> u32 {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    pub(crate) const fn get_mut(&mut self, family: Family) -> &mut u32 {
        match family {
            Family::V4 => &mut self.v4,
            Family::V6 => &mut self.v6,
        }
    }

    pub(crate) const fn total(self) -> u32 {
        self.v4 + self.v6
    }
}

/// Everything configured.
#[derive(Debug, Clone)]
pub(crate) struct State {
    /// By id: those that exist, and those removed whose destinations are in the trash.
    pub(crate) services: BTreeMap<ServiceId, ServiceState>,
    pub(crate) ids: BTreeMap<ServiceKey, ServiceId>,
    /// How many exist: `Config::services_v4` and `services_v6`.
    pub(crate) live: LiveCounts,
    pub(crate) special: Special,
    /// Those of [`ProgramSet::ON_DEMAND`] that packets may be sent on to.
    pub(crate) programs: ProgramSet,
    /// Ports at which FTP's control connections are listened to.
    pub(crate) ftp_ports: Vec<u16>,
    pub(crate) space: Space,
    /// How many addresses need each bit of the filter.
    pub(crate) filter: BTreeMap<u32, u32>,
    pub(crate) timeouts: Timeouts,
    pub(crate) settings: Settings,
    pub(crate) real_servers: RealServers,
    pub(crate) rules: RuleList,
    /// What stands in the map of keys.
    pub(crate) peers: BTreeSet<Peer>,
}

/// What is free. Quarantined is not free.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    pub(crate) services: Ranges,
    pub(crate) dests: Ranges,
    pub(crate) words: Ranges,
}

/// A service that exists or whose removed destinations are kept.
#[derive(Debug, Clone)]
pub(crate) struct ServiceState {
    pub(crate) key: ServiceKey,
    /// `None`: removed.
    pub(crate) live: Option<Live>,
    /// Removed destinations (ipvs.md §1.3).
    pub(crate) trash: BTreeMap<DestKey, Trashed>,
}

/// A service that exists.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) scheduler: Scheduler,
    pub(crate) flags: SchedulerFlags,
    pub(crate) one_packet: bool,
    pub(crate) mss: u16,
    pub(crate) client_address: ClientAddress,
    pub(crate) members: Members,
    /// Where its table is; of a service that is being planned: where the table was, if it had one.
    pub(crate) table: Block,
}

/// A removed destination.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trashed {
    pub(crate) member: Member,
    /// When; 0: before this director took over, which takes longer than any packet in flight.
    pub(crate) removed_at: u64,
    /// When it was first seen without connections.
    pub(crate) idle_since: Option<u64>,
}

impl ServiceState {
    /// Attributes, if it exists.
    pub(crate) fn service(&self) -> Option<VirtualService> {
        let live = self.live.as_ref()?;
        Some(VirtualService {
            key: self.key,
            scheduler: live.scheduler,
            flags: live.flags,
            one_packet: live.one_packet,
            mss: live.mss,
            client_address: live.client_address,
        })
    }

    pub(crate) const fn family(&self) -> Family {
        Family::of(self.key.address)
    }

    /// Its destinations in list order, if it exists.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.live.iter().flat_map(|live| live.members.newest_first())
    }

    /// Whether there is a reason to keep it.
    pub(crate) fn is_needed(&self) -> bool {
        self.live.is_some() || !self.trash.is_empty()
    }

    /// The addresses that the filter must let through for it: its own and those of all its destinations, of the removed
    /// ones too. Destinations that are not NAT are among them, because they may have been, and their connections stay
    /// NAT (ipvs.md §1.2).
    pub(crate) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let trash = self.trash.keys().map(|key| key.address);
        let members = self.members().map(|member| member.key.address);
        // A mark is in no packet's header.
        let own = self.key.mark().is_none().then_some(self.key.address);
        own.into_iter().chain(members).chain(trash)
    }
}
