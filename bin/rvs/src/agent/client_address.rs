//! `rvs agent --client-address`: the programs work by themselves; the process attaches them, says what is odd, and ends.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use nix::sys::signal::Signal;
use rvs_abi::ClientOutcome;
use rvs_dataplane::Error;
use rvs_dataplane::client_address::{self, Attached, Options};

use super::{Args, announce, attach_patiently, log, say_listeners};
use crate::{notify, output, signals};

/// How often it is looked whether options were ignored, and one line each written about it.
const REPORT: Duration = Duration::from_secs(60);
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
    let options = args.options();
    let attached = attach_patiently(|| client_address::attach(&options))?;
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
    say_listeners(attached.listeners(), "their servers are shown clients' addresses too", |refused| {
        format!("{refused}: clients of its listeners may not be known until it is started again")
    });
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
