//! Network namespaces, made and kept the way `ip netns` does, so that `ip netns exec NAME` finds them too.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, id};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

use crate::error::{Error, Result};
use crate::ethtool::Ethtool;
use crate::socket::Netlink;
use crate::sysctl;

/// Where named network namespaces are mounted.
pub const NETNS_DIR: &str = "/run/netns";
/// The calling thread's own namespace; `/proc/self` would be the main thread's.
const THREAD_NETNS: &str = "/proc/thread-self/ns/net";
/// Longest name: a file name's limit.
const NAME_LEN_MAX: usize = 255;

/// A network namespace that is held open.
///
/// Dropping one that was created here removes its name; the kernel then takes the namespace down as soon as no process
/// and no socket is left in it.
#[derive(Debug)]
pub struct Netns {
    file: File,
    name: String,
    /// The mounted file to be removed on drop; `None` for namespaces that others made.
    owned: Option<PathBuf>,
}

impl Netns {
    /// Makes a namespace with its loopback link up. Fails with [`io::ErrorKind::AlreadyExists`] if the name is taken.
    pub fn create(name: &str) -> Result<Self> {
        let failed = |source| Error::Namespace { operation: "create", name: name.to_owned(), source };
        check_name(name).map_err(failed)?;
        let path = Path::new(NETNS_DIR).join(name);
        share_directory().map_err(failed)?;
        OpenOptions::new().write(true).create_new(true).mode(0o444).open(&path).map_err(failed)?;
        let mounted = on_new_thread(|| -> io::Result<()> {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some(THREAD_NETNS), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok(())
        });
        let file = mounted.and_then(|result| result).and_then(|()| File::open(&path));
        let file = file.inspect_err(|_| remove(&path)).map_err(failed)?;
        let namespace = Self { file, name: name.to_owned(), owned: Some(path) };
        let mut netlink = namespace.netlink()?;
        let loopback = netlink.link("lo")?;
        netlink.set_up(loopback.index)?;
        Ok(namespace)
    }

    /// Makes a namespace with a name that nobody else has: `PREFIX-PID-NUMBER`, this process's id and a counter.
    pub fn create_unique(prefix: &str) -> Result<Self> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            match Self::create(&format!("{prefix}-{}-{number}", id())) {
                // Left by a killed process that had the same id: the counter finds a free name.
                Err(e) if e.kind() == Some(io::ErrorKind::AlreadyExists) => {}
                result => return result,
            }
        }
    }

    /// Opens a namespace that exists already, made by this crate or by `ip netns add`. Dropping it leaves it alone.
    pub fn open(name: &str) -> Result<Self> {
        let failed = |source| Error::Namespace { operation: "open", name: name.to_owned(), source };
        check_name(name).map_err(failed)?;
        let file = File::open(Path::new(NETNS_DIR).join(name)).map_err(failed)?;
        Ok(Self { file, name: name.to_owned(), owned: None })
    }

    /// Removes the name of a namespace that another process left. Fails with [`io::ErrorKind::NotFound`] if there is none.
    pub fn delete(name: &str) -> Result<()> {
        let failed = |source| Error::Namespace { operation: "delete", name: name.to_owned(), source };
        check_name(name).map_err(failed)?;
        let path = Path::new(NETNS_DIR).join(name);
        // A process that was killed between making the file and mounting on it left a plain file.
        umount2(&path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).ok();
        fs::remove_file(&path).map_err(failed)
    }

    /// The calling thread's namespace.
    pub fn current() -> Result<Self> {
        let name = THREAD_NETNS.to_owned();
        match File::open(THREAD_NETNS) {
            Ok(file) => Ok(Self { file, name, owned: None }),
            Err(source) => Err(Error::Namespace { operation: "open", name, source }),
        }
    }

    /// The name given to it; for [`Netns::current`] the file it was opened by.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` on a thread inside the namespace and returns what it returns.
    ///
    /// Sockets that `work` opens, threads and processes that it starts, belong to the namespace and stay there. A panic
    /// in `work` goes on in the caller.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let failed = |source| Error::Namespace { operation: "enter", name: self.name.clone(), source };
        on_new_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok(work())
        })
        .and_then(|result| result)
        .map_err(failed)
    }

    /// Starts a program inside the namespace. Only the network namespace is another: files and mounts are the caller's.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        self.run(command, Command::spawn)
    }

    /// Runs a program inside the namespace until it ends, and returns what it wrote.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        self.run(command, Command::output)
    }

    fn run<T: Send>(
        &self,
        command: &mut Command,
        start: impl FnOnce(&mut Command) -> io::Result<T> + Send,
    ) -> Result<T> {
        let program = command.get_program().to_string_lossy().into_owned();
        // A child inherits the namespace of the thread that forks it, whatever the process's other threads have.
        self.enter(|| start(command))?.map_err(|source| Error::Spawn {
            program,
            namespace: self.name.clone(),
            source,
        })
    }

    /// Opens an rtnetlink handle on the namespace.
    pub fn netlink(&self) -> Result<Netlink> {
        self.enter(Netlink::new)?
    }

    /// Opens an ethtool handle on the namespace.
    pub fn ethtool(&self) -> Result<Ethtool> {
        self.enter(Ethtool::new)?
    }

    /// Sets a kernel parameter of the namespace: `sysctl("net/ipv4/ip_forward", "1")`.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        self.enter(|| sysctl::write(path, value))?
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Netns {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        if let Some(path) = &self.owned {
            remove(path);
        }
    }
}

/// Runs `work` on a thread of its own and waits for it.
fn on_new_thread<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let handle = thread::Builder::new().name("netns".to_owned()).spawn_scoped(scope, work)?;
        handle.join().map_err(|panic| resume_unwind(panic))
    })
}

fn check_name(name: &str) -> io::Result<()> {
    let fits = !name.is_empty() && name.len() <= NAME_LEN_MAX && !name.contains(['/', '\0']);
    if fits && name != "." && name != ".." {
        Ok(())
    } else {
        let text = format!("expected a file name of 1 to {NAME_LEN_MAX} bytes");
        Err(io::Error::new(io::ErrorKind::InvalidInput, text))
    }
}

/// Makes the directory a shared mount, so that a namespace's mount and its removal reach every mount namespace; else
/// one held by a service manager's private namespace could never be removed. This is what `ip netns add` does.
fn share_directory() -> io::Result<()> {
    fs::create_dir_all(NETNS_DIR)?;
    // Two processes that both find no mount would mount the directory on itself twice.
    let _lock = Flock::lock(File::open(NETNS_DIR)?, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
    let share = || {
        let flags = MsFlags::MS_SHARED | MsFlags::MS_REC;
        mount(None::<&str>, NETNS_DIR, None::<&str>, flags, None::<&str>)
    };
    if share().is_err() {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(NETNS_DIR), NETNS_DIR, None::<&str>, flags, None::<&str>)?;
        share()?;
    }
    Ok(())
}

/// Takes the name away. Nothing can be done about a failure: this runs in drop and on the way out of an error.
fn remove(path: &Path) {
    umount2(path, MntFlags::MNT_DETACH).ok();
    fs::remove_file(path).ok();
}
