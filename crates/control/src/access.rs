//! Who may change something. Whoever can open the socket may read; the kernel says who that is (`SO_PEERCRED`).

use std::ffi::CString;
use std::io;
use std::os::unix::net::UnixStream;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist};

use crate::Error;

/// The process at the other end of a connection, as it was when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id; 0 when it lives in a process namespace that this one can't see.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl Peer {
    pub(crate) fn of(stream: &UnixStream) -> io::Result<Self> {
        let peer = getsockopt(stream, PeerCredentials)?;
        Ok(Self { pid: peer.pid(), uid: peer.uid(), gid: peer.gid() })
    }

    /// Root, or the user this process runs as.
    pub(crate) fn is_owner(&self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }
}

/// Who may change something besides root and the user that the director runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Access {
    group: Option<u32>,
}

impl Access {
    /// Nobody else.
    #[must_use]
    pub const fn owner() -> Self {
        Self { group: None }
    }

    /// Processes of that group, and users whom the group database lists in it.
    #[must_use]
    pub const fn gid(gid: u32) -> Self {
        Self { group: Some(gid) }
    }

    /// As [`Access::gid`], by the group's name.
    ///
    /// # Errors
    /// [`Error::NoSuchGroup`] when there is none of that name.
    pub fn group(name: &str) -> Result<Self, Error> {
        match Group::from_name(name) {
            Ok(Some(group)) => Ok(Self::gid(group.gid.as_raw())),
            Ok(None) | Err(_) => Err(Error::NoSuchGroup { name: name.to_owned() }),
        }
    }

    /// The group that may change something.
    #[must_use]
    pub const fn group_id(&self) -> Option<u32> {
        self.group
    }

    /// Whether this peer may change something. May ask the user database of the system.
    #[must_use]
    pub fn may_change(&self, peer: &Peer) -> bool {
        let listed = |gid| peer.gid == gid || is_listed(peer.uid, gid);
        peer.is_owner() || self.group.is_some_and(listed)
    }
}

/// Whether the group database puts this user into this group. A process's own supplementary groups would be the better
/// witness, but the kernel tells them by `SO_PEERGROUPS` only, for which there is no safe interface; `/proc/PID/status`
/// is none either, since the id may belong to another process by now.
fn is_listed(uid: u32, gid: u32) -> bool {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return false };
    let Ok(name) = CString::new(user.name) else { return false };
    getgrouplist(&name, user.gid).is_ok_and(|groups| groups.contains(&Gid::from_raw(gid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32, gid: u32) -> Peer {
        Peer { pid: 1, uid, gid }
    }

    #[test]
    fn root_and_the_own_user_may_change() {
        let own = geteuid().as_raw();
        assert!(Access::owner().may_change(&peer(0, 4_000_000)));
        assert!(Access::owner().may_change(&peer(own, 4_000_000)));
        assert!(!Access::owner().may_change(&peer(own + 4_000_000, 0)), "a group of 0 is no privilege");
    }

    #[test]
    fn processes_of_the_group_may_change() {
        assert!(Access::gid(4242).may_change(&peer(4_000_000, 4242)));
        assert!(!Access::gid(4242).may_change(&peer(4_000_000, 4243)));
    }

    #[test]
    fn the_group_database_is_asked() {
        let root =
            Group::from_gid(Gid::from_raw(0)).expect("the group database can be read").expect("group 0");
        assert_eq!(Access::group(&root.name).expect("it exists").group_id(), Some(0));
        assert!(is_listed(0, 0));
        assert!(!is_listed(0, 4_000_000));
        assert!(!is_listed(4_000_000, 0), "a user that does not exist is in no group");
    }

    #[test]
    fn a_group_that_does_not_exist_is_named() {
        let error = Access::group("no-such-group-here").expect_err("no such group");
        assert_eq!(error.to_string(), "group no-such-group-here: no such group");
    }
}
