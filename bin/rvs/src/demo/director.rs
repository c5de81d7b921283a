//! The director of a stage: this program again, as a process in the director's namespace.

use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rvs_netlink::Netns;
use rvs_testkit::wait_until;

use super::interrupt::Interrupt;

/// What the daemon prints when packets are handled.
const READY: &str = "rvs director ready";
/// How long it may take to that: a second, of which the kernel needs most to verify programs; more on a busy machine.
const START: Duration = Duration::from_secs(60);
/// How long it may take to end once it was told to.
const END: Duration = Duration::from_secs(5);
/// Room for connections: far more than there will be.
const CONNECTIONS: &str = "100000";
/// Lines of its log that an error shows.
const LOG_LINES: usize = 3;

/// A running director. It is taken down, with all that it put into the kernel, when this value is dropped.
#[derive(Debug)]
pub(super) struct Director {
    program: PathBuf,
    netns: Netns,
    instance: String,
    folder: PathBuf,
    child: Child,
}

impl Director {
    /// Starts one in a namespace, as an instance that no other demo has.
    ///
    /// # Errors
    /// When it doesn't come up.
    pub(super) fn start(netns: Netns, interrupt: &Interrupt) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let instance = format!("demo-{}-{number}", process::id());
        let program = env::current_exe().context("find this program's own file")?;
        let folder = env::temp_dir().join(format!("rvs-{instance}"));
        let made = DirBuilder::new().mode(0o700).create(&folder);
        made.with_context(|| format!("create {}", folder.display()))?;
        let child = spawn(&program, &netns, &instance, &folder).inspect_err(|_| remove(&folder))?;
        let mut director = Self { program, netns, instance, folder, child };
        director.await_ready(interrupt)?;
        Ok(director)
    }

    fn await_ready(&mut self, interrupt: &Interrupt) -> Result<()> {
        let mut ended = false;
        interrupt.wait(READY, START, || {
            ended = !matches!(self.child.try_wait(), Ok(None));
            ended || self.log().lines().any(|line| line == READY)
        })?;
        if ended {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            bail!(
                "rvs director: ended at its start: {}",
                lines[lines.len().saturating_sub(LOG_LINES)..].join("; ")
            );
        }
        Ok(())
    }

    /// What it has printed so far.
    fn log(&self) -> String {
        fs::read_to_string(log_file(&self.folder)).unwrap_or_default()
    }

    /// Runs `ipvsadm` for it, and returns what that prints.
    ///
    /// # Errors
    /// When it refuses.
    pub(super) fn ipvsadm(&self, args: &str) -> Result<String> {
        let mut command = Command::new(&self.program);
        command.arg("ipvsadm").args(args.split(' ')).env("RVS_SOCKET", socket(&self.folder));
        let output = command.output().context("start rvs ipvsadm")?;
        if !output.status.success() {
            bail!("ipvsadm {args}: {}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Has the data plane taken down, by the daemon if it lives, otherwise directly.
    fn stop(&self) -> Result<()> {
        let mut command = self.command("director");
        let output = self.netns.output(command.arg("--stop"))?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim_end());
        }
        Ok(())
    }

    fn command(&self, name: &str) -> Command {
        command(&self.program, name, &self.instance, &self.folder)
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        let stopped = self.stop();
        let ended = wait_until("its end", END, || !matches!(self.child.try_wait(), Ok(None)));
        if stopped.is_err() || ended.is_err() {
            // It doesn't obey, or there is none any more: without it, the same command does the work itself.
            drop(self.child.kill());
            drop(self.child.wait());
            if let Err(error) = self.stop() {
                // Nor can anything be done if nobody reads this.
                let text = format!("rvs: demo: instance {}: left behind: {error:#}\n", self.instance);
                io::stderr().write_all(text.as_bytes()).ok();
            }
        }
        remove(&self.folder);
    }
}

fn spawn(program: &Path, netns: &Netns, instance: &str, folder: &Path) -> Result<Child> {
    let log = File::create(log_file(folder)).context("create the director's log")?;
    let also = log.try_clone().context("open the director's log again")?;
    let mut command = command(program, "director", instance, folder);
    // The pipe to its standard input ends with this process, however that ends, and then the director takes everything
    // down. (PR_SET_PDEATHSIG would end it with the thread that starts it, which `Netns` makes for that alone.)
    command.args(["--conns-max", CONNECTIONS, "--end-with-stdin"]).stdin(Stdio::piped());
    command.stdout(log).stderr(also);
    // A process group of its own: what the terminal sends on Ctrl-C is for the demo, which then ends the director.
    command.process_group(0);
    Ok(netns.spawn(&mut command)?)
}

fn command(program: &Path, name: &str, instance: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.arg(name).args(["--instance", instance, "--socket"]).arg(socket(folder));
    command
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("director.sock")
}

fn log_file(folder: &Path) -> PathBuf {
    folder.join("director.log")
}

/// Nothing can be done about a failure: this is the way out.
fn remove(folder: &Path) {
    fs::remove_dir_all(folder).ok();
}
