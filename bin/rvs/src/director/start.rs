//! From nothing, or from what an earlier process left, to a director at work; and its end.

use core::fmt::Display;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Error, Result, anyhow};
use nix::sys::utsname::uname;
use nix::unistd::geteuid;
use rvs_control::{Access, Server};
use rvs_dataplane::Kernel;
use rvs_director::{Director, FullNatSources};
use rvs_netlink::{Monitor, Netlink, RouteKind};

use super::answers::{times_full, times_out_of_ports};
use super::auditor::Auditor;
use super::changes::Changes;
use super::daemon::Daemon;
use super::interfaces::Interfaces;
use super::limits::{END_OF_ANOTHER, RETRY, SOCKET_MODE};
use super::message::End;
use super::neighbours::Neighbours;
use super::routes::Routes;
use super::sweeper::Sweeper;
use super::{Args, clock, journal, listeners, log};
use crate::{notify, output, signals};

/// Runs the daemon.
///
/// # Errors
/// When it can't start or go on.
pub(super) fn run(args: &Args) -> Result<()> {
    signals::hold()?;
    // Before anything is made in the kernel: who has the socket is the instance's director.
    let socket = args.socket.of_director();
    let bind = || Server::bind(&socket, SOCKET_MODE, Access::owner());
    let server = patiently(bind, |error| matches!(error, rvs_control::Error::InUse { .. })).map_err(hint)?;
    // Before links are listed, so that no change falls between.
    let monitor = Monitor::new()?;
    let mut daemon = open(args).inspect_err(|_| {
        // Nobody else's: the server holds the socket's lock. If it stays, the next start replaces it.
        drop(fs::remove_file(&socket));
    })?;
    let (outbox, inbox) = channel();
    listeners::signals(outbox.clone())?;
    listeners::network(monitor, outbox.clone())?;
    if args.end_with_stdin {
        listeners::stdin(outbox.clone())?;
    }
    daemon.control = Some(server.start(move |request, peer| listeners::ask(&outbox, request, peer))?);
    announce();

    let end = daemon.run(&inbox);
    notify::stopping(|text| log::warning(text));
    // Requests that wait are told that there will be no answer; the server waits for those who ask.
    drop(inbox);
    drop(daemon.control.take());
    finish(&mut daemon, end?, args.detach_on_exit)
}

/// Tries again for a while as long as something is in use: a director that was killed may still be about to end.
fn patiently<T, E>(
    mut attempt: impl FnMut() -> Result<T, E>,
    is_in_use: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let deadline = Instant::now() + END_OF_ANOTHER;
    loop {
        match attempt() {
            Err(error) if is_in_use(&error) && Instant::now() < deadline => thread::sleep(RETRY),
            result => return result,
        }
    }
}

/// Says that packets are handled, to whoever wants to know. Nobody has to.
fn announce() {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_all(b"rvs director ready\n").and_then(|()| out.flush()) {
        log::warning(format_args!("standard output: {error}"));
    }
    notify::ready(|text| log::warning(text));
}

