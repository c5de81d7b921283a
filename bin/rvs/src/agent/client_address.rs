//! `rvs agent --client-address`: the programs work by themselves; the process attaches them, says what is odd, and ends.

use std::io::{self, Write as _};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use rvs_abi::ClientOutcome;
use rvs_dataplane::Error;
use rvs_dataplane::client_address::{self, Attached, Options};

use super::{Args, log};
use crate::{notify, output, signals};

/// How often it is looked whether options were ignored, and one line each written about it.
const REPORT: Duration = Duration::from_secs(60);
/// How long a start waits for another agent of the same name to end.
const END_OF_ANOTHER: Duration = Duration::from_secs(2);
/// How often it looks.
const RETRY: Duration = Duration::from_millis(20);

/// What an operator should know of, and how it is said after the number of connections.
const ODD: [(ClientOutcome, &str); 5] = [
    (ClientOutcome::ShownLate, "whose client was known only after the server could ask"),
    (ClientOutcome::NotDirector, "with a client's address from an address that is no director's: ignored"),
    (ClientOutcome::Malformed, "with a malformed option from a director: ignored"),
    (ClientOutcome::NotShowable, "of IPv6 clients at IPv4 listeners, which can't show them"),
    (ClientOutcome::NoMemory, "whose client could not be kept: the kernel has no memory for it"),
];

/// Attaches the programs and waits for the order to end.
///
/// # Errors
/// When they can't be attached.
pub(super) fn run(args: &Args) -> Result<()> {
    signals::hold()?;
    let attached = attach(&args.options())?;
    say(args, &attached);
    let mut reported = counts(&attached)?;
    let (outbox, inbox) = channel();
    signals::start(move |signal| outbox.send(signal).is_ok())?;
    announce();
    let signal = loop {
        match inbox.recv_timeout(REPORT) {
            Ok(signal) => break signal,
            Err(RecvTimeoutError::Timeout) => reported = report(&attached, reported)?,
            Err(RecvTimeoutError::Disconnected) => bail!("nobody waits for signals any more"),
        }
    };
    notify::stopping(|text| log::warning(text));
    report(&attached, reported)?;
    finish(args, attached, signal)
}

/// An agent that was killed may still be about to end.
fn attach(options: &Options) -> Result<Attached> {
    let deadline = Instant::now() + END_OF_ANOTHER;
    loop {
        match client_address::attach(options) {
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

fn say(args: &Args, attached: &Attached) {
    let directors: Vec<String> = args.directors.iter().map(ToString::to_string).collect();
    log::info(format_args!(
        "instance {}: {} to cgroup {}, pinned in {}; directors: {}",
        args.instance,
        if attached.adopted() { "adopted, attached again" } else { "attached" },
        attached.cgroup().display(),
        attached.directory().display(),
        directors.join(", "),
    ));
    let listeners = attached.listeners();
    let kept = output::count(listeners.kept as u64, "listener");
    log::info(format_args!("{kept} from before: their servers are shown clients' addresses too"));
    for refused in &listeners.refused {
        log::warning(format_args!(
            "{refused}: clients of its listeners may not be known until it is started again"
        ));
    }
}

/// Says that it works, to whoever wants to know. Nobody has to.
fn announce() {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(b"rvs agent ready\n").and_then(|()| out.flush()) {
        log::warning(format_args!("standard output: {error}"));
    }
    notify::ready(|text| log::warning(text));
}

fn counts(attached: &Attached) -> Result<[u64; ODD.len()]> {
    let mut counts = [0; ODD.len()];
    for (count, (outcome, _)) in counts.iter_mut().zip(ODD) {
        *count = attached.count(outcome)?;
    }
    Ok(counts)
}

/// One line for each thing that happened since the last report.
fn report(attached: &Attached, before: [u64; ODD.len()]) -> Result<[u64; ODD.len()]> {
    let now = counts(attached)?;
    for ((now, before), (_, text)) in now.iter().zip(before).zip(ODD) {
        if *now > before {
            let connections = output::count(now - before, "connection");
            log::warning(format_args!("{connections} {text}"));
        }
    }
    Ok(now)
}

fn finish(args: &Args, attached: Attached, signal: Signal) -> Result<()> {
    let shown = attached.count(ClientOutcome::Shown)? + attached.count(ClientOutcome::ShownLate)?;
    let shown = output::count(shown, "connection");
    if args.detach_on_exit {
        attached.remove()?;
        log::info(format_args!("{signal}: taken down; {shown} had their client's address"));
    } else {
        let place = attached.directory();
        log::info(format_args!(
            "{signal}: {shown} had their client's address; the programs in the kernel go on showing them (pinned in \
             {}); 'rvs agent --client-address --stop' takes them off",
            place.display()
        ));
    }
    Ok(())
}

/// Takes off what an earlier agent left.
///
/// # Errors
/// When one is running, or the kernel refuses.
pub(super) fn stop(options: &Options) -> Result<()> {
    let instance = &options.instance;
    let removed = client_address::remove(options).map_err(|error| match error {
        Error::Locked { .. } => anyhow!("{error}: end it first, by SIGTERM"),
        error => error.into(),
    })?;
    let done = if removed { "taken down" } else { "nothing to take down" };
    output::print(&format!("instance {instance}: {done}\n"))
}
