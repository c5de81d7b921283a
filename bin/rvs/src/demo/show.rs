//! Where the demo prints to.

use std::io::{self, ErrorKind, Write as _};

use anyhow::{Context as _, Result, bail};

/// Standard output. Unlike [`crate::output::print`], a reader that went away is an error like any other here: there is
/// something to take down.
#[derive(Debug, Default)]
pub(super) struct Show {
    closed: bool,
}

impl Show {
    /// Prints lines.
    ///
    /// # Errors
    /// When it can't.
    pub(super) fn print(&mut self, text: &str) -> Result<()> {
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                bail!("standard output: closed")
            }
            result => result.context("standard output"),
        }
    }

    /// Whether nobody reads any more.
    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }
}
