//! Settings: the word in which the programs find them, and the keys of real servers, which are there while
//! `nat_icmp_send` is on.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use rvs_abi::{Addr, ServiceKey, Settings as Bits};
use rvs_config::{CommandError, ForwardingMethod, Protocol, Setting, Settings};
use rvs_model::{Memory, MemoryError, records};

use crate::director::Director;
use crate::members::Member;
use crate::state::{DestId, Family, ServiceState, State};

/// The settings that are one bit each.
const BITS: [(Setting, u32); 8] = [
    (Setting::ExpireNodestConn, Bits::EXPIRE_NODEST_CONN),
    (Setting::NatIcmpSend, Bits::NAT_ICMP_SEND),
    (Setting::CacheBypass, Bits::CACHE_BYPASS),
    (Setting::PmtuDisc, Bits::PMTU_DISC),
    (Setting::ScheduleIcmp, Bits::SCHEDULE_ICMP),
    (Setting::SloppySctp, Bits::SLOPPY_SCTP),
    (Setting::SloppyTcp, Bits::SLOPPY_TCP),
    (Setting::SnatReroute, Bits::SNAT_REROUTE),
];
/// Where the two bits of `conn_reuse_mode` are.
const REUSE_SHIFT: u32 = Bits::REUSE.trailing_zeros();
const _: () = assert!(Bits::REUSE_FIN_WAIT == 2 << REUSE_SHIFT);
// Every setting has its place.
const _: () = assert!(BITS.len() + 1 == Setting::ALL.len());

/// The word.
pub(crate) fn to_word(settings: &Settings) -> u32 {
    let bits = BITS.iter().filter(|(setting, _)| settings.is_on(*setting));
    bits.fold(settings.get(Setting::ConnReuseMode) << REUSE_SHIFT, |word, (_, bit)| word | bit)
}

/// From the word; `None` if bits are set that have no meaning.
pub(crate) fn from_word(word: u32) -> Option<Settings> {
    if word & !Bits::ALL != 0 {
        return None;
    }
    let mut settings = Settings::default();
    BITS.iter().for_each(|(setting, bit)| settings.set(*setting, u32::from(word & bit != 0)));
    settings.set(Setting::ConnReuseMode, word >> REUSE_SHIFT & 3);
    Some(settings)
}

/// Sets some, all or none.
pub(crate) fn change(settings: &mut Settings, values: &BTreeMap<String, u32>) -> Result<(), CommandError> {
    let mut changed = *settings;
    for (name, value) in values {
        let setting = Setting::named(name)?;
        setting.check(*value)?;
        changed.set(setting, *value);
    }
    *settings = changed;
    Ok(())
}

/// Writes the word.
pub(crate) fn write<M: Memory>(memory: &M, settings: &Settings) {
    let mut config = records::config(memory);
    config.settings = to_word(settings);
    records::write_config(memory, &config);
}

/// Address, port and protocol of NAT destinations in a list, and which destinations have them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RealServers(BTreeMap<RealServer, BTreeSet<DestId>>);

type RealServer = (Protocol, IpAddr, u16);

fn of(service: &ServiceState) -> impl Iterator<Item = (RealServer, DestId)> {
    let protocol = service.key.protocol;
    let is_nat = |member: &&Member| member.method == ForwardingMethod::Masq;
    service
        .members()
        .filter(is_nat)
        .map(move |member| ((protocol, member.key.address, member.key.port), member.id))
}

fn key(&(protocol, address, port): &RealServer) -> ServiceKey {
    ServiceKey {
        vip: Addr::from_ip(address),
        vport: port.to_be(),
        protocol: protocol.number(),
        family: Family::of(address).number(),
        zero: ServiceKey::REAL_SERVER,
    }
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
    fn write<M: Memory>(&self, memory: &M, server: &RealServer) -> Result<(), MemoryError> {
        let dest = self.0.get(server).and_then(BTreeSet::first);
        memory.set_service_key(&key(server), dest.map(|dest| dest.0))
    }
}

/// Makes all keys of real servers what the state says. A director that was killed may have left one of a destination that
/// is removed by now: it is still in the trash.
pub(crate) fn repair<M: Memory>(memory: &M, state: &State) -> Result<(), MemoryError> {
    if !state.settings.is_on(Setting::NatIcmpSend) {
        return Ok(());
    }
    for service in state.services.values() {
        for gone in service.trash.keys() {
            let server = (service.key.protocol, gone.address, gone.port);
            if !state.real_servers.0.contains_key(&server) {
                memory.set_service_key(&key(&server), None)?;
            }
        }
    }
    state.real_servers.0.keys().try_for_each(|server| state.real_servers.write(memory, server))
}

impl<M: Memory> Director<M> {
    /// The settings in force.
    pub const fn settings(&self) -> Settings {
        self.state.settings
    }

    /// Whether destinations were removed under `expire_nodest_conn` since this was asked last: their connections are to end
    /// (ipvs.md §1.3).
    pub const fn take_purge(&mut self) -> bool {
        core::mem::replace(&mut self.purge, false)
    }

    /// The settings are those; `touched` are real servers that may have come or gone. There is room for each destination's
    /// key, so no more than the system's memory can be missing: then a server is not answered.
    pub(crate) fn conclude_settings(&mut self, settings: Settings, touched: &BTreeSet<RealServer>) {
        let was_on = self.state.settings.is_on(Setting::NatIcmpSend);
        self.state.settings = settings;
        let is_on = settings.is_on(Setting::NatIcmpSend);
        if is_on && !was_on {
            drop(repair(&self.memory, &self.state));
        } else if is_on {
            touched.iter().for_each(|server| drop(self.state.real_servers.write(&self.memory, server)));
        } else if was_on {
            let all = self.state.real_servers.0.keys().chain(touched);
            all.for_each(|server| drop(self.memory.set_service_key(&key(server), None)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_says_every_setting() {
        assert_eq!(to_word(&Settings::default()), Bits::DEFAULT);
        for setting in Setting::ALL {
            for value in 0..=setting.maximum() {
                let mut settings = Settings::default();
                settings.set(*setting, value);
                assert_eq!(from_word(to_word(&settings)), Some(settings), "{setting} {value}");
            }
        }
        assert_eq!(from_word(1 << 31), None);
        assert_eq!(from_word(Bits::ALL).map(|all| to_word(&all)), Some(Bits::ALL));
    }
}
