//! The log: lines on standard error.

use core::fmt;
use std::io::Write as _;

/// Something happened.
pub(super) fn info(text: impl fmt::Display) {
    write(format_args!("{text}"));
}

/// Something that an operator should look at.
pub(super) fn warning(text: impl fmt::Display) {
    write(format_args!("warning: {text}"));
}

fn write(text: fmt::Arguments<'_>) {
    // In one piece, so that lines of several processes don't mix. A log that can't be written has nowhere to say so.
    let line = format!("rvs agent: {text}\n");
    drop(std::io::stderr().lock().write_all(line.as_bytes()));
}
