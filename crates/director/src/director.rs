//! The director: state, and the inputs that change it.

use std::collections::{BTreeSet, VecDeque};

use rvs_config::{Command, CommandError, Setting};
use rvs_model::{Memory, MemoryError, records};

use crate::action::Action;
use crate::adopt;
use crate::error::{AdoptError, Refusal};
use crate::estimator::Estimators;
use crate::limits::ESTIMATE_NS;
use crate::plan::{self, Outcome, Plan, Retired};
use crate::row::{self, Row};
use crate::state::{ServiceId, ServiceState, State};

/// The control plane of one data plane.
///
/// Inputs: [`apply`](Self::apply), [`set_route`](Self::set_route), and [`tick`](Self::tick), which must be called at least
/// when [`next_tick`](Self::next_tick) says; earlier calls do no harm. There are no outputs but what is read.
#[derive(Debug)]
pub struct Director<M> {
    pub(crate) memory: M,
    pub(crate) state: State,
    pub(crate) estimators: Estimators,
    /// What packets in flight may still find, by the time when they can't, earliest first.
    pub(crate) quarantine: VecDeque<(u64, Retired)>,
    pub(crate) trash_scan_at: Option<u64>,
    estimate_at: Option<u64>,
    limits_reached: u64,
    pub(crate) purge: bool,
}

/// How much of each limit is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Services that exist.
    pub services: u32,
    /// Room for services. Removed ones take room as long as their destinations are kept.
    pub services_max: u32,
    /// Destinations, removed ones that are kept included.
    pub dests: u32,
    /// Room for destinations.
    pub dests_max: u32,
    /// Removed destinations that are kept.
    pub trash: u32,
    /// Words of scheduler tables in use, those in quarantine included.
    pub sched_words: u32,
    /// Room for such words.
    pub sched_words_max: u32,
    /// Lists of commands refused because a limit was reached, since this director took over.
    pub limits_reached: u64,
}

impl<M: Memory> Director<M> {
    /// Takes over new memory.
    ///
    /// # Errors
    /// [`AdoptError::NotEmpty`] when it is not new, and those of [`adopt`](Self::adopt).
    pub fn create(memory: M) -> Result<Self, AdoptError> {
        if !adopt::is_empty(&memory) {
            return Err(AdoptError::NotEmpty);
        }
        Self::adopt(memory)
    }

    /// Takes over memory as its last director left it, at whatever moment that ended. Packets may be handled meanwhile.
    ///
    /// # Errors
    /// When the memory is another version's or its contents contradict each other. Nothing was changed then, unless the
    /// map of service keys could not be.
    pub fn adopt(memory: M) -> Result<Self, AdoptError> {
        let state = adopt::read(&memory)?;
        adopt::repair(&memory, &state)?;
        let mut director = Self {
            memory,
            state,
            estimators: Estimators::default(),
            quarantine: VecDeque::new(),
            trash_scan_at: None,
            estimate_at: None,
            limits_reached: 0,
            purge: false,
        };
        // The one before may have ended before their connections did.
        director.purge = director.settings().is_on(Setting::ExpireNodestConn)
            && director.state.services.values().any(|service| !service.trash.is_empty());
        let ids: Vec<ServiceId> = director.state.services.keys().copied().collect();
        let rows: Vec<Row> = ids.iter().flat_map(|id| rows(*id, director.state.services.get(id))).collect();
        director.start_estimators(rows.into_iter().chain([Row::Total]));
        Ok(director)
    }

    /// The memory it works on.
    pub const fn memory(&self) -> &M {
        &self.memory
    }

    /// Ends it without a trace in memory; the data plane goes on.
    pub fn into_memory(self) -> M {
        self.memory
    }

    /// What a list of commands would come to. Changes nothing.
    ///
    /// # Errors
    /// The first command that can't be carried out.
    pub fn plan(&self, commands: &[Command], now: u64) -> Result<Plan, Refusal> {
        plan::plan(&self.state, commands, now)
    }

    /// Carries out a list of commands, whole or not at all as long as this process lives: [`prepare`](Self::prepare) and
    /// [`execute`](Self::execute) in one, without a place for a journal between them. `now` is in nanoseconds of the
    /// monotonic clock.
    ///
    /// # Errors
    /// The first command that can't be carried out. Nothing was changed.
    pub fn apply(&mut self, commands: &[Command], now: u64) -> Result<(), Refusal> {
        let plan = self.prepare(commands, now)?;
        self.execute(plan, now)
    }

    /// As [`plan`](Self::plan), after what is not needed any more was given back to make room.
    ///
    /// # Errors
    /// The first command that can't be carried out.
    pub fn prepare(&mut self, commands: &[Command], now: u64) -> Result<Plan, Refusal> {
        self.release(now);
        self.make_room(commands, now);
        let plan = self.plan(commands, now);
        plan.inspect_err(|refusal| self.note_limit(refusal))
    }

