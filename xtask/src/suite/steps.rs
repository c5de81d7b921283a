//! The steps, in the order in which they run: the cheap ones first.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rvs_refvm::{Options, RefVm};

use super::count::Count;
use crate::command::{cargo, root, run as run_command, target};
use crate::packages::Purpose;
use crate::{ebpf, fuzz, setup, tidy};

/// One step of the suite.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// What it can't run without.
    pub(crate) needs: Option<Purpose>,
    pub(crate) run: fn() -> Result<Count>,
}

/// All steps.
pub(crate) const STEPS: &[Step] = &[
    Step { name: "setup", what: "what the tests need", needs: None, run: set_up },
    Step { name: "format", what: "rustfmt agrees", needs: None, run: format },
    Step { name: "tidy", what: "style of the repository", needs: None, run: tidy },
    Step { name: "clippy", what: "no warning", needs: None, run: clippy },
    Step { name: "docs", what: "no broken link", needs: None, run: docs },
    Step {
        name: "ebpf",
        what: "committed objects are what the sources make",
        needs: Some(Purpose::Ebpf),
        run: ebpf,
    },
    Step { name: "unit", what: "tests without privileges", needs: None, run: unit },
    Step {
        name: "fuzz",
        what: "the fuzzers find nothing in a few seconds",
        needs: Some(Purpose::Fuzzer),
        run: fuzz,
    },
    Step {
        name: "kernel",
        what: "tests with the kernel: programs, namespaces, command line",
        needs: Some(Purpose::Namespaces),
        run: kernel,
    },
    Step {
        name: "refvm",
        what: "tests against the reference kernel",
        needs: Some(Purpose::ReferenceVm),
        run: reference_vm,
    },
];

/// Packages whose tests make namespaces or load programs: they need root.
const PRIVILEGED: &[&str] = &["rvs", "rvs-dataplane", "rvs-netlink", "rvs-testkit", "rvs-tests"];
/// The program in package `rvs-tests` that runs in the virtual machine. One machine: it keeps two CPUs busy, and two of them with
/// half of the tests each take longer on such a machine (tests with traffic three times as long).
const REFVM_SUITE: &str = "refvm-suite";
/// Time for it, with the boot.
const REFVM_LIMIT: Duration = Duration::from_secs(25 * 60);
/// Time for each target of the fuzzer, in seconds.
const FUZZ_SECONDS: u32 = 5;
/// Tells tests where the binary under test is.
const BINARY_VARIABLE: &str = "RVS_BINARY";

fn set_up() -> Result<Count> {
    setup::run().map(|()| Count::PASSED)
}

fn format() -> Result<Count> {
    run_command(cargo().args(["fmt", "--all", "--check"]))?;
    run_command(cargo().args(["fmt", "--check", "--manifest-path", "crates/ebpf/Cargo.toml"]))?;
    Ok(Count::PASSED)
}

fn tidy() -> Result<Count> {
    tidy::run().map(|()| Count::PASSED)
}

fn clippy() -> Result<Count> {
    run_command(cargo().args([
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ]))?;
    Ok(Count::PASSED)
}

fn docs() -> Result<Count> {
    let mut doc = cargo();
    doc.args(["doc", "--locked", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    run_command(doc.env("RUSTDOCFLAGS", "--deny warnings"))?;
    Ok(Count::PASSED)
}

fn ebpf() -> Result<Count> {
    ebpf::run(&["--check".to_owned()]).map(|()| Count::PASSED)
}

/// `cargo test` of everything but examples in documentation: there are none (tidy sees to that), and looking takes a minute.
fn cargo_test() -> Command {
    let mut test = cargo();
    test.args(["test", "--locked", "--no-fail-fast", "--lib", "--bins", "--tests"]);
    test
}

fn unit() -> Result<Count> {
    let mut test = cargo_test();
    test.arg("--workspace");
    for package in PRIVILEGED {
        test.args(["--exclude", package]);
    }
    count_tests(&mut test)
}

fn fuzz() -> Result<Count> {
    fuzz::run(&["--seconds".to_owned(), FUZZ_SECONDS.to_string()]).map(|()| Count::PASSED)
}

fn kernel() -> Result<Count> {
    let binary = build_binary()?;
    let mut test = cargo_test();
    for package in PRIVILEGED {
        test.args(["--package", package]);
    }
    count_tests(test.env(BINARY_VARIABLE, binary))
}

fn reference_vm() -> Result<Count> {
    let binary = build_binary()?;
    // With the binary's package, so that both are built on the same dependencies.
    let packages = ["--package", "rvs", "--package", "rvs-tests"];
    run_command(cargo().args(["build", "--locked", "--release", "--bin", REFVM_SUITE]).args(packages))?;
    let vm = RefVm::prepare(&target())?;
    println!("booting {}", vm.release());
    let options = Options {
        limit: REFVM_LIMIT,
        folder: root().to_owned(),
        environment: vec![(OsString::from(BINARY_VARIABLE), binary.into_os_string())],
        echo: true,
        ..Options::default()
    };
    let outcome = vm.run(&[target().join("release").join(REFVM_SUITE)], &options)?;
    summed(outcome.output.lines(), outcome.status == 0)
}

/// The binary under test, built as users build it.
fn build_binary() -> Result<PathBuf> {
    run_command(cargo().args(["build", "--locked", "--release", "--package", "rvs"]))?;
    Ok(target().join("release/rvs"))
}

/// Runs test programs, passes their output on and adds up what they say at their ends.
fn count_tests(command: &mut Command) -> Result<Count> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("can't start cargo test")?;
    let stdout = child.stdout.take().context("cargo test has no output")?;
    let mut results = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("can't read what cargo test prints")?;
        println!("{line}");
        if Count::of_line(&line).is_some() {
            results.push(line);
        }
    }
    let is_ok = child.wait().context("cargo test can't be waited for")?.success();
    summed(results.iter().map(String::as_str), is_ok)
}

/// Adds up the results among these lines. A program that fails without saying how many tests did is one failure.
fn summed<'a>(lines: impl Iterator<Item = &'a str>, is_ok: bool) -> Result<Count> {
    let counts: Vec<_> = lines.filter_map(Count::of_line).collect();
    if is_ok && counts.is_empty() {
        bail!("no test ran");
    }
    let count = counts.into_iter().sum::<Count>();
    Ok(if is_ok || count.failed > 0 { count } else { count + Count::FAILED })
}
