//! Links: programs attached to interfaces, pinned under names that say where.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::bpf::{self, AttachType};
use crate::error::{Error, Result};

/// The pins' directory, below the instance's.
pub(crate) const DIRECTORY: &str = "links";

/// `XDP_FLAGS_SKB_MODE`.
const GENERIC: u32 = 1 << 1;
/// `XDP_FLAGS_DRV_MODE`.
const NATIVE: u32 = 1 << 2;

/// Where a link hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Xdp,
    XdpGeneric,
    Tcx,
    /// On the way out.
    TcxOut,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Xdp, Self::XdpGeneric, Self::Tcx, Self::TcxOut];

    const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::XdpGeneric => "xdpgeneric",
            Self::Tcx => "tcx",
            Self::TcxOut => "tcxout",
        }
    }

    pub(crate) const fn attach_type(self) -> AttachType {
        match self {
            Self::Xdp | Self::XdpGeneric => AttachType::Xdp,
            Self::Tcx => AttachType::TcxIngress,
            Self::TcxOut => AttachType::TcxEgress,
        }
    }

    pub(crate) const fn flags(self) -> u32 {
        match self {
            Self::Xdp => NATIVE,
            Self::XdpGeneric => GENERIC,
            Self::Tcx | Self::TcxOut => 0,
        }
    }
}

/// A network namespace's number, as `/proc/PID/ns/net` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NetnsId(u64);

impl NetnsId {
    /// The calling thread's.
    pub(crate) fn current() -> Result<Self> {
        let metadata = fs::metadata("/proc/thread-self/ns/net")
            .map_err(|source| Error::system("look at the network namespace", source))?;
        Ok(Self(metadata.ino()))
    }
}

/// What a pin's name says: `NETNS-IFINDEX-KIND`. Interfaces of different namespaces have the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) netns: NetnsId,
    pub(crate) ifindex: u32,
    pub(crate) kind: Kind,
}

impl Place {
    fn pin_name(self) -> String {
        format!("{}-{}-{}", self.netns.0, self.ifindex, self.kind.name())
    }

    fn from_pin_name(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        let (netns, ifindex, kind) = (parts.next()?, parts.next()?, parts.next()?);
        let kind = Kind::ALL.into_iter().find(|k| k.name() == kind)?;
        let place = Self { netns: NetnsId(netns.parse().ok()?), ifindex: ifindex.parse().ok()?, kind };
        parts.next().is_none().then_some(place)
    }
}

/// The links of an instance.
#[derive(Debug)]
pub(crate) struct Links {
    directory: PathBuf,
}

impl Links {
    /// In a directory, which is made if there is none.
    pub(crate) fn open(directory: PathBuf) -> Result<Self> {
        match fs::create_dir(&directory) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::system("create the directory of links", e))
            }
            _ => Ok(Self { directory }),
        }
    }

    fn pin(&self, place: Place) -> PathBuf {
        self.directory.join(place.pin_name())
    }

    /// Every pin, in order.
    pub(crate) fn places(&self) -> Result<Vec<Place>> {
        let failed = |source| Error::system("list links", source);
        let mut places = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            places.extend(name.to_str().and_then(Place::from_pin_name));
        }
        places.sort();
        Ok(places)
    }

    /// The link there, if it is attached to that interface: an interface that is gone leaves a dead link
    /// behind, and one that was moved to another namespace may have another number there.
    fn live(&self, place: Place) -> io::Result<Option<OwnedFd>> {
        let link = match bpf::get(&self.pin(place)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            result => result?,
        };
        let attached = bpf::link_info(link.as_fd())?.ifindex == place.ifindex;
        Ok(attached.then_some(link))
    }

    /// Whether there is a link that is attached.
    pub(crate) fn is_live(&self, place: Place) -> io::Result<bool> {
        self.live(place).map(|link| link.is_some())
    }

    /// Attaches a program there, or puts it in place of the one that is there, between two packets; tells
    /// which: `true` for replaced. A new link ends up in the calling thread's network namespace.
    pub(crate) fn put(&self, place: Place, program: BorrowedFd<'_>) -> io::Result<bool> {
        if let Some(link) = self.live(place)? {
            match bpf::link_update(link.as_fd(), program) {
                Err(e) if e.raw_os_error() == Some(libc::ENOLINK) => {}
                result => return result.map(|()| true),
            }
        }
        self.remove(place)?;
        let kind = place.kind;
        let link = bpf::link_create(program, place.ifindex, kind.attach_type(), kind.flags())?;
        bpf::pin(link.as_fd(), &self.pin(place))?;
        Ok(false)
    }

    /// Detaches the program there; tells whether there was a pin.
    pub(crate) fn remove(&self, place: Place) -> io::Result<bool> {
        let link = match bpf::get(&self.pin(place)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            result => result?,
        };
        // At once: removing the pin alone detaches later, from a work queue. Refused if the interface is
        // gone.
        bpf::link_detach(link.as_fd()).ok();
        fs::remove_file(self.pin(place))?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pins_are_read_back() {
        for kind in Kind::ALL {
            let place = Place { netns: NetnsId(4_026_531_840), ifindex: 17, kind };
            assert_eq!(Place::from_pin_name(&place.pin_name()), Some(place));
        }
    }

    #[test]
    fn other_names_are_not_pins_of_ours() {
        for name in ["", "1-2", "1-2-tc", "1-2-xdp-3", "x-2-xdp", "1--xdp"] {
            assert_eq!(Place::from_pin_name(name), None, "{name}");
        }
    }
}
