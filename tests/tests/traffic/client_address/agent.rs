//! `rvs agent` as a process.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rvs_testkit::wait_until;

use crate::program;
use crate::stage::LIMIT;

const READY: &str = "rvs agent ready";

/// An agent, and what it left in the kernel when it has no process at the moment.
#[derive(Debug)]
pub(crate) struct Agent {
    instance: String,
    cgroup: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    starts: usize,
}

impl Agent {
    /// Starts one with the call that a document shows, for a control group.
    pub(crate) fn start(cgroup: &Path, call: &str) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let instance = format!("traffic-{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let log = std::env::temp_dir().join(format!("rvs-agent-{instance}.log"));
        let mut agent = Self { instance, cgroup: cgroup.to_owned(), log, child: None, starts: 0 };
        agent.start_again(call);
        agent
    }

    /// Starts another after the end of one.
    #[track_caller]
    pub(crate) fn start_again(&mut self, call: &str) {
        assert!(self.child.is_none(), "it runs already");
        let log = || OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = self.command(call);
        command.arg("--cgroup").arg(&self.cgroup).stdin(Stdio::null()).stdout(log()).stderr(log());
        let mut child = command.spawn().unwrap();
        self.starts += 1;
        let is_ready = || {
            assert!(matches!(child.try_wait(), Ok(None)), "the agent ended at its start:\n{}", self.log());
            self.log().lines().filter(|line| *line == READY).count() == self.starts
        };
        let ready = wait_until(READY, LIMIT, is_ready);
        self.child = Some(child);
        ready.unwrap();
    }

    /// A call of the binary for this instance.
    pub(crate) fn command(&self, call: &str) -> Command {
        let mut words = call.split_ascii_whitespace();
        assert_eq!(words.next(), Some("rvs"));
        let mut command = Command::new(program::path());
        command.args(words).args(["--instance", &self.instance]).env_remove("NOTIFY_SOCKET");
        command
    }

    /// Sends a signal and waits for the end; the exit status, if it ended by itself.
    pub(crate) fn end(&mut self, signal: Signal) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        child.wait().unwrap().code()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Takes everything down; what is printed.
    pub(crate) fn stop(&self, call: &str) -> String {
        let output = self.command(call).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
        printed.replace(&self.instance, "NAME")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        if std::thread::panicking() {
            eprintln!("log of the agent:\n{}", self.log());
        }
        for call in ["rvs agent --client-address --stop", "rvs agent --mss --stop"] {
            let stopped = self.command(call).output();
            assert!(stopped.is_ok_and(|output| output.status.success()) || std::thread::panicking());
        }
        fs::remove_file(&self.log).ok();
    }
}
