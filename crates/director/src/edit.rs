//! Commands about the destinations of one service (ipvs.md §1.2, §1.3).

use std::collections::{BTreeMap, BTreeSet};

use rvs_config::{CommandError, DestKey, Destination, ServiceKey};

use crate::carry::Carry;
use crate::check;
use crate::limits::DESTS_PER_SERVICE_MAX;
use crate::members::Member;
use crate::row::Row;
use crate::space::Ranges;
use crate::state::{DestId, Live, Trashed};

/// A service of a draft, with what a change of its destinations needs.
pub(crate) struct Edit<'d> {
    pub(crate) key: ServiceKey,
    pub(crate) now: u64,
    pub(crate) live: &'d mut Live,
    pub(crate) trash: &'d mut BTreeMap<DestKey, Trashed>,
    pub(crate) carry: &'d mut Carry,
    pub(crate) dirty: &'d mut bool,
    pub(crate) new_dests: &'d mut BTreeSet<DestId>,
    /// Free ids.
    pub(crate) dests: &'d mut Ranges,
    pub(crate) zeroed: &'d mut BTreeSet<Row>,
}

impl Edit<'_> {
    /// `-a`
    pub(crate) fn add(&mut self, dest: &Destination) -> Result<(), CommandError> {
        check::attributes(&self.key, dest)?;
        if self.live.members.get(&dest.key).is_some() {
            return Err(CommandError::DestinationExists { service: self.key, destination: dest.key });
        }
        check::address(&self.key, dest)?;
        check::supported(&self.key, dest)?;
        if self.live.members.len() >= DESTS_PER_SERVICE_MAX {
            let what = format!("service {}: {DESTS_PER_SERVICE_MAX} destinations are the maximum", self.key);
            return Err(CommandError::LimitReached { what });
        }
        let id = self.id(&dest.key)?;
        self.live.members.push(Member::new(id, dest));
        self.carry.changed(&self.live.members);
        *self.dirty = true;
        Ok(())
    }

    /// The id of a destination that joins: its old one, if it is in the trash.
    fn id(&mut self, key: &DestKey) -> Result<DestId, CommandError> {
        if let Some(trashed) = self.trash.remove(key) {
            return Ok(trashed.member.id);
        }
        let limit = self.dests.capacity();
        let id = self.dests.take(1).map(DestId).ok_or_else(|| CommandError::LimitReached {
            what: format!(
                "destination {key} of service {}: all {limit} destinations are in use (removed ones with connections count)",
                self.key
            ),
        })?;
        self.new_dests.insert(id);
        self.zeroed.insert(Row::Dest(id));
        Ok(id)
    }

    /// `-e`: replaces all attributes where the destination stands.
    pub(crate) fn edit(&mut self, dest: &Destination) -> Result<(), CommandError> {
        check::attributes(&self.key, dest)?;
        if self.live.members.get(&dest.key).is_none() {
            return Err(self.no_such(&dest.key));
        }
        check::supported(&self.key, dest)?;
        self.live.members.edit(dest);
        self.carry.changed(&self.live.members);
        *self.dirty = true;
        Ok(())
    }

    /// `-d`
    pub(crate) fn delete(&mut self, key: &DestKey) -> Result<(), CommandError> {
        let Some((member, before)) = self.live.members.remove(key) else { return Err(self.no_such(key)) };
        self.carry.removed(member.id, before, &self.live.members);
        *self.dirty = true;
        self.discard(member);
        Ok(())
    }

    /// A destination that left the list: to the trash, or forgotten if this list of commands made it.
    pub(crate) fn discard(&mut self, member: Member) {
        if self.new_dests.remove(&member.id) {
            self.dests.give(member.id.0, 1);
            self.zeroed.remove(&Row::Dest(member.id));
        } else {
            let trashed = Trashed { member, removed_at: self.now, idle_since: None };
            self.trash.insert(member.key, trashed);
        }
    }

    fn no_such(&self, key: &DestKey) -> CommandError {
        CommandError::NoSuchDestination { service: self.key, destination: *key }
    }
}
