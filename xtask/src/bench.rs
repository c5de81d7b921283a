//! `cargo xtask bench`: the benchmarks, in release mode.

use anyhow::Result;

use crate::command::{cargo, run as run_command};

/// Runs the benchmark program with these arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    run_command(cargo().args(["run", "--release", "--package", "rvs-bench", "--"]).args(arguments))
}
