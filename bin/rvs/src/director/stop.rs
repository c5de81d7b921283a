//! `rvs director --stop`: takes everything down, through the daemon if one lives, otherwise directly. Doing it twice is no
//! error.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::fcntl::{Flock, FlockArg};
use rvs_control::Error as ControlError;
use rvs_dataplane::Options;

use super::limits::STOP;
use crate::{output, socket};

/// Pause between two looks at the daemon's lock.
const LOOK: Duration = Duration::from_millis(10);

/// Takes an instance down and says so.
///
/// # Errors
/// When it can't be done, or the daemon doesn't end.
pub(super) fn run(socket: &socket::Which, options: &Options) -> Result<()> {
    let path = socket.of_client();
    let message = match socket.connect() {
        Ok(mut client) => {
            let stopped = client.stop()?;
            wait_for_end(&path)?;
            stopped.message
        }
        Err(ControlError::NoDirector { .. }) => {
            let instance = &options.instance;
            if rvs_dataplane::remove(options)? {
                format!("instance {instance}: taken down; no director was running")
            } else {
                format!("instance {instance}: nothing to take down")
            }
        }
        Err(error) => bail!(error),
    };
    output::print(&format!("{message}\n"))
}

/// Waits until the daemon has given its socket's lock back, so that the next one can be started at once.
fn wait_for_end(socket: &Path) -> Result<()> {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    // Not to be opened by everybody who may stop a director; they don't wait then.
    let Ok(mut file) = File::open(&name) else { return Ok(()) };
    let deadline = Instant::now() + STOP;
    while Instant::now() < deadline {
        match Flock::lock(file, FlockArg::LockSharedNonblock) {
            Ok(_) => return Ok(()),
            Err((back, _)) => file = back,
        }
        thread::sleep(LOOK);
    }
    bail!("{}: the director took the data plane down, but has not ended after {STOP:?}", socket.display());
}
