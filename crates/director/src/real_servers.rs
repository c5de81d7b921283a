//! The keys by which programs find destinations by their own addresses: of NAT while `nat_icmp_send` is on (ipvs.md §2.7), and
//! the ends of tunnels, about whose packets there may be ICMP errors (ipvs.md §2.8).

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use rvs_abi::{Addr, ServiceKey, TunnelType};
use rvs_config::{ForwardingMethod, Protocol, Setting, Settings, Tunnel};
use rvs_model::{Memory, MemoryError};
use zerocopy::transmute;

use crate::director::Director;
use crate::members::Member;
use crate::state::{DestId, Family, ServiceState, State};

/// What destinations are found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RealServer {
    /// Protocol, address and port of a destination by NAT.
    Nat(Protocol, IpAddr, u16),
    /// The end of a tunnel: its [`TunnelType`], address and UDP port.
    Tunnel(u8, IpAddr, u16),
}

impl RealServer {
    fn of(protocol: Protocol, member: &Member) -> Option<Self> {
        let (address, port) = (member.key.address, member.key.port);
        match member.method {
            ForwardingMethod::Masq => Some(Self::Nat(protocol, address, port)),
            ForwardingMethod::Tunnel => Some(match member.tunnel {
                Tunnel::Ipip => Self::Tunnel(TunnelType::IPIP, address, 0),
                Tunnel::Gue { port, .. } => Self::Tunnel(TunnelType::GUE, address, port),
                Tunnel::Gre { .. } => Self::Tunnel(TunnelType::GRE, address, 0),
            }),
            _ => None,
        }
    }

    const fn is_wanted(&self, settings: &Settings) -> bool {
        matches!(self, Self::Tunnel(..)) || settings.is_on(Setting::NatIcmpSend)
    }

    fn key(&self) -> ServiceKey {
        match *self {
            Self::Nat(protocol, address, port) => ServiceKey {
                vip: Addr::from_ip(address),
                vport: port.to_be(),
                protocol: protocol.number(),
                family: Family::of(address).number(),
                zero: ServiceKey::REAL_SERVER,
            },
            Self::Tunnel(kind, address, port) => {
                ServiceKey::tunnel(Addr::from_ip(address), kind, port.to_be())
            }
        }
    }
}

/// Those of all services, and which destinations each is.
#[derive(Debug, Clone, Default)]
pub(crate) struct RealServers(BTreeMap<RealServer, BTreeSet<DestId>>);

fn of(service: &ServiceState) -> impl Iterator<Item = (RealServer, DestId)> {
    let protocol = service.key.protocol;
    service.members().filter_map(move |member| Some((RealServer::of(protocol, member)?, member.id)))
}

impl RealServers {
    /// A service that changes. Those whose keys may have to be written.
    pub(crate) fn change(
        &mut self,
        before: Option<&ServiceState>,
        after: Option<&ServiceState>,
    ) -> BTreeSet<RealServer> {
        let mut touched = BTreeSet::new();
        for (server, dest) in before.into_iter().flat_map(of) {
            if let Some(dests) = self.0.get_mut(&server) {
                dests.remove(&dest);
                if dests.is_empty() {
                    self.0.remove(&server);
                }
            }
            touched.insert(server);
        }
        for (server, dest) in after.into_iter().flat_map(of) {
            self.0.entry(server).or_default().insert(dest);
            touched.insert(server);
        }
        touched
    }

    /// Writes the key of one, or removes it.
    fn write<M: Memory>(
        &self,
        memory: &M,
        server: &RealServer,
        settings: &Settings,
    ) -> Result<(), MemoryError> {
        let dest = self.0.get(server).and_then(BTreeSet::first).filter(|_| server.is_wanted(settings));
        memory.set_service_key(&server.key(), dest.map(|dest| dest.0))
    }
}

/// Makes all keys of real servers what the state says. A director that was killed may have left some that nothing has any
/// more.
pub(crate) fn repair<M: Memory>(memory: &M, state: &State) -> Result<(), MemoryError> {
    let wanted = || state.real_servers.0.keys().filter(|server| server.is_wanted(&state.settings));
    let words = |key: ServiceKey| -> [u64; size_of::<ServiceKey>() / 8] { transmute!(key) };
    let keys: BTreeSet<_> = wanted().map(|server| words(server.key())).collect();
    let is_of_server = |key: &ServiceKey| matches!(key.zero, ServiceKey::REAL_SERVER | ServiceKey::TUNNEL);
    for key in memory.service_keys()?.iter().filter(|key| is_of_server(key) && !keys.contains(&words(**key)))
    {
        memory.set_service_key(key, None)?;
    }
    wanted().try_for_each(|server| state.real_servers.write(memory, server, &state.settings))
}

impl<M: Memory> Director<M> {
    /// The settings are those; `touched` are real servers that may have come or gone. There is room for each destination's
    /// key, so no more than the system's memory can be missing: then a server is not answered, or an error not sent on.
    pub(crate) fn conclude_settings(&mut self, settings: Settings, touched: &BTreeSet<RealServer>) {
        let was_on = self.state.settings.is_on(Setting::NatIcmpSend);
        self.state.settings = settings;
        let is_other = settings.is_on(Setting::NatIcmpSend) != was_on;
        let all = self.state.real_servers.0.keys().filter(|_| is_other);
        for server in all.chain(touched) {
            drop(self.state.real_servers.write(&self.memory, server, &settings));
        }
    }
}
