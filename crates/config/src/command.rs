//! What can be asked of a director: one variant per command of `ipvsadm` that changes something.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{DestKey, Destination, MarkRule, ServiceKey, VirtualService};

/// A change. A list of them applies whole or not at all (design §3, invariant 6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Command {
    /// `-A`
    AddService(VirtualService),
    /// `-E`: replaces scheduler and flags together.
    EditService(VirtualService),
    /// `-D`
    DeleteService {
        /// Which.
        service: ServiceKey,
    },
    /// `-C`: removes every service.
    Clear,
    /// `-a`
    AddDestination {
        /// The service it joins.
        service: ServiceKey,
        /// The new destination.
        destination: Destination,
    },
    /// `-e`: replaces all attributes together.
    EditDestination {
        /// Its service.
        service: ServiceKey,
        /// The new attributes, found by its key.
        destination: Destination,
    },
    /// `-d`
    DeleteDestination {
        /// Its service.
        service: ServiceKey,
        /// Which.
        destination: DestKey,
    },
    /// `-Z`: zeroes the statistics of one service and its destinations, or of all and the total.
    Zero {
        /// Which service; all when absent.
        service: Option<ServiceKey>,
    },
    /// `--set`
    SetTimeouts(TimeoutsUpdate),
    /// `rvs sysctl NAME=VALUE ...`
    SetSettings {
        /// New values by name ([`crate::Setting`]); the others stay.
        settings: BTreeMap<String, u32>,
    },
    /// Adds a rule that gives packets a mark.
    AddMarkRule {
        /// The number that it shall have, those from there on move behind it; the last when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u32>,
        /// The rule.
        rule: MarkRule,
    },
    /// Removes one.
    DeleteMarkRule {
        /// Its number; the first has 1.
        number: u32,
    },
    /// Removes all of them.
    ClearMarkRules,
}

/// New time-outs in seconds; 0 keeps the old one (`--set tcp tcpfin udp`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeoutsUpdate {
    /// TCP ESTABLISHED.
    pub tcp_s: u32,
    /// TCP FIN_WAIT.
    pub tcp_fin_s: u32,
    /// UDP.
    pub udp_s: u32,
}
