//! The socket file: made, replaced when it is a dead director's, removed at the end.

use core::time::Duration;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use crate::{Error, Peer, unix};

/// How long the process behind a socket has to take a connection before it counts as alive and busy.
const PROBE: Duration = Duration::from_millis(500);

/// A listening socket and its file.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and inode of the file, to remove no other one.
    file: (u64, u64),
    /// Held as long as the socket lives: two directors that start together can't both take a path for a dead one's.
    _lock: Lock,
}

impl Socket {
    pub(super) fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<Self, Error> {
        let failed = |step| {
            move |error: io::Error| Error::Bind { path: path.to_owned(), step, reason: error.to_string() }
        };
        make_directory(path).map_err(failed("create its directory"))?;
        let lock = Lock::take(path)?;
        clear(path)?;
        let listener = UnixListener::bind(path).map_err(failed("bind it"))?;
        if group.is_some() {
            chown(path, None, group).map_err(failed("give it to the group"))?;
        }
        // Until here the mode is what the umask left; whoever connects before may still only do what `Access` says.
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed("set its mode"))?;
        let found = fs::symlink_metadata(path).map_err(failed("look at it"))?;
        let file = (found.dev(), found.ino());
        Ok(Self { path: path.to_owned(), listener, file, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    /// Removes the file, unless somebody put another one in its place.
    pub(super) fn remove(&self) {
        let found = fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.file) {
            // If it can't be removed it is a dead director's socket, which the next one replaces.
            drop(fs::remove_file(&self.path));
        }
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    match DirBuilder::new().mode(0o755).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// How often `PATH.lock` is opened once more because another director removed it at that moment.
const LOCK_TRIES: u32 = 16;

/// `PATH.lock`, with this process's id in it. Removed at the end.
#[derive(Debug)]
struct Lock {
    name: PathBuf,
    file: Flock<File>,
}

impl Lock {
    fn take(path: &Path) -> Result<Self, Error> {
        for _ in 0..LOCK_TRIES {
            if let Some(lock) = Self::of(open_lock(path)?, path)? {
                return Ok(lock);
            }
        }
        Err(lock_failed(path, format!("others removed it {LOCK_TRIES} times")))
    }

    /// Locks the open file. `None`: who held it has removed it since it was opened, and what is locked then is nobody's.
    fn of(file: File, path: &Path) -> Result<Option<Self>, Error> {
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((mut file, Errno::EWOULDBLOCK)) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(Error::InUse { path: path.to_owned(), pid });
            }
            Err((_, errno)) => return Err(lock_failed(path, errno.desc().to_owned())),
        };
        let name = lock_name(path);
        if !is_at(&file, &name) {
            return Ok(None);
        }
        let written = file.set_len(0).and_then(|()| writeln!(&mut *file, "{}", std::process::id()));
        written.map_err(|error| lock_failed(path, error.to_string()))?;
        Ok(Some(Self { name, file }))
    }
}

fn lock_name(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn open_lock(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let opened = options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(lock_name(path));
    opened.map_err(|error| lock_failed(path, error.to_string()))
}

fn lock_failed(path: &Path, reason: String) -> Error {
    Error::Bind { path: path.to_owned(), step: "lock its .lock file", reason }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is locked: nobody else has a right to the file that has this name. One that stays is no obstacle.
        if is_at(&self.file, &self.name) {
            drop(fs::remove_file(&self.name));
        }
    }
}

/// Whether an open file is the one that has that name.
fn is_at(file: &File, name: &Path) -> bool {
    let found = fs::symlink_metadata(name).ok().zip(file.metadata().ok());
    found.is_some_and(|(named, open)| (named.dev(), named.ino()) == (open.dev(), open.ino()))
}

/// Removes the socket and the lock that a dead director left at a path.
///
/// # Errors
/// When somebody serves it, or they can't be removed.
pub fn remove_dead(path: &Path) -> Result<(), Error> {
    let _lock = Lock::take(path)?;
    clear(path)
}

/// Removes what a dead director left at the path. Its lock is free, but a process that knows nothing of the lock may
/// still serve the path, so it is asked.
fn clear(path: &Path) -> Result<(), Error> {
    let failed = |step, reason: String| Error::Bind { path: path.to_owned(), step, reason };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at it", error.to_string())),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(Error::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match unix::connect(path, PROBE) {
        Ok(stream) => {
            let pid = Peer::of(&stream).ok().map(|peer| peer.pid);
            Err(Error::InUse { path: path.to_owned(), pid })
        }
        Err(Errno::EAGAIN) => Err(Error::InUse { path: path.to_owned(), pid: None }),
        Err(Errno::ECONNREFUSED) => {
            fs::remove_file(path).map_err(|error| failed("replace a dead director's", error.to_string()))
        }
        Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(failed("find out who serves it", errno.desc().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may fail")]

    use super::*;

    /// Two that start while a third ends.
    #[test]
    fn a_lock_whose_file_was_removed_meanwhile_is_none() {
        let path = std::env::temp_dir().join(format!("rvs-lock-{}.sock", std::process::id()));
        let name = lock_name(&path);
        let third = Lock::take(&path).unwrap();
        let late = open_lock(&path).unwrap();
        drop(third);
        assert!(!name.exists());
        let first = Lock::take(&path).unwrap();
        assert!(Lock::of(late, &path).unwrap().is_none());
        assert!(matches!(Lock::take(&path), Err(Error::InUse { pid: Some(_), .. })));
        // Nor does it take away another's at its end.
        fs::remove_file(&name).unwrap();
        let second = Lock::take(&path).unwrap();
        drop(first);
        assert!(name.exists());
        drop(second);
        assert!(!name.exists());
    }
}
