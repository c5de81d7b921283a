//! Kernel IPVS and rvs beside each other, in the reference virtual machine: see [`rvs_tests::refvm`].
//!
//! `cargo xtask test refvm` builds it and runs it there. By hand, with part of a test's name to run only some:
//! `cargo xtask refvm -- env RVS_BINARY=$PWD/target/release/rvs target/release/refvm-suite s067`. `random --seeds 0..500`
//! instead of a name plays random histories.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    rvs_tests::refvm::run(&std::env::args().skip(1).collect::<Vec<_>>())
}
