//! Control groups of version 2: the one that programs hang on, and the processes in it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use crate::error::{Error, Result};

/// Where it usually is, for the message when there is none.
const USUAL: &str = "/sys/fs/cgroup";

/// A cgroup that is held open.
#[derive(Debug)]
pub(crate) struct Cgroup {
    directory: File,
    path: PathBuf,
    id: u64,
}

impl Cgroup {
    /// The one at `path`; `None`: the root of the tree.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self> {
        let path = match path {
            Some(path) => path.to_path_buf(),
            None => root()?,
        };
        let failed = |e: io::Error| Error::Cgroup { path: path.clone(), reason: e.to_string() };
        let kind = statfs(&path).map_err(|errno| failed(errno.into()))?.filesystem_type();
        if kind != CGROUP2_SUPER_MAGIC {
            let reason = "expected a directory of a cgroup v2 file system".to_owned();
            return Err(Error::Cgroup { path, reason });
        }
        let directory = File::open(&path).map_err(failed)?;
        let metadata = directory.metadata().map_err(failed)?;
        if !metadata.is_dir() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        Ok(Self { directory, id: metadata.ino(), path })
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its number, as links have it: that of its directory's inode.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// The processes in it and in those below, in no order; those of them that this process can see.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        let mut processes = Vec::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            // One that went away has none. A threaded one has them too, but says so only at the top of its tree.
            let list = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            processes.extend(list.lines().filter_map(|line| line.parse().ok()).filter(|&pid: &u32| pid != 0));
            let entries = match fs::read_dir(&folder) {
                Err(_) if folder != self.path => continue,
                result => {
                    result.map_err(|e| Error::Cgroup { path: folder.clone(), reason: e.to_string() })?
                }
            };
            let below = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            folders.extend(below.map(|entry| entry.path()));
        }
        Ok(processes)
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// The root of the tree, wherever it is mounted: on hosts with both versions below the first one.
fn root() -> Result<PathBuf> {
    let mounts = fs::read("/proc/self/mountinfo").map_err(|e| Error::system("read the list of mounts", e))?;
    let found = mounts.split(|&b| b == b'\n').find_map(cgroup2_mount);
    found.ok_or_else(|| Error::Cgroup {
        path: USUAL.into(),
        reason: "no cgroup v2 file system is mounted, here or elsewhere (mount -t cgroup2 none DIRECTORY mounts one)"
            .to_owned(),
    })
}

/// The mount point, if a line of `mountinfo` (proc(5)) is about all of a cgroup v2 tree: id, parent, device, root, mount point,
/// options, any number of further fields, `-`, type.
fn cgroup2_mount(line: &[u8]) -> Option<PathBuf> {
    let mut fields = line.split(|&b| b == b' ');
    let (root, point) = (fields.nth(3)?, fields.next()?);
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    (kind == b"cgroup2" && root == b"/")
        .then(|| PathBuf::from(std::ffi::OsStr::from_bytes(&unescaped(point))))
}

/// Blanks and the like are three octal digits behind a backslash there.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| byte == b'\\');
        let number = digits.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        out.push(number.unwrap_or(byte));
        rest = if number.is_some() { &after[3..] } else { after };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_of_the_whole_tree_are_found() {
        let mount = |line: &str| cgroup2_mount(line.as_bytes()).map(|path| path.display().to_string());
        let line = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 master:1 - cgroup2 cgroup2 rw";
        assert_eq!(mount(line).as_deref(), Some("/sys/fs/cgroup"));
        assert_eq!(mount("30 23 0:26 / /a\\040b rw - cgroup2 none rw").as_deref(), Some("/a b"));
        for other in [
            "30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu",
            "30 23 0:26 /part /mnt rw - cgroup2 none rw",
            "30 23 0:26 / /cgroup2 rw - tmpfs cgroup2 rw",
            "",
        ] {
            assert_eq!(mount(other), None, "{other}");
        }
    }

    #[test]
    fn what_is_no_cgroup_is_refused_by_name() {
        let refused = |path: &str| Cgroup::open(Some(Path::new(path))).map_err(|e| e.to_string()).map(|_| ());
        assert_eq!(
            refused("/proc"),
            Err("cgroup /proc: expected a directory of a cgroup v2 file system".to_owned())
        );
        assert_eq!(
            refused("/nowhere"),
            Err("cgroup /nowhere: No such file or directory (os error 2)".to_owned())
        );
    }
}