/// Opens the data plane and lets packets in. When this returns, they are balanced.
fn open(args: &Args) -> Result<Daemon> {
    let instance = args.socket.instance();
    let options = args.options()?;
    let [sources_v4, sources_v6] = args.tunnel_sources()?;
    let full_nat_sources = args.full_nat_sources()?;
    let is_locked = |error: &rvs_dataplane::Error| matches!(error, rvs_dataplane::Error::Locked { .. });
    let mut kernel = patiently(|| Kernel::open(&options), is_locked).map_err(hint)?;
    kernel.warnings().iter().for_each(log::warning);
    let memory = kernel.handle();
    let director = if kernel.adopted() { Director::adopt(memory) } else { Director::create(memory) };
    let mut director = director
        .map_err(|error| anyhow!("instance {instance}: {error}; 'rvs director --stop' removes it"))?;
    journal::finish(&kernel, &mut director);
    let set = director.set_full_nat_sources(&full_nat_sources, clock::now_ns()?);
    set.map_err(|error| anyhow!("--full-nat-sources: {error}"))?;
    director.set_tunnel_sources(sources_v4, sources_v6);
    director.set_ftp_ports(&args.ftp_ports.0);
    director.load_programs().map_err(hint)?;
    let mut netlink = Netlink::new()?;
    let mut interfaces = Interfaces::new(args.interfaces.clone(), args.attach);
    if let Err(error) = interfaces.start(&mut kernel, &mut netlink) {
        if !kernel.adopted() {
            // Nothing is to be left of a first start that fails.
            kernel.remove()?;
        }
        return Err(error);
    }
    let now_ns = clock::now_ns()?;
    let mut daemon = Daemon {
        instance: instance.to_owned(),
        kernel_release: uname().context("ask for the kernel's release")?.release().to_string_lossy().into(),
        started_ns: now_ns,
        full_at_start: times_full(director.memory()),
        out_of_ports_at_start: times_out_of_ports(director.memory()),
        sweeper: Sweeper::new(director.memory()),
        auditor: Auditor::new(director.memory()),
        kernel: Some(kernel),
        director,
        netlink,
        interfaces,
        routes: Routes::default(),
        neighbours: Neighbours::default(),
        control: None,
        changes: Changes::default(),
    };
    daemon.routes.follow(&mut daemon.director);
    while daemon.routes.due_ns() == Some(0) {
        daemon.ask_routes(now_ns);
    }
    log::info(opened(&daemon));
    foreign(&full_nat_sources, &mut daemon.netlink).iter().for_each(log::info);
    Ok(daemon)
}

/// Says which of the addresses that full NAT comes from are not this host's: only a router can bring packets for them here.
fn foreign(sources: &FullNatSources, netlink: &mut Netlink) -> Option<String> {
    // An address that can't be asked for has no way to here.
    let mut is_foreign =
        |address: &IpAddr| !netlink.route_get(*address).is_ok_and(|way| way.kind == RouteKind::Local);
    let foreign: Vec<IpAddr> = sources.addresses().filter(&mut is_foreign).collect();
    let first = foreign.first()?;
    Some(format!(
        "full NAT: {} of its {} sources, {first} the first of them, are not this host's addresses: the servers' network \
         has to route them here",
        foreign.len(),
        sources.addresses().count(),
    ))
}

fn opened(daemon: &Daemon) -> String {
    let Daemon { instance, kernel, director, .. } = daemon;
    let status = director.status();
    let place = kernel.as_ref().map(|kernel| kernel.directory().display().to_string()).unwrap_or_default();
    if kernel.as_ref().is_some_and(Kernel::adopted) {
        format!(
            "instance {instance}: adopted from {place}: {}, {}",
            output::count(status.services, "service"),
            output::count(status.dests, "destination"),
        )
    } else {
        format!(
            "instance {instance}: made in {place}: room for {} services and {} destinations",
            status.services_max, status.dests_max
        )
    }
}

/// What is left when the loop has ended.
fn finish(daemon: &mut Daemon, end: End, detach: bool) -> Result<()> {
    let Some(kernel) = &mut daemon.kernel else {
        log::info(format_args!("{end}: instance {} is taken down", daemon.instance));
        return Ok(());
    };
    let place = kernel.directory().display().to_string();
    if detach {
        let interfaces = output::count(daemon.interfaces.attached(), "interface");
        kernel.detach_all()?;
        log::info(format_args!(
            "{end}: programs taken off {interfaces}; services and connections stay in {place} for the next \
             start, 'rvs director --stop' removes them"
        ));
    } else {
        log::info(format_args!(
            "{end}: the programs in the kernel go on balancing packets (pinned in {place}); 'rvs director --stop' \
             takes them down"
        ));
    }
    Ok(())
}

/// An error of starting, with what is most likely wrong if this is not root.
fn hint(error: impl Display) -> Error {
    let user = geteuid();
    if user.is_root() {
        return anyhow!("{error}");
    }
    anyhow!("{error} (this is user {user}; a director needs root, or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)")
}
