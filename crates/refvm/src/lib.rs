//! A stock Debian kernel in a virtual machine: the reference that rvs is compared with.
//!
//! [`RefVm::prepare`] gets the kernel of Debian 12 (6.1, with IPVS as modules) and makes an initial file system;
//! [`RefVm::run`] boots it under QEMU and runs one command in it as root. The machine sees this machine's files under a
//! throw-away overlay, so that whatever was built here runs there; it has no network but what the command makes. It is
//! software emulation, so times mean nothing, and a boot takes some twenty seconds: run many tests in one.
//!
//! Needs Debian's `qemu-system-x86`, `busybox-static` and `kmod`, and for the first [`RefVm::prepare`] `apt-get` and
//! `dpkg`. Tests and development tasks use this crate; the product doesn't.
#![forbid(unsafe_code)]

mod error;
mod guest;
mod initrd;
mod kernel;
mod machine;

pub use error::Error;
pub use machine::{Options, Outcome, RefVm};

/// Whether we are inside such a machine: its commands find `REFVM=1` in their environment.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os("REFVM").is_some_and(|value| value == "1")
}
