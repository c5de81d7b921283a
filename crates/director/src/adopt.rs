//! Reading the state from memory, and repairing what an interrupted change left behind.
//!
//! A service's table says what it is (see [`rvs_abi::sched`]): a change that was interrupted before the switch to the new
//! table did not happen, after it it did, and the records follow. So the state is read from services' records, their
//! tables, and destinations' identities; whatever else differs from what the state says it must be is written again.

use std::collections::{BTreeMap, BTreeSet};

use rvs_abi::map::Region;
use rvs_abi::{ABI_VERSION, Addr, Config, Dest, DestFlags, ProgramSet, Service, ServiceFlags, limits};
use rvs_config::{DestKey, ServiceKey, Timeouts};
use rvs_model::{Memory, MemoryError, records};

use crate::action::Block;
use crate::convert::{dest_key, dest_record, key_record, removed_forwarding, service_key, service_record};
use crate::error::AdoptError;
use crate::execute::{read_table, write_dest, write_service, write_services, write_timeouts};
use crate::filter;
use crate::marks::{RuleList, Special};
use crate::members::{Member, Members};
use crate::peers;
use crate::programs;
use crate::real_servers::{self, RealServers};
use crate::settings;
use crate::space::Ranges;
use crate::state::{DestId, Family, Live, LiveCounts, ServiceId, ServiceState, Space, State, Trashed};
use crate::tables;

/// Reads the state. Changes nothing.
pub(crate) fn read<M: Memory>(memory: &M) -> Result<State, AdoptError> {
    let config = records::config(memory);
    let space = check_shape(memory, &config)?;
    let [tcp_s, tcp_fin_s, udp_s] = config.set_timeouts_s;
    let settings = settings::from_word(config.settings);
    let settings =
        settings.ok_or_else(|| corrupt("CONFIG", format_args!("unknown settings {:#x}", config.settings)))?;
    let rules = RuleList::read(memory).map_err(|what| corrupt("mark rules", what))?;
    let mut reader = Reader {
        memory,
        listed: BTreeSet::new(),
        state: State {
            services: BTreeMap::new(),
            ids: BTreeMap::new(),
            live: LiveCounts::default(),
            special: Special::default(),
            programs: ProgramSet(config.programs & ProgramSet::ON_DEMAND.0),
            ftp_ports: programs::ftp_ports(&config),
            space,
            filter: BTreeMap::new(),
            timeouts: Timeouts { tcp_s, tcp_fin_s, udp_s },
            settings,
            real_servers: RealServers::default(),
            rules,
            peers: peers::read(memory)?,
        },
    };
    reader.services()?;
    reader.trash()?;
    reader.forget_empty();
    Ok(reader.derive())
}

/// Whether a service or a destination is in memory.
pub(crate) fn is_empty<M: Memory>(memory: &M) -> bool {
    let service = |id| records::service(memory, id).map(|record| record.flags);
    let dest = |id| records::dest(memory, id).map(|record| record.flags);
    (0..).map_while(service).chain((0..).map_while(dest)).all(|flags| flags == 0)
}

/// Makes memory what the state says. What is right already is not touched: packets are being handled.
pub(crate) fn repair<M: Memory>(memory: &M, state: &State) -> Result<(), MemoryError> {
    filter::repair(memory, &state.filter);
    let mut dests = BTreeMap::new();
    for (id, service) in &state.services {
        dests.extend(
            service.members().map(|member| (member.id, dest_record((*id, &service.key), member, true))),
        );
        let trash = service.trash.values().map(|trashed| &trashed.member);
        dests.extend(trash.map(|member| (member.id, dest_record((*id, &service.key), member, false))));
    }
    for (id, old) in (0..).map_while(|id| Some((DestId(id), records::dest(memory, id)?))) {
        let new = dests.get(&id).copied().unwrap_or_default();
        if without_route(&old) != new {
            write_dest(memory, id, &old, &new);
        }
    }
    for (id, old) in (0..).map_while(|id| Some((ServiceId(id), records::service(memory, id)?))) {
        let service = state.services.get(&id);
        // A removed service's key was removed before its record said so, a new one's is set after: either may be missing.
        if old.flags & ServiceFlags::REMOVED != 0
            && let Some(key) = service_key(&old)
        {
            memory.set_service_key(&key_record(&key), None)?;
        }
        let new = service.map(service_record).unwrap_or_default();
        if old != new {
            write_service(memory, id, &new);
        }
    }
    write_timeouts(memory, &state.timeouts);
    state.special.write(memory);
    state.rules.repair(memory);
    for family in Family::ALL {
        write_services(memory, family, state.live.get(family));
    }
    for (id, service) in state.services.iter().filter(|(_, service)| service.live.is_some()) {
        memory.set_service_key(&key_record(&service.key), Some(id.0))?;
    }
    real_servers::repair(memory, state)
}

