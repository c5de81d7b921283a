//! What a list of commands makes of the state, command by command: IPVS's object semantics (ipvs.md §1).
//!
//! A draft copies each service that a command touches, and leaves the state alone. [`crate::finish`] compares both and
//! writes the plan.

use std::collections::{BTreeMap, BTreeSet};

use rvs_config::{
    Command, CommandError, MarkRule, ServiceKey, Settings, Timeouts, TimeoutsUpdate, VirtualService,
};

use crate::action::Block;
use crate::carry::Carry;
use crate::check;
use crate::edit::Edit;
use crate::marks::RuleList;
use crate::members::Members;
use crate::row::Row;
use crate::settings;
use crate::state::{DestId, Live, ServiceId, ServiceState, Space, State};

/// The state as a list of commands changes it.
pub(crate) struct Draft<'a> {
    pub(crate) actual: &'a State,
    now: u64,
    pub(crate) touched: BTreeMap<ServiceId, ServiceDraft>,
    /// Services with an id of this list.
    added: BTreeMap<ServiceKey, ServiceId>,
    pub(crate) space: Space,
    pub(crate) timeouts: Timeouts,
    pub(crate) settings: Settings,
    pub(crate) rules: Vec<MarkRule>,
    /// Counters that begin at zero.
    pub(crate) zeroed: BTreeSet<Row>,
    /// The command being carried out.
    index: usize,
}

/// A service that a command touched.
pub(crate) struct ServiceDraft {
    pub(crate) state: ServiceState,
    pub(crate) carry: Carry,
    /// Whether its table must be built.
    pub(crate) dirty: bool,
    /// Destinations with an id of this list.
    pub(crate) new_dests: BTreeSet<DestId>,
    /// The last command that touched it: the one to blame when its table does not fit.
    pub(crate) index: usize,
}

impl ServiceDraft {
    fn of(state: ServiceState) -> Self {
        let carry = state.live.as_ref().map_or(Carry::Stateless, |live| Carry::kept(live.scheduler));
        Self { state, carry, dirty: false, new_dests: BTreeSet::new(), index: 0 }
    }
}

impl<'a> Draft<'a> {
    pub(crate) fn new(actual: &'a State, now: u64) -> Self {
        Self {
            actual,
            now,
            touched: BTreeMap::new(),
            added: BTreeMap::new(),
            space: actual.space.clone(),
            timeouts: actual.timeouts,
            settings: actual.settings,
            rules: actual.rules.rules.clone(),
            zeroed: BTreeSet::new(),
            index: 0,
        }
    }

    /// Carries out the command with that index in the list.
    pub(crate) fn command(&mut self, index: usize, command: &Command) -> Result<(), CommandError> {
        self.index = index;
        match command {
            Command::AddService(service) => self.add_service(service),
            Command::EditService(service) => self.edit_service(service),
            Command::DeleteService { service } => self.delete_service(service),
            Command::Clear => self.live_keys().iter().try_for_each(|key| self.delete_service(key)),
            Command::AddDestination { service, destination } => self.defined(service)?.add(destination),
            Command::EditDestination { service, destination } => self.defined(service)?.edit(destination),
            Command::DeleteDestination { service, destination } => self.defined(service)?.delete(destination),
            Command::Zero { service: Some(key) } => self.zero(key),
            Command::Zero { service: None } => {
                self.zeroed.insert(Row::Total);
                self.live_keys().iter().try_for_each(|key| self.zero(key))
            }
            Command::SetTimeouts(update) => self.set_timeouts(update),
            Command::SetSettings { settings } => settings::change(&mut self.settings, settings),
            Command::AddMarkRule { number, rule } => RuleList::add(&mut self.rules, *number, rule),
            Command::DeleteMarkRule { number } => RuleList::delete(&mut self.rules, *number),
            Command::ClearMarkRules => {
                self.rules.clear();
                Ok(())
            }
        }
    }

    /// A service's id, as long as its record exists: it may be a removed one's.
    fn id(&self, key: &ServiceKey) -> Option<ServiceId> {
        self.added.get(key).or_else(|| self.actual.ids.get(key)).copied()
    }

    /// A service that exists.
    fn live(&self, key: &ServiceKey) -> Option<(ServiceId, &Live)> {
        let id = self.id(key)?;
        let copy = self.touched.get(&id).map(|draft| &draft.state);
        Some((id, copy.or_else(|| self.actual.services.get(&id))?.live.as_ref()?))
    }

    fn live_keys(&self) -> Vec<ServiceKey> {
        let known = self.actual.ids.keys().chain(self.added.keys());
        known.copied().filter(|key| self.live(key).is_some()).collect()
    }

    /// The copy of a service.
    fn touch(&mut self, id: ServiceId, key: &ServiceKey) -> &mut ServiceDraft {
        let original = self.actual.services.get(&id);
        let draft = self.touched.entry(id).or_insert_with(|| {
            let none = || ServiceState { key: *key, live: None, trash: BTreeMap::new() };
            ServiceDraft::of(original.cloned().unwrap_or_else(none))
        });
        draft.index = self.index;
        draft
    }

