//! Real traffic through the director. Needs root.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod in_process;
