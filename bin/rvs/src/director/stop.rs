//! `rvs director --stop`: takes everything down, through the daemon if one lives, otherwise directly. Doing it twice is no
//! error.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use nix::fcntl::{Flock, FlockArg};
use rvs_control::{Client, Error as ControlError};
use rvs_dataplane::{Error as DataplaneError, Options};

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
        Ok(client) => by_daemon(client, socket, &path)?,
        Err(ControlError::NoDirector { .. }) => directly(socket, options, &path)?,
        Err(error) => bail!(error),
    };
    output::print(&format!("{message}\n"))
}

/// Has the daemon do it, if it is the one that is meant.
fn by_daemon(mut client: Client, which: &socket::Which, path: &Path) -> Result<String> {
    if which.names_instance() {
        let (serves, meant) = (client.status()?.instance, which.instance());
        ensure!(
            serves == meant,
            "{}: serves instance {serves}, not {meant}: nothing is taken down",
            path.display()
        );
    }
    let stopped = client.stop()?;
    wait_for_end(path)?;
    Ok(stopped.message)
}

/// Does it without a daemon: none answers at `path`.
fn directly(which: &socket::Which, options: &Options, path: &Path) -> Result<String> {
    let instance = &options.instance;
    let removed = rvs_dataplane::remove(options).map_err(|error| match error {
        DataplaneError::Locked { .. } => {
            let order = if which.overrides_variable() { " (--instance goes before RVS_SOCKET)" } else { "" };
            let path = path.display();
            anyhow!("{error}, and no director answers at {path}: --socket names another socket{order}")
        }
        error => error.into(),
    })?;
    // What is left of one that was killed. The next one replaces what can't be removed.
    drop(rvs_control::remove_dead(path));
    if removed {
        return Ok(format!("instance {instance}: taken down; no director was running"));
    }
    let others = rvs_dataplane::instances(options.bpffs.as_deref())?;
    Ok(if others.is_empty() {
        format!("instance {instance}: nothing to take down")
    } else {
        let others = others.join(", ");
        format!("instance {instance}: nothing to take down; --instance names one that exists: {others}")
    })
}

/// Waits until the daemon has given its socket's lock back, so that the next one can be started at once.
fn wait_for_end(socket: &Path) -> Result<()> {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    // The director removes it when it ends; and it is not to be opened by everybody who may stop one: they don't wait.
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
