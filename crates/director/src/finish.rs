//! From a draft to a plan: compares each touched service with what it was, and puts the steps in order.

use std::collections::{BTreeMap, BTreeSet};

use rvs_abi::{Dest, ProgramSet, Service};
use rvs_config::{CommandError, MarkRule, Settings, Timeouts};

use crate::action::{Action, Block};
use crate::change::Zeroed;
use crate::convert::{dest_record, service_record};
use crate::draft::{Draft, ServiceDraft};
use crate::error::Refusal;
use crate::filter;
use crate::marks::{RuleList, Special};
use crate::members::Member;
use crate::plan::{Outcome, Plan, Retired};
use crate::programs;
use crate::row::Row;
use crate::space::Ranges;
use crate::state::{DestId, Family, LiveCounts, ServiceId, ServiceState, State};
use crate::tables;

/// Steps by phase, in the order of the phases.
#[derive(Default)]
struct Steps {
    /// What no packet finds yet.
    prepare: Vec<Action>,
    keys: Vec<Action>,
    /// Services that stay, one after the other.
    switch: Vec<Action>,
    /// What no packet finds any more.
    remove: Vec<Action>,
    retired: Vec<Retired>,
    /// Counters that nothing counts on so far.
    hidden: BTreeSet<Row>,
    filter: BTreeMap<u32, i64>,
    /// Steps that decide, for whoever adopts what a crash left, how something is.
    decisions: usize,
}

pub(crate) fn finish(draft: Draft<'_>) -> Result<Plan, Refusal> {
    let Draft { actual, touched, mut space, timeouts, settings, rules, zeroed, .. } = draft;
    let mut steps = Steps::default();
    let mut services = BTreeMap::new();
    let (mut live, mut special) = (actual.live, actual.special);
    let mut programs = programs::needed(actual.programs, [], settings, &actual.ftp_ports);
    steps.programs(0, actual.programs, programs, &actual.ftp_ports);
    for (id, mut service) in touched {
        let so_far = programs;
        programs = programs::needed(so_far, [&service.state], settings, &actual.ftp_ports);
        steps.programs(service.index, so_far, programs, &actual.ftp_ports);
        let before = actual.services.get(&id);
        steps.table(id, &mut service, &mut space.words)?;
        steps.dests(id, before, &service.state);
        steps.service(id, before, &service);
        steps.count_addresses(before, &service.state);
        let count = live.get_mut(service.state.family());
        *count += u32::from(service.state.live.is_some());
        *count -= u32::from(before.is_some_and(|before| before.live.is_some()));
        let gone = before.map_or_else(Special::default, Special::of);
        special = special.plus(Special::of(&service.state)).minus(gone);
        services.insert(id, service.state);
    }
    steps.zero(&zeroed);
    let filter = steps.filter(actual);
    steps.count_services(actual.live, live);
    steps.special(actual.special, special);
    steps.timeouts(actual.timeouts, timeouts);
    steps.settings(actual.settings, settings);
    let rules = steps.rules(&actual.rules, rules);
    let recounted = recounted(actual, &services, &zeroed);
    let Steps { prepare, keys, switch, remove, retired, decisions, .. } = steps;
    let actions = [prepare, keys, switch, remove].into_iter().flatten().collect();
    let zeroed = zeroed.into_iter().collect();
    let outcome = Outcome {
        services,
        live,
        space,
        retired,
        filter,
        timeouts,
        settings,
        special,
        programs,
        rules,
        zeroed,
    };
    Ok(Plan { actions, outcome, decisions, recounted })
}

/// Services whose counters are in use and begin at zero.
fn recounted(actual: &State, after: &BTreeMap<ServiceId, ServiceState>, zeroed: &BTreeSet<Row>) -> Zeroed {
    if zeroed.contains(&Row::Total) {
        return Zeroed::All;
    }
    let is_live = |service: &&ServiceState| service.live.is_some();
    let stays = |row: &Row| {
        let Row::Service(id) = row else { return None };
        let before = actual.services.get(id).filter(is_live)?;
        after.get(id).is_none_or(|after| is_live(&after)).then_some(before.key)
    };
    Zeroed::Services(zeroed.iter().filter_map(stays).collect())
}

