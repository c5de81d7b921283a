//! The journal: a list of commands applies whole or not at all, even if this process is killed in it.
//!
//! Where a list leads is written down before it is carried out, unless one step of it decides about all; and erased after
//! it. Who starts and finds it written down carries out what is missing.

use anyhow::{Context as _, Result, anyhow};
use rvs_config::Command;
use rvs_control::Peer;
use rvs_control::api::Failure;
use rvs_dataplane::{Handle, Journal, Kernel};
use rvs_director::{Change, Director, Refusal};
use serde::{Deserialize, Serialize};

use super::daemon::Daemon;
use super::{clock, log};
use crate::output;

/// What is written down, as JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<C> {
    /// Process that asked for it.
    pid: i32,
    /// Its user.
    uid: u32,
    /// How many commands it had.
    commands: u64,
    change: C,
}

impl Daemon {
    /// Carries out a list of commands. If this process ends in the middle, the next one finishes it.
    pub(super) fn change(&mut self, commands: &[Command], peer: Peer, now_ns: u64) -> Result<(), Failure> {
        let refused = |Refusal { index, error }| Failure::Refused { index, error };
        let plan = self.director.prepare(commands, now_ns).map_err(refused)?;
        let journal = match plan.change() {
            None => None,
            Some(change) => {
                let entry =
                    Entry { pid: peer.pid, uid: peer.uid, commands: commands.len() as u64, change: &change };
                Some(self.write_down(&entry).map_err(|error| {
                    let message = format!("{error:#}; nothing was changed");
                    log::warning(&message);
                    Failure::Internal { message }
                })?)
            }
        };
        let result = self.director.execute(plan, now_ns).map_err(refused);
        journal.into_iter().for_each(erase);
        result
    }

    fn write_down(&self, entry: &Entry<&Change>) -> Result<Journal> {
        let kernel = self.kernel.as_ref().context("the data plane was taken down")?;
        Ok(kernel.write_journal(&serde_json::to_vec(entry)?)?)
    }
}

/// Finishes what an earlier process began. A journal that can't be carried out is no reason not to start: the services
/// are there, each as it was before or after.
pub(super) fn finish(kernel: &Kernel, director: &mut Director<Handle>) {
    match kernel.journal() {
        Ok(None) => {}
        Ok(Some(journal)) => {
            match carry_out(&journal, director) {
                Ok(None) => {}
                Ok(Some(Entry { pid, uid, commands, .. })) => {
                    let commands = output::count(commands, "command");
                    log::info(format_args!(
                        "finished the change of {commands} of process {pid} (user {uid}), which was cut off"
                    ));
                }
                Err(error) => log::warning(format_args!(
                    "a change that was begun is not finished, and some of its services may be as before: {error:#}"
                )),
            }
            erase(journal);
        }
        Err(error) => log::warning(error),
    }
}

/// `None`: nothing is written in it.
fn carry_out(journal: &Journal, director: &mut Director<Handle>) -> Result<Option<Entry<Change>>> {
    let text = journal.text()?;
    if text.is_empty() {
        return Ok(None);
    }
    let entry: Entry<Change> = serde_json::from_slice(&text).context("journal")?;
    let rest = director.remaining(&entry.change);
    director.apply(&rest, clock::now_ns()?).map_err(|refusal| anyhow!("journal: {}", refusal.error))?;
    Ok(Some(entry))
}

fn erase(journal: Journal) {
    if let Err(error) = journal.erase() {
        log::warning(error);
    }
}
