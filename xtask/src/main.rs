//! Development tasks, called as `cargo xtask TASK`.
//!
//! Everything that CI does is a task, so that a laptop does the same: `.ci/run` only calls `cargo xtask ci`. The tasks
//! need nothing but cargo; what else they need, [`setup`] installs.
#![forbid(unsafe_code)]

mod bench;
mod command;
mod ebpf;
mod fuzz;
mod metadata;
mod packages;
mod refvm;
mod setup;
mod suite;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

const HELP: &str = "\
Development tasks of rvs.

  cargo xtask setup              install what the tests need, if it is missing; mount bpffs
  cargo xtask ebpf [--check]     build the programs in the kernel and write the committed objects
                                 (--check: build them and compare; change nothing)
  cargo xtask test [--allow-skips] [STEP]...
                                 all checks and tests, or the steps named; a summary at the end;
                                 fails if one fails or is skipped (--list names the steps)
  cargo xtask ci                 what CI runs: all steps, no skips
  cargo xtask bench [ARG]...     benchmarks in release mode; arguments go to the program
  cargo xtask fuzz [--seconds N] [--keep] [TARGET]...
                                 fuzz each target so long (60 s); --keep: add the inputs that reach something new
                                 to those that the tests run
  cargo xtask tidy               style of the repository, licences, direction of dependencies
  cargo xtask refvm [-m MIB] [-t SECONDS] [-o DIR] -- COMMAND [ARG]...
                                 run a command under a stock Debian kernel, as root, in a virtual machine
";

fn main() -> ExitCode {
    // Cargo calls this program in rustc's place while it builds the BPF programs; see there.
    if std::env::var_os(ebpf::AS_RUSTC).is_some() {
        return ebpf::rustc();
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some((task, rest)) = arguments.split_first() else {
        print!("{HELP}");
        return Ok(ExitCode::from(2));
    };
    match task.as_str() {
        "setup" => setup::run()?,
        "ebpf" => ebpf::run(rest)?,
        "test" => return suite::run(rest),
        "ci" => return suite::run(&[]),
        "bench" => bench::run(rest)?,
        "fuzz" => fuzz::run(rest)?,
        "tidy" => tidy::run()?,
        "refvm" => return refvm::run(rest),
        "help" | "--help" | "-h" => print!("{HELP}"),
        other => bail!("no task {other}; cargo xtask help lists them"),
    }
    Ok(ExitCode::SUCCESS)
}
