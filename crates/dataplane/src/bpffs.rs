//! The file system that keeps maps and links alive when no process does.
//!
//! It must outlive the director. `ip netns exec` and service managers start programs in a mount namespace of
//! their own, with a fresh `/sys` that hides `/sys/fs/bpf`; a mount made there would vanish with the process,
//! and the data plane with it. So a process in such a namespace looks for the file system, and mounts it, in
//! the namespace of its outermost ancestor that has the same root directory.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::{chroot, fchdir};

use crate::error::{Error, Result};

/// Where a BPF file system usually is.
const USUAL: &str = "/sys/fs/bpf";
/// Where one is mounted if that is not possible.
const OWN: &str = "/run/rvs/bpf";
/// Generations that are followed; a process tree is never that deep, but `/proc` may change under the reader.
const ANCESTORS_MAX: usize = 256;

/// A BPF file system that is held open, and so reached whatever happens to the mount namespaces.
#[derive(Debug)]
pub(crate) struct Bpffs {
    root: File,
    mounted_at: PathBuf,
}

impl Bpffs {
    /// Opens the one at `place`, or the one that has the directory `wanted`, or any; mounts one if there is
    /// none.
    pub(crate) fn open_or_mount(place: Option<&Path>, wanted: &Path) -> Result<Self> {
        if let Some(found) = Self::find(place, wanted)? {
            return Ok(found);
        }
        let namespace = if place.is_none() { MountNamespace::outermost() } else { None };
        let mut reasons = Vec::new();
        for path in places(place) {
            match mount_in(namespace.as_ref(), path) {
                Ok(root) => return Ok(Self { root, mounted_at: path.to_path_buf() }),
                Err(e) => reasons.push(format!("mount on {}: {e}", path.display())),
            }
        }
        Err(Error::Bpffs { path: place.unwrap_or(Path::new(USUAL)).into(), reason: reasons.join("; ") })
    }

    /// As [`Bpffs::open_or_mount`], but mounts nothing.
    pub(crate) fn find(place: Option<&Path>, wanted: &Path) -> Result<Option<Self>> {
        let outer = if place.is_none() { MountNamespace::outermost() } else { None };
        let mut found = None;
        for namespace in [None, outer.as_ref()].into_iter().take(1 + usize::from(outer.is_some())) {
            for path in places(place) {
                let seen = MountNamespace::see(namespace, path);
                if !is_bpffs(&seen) {
                    continue;
                }
                let open = || format!("open {}", path.display());
                let root = File::open(&seen).map_err(|e| Error::system(open(), e))?;
                let candidate = Self { root, mounted_at: path.to_path_buf() };
                if candidate.path(wanted).is_dir() {
                    return Ok(Some(candidate));
                }
                found = found.or(Some(candidate));
            }
        }
        Ok(found)
    }

    /// How this process reaches a path in it.
    pub(crate) fn path(&self, relative: &Path) -> PathBuf {
        Path::new(&format!("/proc/self/fd/{}", self.root.as_raw_fd())).join(relative)
    }

    /// Where it is mounted, for people.
    pub(crate) fn mounted_at(&self) -> &Path {
        &self.mounted_at
    }
}

fn places(place: Option<&Path>) -> Vec<&Path> {
    place.map_or_else(|| vec![Path::new(USUAL), Path::new(OWN)], |place| vec![place])
}

fn is_bpffs(path: &Path) -> bool {
    statfs(path).is_ok_and(|fs| fs.filesystem_type() == BPF_FS_MAGIC)
}

/// Mounts a BPF file system on `path` and opens it.
fn mount_in(namespace: Option<&MountNamespace>, path: &Path) -> io::Result<File> {
    let seen = MountNamespace::see(namespace, path);
    DirBuilder::new().recursive(true).mode(0o755).create(&seen)?;
    let mount = || {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700"))
    };
    match namespace {
        None => mount()?,
        Some(namespace) => namespace.enter(mount)??,
    }
    File::open(seen)
}

/// The mount namespace of another process.
#[derive(Debug)]
struct MountNamespace {
    process: u32,
    handle: File,
    /// The process's root directory.
    root: File,
}

impl MountNamespace {
    /// That of the outermost ancestor that has this process's root directory; `None` if it is this process's
    /// own.
    fn outermost() -> Option<Self> {
        let own = fs::metadata("/proc/self/ns/mnt").ok()?.ino();
        let root = fs::metadata("/").ok()?;
        let shares_root = |process: &u32| {
            fs::metadata(format!("/proc/{process}/root/"))
                .is_ok_and(|other| (other.dev(), other.ino()) == (root.dev(), root.ino()))
        };
        let namespace = Self::of(ancestors().into_iter().rfind(shares_root)?).ok()?;
        (namespace.handle.metadata().ok()?.ino() != own).then_some(namespace)
    }

    fn of(process: u32) -> io::Result<Self> {
        let open = |what| File::open(format!("/proc/{process}/{what}"));
        Ok(Self { process, handle: open("ns/mnt")?, root: open("root/")? })
    }

    /// A path as this process reaches it in a namespace; `None`: its own.
    fn see(namespace: Option<&Self>, path: &Path) -> PathBuf {
        let Some(Self { process, .. }) = namespace else { return path.to_path_buf() };
        Path::new(&format!("/proc/{process}/root")).join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Runs `work` on a thread inside the namespace.
    fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let inside = || {
                // A thread that shares its root and working directory with others may not change its mount
                // namespace.
                unshare(CloneFlags::CLONE_FS)?;
                setns(&self.handle, CloneFlags::CLONE_NEWNS)?;
                // It put the thread into the namespace's root directory, which is not the process's if that
                // is in a chroot.
                fchdir(&self.root)?;
                chroot(".")?;
                Ok(work())
            };
            let thread = thread::Builder::new().name("mount".to_owned()).spawn_scoped(scope, inside)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// The parent, its parent and so on.
fn ancestors() -> Vec<u32> {
    let mut ancestors = Vec::new();
    let mut process = "self".to_owned();
    while ancestors.len() < ANCESTORS_MAX {
        let Some(parent) = parent(&process).filter(|&parent| parent != 0) else { break };
        ancestors.push(parent);
        process = parent.to_string();
    }
    ancestors
}

/// The fourth field of `/proc/PID/stat`; the second is in parentheses and may hold anything.
fn parent(process: &str) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]
    use super::*;

    #[test]
    fn the_parent_is_the_first_ancestor() {
        assert_eq!(ancestors().first(), Some(&std::os::unix::process::parent_id()));
    }

    /// What `ip netns exec` does: a process in a mount namespace of its own finds and mounts in the outer
    /// one.
    #[test]
    fn a_mount_is_made_where_it_outlives_the_process() {
        let place = std::env::temp_dir().join(format!("rvs-bpffs-{}", std::process::id()));
        fs::create_dir(&place).unwrap();
        let outer = MountNamespace::of(std::process::id()).unwrap();
        let inner_sees_it = thread::scope(|scope| {
            let inside = || {
                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                let flags = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
                mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).unwrap();
                let root = mount_in(Some(&outer), &place).unwrap();
                let by_descriptor = format!("/proc/thread-self/fd/{}/probe", root.as_raw_fd());
                fs::create_dir(by_descriptor).unwrap();
                is_bpffs(&place)
            };
            scope.spawn(inside).join().unwrap()
        });
        let outer_sees_it = is_bpffs(&place) && place.join("probe").is_dir();
        nix::mount::umount(&place).unwrap();
        fs::remove_dir(&place).unwrap();
        assert!(outer_sees_it && !inner_sees_it);
    }
}
