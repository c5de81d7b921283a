//! The names of scheduler flags (ipvs.md §1.1, §10.2): the same three bits have names of their own for `sh` and `mh`.

use rvs_config::{Scheduler, SchedulerFlags};

use crate::error::UsageError;

/// Name, bit, and the one scheduler that the name is for.
const NAMES: &[(&str, u8, Option<&str>)] = &[
    ("sh-fallback", SchedulerFlags::FLAG_1, Some("sh")),
    ("sh-port", SchedulerFlags::FLAG_2, Some("sh")),
    ("mh-fallback", SchedulerFlags::FLAG_1, Some("mh")),
    ("mh-port", SchedulerFlags::FLAG_2, Some("mh")),
    ("flag-1", SchedulerFlags::FLAG_1, None),
    ("flag-2", SchedulerFlags::FLAG_2, None),
    ("flag-3", SchedulerFlags::FLAG_3, None),
];

/// Reads the value of `-b`: names between commas; nothing between two commas is fine.
pub(crate) fn parse(list: &str, scheduler: &str) -> Result<SchedulerFlags, UsageError> {
    let mut flags = 0;
    for name in list.split(',').filter(|name| !name.is_empty()) {
        let Some((_, bit, only)) = NAMES.iter().find(|(known, ..)| *known == name) else {
            return Err(UsageError::UnknownSchedulerFlag { flag: name.to_owned() });
        };
        if only.is_some_and(|only| only != scheduler) {
            return Err(UsageError::IncompatibleSchedulerFlag { flag: name.to_owned() });
        }
        flags |= bit;
    }
    Ok(SchedulerFlags(flags))
}

/// The names of a service's flags, with commas between. `sh` has no name for the third flag: `ipvsadm` leaves it out of
/// listings and so does this.
pub(crate) fn listed(flags: SchedulerFlags, scheduler: Scheduler) -> String {
    let own = |only: Option<&str>| only == Some(scheduler.name());
    let has_own = NAMES.iter().any(|(.., only)| own(*only));
    let names = NAMES
        .iter()
        .filter(|(_, bit, only)| flags.contains(*bit) && if has_own { own(*only) } else { only.is_none() });
    names.map(|(name, ..)| *name).collect::<Vec<_>>().join(",")
}

/// The same for a saved rule, which has to bring back every flag, so the third one of `sh` is `flag-3` here.
pub(crate) fn saved(flags: SchedulerFlags, scheduler: Scheduler) -> String {
    let listed = listed(flags, scheduler);
    if !flags.contains(SchedulerFlags::FLAG_3) || listed.ends_with("flag-3") {
        return listed;
    }
    if listed.is_empty() { "flag-3".to_owned() } else { listed + ",flag-3" }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use super::*;

    #[test]
    fn listed_names() {
        let cases = [
            (0, Scheduler::Sh, "", ""),
            (3, Scheduler::Sh, "sh-fallback,sh-port", "sh-fallback,sh-port"),
            (5, Scheduler::Sh, "sh-fallback", "sh-fallback,flag-3"),
            (4, Scheduler::Sh, "", "flag-3"),
            (5, Scheduler::Rr, "flag-1,flag-3", "flag-1,flag-3"),
            (2, Scheduler::Wlc, "flag-2", "flag-2"),
        ];
        for (bits, scheduler, in_listing, in_rule) in cases {
            assert_eq!(listed(SchedulerFlags(bits), scheduler), in_listing);
            assert_eq!(saved(SchedulerFlags(bits), scheduler), in_rule);
        }
    }

    #[test]
    fn saved_flags_are_read_back() {
        for bits in 0..=SchedulerFlags::ALL {
            for scheduler in Scheduler::ALL {
                let flags = SchedulerFlags(bits);
                assert_eq!(parse(&saved(flags, *scheduler), scheduler.name()).unwrap(), flags);
            }
        }
    }
}