fn without_route(record: &Dest) -> Dest {
    let mut bare = *record;
    (bare.gateway, bare.source, bare.ifindex, bare.mtu) = (Addr::default(), Addr::default(), 0, 0);
    bare
}

/// Sizes of the maps against each other; all of them free.
fn check_shape<M: Memory>(memory: &M, config: &Config) -> Result<Space, AdoptError> {
    if config.abi_version != ABI_VERSION {
        return Err(AdoptError::AbiVersion { found: config.abi_version });
    }
    let entries = |region: Region| {
        let entries = memory.region(region).len() / region.value_words();
        let what = || AdoptError::Shape { what: format!("{}: {entries} entries", region.name()) };
        u32::try_from(entries).map_err(|_| what())
    };
    let expect = |region: Region, expected: u64| match entries(region)? {
        found if u64::from(found) == expected => Ok(()),
        found => {
            let what = format!("{}: {found} entries, expected {expected}", region.name());
            Err(AdoptError::Shape { what })
        }
    };
    let (services, dests) = (entries(Region::Services)?, entries(Region::Dests)?);
    let rows = 1 + u64::from(services) + u64::from(dests);
    if u64::from(config.stats_rows) != rows {
        let what = format!("CONFIG: {} rows of statistics, expected {rows}", config.stats_rows);
        return Err(AdoptError::Shape { what });
    }
    expect(Region::DestConns, dests.into())?;
    expect(Region::LocalPorts, u64::from(config.local_ports_mask) + 1)?;
    expect(Region::Filter, limits::FILTER_WORDS.into())?;
    expect(Region::Marked, limits::MARKED_WORDS.into())?;
    expect(Region::Classifier, u64::from(limits::RULES_MAX * limits::RULE_LISTS))?;
    expect(Region::LocalAddresses, limits::LOCAL_ADDRESSES.into())?;
    expect(Region::Stats, rows * (u64::from(config.cpus) + 1))?;
    let words = Ranges::new(entries(Region::SchedTables)?);
    Ok(Space { services: Ranges::new(services), dests: Ranges::new(dests), words })
}

struct Reader<'m, M> {
    memory: &'m M,
    state: State,
    /// Destinations that a table names.
    listed: BTreeSet<DestId>,
}

fn corrupt(object: impl core::fmt::Display, what: impl core::fmt::Display) -> AdoptError {
    AdoptError::Corrupt { what: format!("{object}: {what}") }
}