impl Steps {
    /// The programs that packets are sent on to.
    fn programs(&mut self, command: usize, before: ProgramSet, programs: ProgramSet, ftp_ports: &[u16]) {
        if programs != before {
            let ftp_ports = ftp_ports.to_vec();
            self.prepare.push(Action::Programs { command, programs, ftp_ports });
        }
    }

    /// The new table of a service, and the switch to it.
    fn table(
        &mut self,
        id: ServiceId,
        draft: &mut ServiceDraft,
        words_free: &mut Ranges,
    ) -> Result<(), Refusal> {
        let name = draft.state.key;
        let Some(live) = draft.state.live.as_mut().filter(|_| draft.dirty) else { return Ok(()) };
        let mut words = tables::build(
            live.scheduler,
            live.flags,
            live.one_packet,
            (live.mss, live.client_address),
            &live.members,
        );
        let block = u32::try_from(words.len()).ok().and_then(|len| {
            let at = words_free.take(tables::block_words(len))?;
            Some(Block { at, words: len })
        });
        let Some(new) = block else {
            let (need, capacity) = (words.len(), words_free.capacity());
            let what = format!(
                "service {name}: no {need} words in a row are free of {capacity} for scheduler tables"
            );
            return Err(Refusal { index: draft.index, error: CommandError::LimitReached { what } });
        };
        let old = core::mem::replace(&mut live.table, new);
        if old.words == 0 {
            words[0] = draft.carry.state(None, &words);
        } else {
            self.decisions += 1;
            self.switch.push(Action::Switch { id, old, new, carry: draft.carry.clone() });
            self.retired.push(Retired::Table(old));
        }
        self.prepare.push(Action::Table { at: new.at, words });
        Ok(())
    }

    /// The records of a service's destinations.
    fn dests(&mut self, id: ServiceId, before: Option<&ServiceState>, after: &ServiceState) {
        let stays = after.live.is_some() && before.is_some_and(|before| before.live.is_some());
        let before = before.map(by_id).unwrap_or_default();
        for (dest, (member, available)) in by_id(after) {
            let new = dest_record((id, &after.key), member, available);
            let old = before
                .get(&dest)
                .map(|(member, available)| (dest_record((id, &after.key), member, *available), *available));
            match old {
                Some((old, _)) if old == new => {}
                Some((old, true)) if stays => self.switch.push(Action::Dest { id: dest, old, new }),
                Some((old, true)) => self.remove.push(Action::Dest { id: dest, old, new }),
                Some((old, false)) => {
                    self.hidden.insert(Row::Dest(dest));
                    self.prepare.push(Action::Dest { id: dest, old, new });
                }
                None => {
                    self.hidden.insert(Row::Dest(dest));
                    self.prepare.push(Action::Dest { id: dest, old: Dest::default(), new });
                }
            }
        }
    }

    /// A service's record and key.
    fn service(&mut self, id: ServiceId, before: Option<&ServiceState>, draft: &ServiceDraft) {
        let after = &draft.state;
        let new = if after.is_needed() { service_record(after) } else { Service::default() };
        let old = before.map_or_else(Service::default, service_record);
        let is_live = after.live.is_some();
        let was_live = before.is_some_and(|before| before.live.is_some());
        match (was_live, is_live) {
            (true, true) => {
                // The switch wrote where the table is.
                let old = Service { table: new.table, table_words: new.table_words, ..old };
                if old != new {
                    self.switch.push(Action::Service { id, old, new });
                }
            }
            (false, true) => {
                self.decisions += 1;
                self.hidden.insert(Row::Service(id));
                // Nothing counts on those of a removed service's destinations (ipvs.md §9.1).
                self.hidden.extend(after.trash.values().map(|gone| Row::Dest(gone.member.id)));
                self.prepare.push(Action::Service { id, old, new });
                self.key(draft, None, Some(id));
            }
            (true, false) => {
                self.decisions += 1;
                self.key(draft, Some(id), None);
                self.remove.push(Action::Service { id, old, new });
                self.retire(id, before, after);
            }
            (false, false) => {}
        }
    }

    fn key(&mut self, draft: &ServiceDraft, old: Option<ServiceId>, new: Option<ServiceId>) {
        self.keys.push(Action::Key { key: draft.state.key, command: draft.index, old, new });
    }

