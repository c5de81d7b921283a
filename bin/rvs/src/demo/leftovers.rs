//! What demos left behind that were killed, and so could not clean up.
//!
//! A director notices that its demo is gone, takes its data plane down and ends ([`super::director`]); if it was killed too,
//! its maps and links stay. Network namespaces and the director's folder stay in any case. All of them have the demo's
//! process id in their names.

use std::env;
use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::unistd::geteuid;
use rvs_dataplane::{Error as DataplaneError, Options};
use rvs_netlink::{NETNS_DIR, Netns};

use super::interrupt::Interrupt;
use crate::output;

/// How long a director may take to end when its demo is gone; it may be in the middle of its start.
const END: Duration = Duration::from_secs(20);

/// Removes what belongs to processes that don't exist any more, and says so if there was anything. What can't be removed is
/// named and left: it is in nobody's way.
///
/// # Errors
/// When a signal comes.
pub(super) fn remove(interrupt: &Interrupt) -> Result<()> {
    let mut removed = Removed::default();
    let temporary = env::temp_dir();
    let instances = rvs_dataplane::instances(None).unwrap_or_else(|error| {
        say(&format!("can't look for what killed demos left: {error}"));
        Vec::new()
    });
    // First the programs, while the interfaces are there that they hang on.
    removed.each("instance", instances, is_instance, |name| remove_instance(name, interrupt))?;
    removed.each("network namespace", names(Path::new(NETNS_DIR)), is_namespace, remove_namespace)?;
    removed.each("folder", names(&temporary), is_folder, |name| remove_folder(&temporary.join(name)))?;
    interrupt.check()?;
    if !removed.0.is_empty() {
        say(&format!("removed what killed demos left: {}", removed.0.join(", ")));
    }
    Ok(())
}

/// What was removed, for people.
#[derive(Debug, Default)]
struct Removed(Vec<String>);

impl Removed {
    /// Removes those of some names that are left over. `act` says whether there was anything.
    fn each(
        &mut self,
        thing: &str,
        names: Vec<String>,
        is_left: fn(&str) -> bool,
        act: impl Fn(&str) -> Result<bool>,
    ) -> Result<()> {
        let mut count = 0_u64;
        for name in names.iter().filter(|name| is_left(name)) {
            match act(name) {
                Ok(there) => count += u64::from(there),
                Err(error) => say(&format!("{thing} {name}: left by a killed demo: {error:#}")),
            }
        }
        if count > 0 {
            self.0.push(output::count(count, thing));
        }
        Ok(())
    }
}

/// One line. Nothing can be done if nobody reads it.
fn say(text: &str) {
    io::stderr().write_all(format!("rvs: demo: {text}\n").as_bytes()).ok();
}

/// `demo-PID-N`
fn is_instance(name: &str) -> bool {
    name.strip_prefix("demo-").and_then(|rest| owner(rest, 2)).is_some_and(is_gone)
}

/// `rvs-PID-N-ROLE`: a host of a cluster.
fn is_namespace(name: &str) -> bool {
    name.strip_prefix("rvs-").and_then(|rest| owner(rest, 3)).is_some_and(is_gone)
}

/// `rvs-demo-PID-N`
fn is_folder(name: &str) -> bool {
    name.strip_prefix("rvs-").is_some_and(is_instance)
}

/// The process in a name of so many parts, of which a number is the second.
fn owner(name: &str, parts: usize) -> Option<u32> {
    let found: Vec<&str> = name.split('-').collect();
    let [pid, number, ..] = *found.as_slice() else { return None };
    number.parse::<u32>().ok()?;
    pid.parse().ok().filter(|_| found.len() == parts)
}

/// Whether there is no such process, or only its exit status. Another one may have got its number: then what was left stays
/// for as long as that lives.
fn is_gone(pid: u32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        // The name, in parentheses, may hold anything.
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

/// Names in a folder; none if there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn remove_instance(name: &str, interrupt: &Interrupt) -> Result<bool> {
    let options = Options::new(name)?;
    let mut result = Ok(false);
    // Its director may still be at it, or another demo.
    interrupt.wait("the end of its director", END, || {
        result = rvs_dataplane::remove(&options);
        !matches!(result, Err(DataplaneError::Locked { .. }))
    })?;
    Ok(result?)
}

fn remove_namespace(name: &str) -> Result<bool> {
    match Netns::delete(name) {
        // Another demo was quicker.
        Err(error) if error.kind() == Some(ErrorKind::NotFound) => Ok(false),
        result => Ok(result.map(|()| true)?),
    }
}

/// Only this user's: anybody may make a folder of that name where temporary files are.
fn remove_folder(path: &Path) -> Result<bool> {
    let result = fs::symlink_metadata(path).and_then(|found| {
        let is_ours = found.is_dir() && found.uid() == geteuid().as_raw();
        if is_ours { fs::remove_dir_all(path).map(|()| true) } else { Ok(false) }
    });
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        result => result.with_context(|| format!("remove {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use std::process;

    use super::*;

    /// No process has it: ids are at most 2^22.
    const NOBODY: u32 = 1 << 23;

    #[test]
    fn what_is_left_is_told_by_its_name() {
        let living = process::id();
        assert!(is_gone(NOBODY) && !is_gone(living));
        assert!(is_instance(&format!("demo-{NOBODY}-0")) && !is_instance(&format!("demo-{living}-0")));
        assert!(is_folder(&format!("rvs-demo-{NOBODY}-12")) && !is_folder(&format!("rvs-demo-{living}-12")));
        for role in ["client", "director", "fabric", "s3"] {
            assert!(is_namespace(&format!("rvs-{NOBODY}-0-{role}")), "{role}");
            assert!(!is_namespace(&format!("rvs-{living}-0-{role}")), "{role}");
        }
    }

    #[test]
    fn other_names_are_not_touched() {
        for rest in ["", "x", "x-0", "-0", "NOBODY", "NOBODY-", "NOBODY-x", "NOBODY-0-x-y", "cli-NOBODY-0"] {
            let rest = rest.replace("NOBODY", &NOBODY.to_string());
            assert!(!is_instance(&format!("demo-{rest}")), "demo-{rest}");
            assert!(!is_folder(&format!("rvs-demo-{rest}")), "rvs-demo-{rest}");
            assert!(!is_namespace(&format!("rvs-{rest}")), "rvs-{rest}");
        }
        assert!(!is_instance("director") && !is_folder("rvs-director") && !is_namespace("blue"));
    }
}
