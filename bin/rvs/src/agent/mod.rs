//! `rvs agent`: what a director needs on its real servers.
//!
//! Servers are shown the client's address where a director put its own before it ([`client_address`]); or they announce smaller
//! segments, so that what clients send fits the tunnel ([`segment_size`]).

mod client_address;
mod log;
mod prefix;
mod segment_size;

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::unistd::geteuid;
use rvs_config::limits::{MSS_MAX, MSS_MIN};
use rvs_dataplane::Error;
use rvs_dataplane::client_address::{Listeners, Options};

use crate::{notify, output, socket};

/// How long a start waits for another agent of the same name to end.
const END_OF_ANOTHER: Duration = Duration::from_secs(2);
/// How often it looks.
const RETRY: Duration = Duration::from_millis(20);

/// How to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show servers on this machine the client's address, which directors send in a TCP option (kinds 254 and 253)
    #[arg(long, group = "what", required_unless_present = "mss")]
    client_address: bool,
    /// Have servers on this machine announce TCP segments of that many bytes at most, for services by tunnels and direct routing
    #[arg(long, group = "what", value_name = "BYTES", num_args = 0..=1, value_parser = segment_size::parse)]
    #[allow(clippy::option_option, reason = "what clap makes of an option whose value may be missing")]
    mss: Option<Option<u16>>,
    /// With --mss: only listeners that clients reach at this address; may be given several times [default: all]
    #[arg(
        long = "address",
        value_name = "ADDR[:PORT]",
        conflicts_with = "client_address",
        value_parser = segment_size::parse_address
    )]
    addresses: Vec<SocketAddr>,
    /// Address of a director, or network of several, from which the option is accepted; may be given several times
    #[arg(
        long = "director",
        value_name = "ADDR[/LEN]",
        required_unless_present_any = ["stop", "mss"],
        conflicts_with = "mss",
        value_parser = prefix::parse
    )]
    directors: Vec<prefix::Director>,
    /// Directory of the cgroup v2 whose servers are meant, with those below [default: the root, all of the machine]
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Name that tells several agents on one machine apart
    #[arg(long, value_name = "NAME", default_value = "agent", value_parser = socket::instance_name)]
    instance: String,
    /// On SIGTERM and SIGINT, take the programs off; otherwise they go on doing their work
    #[arg(long)]
    detach_on_exit: bool,
    /// Take the programs off that an earlier agent left
    #[arg(long, conflicts_with_all = ["directors", "addresses", "cgroup", "detach_on_exit"])]
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
    match (args.mss, args.stop) {
        (Some(_), true) => segment_size::stop(args),
        (Some(None), false) => bail!("--mss: expected a number of bytes, {MSS_MIN} to {MSS_MAX}"),
        (Some(Some(_)), false) => segment_size::run(args),
        (None, true) => client_address::stop(&args.options()),
        (None, false) => client_address::run(args),
    }
}

/// An agent that was killed may still be about to end.
fn attach_patiently<T>(attach: impl Fn() -> Result<T, Error>) -> Result<T> {
    let deadline = Instant::now() + END_OF_ANOTHER;
    loop {
        match attach() {
            Err(Error::Locked { .. }) if Instant::now() < deadline => thread::sleep(RETRY),
            Err(error) if !geteuid().is_root() => {
                let user = geteuid();
                bail!(
                    "{error} (this is user {user}; the agent needs root, or CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON and \
                     CAP_SYS_PTRACE)"
                )
            }
            result => return result.map_err(Into::into),
        }
    }
}

/// Says what became of the listeners that were there.
fn say_listeners(listeners: &Listeners, told: &str, refusal: impl Fn(&str) -> String) {
    let kept = output::count(listeners.kept as u64, "listener");
    log::info(format_args!("{kept} from before: {told}"));
    listeners.refused.iter().for_each(|refused| log::warning(format_args!("{}", refusal(refused))));
}

/// Says that it works, to whoever wants to know. Nobody has to.
fn announce() {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(b"rvs agent ready\n").and_then(|()| out.flush()) {
        log::warning(format_args!("standard output: {error}"));
    }
    notify::ready(|text| log::warning(text));
}
