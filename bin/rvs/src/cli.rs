//! The sub-commands and their arguments, and the exit status: 0 done, 1 it could not be done, 2 the call was wrong.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use rvs_ipvsadm::Tool;

use crate::{agent, connections, demo, director, ipvsadm, marks, output, services, status, sysctl};

/// It could not be done.
const FAILED: u8 = 1;
/// The call was wrong.
const USAGE: u8 = 2;

/// Linux Virtual Server for today's kernels: a director that balances packets in eBPF programs.
#[derive(Debug, Parser)]
#[command(name = "rvs", version, disable_help_subcommand = true, arg_required_else_help = false)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: load and attach the data plane in this network namespace, serve the control socket
    Director(director::Args),
    /// Be ipvsadm: its options, output and exit status
    #[command(disable_help_flag = true)]
    Ipvsadm(IpvsadmArgs),
    /// Show how a running director is: interfaces, capacity, limits reached, warnings
    Status(status::Args),
    /// Show virtual services and their destinations, with connections and rates
    Services(services::Args),
    /// Show connections
    Connections(connections::Args),
    /// Show or change the settings that IPVS has in net.ipv4.vs
    Sysctl(sysctl::Args),
    /// Show or change the rules that give packets a firewall mark
    Marks(marks::Args),
    /// Run on a real server: show servers there the client's address, or have them announce smaller TCP segments
    Agent(agent::Args),
    /// Build small clusters on this machine, send real traffic through them, show what happened, clean up
    Demo(demo::Args),
}

#[derive(Debug, clap::Args)]
struct IpvsadmArgs {
    /// What ipvsadm takes; `rvs ipvsadm --help` lists it
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    args: Vec<OsString>,
}

/// Reads the arguments, the program's name first, and does what they ask for.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => {
            eprintln!("rvs: {}", usage_error(&error.render().to_string()));
            return ExitCode::from(USAGE);
        }
        // `--help`, `--version`
        Err(text) => return exit(output::print(&text.render().to_string())),
    };
    match cli.command {
        Command::Director(args) => exit(director::run(&args)),
        Command::Ipvsadm(args) => ipvsadm::run(Tool::Ipvsadm, &output::lossy(args.args)),
        Command::Status(args) => exit(status::run(&args)),
        Command::Services(args) => exit(services::run(&args)),
        Command::Connections(args) => exit(connections::run(&args)),
        Command::Sysctl(args) => exit(sysctl::run(&args)),
        Command::Marks(args) => exit(marks::run(&args)),
        Command::Agent(args) => exit(agent::run(&args)),
        Command::Demo(args) => exit(demo::run(&args)),
    }
}

fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rvs: {}", output::one_line(&format!("{error:#}")));
            ExitCode::from(FAILED)
        }
    }
}

/// What is wrong with a call, in one line: the paragraphs about usage and help become a hint.
fn usage_error(text: &str) -> String {
    let is_about_usage = |line: &str| line.starts_with("Usage:") || line.starts_with("For more information");
    let lines = text.lines().map(str::trim).take_while(|line| !is_about_usage(line));
    let words: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    let line = words.join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    match text.lines().find_map(|line| line.strip_prefix("Usage: ")) {
        None => line.to_owned(),
        Some(usage) => {
            let is_name = |word: &&str| word.bytes().all(|b| b.is_ascii_lowercase());
            let command: Vec<&str> = usage.split(' ').take_while(is_name).collect();
            format!("{line} (see '{} --help')", command.join(" "))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_errors_are_one_line() {
        let line = |args: &[&str]| {
            let error = Cli::try_parse_from(args).err().map(|error| error.render().to_string());
            usage_error(&error.unwrap_or_default())
        };
        assert_eq!(line(&["rvs", "--frob"]), "unexpected argument '--frob' found (see 'rvs --help')");
        assert_eq!(line(&["rvs", "status", "x"]), "unexpected argument 'x' found (see 'rvs status --help')");
        assert_eq!(
            line(&["rvs", "director", "--attach", "fast"]),
            "invalid value 'fast' for '--attach <MODE>': expected auto, xdp, xdp-generic or tc, got \"fast\""
        );
        assert_eq!(
            line(&["rvs", "director", "--services-max", "0"]),
            "invalid value '0' for '--services-max <N>': 0 is not in 1..=16777216"
        );
    }

    #[test]
    fn everything_after_ipvsadm_is_ipvsadms() {
        for args in [&["-Ln", "--stats"][..], &["--help"], &["-h"], &["-A", "-t", "10.0.0.1:80"], &[]] {
            let all = ["rvs", "ipvsadm"].iter().chain(args);
            let Ok(Cli { command: Command::Ipvsadm(taken) }) = Cli::try_parse_from(all) else {
                panic!("{args:?}")
            };
            assert_eq!(taken.args, args);
        }
    }
}
