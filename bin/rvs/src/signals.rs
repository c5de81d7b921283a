//! The signals that end a daemon.

use std::process;
use std::thread;

use anyhow::{Context as _, Result};
use nix::sys::signal::{SigSet, Signal};

fn ends() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT].into_iter().collect()
}

/// Keeps the signals for [`start`]. To be called before any thread is started: threads inherit it.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn hold() -> Result<()> {
    ends().thread_block().context("hold SIGTERM and SIGINT")
}

/// Starts the thread that waits for signals and tells of the first; `tell` says whether anybody listens. The second one ends
/// the process at once: the first is then being obeyed for longer than somebody is willing to wait, and programs in the
/// kernel need nobody to say goodbye.
///
/// # Errors
/// When no thread can be started.
pub(crate) fn start(tell: impl Fn(Signal) -> bool + Send + 'static) -> Result<()> {
    let listen = move || {
        let signals = ends();
        while let Ok(signal) = signals.wait() {
            if !tell(signal) {
                process::exit(1);
            }
            if let Ok(signal) = signals.wait() {
                process::exit(128 + signal as i32);
            }
        }
    };
    let thread = thread::Builder::new().name("rvs-signals".to_owned()).spawn(listen);
    thread.map(drop).context("start thread rvs-signals")
}
