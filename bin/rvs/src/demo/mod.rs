//! `rvs demo`: small clusters in network namespaces on this machine, real HTTP through a real director in each, and an
//! account of what happened.
//!
//! A [`round`] shows one forwarding method on a [`stage`] of its own: namespaces, servers, and this program's own
//! `director` sub-command as a process, configured by its own `ipvsadm`. Everything goes when the stage is dropped, so
//! errors and signals ([`interrupt`]) take the same way out as success. After SIGKILL there is no such way: the director
//! then takes its data plane down by itself, and the next demo removes the rest ([`leftovers`]).

mod account;
mod director;
mod drawing;
mod interrupt;
mod leftovers;
mod method;
mod round;
mod show;
mod stage;

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use interrupt::Interrupt;
use method::Method;
use show::Show;

/// What to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to show: nat, dr, tun; in IPv6 nat6, dr6, tun6; full NAT fullnat, fullnat6; tunnels gre, gre6, gue, gue6, 4in6, 6in4; translation nat64, nat46 [default: nat dr tun]
    #[arg(value_name = "METHOD")]
    methods: Vec<Method>,
}

/// Shows some methods, or each one once.
///
/// # Errors
/// When a cluster can't be built, a request fails, or a signal ends it. Nothing is left behind in any case.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !geteuid().is_root() {
        bail!("demo: needs root, to make network namespaces and to load programs into the kernel");
    }
    let interrupt = Interrupt::listen()?;
    leftovers::remove(&interrupt)?;
    let mut show = Show::default();
    let methods = if args.methods.is_empty() { Method::BASIC } else { &args.methods };
    let result = methods.iter().try_for_each(|method| round::play(*method, &mut show, &interrupt));
    // Who pipes the output into `head` has seen enough; by now everything is taken down.
    if show.is_closed() { Ok(()) } else { result }
}
