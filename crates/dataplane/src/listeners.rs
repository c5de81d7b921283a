//! Listeners that are older than the programs: they are told from outside what to do, without their servers' help.
//!
//! `pidfd_getfd(2)` lends a descriptor of another process; it takes `CAP_SYS_PTRACE`. Only listeners are borrowed, no
//! connections: closing one later than its owner would delay its end.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use rvs_abi::{Addr, ListenerKey};

use crate::cgroup::Cgroup;
use crate::error::Result;
use crate::segment_size::{Words, words};

/// `TCP_LISTEN` in `/proc/PID/net/tcp`.
const LISTEN: &str = "0A";

/// What became of the listeners that were there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listeners {
    /// How many do as they were told.
    pub kept: usize,
    /// Processes some of whose listeners don't, and why; one line each.
    pub refused: Vec<String>,
}

/// Has the listeners of a cgroup's processes keep the SYN of each connection.
pub(crate) fn keep_syns(cgroup: &Cgroup) -> Result<Listeners> {
    tell(cgroup, |socket| keep(socket).map(|()| true))
}

/// Has those of them that listen at these keys announce segments of that size.
pub(crate) fn bound_segments(cgroup: &Cgroup, keys: &BTreeSet<Words>, mss: u16) -> Result<Listeners> {
    tell(cgroup, |socket| {
        let address = TcpListener::from(socket.try_clone()?).local_addr()?;
        let at = |port| words(ListenerKey::new(Addr::from_ip(address.ip()), port));
        let is_meant = [at(address.port().into()), at(0), words(ListenerKey::ALL)];
        if !is_meant.iter().any(|key| keys.contains(key)) {
            return Ok(false);
        }
        set(socket, libc::TCP_MAXSEG, mss.into()).map(|()| true)
    })
}

/// Tells each listener of a cgroup's processes something; `false`: it is none of those that are meant.
fn tell(cgroup: &Cgroup, mut one: impl FnMut(&OwnedFd) -> io::Result<bool>) -> Result<Listeners> {
    let processes = cgroup.processes()?;
    let mut waiting = listening(&processes);
    let mut listeners = Listeners::default();
    for process in processes {
        // It may end, and close sockets, while this looks.
        for (descriptor, inode) in sockets(process) {
            if !waiting.contains(&inode) {
                continue;
            }
            match borrow(process, descriptor).and_then(|socket| one(&socket)) {
                Ok(is_meant) => {
                    // It may be another process's too.
                    waiting.remove(&inode);
                    listeners.kept += usize::from(is_meant);
                }
                Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::EBADF)) => {}
                Err(e) => listeners.refused.push(format!("process {process}: {e}")),
            }
        }
    }
    listeners.refused.dedup();
    Ok(listeners)
}

/// Inodes of all TCP listeners in the network namespaces of these processes.
fn listening(processes: &[u32]) -> HashSet<u64> {
    let (mut namespaces, mut inodes) = (BTreeSet::new(), HashSet::new());
    for process in processes {
        let Ok(namespace) = fs::read_link(format!("/proc/{process}/ns/net")) else { continue };
        if namespaces.insert(namespace) {
            for table in ["tcp", "tcp6"] {
                let text = fs::read_to_string(format!("/proc/{process}/net/{table}")).unwrap_or_default();
                inodes.extend(text.lines().filter_map(listener));
            }
        }
    }
    inodes
}

/// The inode in a line of `/proc/PID/net/tcp`, if it is a listener's: the fourth field is the state, the tenth the inode.
fn listener(line: &str) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let state = fields.nth(3)?;
    let inode = fields.nth(5)?;
    (state == LISTEN).then(|| inode.parse().ok())?
}

/// A process's sockets: descriptors and inodes.
fn sockets(process: u32) -> Vec<(RawFd, u64)> {
    let entries = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let socket = |entry: fs::DirEntry| {
        let descriptor = entry.file_name().to_str()?.parse().ok()?;
        let link = fs::read_link(entry.path()).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some((descriptor, inode.parse().ok()?))
    };
    entries.filter_map(socket).collect()
}

/// A descriptor of another process, as one of ours.
fn borrow(process: u32, descriptor: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no addresses. What the call returns is a descriptor that nobody else has.
    let process = unsafe { owned(libc::syscall(libc::SYS_pidfd_open, process, 0))? };
    // SAFETY: as above.
    unsafe { owned(libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0)) }
}

/// # Safety
/// What a system call returned: a descriptor that nobody else has, or -1.
unsafe fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    match RawFd::try_from(result) {
        // SAFETY: the caller's promise.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Has a listener keep SYNs, unless its server asked for them itself, perhaps with more of their headers.
fn keep(socket: &OwnedFd) -> io::Result<()> {
    let (descriptor, level, option) = (socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_SAVE_SYN);
    let mut value: libc::c_int = 0;
    let mut len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: the addresses are those of a number and of its length.
    let read = unsafe { libc::getsockopt(descriptor, level, option, (&raw mut value).cast(), &raw mut len) };
    if read < 0 {
        return Err(io::Error::last_os_error());
    }
    if value != 0 {
        return Ok(());
    }
    set(socket, option, 1)
}

/// Sets an option of TCP's.
fn set(socket: &OwnedFd, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let (descriptor, level) = (socket.as_raw_fd(), libc::IPPROTO_TCP);
    let len = libc::socklen_t::try_from(size_of_val(&value)).map_err(io::Error::other)?;
    // SAFETY: the address is that of a number of the length given.
    let written = unsafe { libc::setsockopt(descriptor, level, option, (&raw const value).cast(), len) };
    if written < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_told_by_their_state() {
        let line = |state| {
            format!(
                "   0: 0100007F:0050 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 4711 1 \
                 0000000000000000 100 0 0 10 0"
            )
        };
        assert_eq!(listener(&line("0A")), Some(4711));
        assert_eq!(listener(&line("01")), None);
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        assert_eq!(listener(head), None);
        assert_eq!(listener(""), None);
    }
}
