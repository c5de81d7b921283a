//! `rvs`: one binary, a module per sub-command. Called `ipvsadm`, `ipvsadm-save` or `ipvsadm-restore`, it is that tool.
//!
//! Threads, sockets, signals, files and privileges are here; decisions are in the crates. A sub-command returns an
//! `anyhow` error, which is printed once, in one line, by [`cli`]; `ipvsadm` has texts and statuses of its own.
#![forbid(unsafe_code)]

mod agent;
mod cli;
mod connections;
mod demo;
mod director;
mod ipvsadm;
mod marks;
mod names;
mod notify;
mod output;
mod services;
mod signals;
mod socket;
mod status;
mod sysctl;
mod table;

use std::env;
use std::process::ExitCode;

use rvs_ipvsadm::Tool;

fn main() -> ExitCode {
    let program = env::args_os().next().unwrap_or_default();
    match Tool::named(&program.to_string_lossy()) {
        Some(tool) => ipvsadm::run(tool, &output::lossy(env::args_os().skip(1))),
        None => cli::run(env::args_os()),
    }
}
