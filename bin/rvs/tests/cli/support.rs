//! A director for a test, and calls of the binary.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rvs_netlink::Netns;
use rvs_testkit::wait_until;
use serde_json::Value;

/// The binary under test.
pub(crate) const RVS: &str = env!("CARGO_BIN_EXE_rvs");
/// How long anything may take that has to come about, on a machine that has much else to do.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);
/// A director as small as tests need it.
pub(crate) const SMALL: [&str; 6] = ["--services-max", "64", "--dests-max", "1024", "--conns-max", "1000"];

/// How a call of the binary ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What it printed, if all went well.
    #[track_caller]
    pub(crate) fn success(self) -> String {
        assert!(self.status == Some(0) && self.stderr.is_empty(), "{self:?}");
        self.stdout
    }

    /// What it complained about, if it did and printed nothing else.
    #[track_caller]
    pub(crate) fn failure(self, status: i32) -> String {
        assert!(self.status == Some(status) && self.stdout.is_empty(), "{self:?}");
        self.stderr
    }
}

/// Runs the binary without any director.
pub(crate) fn rvs(args: &[&str]) -> Ran {
    Ran::of(Command::new(RVS).args(args).env_remove("RVS_SOCKET").output().unwrap())
}

/// A folder that is gone when the test ends. Everybody may read it.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("rvs-cli-{}-{number}", id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// A network namespace with loopback only.
pub(crate) fn namespace() -> Netns {
    Netns::create_unique("rvs-cli").unwrap()
}

/// A director in a namespace. Dropping it takes everything down.
pub(crate) struct Director<'a> {
    netns: &'a Netns,
    folder: Folder,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    child: Option<Child>,
}

impl<'a> Director<'a> {
    /// One that is not started yet.
    pub(crate) fn new(netns: &'a Netns, args: &[&str]) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { netns, folder: Folder::new(), args, environment: Vec::new(), child: None }
    }

    /// One that is ready.
    pub(crate) fn start(netns: &'a Netns, args: &[&str]) -> Self {
        let mut director = Self::new(netns, args);
        director.start_again();
        director
    }

    /// Other arguments for the next start.
    pub(crate) fn set_args(&mut self, args: &[&str]) {
        self.args = args.iter().map(|&arg| arg.to_owned()).collect();
    }

    pub(crate) fn set_environment(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("director.sock")
    }

    /// Its instance: a name that no other test has.
    pub(crate) fn instance(&self) -> String {
        self.folder.0.file_name().unwrap().to_str().unwrap().to_owned()
    }

    /// A call of `rvs director` for this instance.
    pub(crate) fn call(&self, socket: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(RVS);
        command.args(["director", "--instance", &self.instance(), "--socket"]).arg(socket).args(args);
        command.env_remove("RVS_SOCKET").env_remove("NOTIFY_SOCKET");
        command
    }

    /// The call that starts it.
    pub(crate) fn command(&self) -> Command {
        let mut command = self.call(&self.socket(), &[]);
        command.args(&self.args).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts it, waits until it is ready, and checks that this is all that it prints.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        let log = File::create(self.folder.join("log")).unwrap();
        let mut command = self.command();
        let mut child = self.netns.spawn(command.stdout(Stdio::piped()).stderr(log)).unwrap();
        let (outbox, inbox) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| outbox.send(line)));
        let line = inbox.recv_timeout(LIMIT);
        self.child = Some(child);
        assert_eq!(line.as_deref(), Ok("rvs director ready"), "{}", self.log());
    }

    /// What it logged since its last start.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    #[track_caller]
    pub(crate) fn wait_for_log(&self, text: &str) {
        wait_until(text, LIMIT, || self.log().contains(text))
            .unwrap_or_else(|e| panic!("{e}:\n{}", self.log()));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Sends a signal and waits for the end.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        let pid = i32::try_from(self.pid()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
        self.wait()
    }

    /// Waits for the end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        let waited = wait_until("the director ends", LIMIT, || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        if waited.is_err() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        status.unwrap_or_else(|| panic!("{waited:?}:\n{}", self.log()))
    }

    /// Where it keeps its state, as it says in its log.
    #[track_caller]
    pub(crate) fn pins(&self) -> PathBuf {
        let log = self.log();
        let place = log.lines().find_map(|line| {
            let (_, place) = line.split_once(": made in ").or_else(|| line.split_once(": adopted from "))?;
            place.split(": ").next()
        });
        PathBuf::from(place.unwrap_or_else(|| panic!("{log}")))
    }

    /// Names of the pins that keep programs on interfaces.
    pub(crate) fn links(&self) -> Vec<String> {
        let entries = fs::read_dir(self.pins().join("links")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// How many there are of them: at each of so many interfaces of so many hooks, and for what this host itself sends at each
    /// of them and at the loopback.
    pub(crate) const fn links_of(interfaces: usize, hooks: usize) -> usize {
        interfaces * (hooks + 1) + 1
    }

    /// A client's call.
    pub(crate) fn client(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("RVS_SOCKET", self.socket());
        command
    }

    pub(crate) fn rvs(&self, args: &[&str]) -> Ran {
        Ran::of(self.client(RVS).args(args).output().unwrap())
    }

    pub(crate) fn ipvsadm(&self, args: &[&str]) -> Ran {
        Ran::of(self.client(RVS).arg("ipvsadm").args(args).output().unwrap())
    }

    /// `ipvsadm` with text on its standard input.
    pub(crate) fn ipvsadm_reading(&self, args: &[&str], text: &str) -> Ran {
        let mut command = self.client(RVS);
        command.arg("ipvsadm").args(args);
        run_reading(&mut command, text)
    }

    /// What a command prints with `--json`.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.rvs(&[args, &["--json"]].concat()).success();
        serde_json::from_str(&text).unwrap()
    }

    /// `rvs director --stop`
    pub(crate) fn stop(&self) -> Ran {
        Ran::of(self.netns.output(&mut self.call(&self.socket(), &["--stop"])).unwrap())
    }
}

impl Drop for Director<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
        let stopped = self.stop();
        assert!(stopped.status == Some(0) || thread::panicking(), "{stopped:?}");
    }
}

/// Runs a program with text on its standard input.
pub(crate) fn run_reading(command: &mut Command, text: &str) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    Ran::of(child.wait_with_output().unwrap())
}
