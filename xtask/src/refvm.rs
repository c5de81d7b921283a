//! `cargo xtask refvm`: a command under the reference kernel.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rvs_refvm::{Error, Options, RefVm};

use crate::command::target;

const USAGE: &str = "usage: cargo xtask refvm [-m MIB] [-t SECONDS] [-o DIR] -- COMMAND [ARG]...";
/// What `timeout` and others answer when time was over.
const TIMED_OUT: u8 = 124;

/// Runs the command; its exit status becomes ours.
pub(crate) fn run(arguments: &[String]) -> Result<ExitCode> {
    let (options, command) = parse(arguments)?;
    let vm = RefVm::prepare(&target())?;
    eprintln!("reference VM: booting {}", vm.release());
    match vm.run(command, &options) {
        Ok(outcome) => Ok(ExitCode::from(outcome.status)),
        Err(error @ Error::TimedOut { .. }) => {
            eprintln!("xtask: {error}");
            Ok(ExitCode::from(TIMED_OUT))
        }
        Err(error) => Err(error.into()),
    }
}

fn parse(arguments: &[String]) -> Result<(Options, &[String])> {
    let mut options = Options { folder: std::env::current_dir()?, echo: true, ..Options::default() };
    let mut rest = arguments;
    while let Some((option, after)) = rest.split_first() {
        if option == "--" {
            rest = after;
            break;
        }
        if !option.starts_with('-') {
            break;
        }
        let (value, after) = after.split_first().context(USAGE)?;
        match option.as_str() {
            "-m" => options.memory_mib = value.parse().with_context(|| format!("-m {value}: no number"))?,
            "-t" => {
                let seconds = value.parse().with_context(|| format!("-t {value}: no number"))?;
                options.limit = Duration::from_secs(seconds);
            }
            "-o" => options.out = Some(PathBuf::from(value)),
            _ => bail!("{USAGE}"),
        }
        rest = after;
    }
    if rest.is_empty() {
        bail!("{USAGE}");
    }
    Ok((options, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn options_end_at_the_command() {
        let arguments = words("-m 1024 -t 60 -o results -- ls -m x");
        let (options, command) = parse(&arguments).expect("these are right");
        assert_eq!(options.memory_mib, 1024);
        assert_eq!(options.limit, Duration::from_secs(60));
        assert_eq!(options.out, Some(PathBuf::from("results")));
        assert_eq!(command, words("ls -m x"));
        assert_eq!(parse(&words("ls -m x")).expect("-- may be left out").1, words("ls -m x"));
    }

    #[test]
    fn wrong_calls_are_refused() {
        for wrong in ["", "-m 1024", "-m", "-m much -- ls", "-x 1 -- ls", "--"] {
            assert!(parse(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
