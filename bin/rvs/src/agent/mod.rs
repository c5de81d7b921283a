//! `rvs agent`: what a director needs on its real servers.
//!
//! So far one thing: servers are shown the client's address where a director put its own before it ([`client_address`]).

mod client_address;
mod log;
mod prefix;

use std::path::PathBuf;

use anyhow::Result;
use rvs_dataplane::client_address::Options;

use crate::socket;

/// How to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show servers on this machine the client's address, which directors send in a TCP option (kinds 254 and 253)
    #[arg(long, required = true)]
    client_address: bool,
    /// Address of a director, or network of several, from which the option is accepted; may be given several times
    #[arg(
        long = "director",
        value_name = "ADDR[/LEN]",
        required_unless_present = "stop",
        value_parser = prefix::parse
    )]
    directors: Vec<prefix::Director>,
    /// Directory of the cgroup v2 whose servers are meant, with those below [default: the root, all of the machine]
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Name that tells several agents on one machine apart
    #[arg(long, value_name = "NAME", default_value = "agent", value_parser = socket::instance_name)]
    instance: String,
    /// On SIGTERM and SIGINT, take the programs off; otherwise clients' addresses go on being shown
    #[arg(long)]
    detach_on_exit: bool,
    /// Take the programs off that an earlier agent left: servers are shown the director's address again
    #[arg(long, conflicts_with_all = ["directors", "cgroup", "detach_on_exit"])]
    stop: bool,
}

impl Args {
    fn options(&self) -> Options {
        Options {
            instance: self.instance.clone(),
            bpffs: None,
            cgroup: self.cgroup.clone(),
            directors: self.directors.iter().map(|director| director.key()).collect(),
        }
    }
}

/// Runs the agent until it is told to end, or takes down what one left.
///
/// # Errors
/// When it can't be done.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.stop { client_address::stop(&args.options()) } else { client_address::run(args) }
}