    /// Carries out a plan made of the state as it is now: nothing was applied, and no time went by ([`tick`](Self::tick)),
    /// since.
    ///
    /// # Errors
    /// The first command that the kernel refuses. Nothing was changed.
    pub fn execute(&mut self, plan: Plan, now: u64) -> Result<(), Refusal> {
        self.execute_all(plan, now).inspect_err(|refusal| self.note_limit(refusal))
    }

    fn note_limit(&mut self, refusal: &Refusal) {
        if matches!(refusal.error, CommandError::LimitReached { .. }) {
            self.limits_reached += 1;
        }
    }

    fn execute_all(&mut self, plan: Plan, now: u64) -> Result<(), Refusal> {
        for (done, action) in plan.actions.iter().enumerate() {
            if let Err(error) = action.execute(&self.memory) {
                let undo = plan.actions[..done].iter().rev().filter_map(Action::undo);
                // What can't be taken back either stays as an interrupted change would leave it.
                undo.for_each(|action| drop(action.execute(&self.memory)));
                let what = error.to_string();
                let error = match error {
                    MemoryError::Keys(_) => CommandError::LimitReached { what },
                    MemoryError::Program(_) => CommandError::Invalid { what },
                };
                return Err(Refusal { index: action.command().unwrap_or(0), error });
            }
        }
        self.conclude(plan.outcome, now);
        Ok(())
    }

    /// The state follows the memory.
    fn conclude(&mut self, outcome: Outcome, now: u64) {
        let Outcome {
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
        } = outcome;
        let mut servers = BTreeSet::new();
        self.state.live = live;
        self.state.space = space;
        self.state.timeouts = timeouts;
        self.state.special = special;
        self.state.programs = programs;
        self.state.rules = rules;
        for (bit, count) in filter {
            if count == 0 {
                self.state.filter.remove(&bit);
            } else {
                self.state.filter.insert(bit, count);
            }
        }
        for (id, service) in services {
            let old = self.state.services.get(&id);
            servers.append(&mut self.state.real_servers.change(old, Some(&service)));
            // A destination that was in the trash before may be there again, and some that joined now.
            self.purge |= settings.is_on(Setting::ExpireNodestConn)
                && old.is_some_and(|old| service.trash.keys().any(|key| !old.trash.contains_key(key)));
            let before = rows(id, old);
            let after = rows(id, Some(&service));
            if service.is_needed() {
                self.state.ids.insert(service.key, id);
                self.state.services.insert(id, service);
            } else {
                self.state.ids.remove(&service.key);
                self.state.services.remove(&id);
            }
            before
                .into_iter()
                .filter(|row| after.binary_search(row).is_err())
                .for_each(|row| self.estimators.stop(row));
            self.start_estimators(after);
        }
        self.conclude_settings(settings, &servers);
        zeroed.into_iter().for_each(|row| self.estimators.zero(row));
        retired.into_iter().for_each(|retired| self.retire(retired, now));
    }

    /// Time goes by: averages, removed objects.
    pub fn tick(&mut self, now: u64) {
        self.release(now);
        self.scan_trash(now);
        let due = *self.estimate_at.get_or_insert(now.saturating_add(ESTIMATE_NS));
        if due <= now {
            let config = records::config(&self.memory);
            let services_max = self.state.space.services.capacity();
            self.estimators.run(|row| row::sum(&self.memory, &config, row.index(services_max)));
            // In step with the beat, unless a whole one was missed.
            let next = due.saturating_add(ESTIMATE_NS);
            self.estimate_at = Some(if next > now { next } else { now.saturating_add(ESTIMATE_NS) });
        }
    }

    /// When [`tick`](Self::tick) has something to do next. `None`: at once, it was not called yet.
    #[must_use]
    pub fn next_tick(&self) -> Option<u64> {
        let quarantine = self.quarantine.front().map(|(due, _)| *due);
        self.estimate_at.map(|at| [self.trash_scan_at, quarantine].into_iter().flatten().fold(at, u64::min))
    }

    /// How much of each limit is in use.
    pub fn status(&self) -> Status {
        let trash: usize = self.state.services.values().map(|service| service.trash.len()).sum();
        let space = &self.state.space;
        Status {
            services: self.state.live.total(),
            services_max: space.services.capacity(),
            dests: space.dests.used(),
            dests_max: space.dests.capacity(),
            trash: u32::try_from(trash).unwrap_or(u32::MAX),
            sched_words: space.words.used(),
            sched_words_max: space.words.capacity(),
            limits_reached: self.limits_reached,
        }
    }

    fn start_estimators(&mut self, rows: impl IntoIterator<Item = Row>) {
        let config = records::config(&self.memory);
        let services_max = self.state.space.services.capacity();
        for row in rows {
            self.estimators.start(row, || row::sum(&self.memory, &config, row.index(services_max)));
        }
    }
}

/// The counters of a service that exists, in order.
fn rows(id: ServiceId, service: Option<&ServiceState>) -> Vec<Row> {
    let Some(service) = service.filter(|service| service.live.is_some()) else { return Vec::new() };
    let mut rows: Vec<Row> = service.members().map(|member| Row::Dest(member.id)).collect();
    rows.push(Row::Service(id));
    rows.sort_unstable();
    rows
}
