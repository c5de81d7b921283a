//! What was removed, until nothing needs it any more: destinations with connections (ipvs.md §1.3), and tables and ids that
//! packets in flight may still have found.

use rvs_abi::{Dest, Service};
use rvs_config::{Command, DestKey};
use rvs_model::{Memory, records};

use crate::convert::dest_record;
use crate::director::Director;
use crate::execute::{write_dest, write_service};
use crate::filter;
use crate::limits::{QUARANTINE_NS, TRASH_IDLE_NS, TRASH_SCAN_NS};
use crate::marks::Special;
use crate::plan::Retired;
use crate::state::{ServiceId, Trashed};
use crate::tables;

/// When a removed destination may be forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// As IPVS does: some time after its last connection. Until then it can come back with its statistics.
    Idle,
    /// As soon as it has no connection: its id is needed.
    Unused,
}

impl When {
    fn is_due(self, trashed: &Trashed, now: u64) -> bool {
        match self {
            Self::Idle => trashed.idle_since.is_some_and(|since| now.saturating_sub(since) >= TRASH_IDLE_NS),
            Self::Unused => now.saturating_sub(trashed.removed_at) >= QUARANTINE_NS,
        }
    }
}

impl<M: Memory> Director<M> {
    /// Sets what is removed now aside.
    pub(crate) fn retire(&mut self, retired: Retired, now: u64) {
        self.quarantine.push_back((now.saturating_add(QUARANTINE_NS), retired));
    }

    /// Makes free what was removed long enough ago.
    pub(crate) fn release(&mut self, now: u64) {
        while let Some((_, retired)) = self.quarantine.front().copied().filter(|(due, _)| *due <= now) {
            self.quarantine.pop_front();
            let space = &mut self.state.space;
            match retired {
                Retired::Table(block) => space.words.give(block.at, tables::block_words(block.words)),
                Retired::Service(id) => space.services.give(id.0, 1),
            }
        }
    }

    /// Before a list of commands: if there may be too few free ids for it, those of removed destinations without
    /// connections are taken back early.
    pub(crate) fn make_room(&mut self, commands: &[Command], now: u64) {
        let count = |wanted: fn(&Command) -> bool| commands.iter().filter(|command| wanted(command)).count();
        let dests = count(|command| matches!(command, Command::AddDestination { .. }));
        let services = count(|command| matches!(command, Command::AddService(_)));
        let space = &self.state.space;
        if dests > space.dests.free() as usize || services > space.services.free() as usize {
            self.collect(When::Unused, now);
        }
    }

    /// Looks through the removed destinations every 60 s.
    pub(crate) fn scan_trash(&mut self, now: u64) {
        if self.trash_scan_at.is_none()
            && self.state.services.values().any(|service| !service.trash.is_empty())
        {
            self.trash_scan_at = Some(now.saturating_add(TRASH_SCAN_NS));
        }
        if self.trash_scan_at.is_some_and(|at| at <= now) {
            self.trash_scan_at = None;
            self.collect(When::Idle, now);
        }
    }

    fn collect(&mut self, when: When, now: u64) {
        let mut gone = Vec::new();
        for (id, service) in &mut self.state.services {
            for (key, trashed) in &mut service.trash {
                if records::dest_conns(&self.memory, trashed.member.id.0).total > 0 {
                    trashed.idle_since = None;
                } else if when.is_due(trashed, now) {
                    gone.push((*id, *key));
                } else {
                    trashed.idle_since.get_or_insert(now);
                }
            }
        }
        for (id, key) in gone {
            self.forget_dest(id, &key);
            self.forget_service(id, now);
        }
    }

    fn forget_dest(&mut self, service: ServiceId, key: &DestKey) {
        let Some(state) = self.state.services.get_mut(&service) else { return };
        let Some(trashed) = state.trash.remove(key) else { return };
        let old = dest_record((service, &state.key), &trashed.member, false);
        write_dest(&self.memory, trashed.member.id, &old, &Dest::default());
        self.forget_address(key.address);
        // No quarantine: it is out of its list for longer than that.
        self.state.space.dests.give(trashed.member.id.0, 1);
    }

    /// A removed service goes with its last destination.
    fn forget_service(&mut self, id: ServiceId, now: u64) {
        let Some(service) = self.state.services.get(&id).filter(|service| !service.is_needed()) else {
            return;
        };
        let key = service.key;
        self.state.services.remove(&id);
        self.state.ids.remove(&key);
        write_service(&self.memory, id, &Service::default());
        if key.mark().is_some() {
            let left = self.state.services.values().map(Special::of);
            self.state.special = left.fold(Special::default(), Special::plus);
            self.state.special.write(&self.memory);
        } else {
            self.forget_address(key.address);
        }
        self.retire(Retired::Service(id), now);
    }

    fn forget_address(&mut self, address: core::net::IpAddr) {
        let bit = filter::bit(address);
        let Some(count) = self.state.filter.get_mut(&bit) else { return };
        *count -= 1;
        if *count == 0 {
            self.state.filter.remove(&bit);
            filter::write(&self.memory, bit, false);
        }
    }
}
