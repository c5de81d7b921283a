//! Connecting to a Unix socket with a limit to the waiting, which the standard library does not offer.

use core::time::Duration;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect as connect_fd, socket};

/// Connects. A director whose queue of connections stays full for that long is `EAGAIN`.
pub(crate) fn connect(path: &Path, wait: Duration) -> Result<UnixStream, Errno> {
    let address = UnixAddr::new(path)?;
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let stream = UnixStream::from(fd);
    // The kernel takes the time-out for sending as that for connecting (unix(7), socket(7): SO_SNDTIMEO).
    stream.set_write_timeout(Some(wait)).map_err(|error| errno(&error))?;
    loop {
        match connect_fd(stream.as_raw_fd(), &address) {
            Ok(()) => return Ok(stream),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error),
        }
    }
}

fn errno(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw)
}