    /// A service that exists, to be changed.
    fn open(&mut self, key: &ServiceKey) -> Option<Edit<'_>> {
        let (id, _) = self.live(key)?;
        self.touch(id, key);
        let draft = self.touched.get_mut(&id)?;
        Some(Edit {
            key: *key,
            now: self.now,
            live: draft.state.live.as_mut()?,
            trash: &mut draft.state.trash,
            carry: &mut draft.carry,
            dirty: &mut draft.dirty,
            new_dests: &mut draft.new_dests,
            dests: &mut self.space.dests,
            zeroed: &mut self.zeroed,
        })
    }

    /// The service that a command about a destination names.
    fn defined(&mut self, key: &ServiceKey) -> Result<Edit<'_>, CommandError> {
        self.open(key).ok_or(CommandError::ServiceNotDefined { service: *key })
    }

    fn add_service(&mut self, service: &VirtualService) -> Result<(), CommandError> {
        let key = service.key;
        if self.live(&key).is_some() {
            return Err(CommandError::ServiceExists { service: key });
        }
        check::service(service)?;
        let id = match self.id(&key) {
            Some(id) => id,
            None => self.new_service(&key)?,
        };
        // The one that is to be replaced, if it was removed by this very list.
        let original = self.actual.services.get(&id).and_then(|original| original.live.as_ref());
        let table = original.map_or_else(Block::default, |live| live.table);
        let members = Members::default();
        let draft = self.touch(id, &key);
        draft.carry = Carry::bound(service.scheduler, &members);
        draft.dirty = true;
        let VirtualService { scheduler, flags, one_packet, mss, client_address, .. } = *service;
        draft.state.live = Some(Live { scheduler, flags, one_packet, mss, client_address, members, table });
        // Counters of a service that is made again begin at zero, and so do those of its removed destinations when they
        // come back (ipvs.md §1.3). Nothing counts on these meanwhile (§9.1).
        let dests: Vec<Row> = draft.state.trash.values().map(|gone| Row::Dest(gone.member.id)).collect();
        self.zeroed.extend(dests);
        self.zeroed.insert(Row::Service(id));
        Ok(())
    }

    fn new_service(&mut self, key: &ServiceKey) -> Result<ServiceId, CommandError> {
        let limit = self.space.services.capacity();
        let id = self.space.services.take(1).map(ServiceId).ok_or_else(|| CommandError::LimitReached {
            what: format!("service {key}: all {limit} services are in use (those removed just now count)"),
        })?;
        self.added.insert(*key, id);
        Ok(id)
    }

    /// Replaces scheduler, flags and options together. The same scheduler keeps its state, another starts from scratch
    /// (ipvs.md §1.1).
    fn edit_service(&mut self, service: &VirtualService) -> Result<(), CommandError> {
        let Some(edit) = self.open(&service.key) else {
            return Err(CommandError::NoSuchService { service: service.key });
        };
        check::flags(service)?;
        check::one_packet(service)?;
        check::tcp_options(service)?;
        if edit.live.scheduler != service.scheduler {
            edit.live.scheduler = service.scheduler;
            *edit.carry = Carry::bound(service.scheduler, &edit.live.members);
            *edit.dirty = true;
        }
        if edit.live.flags != service.flags {
            edit.live.flags = service.flags;
            *edit.dirty = true;
        }
        if edit.live.one_packet != service.one_packet {
            edit.live.one_packet = service.one_packet;
            *edit.dirty = true;
        }
        if (edit.live.mss, edit.live.client_address) != (service.mss, service.client_address) {
            (edit.live.mss, edit.live.client_address) = (service.mss, service.client_address);
            *edit.dirty = true;
        }
        Ok(())
    }

    /// All its destinations go to the trash.
    fn delete_service(&mut self, key: &ServiceKey) -> Result<(), CommandError> {
        let Some((id, _)) = self.live(key) else {
            return Err(CommandError::NoSuchService { service: *key });
        };
        if let Some(mut edit) = self.open(key) {
            let members = core::mem::take(&mut edit.live.members);
            members.newest_first().for_each(|member| edit.discard(*member));
        }
        self.touch(id, key).state.live = None;
        if self.added.remove(key).is_some() {
            // Nothing of it was written yet.
            self.touched.remove(&id);
            self.zeroed.remove(&Row::Service(id));
            self.space.services.give(id.0, 1);
        }
        Ok(())
    }

    /// `-Z` (ipvs.md §9.4).
    fn zero(&mut self, key: &ServiceKey) -> Result<(), CommandError> {
        let Some((id, live)) = self.live(key) else {
            return Err(CommandError::NoSuchService { service: *key });
        };
        let dests: Vec<Row> = live.members.newest_first().map(|member| Row::Dest(member.id)).collect();
        self.zeroed.extend(dests);
        self.zeroed.insert(Row::Service(id));
        Ok(())
    }

    fn set_timeouts(&mut self, update: &TimeoutsUpdate) -> Result<(), CommandError> {
        check::timeouts(update)?;
        let set = |timeout: &mut u32, secs: u32| {
            if secs != 0 {
                *timeout = secs;
            }
        };
        set(&mut self.timeouts.tcp_s, update.tcp_s);
        set(&mut self.timeouts.tcp_fin_s, update.tcp_fin_s);
        set(&mut self.timeouts.udp_s, update.udp_s);
        Ok(())
    }
}
