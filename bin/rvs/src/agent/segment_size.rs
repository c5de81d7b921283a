//! `rvs agent --mss`: the program works by itself; the process attaches it, and ends.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::channel;

use anyhow::{Result, anyhow};
use rvs_config::limits::{MSS_MAX, MSS_MIN};
use rvs_dataplane::Error;
use rvs_dataplane::segment_size::{self, Attached, Options};

use super::{Args, announce, attach_patiently, log, say_listeners};
use crate::{notify, output, signals};

/// Reads a size.
///
/// # Errors
/// When it is none, or one that no service takes either.
pub(super) fn parse(text: &str) -> Result<u16, String> {
    let mss = text.parse().ok().filter(|mss| (MSS_MIN..=MSS_MAX).contains(mss));
    mss.ok_or_else(|| format!("expected {MSS_MIN} to {MSS_MAX}"))
}

/// Reads `ADDR` or `ADDR:PORT`; port 0 is any.
///
/// # Errors
/// When it is neither.
pub(super) fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 0));
    let address = address.or_else(|_| {
        text.parse::<SocketAddr>().map_err(|_| ()).and_then(|a| if a.port() == 0 { Err(()) } else { Ok(a) })
    });
    let address = address.map_err(|()| "expected an address, ADDRESS:PORT or [ADDRESS]:PORT".to_owned())?;
    match address.ip().to_canonical() {
        own if own == address.ip() => Ok(address),
        v4 => Err(format!("expected an IPv4 address to be written as one: {v4}")),
    }
}

fn options(args: &Args) -> Options {
    Options {
        instance: args.instance.clone(),
        bpffs: None,
        cgroup: args.cgroup.clone(),
        mss: args.mss.flatten().unwrap_or_default(),
        addresses: args.addresses.clone(),
    }
}

/// Attaches the program and waits for the order to end.
///
/// # Errors
/// When it can't be attached.
pub(super) fn run(args: &Args) -> Result<()> {
    signals::hold()?;
    let options = options(args);
    let attached = attach_patiently(|| segment_size::attach(&options))?;
    say(&options, &attached);
    let (outbox, inbox) = channel();
    signals::start(move |signal| outbox.send(signal).is_ok())?;
    announce();
    let signal = inbox.recv().map_err(|_| anyhow!("nobody waits for signals any more"))?;
    notify::stopping(|text| log::warning(text));
    if args.detach_on_exit {
        attached.remove()?;
        log::info(format_args!("{signal}: taken down; listeners keep the size until they are closed"));
    } else {
        let place = attached.directory();
        log::info(format_args!(
            "{signal}: the program in the kernel goes on (pinned in {}); 'rvs agent --mss --stop' takes it off",
            place.display()
        ));
    }
    Ok(())
}

fn say(options: &Options, attached: &Attached) {
    let addresses: Vec<String> = options.addresses.iter().map(shown).collect();
    log::info(format_args!(
        "instance {}: {} to cgroup {}, pinned in {}; segments of {} bytes at most, of {}",
        options.instance,
        if attached.adopted() { "adopted, attached again" } else { "attached" },
        attached.cgroup().display(),
        attached.directory().display(),
        options.mss,
        if addresses.is_empty() { "all listeners".to_owned() } else { addresses.join(", ") },
    ));
    say_listeners(attached.listeners(), "they announce segments of that size too", |refused| {
        format!("{refused}: its listeners announce larger segments until it is started again")
    });
}

fn shown(address: &SocketAddr) -> String {
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

/// Takes off what an earlier agent left.
///
/// # Errors
/// When one is running, or the kernel refuses.
pub(super) fn stop(args: &Args) -> Result<()> {
    let removed = segment_size::remove(&options(args)).map_err(|error| match error {
        Error::Locked { .. } => anyhow!("{error}: end it first, by SIGTERM"),
        error => error.into(),
    })?;
    let done = if removed { "taken down" } else { "nothing to take down" };
    output::print(&format!("instance {}: {done}\n", args.instance))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed parse is a failed test")]

    use super::*;

    #[test]
    fn sizes_are_those_of_services() {
        assert_eq!((parse("536"), parse("65495")), (Ok(536), Ok(65_495)));
        for text in ["", "0", "535", "65496", "70000", "-1", "x"] {
            assert_eq!(parse(text).unwrap_err(), "expected 536 to 65495", "{text}");
        }
    }

    #[test]
    fn addresses_have_a_port_or_none() {
        for text in ["192.0.2.20", "192.0.2.20:80", "2001:db8::20", "[2001:db8::20]:80"] {
            assert_eq!(shown(&parse_address(text).unwrap()), text);
        }
        for text in ["", "x", "192.0.2.20:0", "192.0.2.20:x", "[2001:db8::20]", ":80"] {
            let error = parse_address(text).unwrap_err();
            assert_eq!(error, "expected an address, ADDRESS:PORT or [ADDRESS]:PORT", "{text}");
        }
        let mapped = parse_address("::ffff:192.0.2.20").unwrap_err();
        assert_eq!(mapped, "expected an IPv4 address to be written as one: 192.0.2.20");
    }
}