    fn retire(&mut self, id: ServiceId, before: Option<&ServiceState>, after: &ServiceState) {
        let table = before.and_then(|before| before.live.as_ref()).map(|live| live.table);
        self.retired.extend(table.map(Retired::Table));
        if !after.is_needed() {
            self.retired.push(Retired::Service(id));
        }
    }

    fn count_addresses(&mut self, before: Option<&ServiceState>, after: &ServiceState) {
        let lost = before.into_iter().flat_map(ServiceState::addresses).map(|address| (address, -1));
        let gained =
            Some(after).filter(|after| after.is_needed()).into_iter().flat_map(ServiceState::addresses);
        for (address, change) in lost.chain(gained.map(|address| (address, 1))) {
            *self.filter.entry(filter::bit(address)).or_default() += change;
        }
    }

    /// Counters that packets don't count on yet are zeroed before they may, all others last.
    fn zero(&mut self, rows: &BTreeSet<Row>) {
        let (hidden, seen): (Vec<Row>, Vec<Row>) = rows.iter().partition(|row| self.hidden.contains(row));
        // A row is several words, and each of them decides.
        self.decisions += 2 * seen.len();
        let to_actions = |rows: Vec<Row>| rows.into_iter().map(|row| Action::Zero { row });
        self.prepare.splice(0..0, to_actions(hidden));
        self.remove.extend(to_actions(seen));
    }

    /// Bits that are needed from now on are set before, those that no longer are cleared last. The new counts.
    fn filter(&mut self, actual: &State) -> BTreeMap<u32, u32> {
        let mut counts = BTreeMap::new();
        for (&bit, &change) in self.filter.iter().filter(|(_, change)| **change != 0) {
            let old = actual.filter.get(&bit).copied().unwrap_or(0);
            let new = u32::try_from(i64::from(old) + change).unwrap_or(0);
            counts.insert(bit, new);
            match (old, new) {
                (0, 1..) => self.prepare.push(Action::Filter { bit, set: true }),
                (1.., 0) => self.remove.push(Action::Filter { bit, set: false }),
                (0, 0) | (1.., 1..) => {}
            }
        }
        counts
    }

    fn timeouts(&mut self, old: Timeouts, new: Timeouts) {
        if old != new {
            // TCP's stand in one word of the record, UDP's in the next.
            self.decisions += usize::from((old.tcp_s, old.tcp_fin_s) != (new.tcp_s, new.tcp_fin_s));
            self.decisions += usize::from(old.udp_s != new.udp_s);
            self.remove.push(Action::Timeouts { old, new });
        }
    }

    /// They stand in one word.
    fn settings(&mut self, old: Settings, new: Settings) {
        if old != new {
            self.decisions += 1;
            self.remove.push(Action::Settings { old, new });
        }
    }

    /// Look-ups that there are to do from now on begin before, those that there are not any more end last.
    fn special(&mut self, old: Special, new: Special) {
        let both = old.max(new);
        if both != old {
            self.prepare.push(Action::Special { old, new: both });
        }
        if new != both {
            self.remove.push(Action::Special { old: both, new });
        }
    }

    fn rules(&mut self, old: &RuleList, rules: Vec<MarkRule>) -> RuleList {
        if old.rules == rules {
            return old.clone();
        }
        self.decisions += 1;
        let new = old.next(rules);
        self.remove.push(Action::Rules { old: old.clone(), new: new.clone() });
        new
    }

    fn count_services(&mut self, old: LiveCounts, new: LiveCounts) {
        for family in Family::ALL {
            let (old, new) = (old.get(family), new.get(family));
            let action = Action::Services { family, old, new };
            if new > old {
                self.prepare.push(action);
            } else if new < old {
                self.remove.push(action);
            }
        }
    }
}

/// All destinations of a service: their attributes, and whether they are in its list.
fn by_id(service: &ServiceState) -> BTreeMap<DestId, (&Member, bool)> {
    let trash = service.trash.values().map(|trashed| (trashed.member.id, (&trashed.member, false)));
    service.members().map(|member| (member.id, (member, true))).chain(trash).collect()
}
