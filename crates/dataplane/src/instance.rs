//! An instance: its directory in the BPF file system, which is also its lock.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::{major, minor};
use rvs_model::Capacity;

use crate::bpffs::Bpffs;
use crate::error::{Error, Result};

/// The folder of all instances in the BPF file system.
const FOLDER: &str = "rvs";
/// Longest name of an instance.
const NAME_LEN_MAX: usize = 64;
/// Stands between role and name.
const ROLE_MARK: char = '@';
/// How often the lock is tried again because its directory was removed meanwhile.
const LOCK_ATTEMPTS_MAX: u32 = 16;

/// Which programs take packets under TC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TcHook {
    /// A tcx link where the kernel has it (6.6), otherwise a filter.
    #[default]
    Auto,
    /// A filter of a clsact queueing discipline, as kernels before 6.6 need it.
    Clsact,
}

/// What to open.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name that tells several directors on one machine apart: letters, digits, `-` and `_`.
    pub instance: String,
    /// The BPF file system; mounted there if there is none. `None`: `/sys/fs/bpf`, or `/run/rvs/bpf` where
    /// that is not possible.
    pub bpffs: Option<PathBuf>,
    /// How large maps are made. Those that exist keep their size.
    pub capacity: Capacity,
    /// How programs are attached to TC.
    pub tc: TcHook,
}

impl Options {
    /// The defaults for this machine.
    ///
    /// # Errors
    /// When the number of CPUs can't be found out.
    pub fn new(instance: impl Into<String>) -> Result<Self> {
        let capacity = Capacity::for_cpus(possible_cpus()?);
        Ok(Self { instance: instance.into(), bpffs: None, capacity, tc: TcHook::Auto })
    }

    /// Where it is.
    pub(crate) fn place(&self) -> Place<'_> {
        Place { name: &self.instance, role: None, bpffs: self.bpffs.as_deref() }
    }
}

/// Which instance, of what, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// What it is an instance of; `None`: a director.
    pub(crate) role: Option<&'static str>,
    /// As [`Options::bpffs`].
    pub(crate) bpffs: Option<&'a Path>,
}

impl Place<'_> {
    fn check(&self) -> Result<()> {
        let name = self.name;
        let fits = (1..=NAME_LEN_MAX).contains(&name.len());
        if fits && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            Ok(())
        } else {
            Err(Error::InstanceName { name: name.to_owned() })
        }
    }

    /// Directories of roles have names that no director's instance can have. (The kernel keeps dots for itself.)
    fn directory(&self) -> PathBuf {
        let folder = Path::new(FOLDER);
        match self.role {
            None => folder.join(self.name),
            Some(role) => folder.join(format!("{role}{ROLE_MARK}{}", self.name)),
        }
    }
}

/// CPUs that this machine may ever have online: the statistics have a part for each.
///
/// # Errors
/// When the system doesn't tell.
pub fn possible_cpus() -> Result<u32> {
    let cpus = aya::util::nr_cpus().map_err(|(path, e)| Error::system(format!("read {path}"), e))?;
    u32::try_from(cpus).map_err(|e| Error::system("count CPUs", io::Error::other(e)))
}

/// A locked instance. The lock ends with this value.
#[derive(Debug)]
pub(crate) struct Instance {
    name: String,
    bpffs: Bpffs,
    relative: PathBuf,
    lock: Flock<File>,
}

impl Instance {
    /// Opens an instance, and makes its directory if there is none.
    pub(crate) fn open_or_create(place: &Place<'_>) -> Result<Self> {
        place.check()?;
        let relative = place.directory();
        let bpffs = Bpffs::open_or_mount(place.bpffs, &relative)?;
        for _ in 0..LOCK_ATTEMPTS_MAX {
            let path = bpffs.path(&relative);
            DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|source| {
                let shown = bpffs.mounted_at().join(&relative);
                Error::system(format!("create directory {}", shown.display()), source)
            })?;
            if let Some(lock) = lock(&path, place.name)? {
                return Ok(Self { name: place.name.to_owned(), bpffs, relative, lock });
            }
        }
        Err(Error::Locked { instance: place.name.to_owned(), pid: None })
    }

    /// Opens an instance that exists.
    pub(crate) fn open(place: &Place<'_>) -> Result<Option<Self>> {
        place.check()?;
        let relative = place.directory();
        let Some(bpffs) = Bpffs::find(place.bpffs, &relative)? else { return Ok(None) };
        let path = bpffs.path(&relative);
        if !path.is_dir() {
            return Ok(None);
        }
        let lock = lock(&path, place.name)?;
        Ok(lock.map(|lock| Self { name: place.name.to_owned(), bpffs, relative, lock }))
    }

    /// The names of directors' instances that exist, in order.
    pub(crate) fn all(place: Option<&Path>) -> Result<Vec<String>> {
        let folder = Path::new(FOLDER);
        let Some(bpffs) = Bpffs::find(place, folder)? else { return Ok(Vec::new()) };
        let failed = |source| Error::system("list the instances", source);
        let entries = match fs::read_dir(bpffs.path(folder)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            result => result.map_err(failed)?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names: Vec<String> = names.collect::<io::Result<_>>().map_err(failed)?;
        names.retain(|name| !name.contains(ROLE_MARK));
        names.sort();
        Ok(names)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How this process reaches its directory.
    pub(crate) fn directory(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.lock.as_raw_fd()))
    }

    /// Where its directory is, for people.
    pub(crate) fn shown(&self) -> PathBuf {
        self.bpffs.mounted_at().join(&self.relative)
    }

    /// Removes its directory with every pin in it, then ends the lock.
    pub(crate) fn remove(self) -> Result<()> {
        let shown = self.shown();
        fs::remove_dir_all(self.bpffs.path(&self.relative))
            .map_err(|source| Error::system(format!("remove {}", shown.display()), source))?;
        // Fails while other instances are in it, as it should.
        fs::remove_dir(self.bpffs.path(Path::new(FOLDER))).ok();
        Ok(())
    }
}

/// Locks the directory at `path`. `None` if it was removed before the lock was had.
fn lock(path: &Path, instance: &str) -> Result<Option<Flock<File>>> {
    let failed = |source| Error::system(format!("lock instance {instance}"), source);
    let directory = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        result => result.map_err(failed)?,
    };
    let metadata = directory.metadata().map_err(failed)?;
    match Flock::lock(directory, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => {
            let now = fs::metadata(path).map(|now| now.ino());
            Ok(now.is_ok_and(|inode| inode == metadata.ino()).then_some(lock))
        }
        Err((_, Errno::EWOULDBLOCK)) => {
            Err(Error::Locked { instance: instance.to_owned(), pid: lock_holder(&metadata) })
        }
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

/// The process that holds a lock on a file, from `/proc/locks`: `1: FLOCK  ADVISORY  WRITE 4711 00:2a:123 0
/// EOF`.
fn lock_holder(file: &fs::Metadata) -> Option<u32> {
    let wanted = format!("{:02x}:{:02x}:{}", major(file.dev()), minor(file.dev()), file.ino());
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let ["FLOCK", _, "WRITE", pid, file, ..] = fields.get(1..)? else { return None };
        // 0: a process of another PID namespace.
        (*file == wanted).then(|| pid.parse().ok().filter(|&pid| pid != 0))?
    })
}
