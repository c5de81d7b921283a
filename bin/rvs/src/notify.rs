//! Telling the service manager how things are: the protocol of `sd_notify(3)`, one datagram.

use core::fmt;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the manager's socket; set if there is a manager that wants to know.
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Takes a line about what could not be told: no reason to end.
pub(crate) type Warn = fn(fmt::Arguments<'_>);

/// The daemon is at work.
pub(crate) fn ready(warn: Warn) {
    tell("READY=1", warn);
}

/// The daemon is about to end.
pub(crate) fn stopping(warn: Warn) {
    tell("STOPPING=1", warn);
}

fn tell(state: &str, warn: Warn) {
    let Some(socket) = env::var_os(VARIABLE).filter(|socket| !socket.is_empty()) else { return };
    if let Err(error) = send(&socket, state) {
        warn(format_args!("{VARIABLE} {}: can't send {state}: {error}", socket.to_string_lossy()));
    }
}

/// A name that begins with `@` is one of the abstract namespace (unix(7)).
fn send(socket: &OsStr, state: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    fn received(socket: &UnixDatagram) -> Vec<u8> {
        let mut buffer = [0; 64];
        socket.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        let len = socket.recv(&mut buffer).unwrap();
        buffer[..len].to_vec()
    }

    #[test]
    fn paths_and_abstract_names_are_understood() {
        let name = format!("rvs-notify-{}", std::process::id());
        let path = env::temp_dir().join(&name);
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), "READY=1").unwrap();
        assert_eq!(received(&manager), b"READY=1");
        std::fs::remove_file(path).unwrap();

        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), "STOPPING=1").unwrap();
        assert_eq!(received(&manager), b"STOPPING=1");
    }

    #[test]
    fn a_manager_that_is_gone_is_an_error() {
        assert!(send(OsStr::new("@rvs-nobody-listens-here"), "READY=1").is_err());
    }
}
