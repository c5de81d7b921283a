//! `rvs director` as a process, which may be killed and started again.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rvs_netlink::Netns;
use rvs_testkit::wait_until;
use serde_json::Value;

use crate::program;

/// What the daemon prints when packets are handled.
const READY: &str = "rvs director ready";
/// How long it may take to start, on a machine that is busy with traffic.
const START: Duration = Duration::from_secs(30);

/// A director's process, and what it left in the kernel when it has none at the moment.
#[derive(Debug)]
pub(crate) struct Daemon {
    netns: Netns,
    instance: String,
    folder: PathBuf,
    args: Vec<String>,
    child: Option<Child>,
    starts: usize,
}

impl Daemon {
    /// Starts one in a namespace.
    pub(crate) fn start(netns: Netns, args: &[&str]) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let instance = format!("traffic-{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(format!("rvs-{instance}"));
        DirBuilder::new().mode(0o700).create(&folder).unwrap();
        File::create(folder.join("log")).unwrap();
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        let mut daemon = Self { netns, instance, folder, args, child: None, starts: 0 };
        daemon.restart();
        daemon
    }

    /// Starts it again after [`Daemon::kill`], and waits until it is ready.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = || OpenOptions::new().append(true).open(self.folder.join("log")).unwrap();
        // With priority: verifying programs takes a second of a CPU, for which it would wait long behind the load.
        let mut command = Command::new("nice");
        command.arg("--adjustment=-15").arg(program::path());
        self.name(&mut command, "director").args(["--conns-max", "200000"]).args(&self.args);
        command.stdin(Stdio::null()).stdout(log()).stderr(log());
        let child = self.netns.spawn(&mut command).unwrap();
        let child = self.child.insert(child);
        self.starts += 1;
        let (starts, path) = (self.starts, self.folder.join("log"));
        let is_ready = || {
            let log = fs::read_to_string(&path).unwrap();
            let ready = log.lines().filter(|line| *line == READY).count();
            assert!(matches!(child.try_wait(), Ok(None)), "the director ended at its start:\n{log}");
            ready == starts
        };
        wait_until(READY, START, is_ready).unwrap();
    }

    /// The same, with other arguments.
    pub(crate) fn restart_with(&mut self, args: &[&str]) {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
        self.restart();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it ended by itself before:\n{}", self.log());
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// The folder of socket and log.
    pub(crate) fn folder(&self) -> &PathBuf {
        &self.folder
    }

    /// Runs `ipvsadm`; what it prints.
    pub(crate) fn ipvsadm(&self, args: &str) -> String {
        let mut command = Command::new(program::path());
        command.arg("ipvsadm").args(args.split(' ')).env("RVS_SOCKET", self.socket());
        let output = command.output().unwrap();
        assert!(output.status.success(), "ipvsadm {args}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// `rvs status --json`.
    pub(crate) fn status(&self) -> Value {
        let output = self.command("status").arg("--json").output().unwrap();
        assert!(output.status.success(), "rvs status: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// How often that took place beside what packets end in.
    pub(crate) fn noted(&self, event: &str) -> u64 {
        let status = self.status();
        let noted = status["events"].as_array().unwrap().iter().find(|known| known["name"] == event);
        noted.unwrap_or_else(|| panic!("no event {event}: {status}"))["count"].as_u64().unwrap()
    }

    /// How many packets had that outcome.
    pub(crate) fn dropped(&self, outcome: &str) -> u64 {
        let output = self.command("status").args(["--drops", "--json"]).output().unwrap();
        let table: Value = serde_json::from_slice(&output.stdout).unwrap();
        count_in(&table["counters"], outcome)
    }

    /// How many packets had that outcome, also of those that were sent on.
    pub(crate) fn counted(&self, outcome: &str) -> u64 {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--fail", "http://director/v1/counters", "--unix-socket"])
            .arg(self.socket());
        let table: Value = serde_json::from_slice(&command.output().unwrap().stdout).unwrap();
        count_in(&table["counters"], outcome)
    }

    /// Takes everything down, with or without a process.
    fn stop(&mut self) -> process::Output {
        let output = self.netns.output(self.command("director").arg("--stop")).unwrap();
        if let Some(mut child) = self.child.take() {
            // It ends by itself once it was told; if it wasn't, this is the end.
            let ended =
                wait_until("its end", Duration::from_secs(5), || !matches!(child.try_wait(), Ok(None)));
            drop(ended.map_err(|_| child.kill()));
            child.wait().unwrap();
        }
        output
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program::path());
        self.name(&mut command, name);
        command
    }

    /// The arguments that make it this director's.
    fn name<'a>(&self, command: &'a mut Command, name: &str) -> &'a mut Command {
        command.args([name, "--instance", &self.instance, "--socket"]).arg(self.socket())
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("log of the director:\n{}", self.log());
        }
        let output = self.stop();
        fs::remove_dir_all(&self.folder).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() || std::thread::panicking(), "rvs director --stop: {error}");
    }
}

/// The count of that name in a list of counters.
fn count_in(counters: &Value, name: &str) -> u64 {
    let counter = counters.as_array().unwrap().iter().find(|counter| counter["name"] == name);
    counter.unwrap_or_else(|| panic!("no counter {name}"))["count"].as_u64().unwrap()
}
