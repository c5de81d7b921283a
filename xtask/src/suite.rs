//! `cargo xtask test` and `cargo xtask ci`: all checks and tests, step by step, with a summary at the end.
//!
//! A step that can't run says in one line what is missing and counts as skipped, and a skip is a failure unless
//! `--allow-skips` is given: what did not run did not pass.

mod count;
mod residue;
mod steps;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::setup;
use count::Count;
use residue::Residue;
use steps::{STEPS, Step};

/// What `test` was asked for.
struct Request {
    steps: Vec<&'static Step>,
    allow_skips: bool,
}

/// How one step ended.
struct Ended {
    name: &'static str,
    count: Count,
    time: Duration,
}

/// Runs the steps asked for, or all.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let Some(request) = parse(arguments)? else {
        STEPS.iter().for_each(|step| println!("{:<12}{}", step.name, step.what));
        return Ok(ExitCode::SUCCESS);
    };
    let before = Residue::now();
    let mut ended: Vec<Ended> = request.steps.iter().map(|step| run_step(step)).collect();
    ended.push(timed("residue", || Ok(before.compare())));

    println!();
    for Ended { name, count, time } in &ended {
        println!("{name:<12}{count:<40}{:>8.1} s", time.as_secs_f64());
    }
    let total = ended.iter().map(|step| step.count).sum::<Count>();
    println!("\n{total}");
    let is_ok = total.failed == 0 && (total.skipped == 0 || request.allow_skips);
    Ok(if is_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// None: the steps shall be listed.
fn parse(arguments: &[String]) -> Result<Option<Request>> {
    let mut request = Request { steps: Vec::new(), allow_skips: false };
    for argument in arguments {
        match argument.as_str() {
            "--list" => return Ok(None),
            "--allow-skips" => request.allow_skips = true,
            name => match STEPS.iter().find(|step| step.name == name) {
                Some(step) => request.steps.push(step),
                None => bail!("no step {name}; cargo xtask test --list names them"),
            },
        }
    }
    if request.steps.is_empty() {
        request.steps = STEPS.iter().collect();
    }
    Ok(Some(request))
}

fn run_step(step: &'static Step) -> Ended {
    println!("\n==> {}: {}", step.name, step.what);
    timed(step.name, || {
        if let Some(missing) = step.needs.and_then(setup::lacks) {
            println!("skipped {}: missing: {missing}", step.name);
            return Ok(Count::SKIPPED);
        }
        (step.run)()
    })
}

fn timed(name: &'static str, run: impl FnOnce() -> Result<Count>) -> Ended {
    let start = Instant::now();
    let count = run().unwrap_or_else(|error| {
        println!("failed {name}: {error:#}");
        Count::FAILED
    });
    let time = start.elapsed();
    println!("<== {name}: {count}, {:.1} s", time.as_secs_f64());
    Ended { name, count, time }
}
