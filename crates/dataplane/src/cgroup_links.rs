//! Programs that hang on cgroups by pinned links.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use crate::bpf::{self, AttachType};
use crate::cgroup::Cgroup;
use crate::instance::Instance;

/// Attaches a program, or puts it in place of the one that an earlier process attached to the same cgroup.
pub(crate) fn put(
    instance: &Instance,
    cgroup: &Cgroup,
    name: &str,
    program: BorrowedFd<'_>,
    attach_type: AttachType,
) -> io::Result<()> {
    let pin = instance.directory().join(name);
    match bpf::get(&pin) {
        Ok(link) => {
            if bpf::cgroup_link_info(link.as_fd())?.cgroup == cgroup.id() {
                return bpf::link_update(link.as_fd(), program);
            }
            // It hangs on another cgroup.
            detach(&pin)?;
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    let link = bpf::cgroup_link_create(program, cgroup.as_fd(), attach_type)?;
    bpf::pin(link.as_fd(), &pin)
}

/// Takes a link off its cgroup and removes its pin, if there is one.
pub(crate) fn detach(pin: &Path) -> io::Result<()> {
    let link = match bpf::get(pin) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    // At once: removing the pin alone detaches later. Refused if the cgroup is gone.
    bpf::link_detach(link.as_fd()).ok();
    fs::remove_file(pin)
}
