//! Control groups of version 2, for programs that something is to be done to together.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::residue::mounts;
use crate::wait::wait_until;

/// How long killed processes may take to leave.
const EMPTY: Duration = Duration::from_secs(10);
/// Puts itself into the group of its first argument, then becomes the program of the others.
const ENTER: &str = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;

/// A control group directly below the root. Dropping it kills the processes in it and removes it.
#[derive(Debug)]
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one with a name that nobody else has: `rvs-PID-NUMBER`.
    pub fn create() -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let root = mounts("cgroup2").into_iter().next().unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"));
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = root.join(format!("rvs-{}-{number}", id()));
            match fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                // Left by a killed process that had the same id.
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(Error::Cgroup { path, source }),
            }
        }
    }

    /// Its directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A call of a program that runs in it, to be given arguments.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", ENTER]).arg(&self.0).arg(program);
        command
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        fs::write(self.0.join("cgroup.kill"), "1").ok();
        // Refused as long as a process is in it.
        drop(wait_until("the cgroup is empty", EMPTY, || fs::remove_dir(&self.0).is_ok()));
    }
}
