//! `cargo xtask fuzz`: runs the fuzzer on the targets of `fuzz/`, and keeps the inputs that reach something new.
//!
//! The compiler instruments for libFuzzer without nightly: only the sanitizers would need it, and there is next to no `unsafe` in
//! what is fuzzed. `cargo fuzz run --features libfuzzer TARGET` runs the same targets, with sanitizers.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, root, run as run_command, target};
use crate::packages::Purpose;
use crate::setup;

/// All of `rvs_fuzz::TARGETS`, and the longest input of each that makes sense, in bytes.
const TARGETS: [(&str, u32); 3] = [("packets", 600), ("rules", 1500), ("commands", 1500)];
/// What `rustc` is to add for libFuzzer: counters of edges, and what is compared with what.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks";
/// With a target named, cargo does not instrument build scripts and macros.
const HOST: &str = "x86_64-unknown-linux-gnu";
const SECONDS: u32 = 60;
const USAGE: &str = "usage: cargo xtask fuzz [--seconds N] [--keep] [TARGET]...";

struct Request<'a> {
    targets: Vec<(&'a str, u32)>,
    seconds: u32,
    keep: bool,
}

/// Fuzzes each target for a while; an error names the input that breaks a promise.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let request = parse(arguments)?;
    if let Some(what) = setup::lacks(Purpose::Fuzzer) {
        bail!("{what}; cargo xtask setup installs it");
    }
    let programs = build()?;
    for (name, len_max) in request.targets {
        let found = target().join("fuzz/found").join(name);
        fs::create_dir_all(&found)?;
        let start = Instant::now();
        fuzz(&programs.join(name), name, &found, len_max, request.seconds)?;
        println!("{name}: {} s without a finding", start.elapsed().as_secs());
        if request.keep {
            keep(&programs.join(name), name, &found)?;
        }
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Request<'_>> {
    let mut request = Request { targets: Vec::new(), seconds: SECONDS, keep: false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--keep" => request.keep = true,
            "--seconds" => {
                let seconds = arguments.next().and_then(|text| text.parse().ok());
                request.seconds = seconds.context(USAGE)?;
            }
            name => {
                let target = TARGETS.into_iter().find(|(target, _)| *target == name);
                let names = TARGETS.map(|(name, _)| name).join(", ");
                request.targets.push(target.with_context(|| format!("no target {name}, expected {names}"))?);
            }
        }
    }
    if request.targets.is_empty() {
        request.targets = TARGETS.to_vec();
    }
    Ok(request)
}

/// Builds all targets; the folder that they are in.
fn build() -> Result<PathBuf> {
    let folder = target().join("fuzz");
    let mut command = cargo();
    command.args(["build", "--quiet", "--release", "--locked", "--package", "rvs-fuzz", "--bins"]);
    command.args(["--features", "libfuzzer", "--target", HOST, "--target-dir"]).arg(&folder);
    run_command(command.env("RUSTFLAGS", INSTRUMENTATION))?;
    Ok(folder.join(HOST).join("release"))
}

fn corpus(name: &str) -> PathBuf {
    root().join("fuzz/corpus").join(name)
}

/// What is new goes into `found`; an input that breaks a promise is written beside it.
fn fuzz(program: &Path, name: &str, found: &Path, len_max: u32, seconds: u32) -> Result<()> {
    let mut artifacts = OsString::from("-artifact_prefix=");
    artifacts.push(found.with_extension("broken-"));
    let mut command = Command::new(program);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={len_max}")).arg(artifacts);
    command.args(["-print_final_stats=1", "-verbosity=0"]).arg(found).arg(corpus(name));
    run_command(&mut command)
}

/// Replaces the kept inputs by a smallest set that reaches as much as they and the new ones together.
fn keep(program: &Path, name: &str, found: &Path) -> Result<()> {
    let fresh = target().join("fuzz/fresh").join(name);
    fs::remove_dir_all(&fresh).ok();
    fs::create_dir_all(&fresh)?;
    let mut command = Command::new(program);
    run_command(
        command.args(["-set_cover_merge=1", "-verbosity=0"]).arg(&fresh).arg(corpus(name)).arg(found),
    )?;
    fs::remove_dir_all(corpus(name))?;
    fs::create_dir_all(corpus(name))?;
    let mut kept = 0;
    for entry in fs::read_dir(&fresh)? {
        let entry = entry?;
        fs::copy(entry.path(), corpus(name).join(entry.file_name()))?;
        kept += 1;
    }
    println!("{name}: {kept} inputs kept");
    Ok(())
}
