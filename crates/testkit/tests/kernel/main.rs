//! The test kit against the running kernel. Needs root.
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod capture;
mod cgroup;
mod cluster;
mod http;
mod residue;
