//! The virtual machine: prepared once, booted for each run.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::guest::{self, LOG, STATUS};
use crate::is_inside;
use crate::kernel::{self, Kernel};

const QEMU: &str = "qemu-system-x86_64";
/// Programs of this machine that are needed, with the Debian packages that hold them.
const PROGRAMS: &[(&str, &str)] =
    &[(QEMU, "qemu-system-x86"), ("busybox", "busybox-static"), ("depmod", "kmod")];
/// How often the state of a running machine is looked at.
const POLL: Duration = Duration::from_millis(100);
/// Last lines of the console that an error shows.
const CONSOLE_LINES: usize = 20;

/// A machine that can be started.
#[derive(Debug, Clone)]
pub struct RefVm {
    folder: PathBuf,
    kernel: Kernel,
}

/// How to run a command.
#[derive(Debug, Clone)]
pub struct Options {
    /// Memory of the machine, in MiB.
    pub memory_mib: u32,
    /// How long boot and command may take.
    pub limit: Duration,
    /// Working folder of the command; the same path in the machine as here.
    pub folder: PathBuf,
    /// Environment of the command beyond `PATH`, `HOME`, `REFVM=1` and `OUT`.
    pub environment: Vec<(OsString, OsString)>,
    /// The folder of this machine which the command finds as `/out` (and named in `OUT`) and writes results to.
    /// It is made if it doesn't exist. Without it, `/out` is thrown away.
    pub out: Option<PathBuf>,
    /// Whether the command's output is written to standard output while it runs.
    pub echo: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            memory_mib: 3072,
            limit: Duration::from_secs(300),
            folder: PathBuf::from("/"),
            environment: Vec::new(),
            out: None,
            echo: false,
        }
    }
}

/// What came of a command.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Its exit status, as a shell gives it (128 and more: it was ended by a signal).
    pub status: u8,
    /// What it printed to standard output and standard error.
    pub output: String,
}

impl RefVm {
    /// Gets the kernel if that has not been done, which takes some seconds and a network.
    ///
    /// Everything is kept under `refvm/` in `target`, the folder for what is built.
    ///
    /// # Errors
    /// [`Error::Inside`] in the virtual machine itself, [`Error::ProgramMissing`] and others if this machine lacks what
    /// is needed.
    pub fn prepare(target: &Path) -> Result<Self, Error> {
        if is_inside() {
            return Err(Error::Inside);
        }
        for &(program, package) in PROGRAMS {
            if !is_installed(program) {
                return Err(Error::ProgramMissing { program, package });
            }
        }
        let folder = std::path::absolute(target).map_err(Error::file(target))?.join("refvm");
        let kernel = folder.join("kernel");
        if !kernel.is_dir() {
            // Others may prepare at the same time: each in a folder of its own, the first to finish wins.
            let mine = folder.join(format!("kernel.{}", std::process::id()));
            fs::create_dir_all(&mine).map_err(Error::file(&mine))?;
            let unpacked = kernel::unpack(&mine);
            if unpacked.is_err() || fs::rename(&mine, &kernel).is_err() {
                fs::remove_dir_all(&mine).map_err(Error::file(&mine))?;
            }
            unpacked?;
        }
        Ok(Self { kernel: Kernel::open(&kernel)?, folder })
    }

