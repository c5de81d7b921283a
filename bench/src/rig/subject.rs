//! Who forwards the packets: the director's programs, or a peer.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use rvs_dataplane::AttachMode;
use rvs_netlink::Netns;

use super::conntrack::{self, ConntrackMax};
use super::{BIND_PORT, DataPlane, Programs, Rig, Service, dest};

/// Where the director's programs hang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hook {
    Xdp,
    Tc,
}

impl Hook {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "XDP",
            Self::Tc => "TC",
        }
    }

    pub(crate) const fn mode(self) -> AttachMode {
        match self {
            Self::Xdp => AttachMode::Xdp,
            Self::Tc => AttachMode::Tc,
        }
    }
}

/// Who forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// A program that sends each frame back at once: the floor.
    Return,
    /// A program that sends each frame on at once.
    Redirect,
    /// The kernel, by its routes.
    Kernel,
    /// The kernel, by a NAT rule of nftables.
    Nft,
    /// The director.
    Rvs(Hook, Service),
}

impl Subject {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Return => "floor: return at once".to_owned(),
            Self::Redirect => "redirect at once".to_owned(),
            Self::Kernel => "kernel forwarding".to_owned(),
            Self::Nft => "nftables NAT".to_owned(),
            Self::Rvs(hook, service) => format!("rvs {} {}", hook.name(), service.name()),
        }
    }

    /// Puts it in place.
    pub(crate) fn install(self, rig: &Rig, plane: &mut DataPlane) -> Result<Installed> {
        let [client_side, server_side] = rig.ports();
        let director = rig.cluster.director().netns();
        let program = |name| -> Result<Installed> {
            let mut programs = Programs::load(name, server_side)?;
            director.enter(|| programs.attach(client_side))??;
            Ok(Installed::Program(programs))
        };
        match self {
            Self::Return => program("bench_return"),
            Self::Redirect => program("bench_redirect"),
            Self::Kernel => Ok(Installed::Nothing),
            Self::Nft => {
                let rules = format!(
                    "add table ip rvs_bench\n\
                     add chain ip rvs_bench nat {{ type nat hook prerouting priority dstnat; }}\n\
                     add rule ip rvs_bench nat ip daddr {vip} udp dport {port} dnat to {to}:{BIND_PORT}\n\
                     add rule ip rvs_bench nat ip daddr {vip} tcp dport {port} dnat to {to}:{BIND_PORT}\n",
                    vip = rig.cluster.vip(),
                    port = Service::Nat.port(),
                    to = dest(0),
                );
                nft(director, &rules)?;
                conntrack::flush(director)?;
                Ok(Installed::Rules(ConntrackMax::raise()))
            }
            Self::Rvs(hook, _) => {
                plane.attach(rig, hook.mode())?;
                Ok(Installed::Rvs)
            }
        }
    }
}

/// What is in place.
#[derive(Debug)]
#[must_use]
pub(crate) enum Installed {
    Nothing,
    Program(Programs),
    Rules(Option<ConntrackMax>),
    Rvs,
}

impl Installed {
    /// Takes it away.
    pub(crate) fn remove(self, rig: &Rig, plane: &mut DataPlane) -> Result<()> {
        match self {
            Self::Nothing => Ok(()),
            Self::Program(programs) => {
                drop(programs);
                Ok(())
            }
            Self::Rules(max) => {
                drop(max);
                nft(rig.cluster.director().netns(), "delete table ip rvs_bench\n")
            }
            Self::Rvs => plane.detach(rig),
        }
    }
}

/// Has nft carry out commands in a network namespace.
fn nft(netns: &Netns, commands: &str) -> Result<()> {
    let mut command = Command::new("nft");
    command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = netns.spawn(&mut command).context("Debian package nftables is needed")?;
    child.stdin.take().context("nft takes no input")?.write_all(commands.as_bytes())?;
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("nft: {}", String::from_utf8_lossy(&output.stderr).trim_end());
    }
    Ok(())
}
