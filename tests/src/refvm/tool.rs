//! The programs: `ipvsadm` of Debian and of rvs, and the daemon.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rvs_netlink::Netns;

/// Debian's.
const IPVSADM: &str = "/sbin/ipvsadm";
/// How long a director may take to load its programs under software emulation.
const START_LIMIT: Duration = Duration::from_secs(240);
/// Rooms of the director, small: a machine has several.
const ROOMS: [&str; 6] = ["--services-max", "1024", "--dests-max", "4096", "--conns-max", "60000"];

/// How a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// An `ipvsadm`.
#[derive(Debug, Clone)]
pub(crate) struct Tool {
    program: PathBuf,
    first: Option<&'static str>,
    socket: Option<PathBuf>,
}

impl Tool {
    pub(crate) fn ipvsadm() -> Self {
        Self { program: IPVSADM.into(), first: None, socket: None }
    }

    pub(crate) fn rvs(binary: &Path, socket: &Path) -> Self {
        Self { program: binary.to_owned(), first: Some("ipvsadm"), socket: Some(socket.to_owned()) }
    }

    /// Another command of the same program, of rvs.
    pub(crate) fn command(&self, first: &'static str) -> Self {
        Self { first: Some(first), ..self.clone() }
    }

    /// Has packets to an address get a mark: by the kernel's firewall for its IPVS, by a rule of its own for rvs. 0: no
    /// packet gets one any more.
    pub(crate) fn mark(&self, director: &Netns, to: IpAddr, mark: u32) -> Result<()> {
        let Some(socket) = &self.socket else {
            let family = if to.is_ipv4() { "ip" } else { "ip6" };
            let chain = "chain c { type filter hook prerouting priority mangle;";
            let rule =
                format!("table inet marks {{\n{chain} {family} daddr {to} meta mark set {mark}\n}}\n}}");
            let rule = if mark == 0 { String::new() } else { rule };
            let rules = format!("table inet marks {{}}\ndelete table inet marks\n{rule}\n");
            return succeed(director, Command::new("nft").args(["-f", "-"]), &rules);
        };
        let marks = || {
            let mut command = Command::new(&self.program);
            command.arg("marks").arg("--socket").arg(socket);
            command
        };
        succeed(director, marks().arg("flush"), "")?;
        if mark == 0 {
            return Ok(());
        }
        let (mark, to) = (mark.to_string(), to.to_string());
        succeed(director, marks().args(["add", &mark, "--destination", &to]), "")
    }

    /// Runs it in the director's namespace.
    pub(crate) fn run(&self, director: &Netns, args: &[&str], input: &str) -> Result<Ran> {
        let mut command = Command::new(&self.program);
        if self.first.is_none() {
            // It names itself in its texts as it was called.
            command.arg0("ipvsadm");
        }
        command
            .args(self.first)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.env_remove("RVS_SOCKET");
        if let Some(socket) = &self.socket {
            command.env("RVS_SOCKET", socket);
        }
        let mut child = director.spawn(&mut command)?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read its input closes it.
            stdin.write_all(input.as_bytes()).ok();
        }
        let output = child.wait_with_output()?;
        let text = |bytes| String::from_utf8(bytes).context("the output is no text");
        Ok(Ran { status: output.status.code(), stdout: text(output.stdout)?, stderr: text(output.stderr)? })
    }
}

/// Runs a command that must not fail, with an input.
fn succeed(director: &Netns, command: &mut Command, input: &str) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = director.spawn(command)?;
    child.stdin.take().context("no input")?.write_all(input.as_bytes()).ok();
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A running `rvs director`.
pub(crate) struct Daemon {
    child: Child,
    log: PathBuf,
    stop: Command,
    netns: String,
}

impl Daemon {
    /// Starts it in a namespace and waits until packets are handled.
    pub(crate) fn start(binary: &Path, netns: &Netns, socket: &Path, attach: &str) -> Result<Self> {
        let log = socket.with_extension("log");
        let call = |more: &[&str]| {
            let mut command = Command::new(binary);
            command.args(["director", "--instance", netns.name(), "--socket"]).arg(socket).args(more);
            command
        };
        let mut command = call(&["--attach", attach]);
        command.args(ROOMS).stdout(Stdio::piped()).stderr(File::create(&log)?);
        let mut child = netns.spawn(&mut command)?;
        let stdout = child.stdout.take().context("the daemon has no output")?;
        let mut daemon = Self { child, log, stop: call(&["--stop"]), netns: netns.name().to_owned() };
        let (outbox, inbox) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| outbox.send(line))
        });
        let line = inbox.recv_timeout(START_LIMIT);
        ensure!(line.as_deref() == Ok("rvs director ready"), "{line:?}:\n{}", daemon.log());
        daemon.check_attached(attach)?;
        Ok(daemon)
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Both wires must be where they are meant to be: otherwise a test would prove less than it says.
    fn check_attached(&mut self, attach: &str) -> Result<()> {
        let log = self.log();
        for wire in ["clients", "servers"] {
            let line = format!("interface {wire}: attached to {attach}:");
            if !log.contains(&line) {
                bail!("its log does not say {line:?}:\n{log}");
            }
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        match Netns::open(&self.netns).and_then(|netns| netns.output(&mut self.stop)) {
            Ok(output) if output.status.success() => {}
            result => println!("rvs director --stop in {}: {result:?}", self.netns),
        }
    }
}
