//! What fuzzers run. Each target takes any bytes, and panics where a promise is broken; the inputs that reach something new are
//! kept in `fuzz/corpus`, and run as a test of CI.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a panic is how a target fails")]

pub mod commands;
pub mod packets;
pub mod rules;
mod templates;

/// A target, by its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 3] =
    [("packets", packets::run), ("rules", rules::run), ("commands", commands::run)];

/// Reads an input from its first byte on; what is not there is zero.
#[derive(Debug, Clone)]
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn word(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }
}
