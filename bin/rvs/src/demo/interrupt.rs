//! Signals that end the demo: noted by a thread, asked for by whoever waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use rvs_testkit::wait_until;

/// Whether a signal came.
#[derive(Debug, Clone)]
pub(super) struct Interrupt {
    /// Its number, or 0.
    signal: Arc<AtomicI32>,
}

impl Interrupt {
    /// From now on, signals that would end the process are noted only. To be called before any thread is started: threads
    /// inherit it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub(super) fn listen() -> Result<Self> {
        let ends: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
        ends.thread_block().context("hold SIGINT, SIGTERM and SIGHUP")?;
        let interrupt = Self { signal: Arc::default() };
        let noted = Arc::clone(&interrupt.signal);
        // Taking down what was built is bounded, so a second signal does not hurry it.
        let listen = move || {
            while let Ok(signal) = ends.wait() {
                noted.store(signal as i32, Ordering::Relaxed);
            }
        };
        thread::Builder::new().name("rvs-signals".to_owned()).spawn(listen).context("start a thread")?;
        Ok(interrupt)
    }

    /// # Errors
    /// When a signal came.
    pub(super) fn check(&self) -> Result<()> {
        match Signal::try_from(self.signal.load(Ordering::Relaxed)) {
            Ok(signal) => bail!("ended by {signal}"),
            Err(_) => Ok(()),
        }
    }

    /// Waits for a condition.
    ///
    /// # Errors
    /// When a signal comes first, or the time is over.
    pub(super) fn wait(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut() -> bool,
    ) -> Result<()> {
        let mut holds = false;
        wait_until(what, limit, || {
            holds = condition();
            holds || self.check().is_err()
        })?;
        if holds { Ok(()) } else { self.check() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_ends_a_wait() {
        let interrupt = Interrupt { signal: Arc::default() };
        assert!(interrupt.check().is_ok());
        let limit = Duration::from_secs(10);
        assert!(interrupt.wait("what is there", limit, || true).is_ok());
        interrupt.signal.store(Signal::SIGTERM as i32, Ordering::Relaxed);
        let error = interrupt.wait("what never comes", limit, || false).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("ended by SIGTERM"));
    }

    #[test]
    fn a_wait_has_a_limit() {
        let interrupt = Interrupt { signal: Arc::default() };
        let error = interrupt.wait("what never comes", Duration::ZERO, || false).err().map(|e| e.to_string());
        assert_eq!(error.as_deref(), Some("what never comes: not within 0ns"));
    }
}