impl<M: Memory> Reader<'_, M> {
    fn services(&mut self) -> Result<(), AdoptError> {
        for (id, record) in (0..).map_while(|id| Some((ServiceId(id), records::service(self.memory, id)?))) {
            if record.flags & ServiceFlags::USED == 0 {
                continue;
            }
            let key =
                service_key(&record).ok_or_else(|| corrupt(id, "unknown protocol or address family"))?;
            let live = if record.flags & ServiceFlags::REMOVED == 0 {
                Some(self.live(id, &key, &record)?)
            } else {
                None
            };
            if let Some(other) = self.state.ids.insert(key, id) {
                return Err(corrupt(id, format_args!("{key} is {other} as well")));
            }
            self.state.services.insert(id, ServiceState { key, live, trash: BTreeMap::new() });
        }
        Ok(())
    }

    fn live(&mut self, id: ServiceId, key: &ServiceKey, record: &Service) -> Result<Live, AdoptError> {
        let table = Block { at: record.table, words: record.table_words };
        if !self.state.space.words.take_at(table.at, tables::block_words(table.words)) {
            return Err(corrupt(key, format_args!("its table, {table}, overlaps another")));
        }
        let words =
            read_table(self.memory, table).ok_or_else(|| corrupt(key, "its table is outside the map"))?;
        let contents = tables::read(&words).map_err(|what| corrupt(key, what))?;
        let mut members = Members::default();
        for &(dest, weight, (method, tunnel)) in contents.list.iter().rev() {
            let address =
                self.listed(id, dest).map_err(|what| corrupt(key, format_args!("{dest} {what}")))?;
            if members.get(&address).is_some() {
                return Err(corrupt(key, format_args!("destination {address} stands in its list twice")));
            }
            members.push(Member { id: dest, key: address, method, tunnel, weight });
        }
        let tables::Contents { scheduler, flags, one_packet, mss, client_address, .. } = contents;
        Ok(Live { scheduler, flags, one_packet, mss, client_address, members, table })
    }

    /// Identity of a destination that a table names.
    fn listed(&mut self, service: ServiceId, dest: DestId) -> Result<DestKey, &'static str> {
        let record = records::dest(self.memory, dest.0).ok_or("is outside the map")?;
        if record.flags & DestFlags::USED == 0 || record.service != service.0 {
            return Err("is not one of its destinations");
        }
        if !self.listed.insert(dest) {
            return Err("stands in its list twice");
        }
        dest_key(&record).ok_or("has an unknown address family")
    }

    /// Destinations that no table names: removed ones, and those whose addition was interrupted.
    fn trash(&mut self) -> Result<(), AdoptError> {
        for (id, record) in (0..).map_while(|id| Some((DestId(id), records::dest(self.memory, id)?))) {
            if record.flags & DestFlags::USED == 0 || self.listed.contains(&id) {
                continue;
            }
            // Without a service, it is of an interrupted addition of both: packets never found it.
            let Some(service) = self.state.services.get_mut(&ServiceId(record.service)) else { continue };
            let key = dest_key(&record).ok_or_else(|| corrupt(id, "unknown address family"))?;
            let (method, tunnel) =
                removed_forwarding(&record).ok_or_else(|| corrupt(id, "unknown forwarding method"))?;
            let member = Member { id, key, method, tunnel, weight: record.weight };
            let twice = service.live.as_ref().is_some_and(|live| live.members.get(&key).is_some());
            let trashed = Trashed { member, removed_at: 0, idle_since: None };
            if twice || service.trash.insert(key, trashed).is_some() {
                return Err(corrupt(service.key, format_args!("destination {key} has two records")));
            }
        }
        Ok(())
    }

    /// Removed services whose last destination is gone.
    fn forget_empty(&mut self) {
        self.state.services.retain(|_, service| service.is_needed());
        let services = &self.state.services;
        self.state.ids.retain(|_, id| services.contains_key(id));
    }

    /// What follows from the services.
    fn derive(self) -> State {
        let mut state = self.state;
        for bit in state.peers.iter().copied().map(peers::bit) {
            *state.filter.entry(bit).or_default() += 1;
        }
        for (id, service) in &state.services {
            let _servers = state.real_servers.change(None, Some(service));
            *state.live.get_mut(service.family()) += u32::from(service.live.is_some());
            state.special = state.special.plus(Special::of(service));
            state.space.services.take_at(id.0, 1);
            for member in service.members().chain(service.trash.values().map(|trashed| &trashed.member)) {
                state.space.dests.take_at(member.id.0, 1);
            }
            for bit in service.addresses().map(filter::bit) {
                *state.filter.entry(bit).or_default() += 1;
            }
        }
        state
    }
}
