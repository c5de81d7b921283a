//! Where a plan leads, to be written down before it is executed.
//!
//! A crash leaves each service as it was or as it was to be ([`crate::adopt`]), so a plan that decides about one thing only
//! applies whole or not at all by itself. One that decides about several needs a journal: whoever executes it first
//! writes its [`Change`] down where a crash does not reach it. The next director adopts what is there, and then carries
//! out what [`Director::remaining`] says. A change says how objects shall be, not how they become so: it can be carried
//! out from any state in between, and once more from there.

use std::collections::BTreeMap;

use rvs_config::{
    ClientAddress, Command, DestKey, Destination, MarkRule, Scheduler, SchedulerFlags, ServiceKey, Settings,
    Timeouts, TimeoutsUpdate, VirtualService,
};
use rvs_model::Memory;
use serde::{Deserialize, Serialize};

use crate::director::Director;
use crate::members::Member;
use crate::state::{Live, ServiceState, State};

/// How everything that a list of commands touches is after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The services.
    pub services: Vec<Target>,
    /// The time-outs.
    pub timeouts: Timeouts,
    /// The settings. `None`: they stay; a journal from before there were any says nothing of them.
    #[serde(default)]
    pub settings: Option<Settings>,
    /// The rules that give packets a mark. `None`: they stay, likewise.
    #[serde(default)]
    pub rules: Option<Vec<MarkRule>>,
    /// Whose counters begin at zero, of services that exist before and after.
    pub zeroed: Zeroed,
}

/// How a service is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Which.
    pub key: ServiceKey,
    /// `None`: it does not exist.
    pub live: Option<Attributes>,
}

/// A service that exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    /// The scheduler.
    pub scheduler: Scheduler,
    /// The scheduler's options.
    pub flags: SchedulerFlags,
    /// Whether each datagram is scheduled by itself.
    #[serde(default)]
    pub one_packet: bool,
    /// TCP maximum segment size, in bytes; 0: as the ends agree.
    #[serde(default)]
    pub mss: u16,
    /// How full NAT tells servers who the client is.
    #[serde(default)]
    pub client_address: ClientAddress,
    /// Its destinations in the order in which they joined: the newest last.
    pub destinations: Vec<Destination>,
}

/// Whose counters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zeroed {
    /// The total's, and those of all services and destinations.
    All,
    /// Those of these services and of their destinations.
    Services(Vec<ServiceKey>),
}

impl Target {
    pub(crate) fn of(service: &ServiceState) -> Self {
        let live = service.live.as_ref().map(|live| Attributes {
            scheduler: live.scheduler,
            flags: live.flags,
            one_packet: live.one_packet,
            mss: live.mss,
            client_address: live.client_address,
            destinations: live.members.oldest_first().map(Member::destination).collect(),
        });
        Self { key: service.key, live }
    }

    /// The commands that make the service so.
    fn commands(&self, state: &State, commands: &mut Vec<Command>) {
        let key = self.key;
        let service = state.ids.get(&key).and_then(|id| state.services.get(id));
        let actual = service.and_then(|service| service.live.as_ref());
        let Some(target) = &self.live else {
            commands.extend(actual.map(|_| Command::DeleteService { service: key }));
            return;
        };
        let Attributes { scheduler, flags, one_packet, mss, client_address, .. } = *target;
        let attributes = VirtualService { key, scheduler, flags, one_packet, mss, client_address };
        match actual {
            None => {
                commands.push(Command::AddService(attributes));
                let add = |dest: &Destination| Command::AddDestination { service: key, destination: *dest };
                commands.extend(target.destinations.iter().map(add));
            }
            Some(live) => {
                if service.and_then(ServiceState::service).as_ref() != Some(&attributes) {
                    commands.push(Command::EditService(attributes));
                }
                list_commands(key, live, &target.destinations, commands);
            }
        }
    }
}

/// The commands that make a service's list of destinations so, in the same order. As many as possible stay where they
/// stand.
fn list_commands(service: ServiceKey, actual: &Live, target: &[Destination], commands: &mut Vec<Command>) {
    let wanted: BTreeMap<&DestKey, usize> = target.iter().map(|dest| &dest.key).zip(0..).collect();
    // The oldest that stay are the first of the target: what joins stands behind them.
    let mut stay = 0;
    for member in actual.members.oldest_first() {
        if wanted.get(&member.key) != Some(&stay) {
            commands.push(Command::DeleteDestination { service, destination: member.key });
            continue;
        }
        let new = target[stay];
        stay += 1;
        if new != member.destination() {
            commands.push(Command::EditDestination { service, destination: new });
        }
    }
    let add = |destination: &Destination| Command::AddDestination { service, destination: *destination };
    commands.extend(target[stay..].iter().map(add));
}

impl<M: Memory> Director<M> {
    /// What is left to do of a change that another director began: a list of commands, to be [applied](Self::apply).
    /// Empty when nothing is.
    ///
    /// Counters of the change begin at zero once more: it was not known to be carried out until now.
    #[must_use]
    pub fn remaining(&self, change: &Change) -> Vec<Command> {
        let mut commands = Vec::new();
        for target in &change.services {
            target.commands(&self.state, &mut commands);
        }
        let Timeouts { tcp_s, tcp_fin_s, udp_s } = change.timeouts;
        if change.timeouts != self.state.timeouts {
            commands.push(Command::SetTimeouts(TimeoutsUpdate { tcp_s, tcp_fin_s, udp_s }));
        }
        if let Some(settings) = change.settings
            && settings != self.state.settings
        {
            let settings = settings.iter().map(|(setting, value)| (setting.name().to_owned(), value));
            commands.push(Command::SetSettings { settings: settings.collect() });
        }
        if let Some(rules) = &change.rules
            && *rules != self.state.rules.rules
        {
            commands.push(Command::ClearMarkRules);
            let add = |rule: &MarkRule| Command::AddMarkRule { number: None, rule: *rule };
            commands.extend(rules.iter().map(add));
        }
        match &change.zeroed {
            Zeroed::All => commands.push(Command::Zero { service: None }),
            Zeroed::Services(keys) => {
                commands.extend(keys.iter().map(|key| Command::Zero { service: Some(*key) }));
            }
        }
        commands
    }
}