    /// `uname -r` of the kernel.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.kernel.release
    }

    /// Boots the machine, runs one command in it as root and waits for its end.
    ///
    /// The command finds `REFVM=1` in its environment, this machine's root read-only under `/host`, the modules of the
    /// kernel in place, a BPF file system, and in `/` a throw-away copy of this machine's files.
    ///
    /// # Errors
    /// [`Error::TimedOut`], [`Error::Stopped`] and others if the machine could not be used. A command that fails is no
    /// error: its status says so.
    pub fn run<S: AsRef<OsStr>>(&self, command: &[S], options: &Options) -> Result<Outcome, Error> {
        let run = RunFolder::new(&self.folder)?;
        let out = options.out.clone().unwrap_or_else(|| run.0.join("out"));
        fs::create_dir_all(&out).map_err(Error::file(&out))?;
        let out = std::path::absolute(&out).map_err(Error::file(&out))?;
        let ctl = run.0.join("ctl");
        fs::create_dir(&ctl).map_err(Error::file(&ctl))?;
        let initrd = run.write("initrd", &guest::initrd(&self.kernel)?)?;
        run.write("ctl/boot", &guest::script(&self.kernel, command, options))?;
        let mut log = Log { file: run.open("ctl", LOG)?, text: Vec::new(), echo: options.echo };
        let console = run.open("", "console")?;

        let mut qemu = self.qemu(options, &initrd, &ctl, &out);
        let errors = console.try_clone().map_err(Error::file(&run.0))?;
        qemu.stdin(Stdio::null()).stdout(console).stderr(errors);
        let child = qemu.spawn().map_err(|error| Error::program(&qemu, error))?;
        let ended = wait(Machine(child), options.limit, &mut log)?;
        log.read()?;

        let output = String::from_utf8_lossy(&log.text).into_owned();
        let status = fs::read_to_string(ctl.join(STATUS)).ok().and_then(|text| text.trim().parse().ok());
        match status {
            Some(status) => Ok(Outcome { status, output }),
            None if !ended => Err(Error::TimedOut { limit: options.limit, output }),
            None => Err(Error::Stopped { console: last_lines(&run.0.join("console")) }),
        }
    }

    fn qemu(&self, options: &Options, initrd: &Path, ctl: &Path, out: &Path) -> Command {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        // The kernel ends it with this process, even if that is killed. setpriv (util-linux) becomes the emulator.
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL", QEMU]);
        qemu.args([
            "-M",
            "q35",
            "-cpu",
            "max",
            "-accel",
            "tcg,thread=multi",
            "-nographic",
            "-no-reboot",
            "-net",
            "none",
        ]);
        qemu.arg("-smp").arg(cpus.to_string()).arg("-m").arg(options.memory_mib.to_string());
        qemu.arg("-kernel").arg(self.kernel.image()).arg("-initrd").arg(initrd);
        qemu.args(["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
        let shares =
            [("host", Path::new("/"), ",readonly=on,multidevs=remap"), ("ctl", ctl, ""), ("out", out, "")];
        for (tag, path, more) in shares {
            let mut share = OsString::from(format!("local,id={tag},security_model=none{more},path="));
            share.push(path);
            qemu.arg("-fsdev").arg(share);
            qemu.args(["-device", &format!("virtio-9p-pci,fsdev={tag},mount_tag={tag}")]);
        }
        qemu
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    kernel::program(program).is_absolute()
        || std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A running emulator, ended when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // It is our own child; it may end at this very moment, which is fine.
            drop(self.0.kill());
            drop(self.0.wait());
        }
    }
}

/// Waits until the machine is off, at most for `limit`; passes its output on meanwhile. False if the time is over.
fn wait(mut machine: Machine, limit: Duration, log: &mut Log) -> Result<bool, Error> {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        log.read()?;
        match machine.0.try_wait() {
            Ok(Some(_)) => return Ok(true),
            Ok(None) => std::thread::sleep(POLL),
            Err(source) => return Err(Error::File { path: QEMU.into(), source }),
        }
    }
    Ok(false)
}

/// The command's output, read while it grows.
struct Log {
    file: File,
    text: Vec<u8>,
    echo: bool,
}

impl Log {
    fn read(&mut self) -> Result<(), Error> {
        let known = self.text.len();
        self.file.read_to_end(&mut self.text).map_err(Error::file(Path::new(LOG)))?;
        if self.echo {
            let mut stdout = std::io::stdout().lock();
            let written = stdout.write_all(&self.text[known..]).and_then(|()| stdout.flush());
            written.map_err(Error::file(Path::new("standard output")))?;
        }
        Ok(())
    }
}

/// The folder of one run, removed at its end.
struct RunFolder(PathBuf);

impl RunFolder {
    fn new(parent: &Path) -> Result<Self, Error> {
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("run.{}.{run}", std::process::id()));
        fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        Ok(Self(folder))
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<PathBuf, Error> {
        let path = self.0.join(name);
        fs::write(&path, content).map_err(Error::file(&path))?;
        Ok(path)
    }

    /// Makes an empty file and opens it for reading and writing.
    fn open(&self, folder: &str, name: &str) -> Result<File, Error> {
        let path = self.0.join(folder).join(name);
        let options = File::options().read(true).write(true).create_new(true).open(&path);
        options.map_err(Error::file(&path))
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // What stays behind lies in the folder for what is built, and is in nobody's way.
        drop(fs::remove_dir_all(&self.0));
    }
}

fn last_lines(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n")
}
