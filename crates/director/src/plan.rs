//! A plan: what a list of commands comes to.

use core::fmt;
use std::collections::BTreeMap;

use rvs_abi::ProgramSet;
use rvs_config::{Command, Settings, Timeouts};

use crate::action::{Action, Block};
use crate::change::{Change, Target, Zeroed};
use crate::draft::Draft;
use crate::error::Refusal;
use crate::finish;
use crate::marks::{RuleList, Special};
use crate::row::Row;
use crate::state::{LiveCounts, ServiceId, ServiceState, Space, State};

/// The steps from what is to what is asked for, in order.
///
/// First everything is prepared that no packet finds yet; then packets to new services find them and packets to removed
/// ones don't; then services that stay switch to their new tables; last, what was removed is marked so. Only steps about
/// keys can fail. When one does, those before it are undone in reverse.
#[derive(Debug)]
#[must_use]
pub struct Plan {
    pub(crate) actions: Vec<Action>,
    pub(crate) outcome: Outcome,
    /// Steps at each of which a crash leaves something else behind.
    pub(crate) decisions: usize,
    /// Counters in use that begin at zero.
    pub(crate) recounted: Zeroed,
}

/// What the state is after the steps.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Services that changed.
    pub(crate) services: BTreeMap<ServiceId, ServiceState>,
    pub(crate) live: LiveCounts,
    pub(crate) space: Space,
    pub(crate) retired: Vec<Retired>,
    /// Counts that changed of [`State::filter`].
    pub(crate) filter: BTreeMap<u32, u32>,
    pub(crate) timeouts: Timeouts,
    pub(crate) settings: Settings,
    pub(crate) special: Special,
    pub(crate) programs: ProgramSet,
    pub(crate) rules: RuleList,
    pub(crate) zeroed: Vec<Row>,
}

/// What goes to quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retired {
    Table(Block),
    Service(ServiceId),
}

impl Plan {
    /// The steps, in order.
    #[must_use]
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }

    /// What must be written down before this is executed, so that a crash can't leave a part of it for good. `None`: no
    /// crash can; one step decides about all of it, or none does.
    #[must_use]
    pub fn change(&self) -> Option<Change> {
        (self.decisions > 1).then(|| Change {
            services: self.outcome.services.values().map(Target::of).collect(),
            timeouts: self.outcome.timeouts,
            settings: Some(self.outcome.settings),
            rules: Some(self.outcome.rules.rules.clone()),
            zeroed: self.recounted.clone(),
        })
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actions.iter().try_for_each(|action| writeln!(f, "{action}"))
    }
}

/// Plans a list of commands: a pure function.
///
/// # Errors
/// The first command that can't be carried out.
pub(crate) fn plan(actual: &State, commands: &[Command], now: u64) -> Result<Plan, Refusal> {
    let mut draft = Draft::new(actual, now);
    for (index, command) in commands.iter().enumerate() {
        draft.command(index, command).map_err(|error| Refusal { index, error })?;
    }
    finish::finish(draft)
}
