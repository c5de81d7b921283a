//! `cargo xtask bench`: what a packet costs, how many bytes a connection takes, how fast bulk traffic is.
//!
//! Everything runs on this machine, in network namespaces that end with the program (`rig`): a generator sends live
//! frames from the client's interface, the director's programs or the kernel forward them, a program at the server's
//! interface counts and discards them. Cases (`cases`) take turns within each round, so that what disturbs the machine
//! disturbs all of them; the table shows the median of the rounds, and ratios are taken within a round.
#![forbid(unsafe_code)]

mod cases;
mod interrupt;
mod measure;
mod report;
mod rig;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use nix::unistd::geteuid;

use crate::cases::{CASES, Case};
use crate::report::Report;

/// What to measure.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "bench", about = "Measures the data plane beside its peers")]
struct Options {
    /// Case to run, by name; may be given several times [default: all]
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Rounds in which the subjects of a case take turns
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// A look at whether it works: one short round
    #[arg(long)]
    quick: bool,
    /// Only subjects whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// CPU that packets are made and handled on [default: the last one]
    #[arg(long, value_name = "N")]
    cpu: Option<usize>,
    /// Where to write the results [default: target/bench/DATE.json]
    #[arg(long, value_name = "PATH")]
    json: Option<PathBuf>,
    /// List the cases, and end
    #[arg(long)]
    list: bool,
}

impl Options {
    fn chosen(&self) -> Result<Vec<&'static Case>> {
        if self.cases.is_empty() {
            return Ok(CASES.iter().collect());
        }
        let find = |name: &String| match CASES.iter().find(|case| case.name == name) {
            Some(case) => Ok(case),
            None => bail!("case {name}: there is none; --list shows all"),
        };
        self.cases.iter().map(find).collect()
    }

    fn rounds(&self) -> u32 {
        if self.quick { 1 } else { self.rounds }
    }

    /// Whether a subject of that name is wanted.
    fn wants(&self, name: &str) -> bool {
        self.only.as_ref().is_none_or(|text| name.contains(text.as_str()))
    }
}

fn run(options: &Options) -> Result<bool> {
    if options.list {
        for case in CASES {
            println!("{:<8} {}", case.name, case.what);
        }
        return Ok(true);
    }
    let cases = options.chosen()?;
    if !geteuid().is_root() {
        bail!("network namespaces and programs need root");
    }
    interrupt::listen()?;
    let mut report = Report::new(options.rounds(), options.quick)?;
    let mut complete = true;
    for case in cases {
        println!("\n{}: {}", case.name, case.what);
        if let Err(error) = (case.run)(options, &mut report) {
            interrupt::check()?;
            println!("  not measured: {error:#}");
            complete = false;
        }
    }
    report.print_targets();
    println!("\nresults: {}", report.write(options.json.as_deref())?.display());
    Ok(complete)
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
