//! All directors together: what one is sent, all are sent.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use super::differences::Difference;
use super::lab::{Kind, Lab, Seen, Wire};
use super::tool::Ran;

/// Modules of the kernel that the statements need.
const MODULES: &[&str] = &["ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_lc", "ip_vs_wlc", "ip_vs_sh"];
/// Where the programs of rvs hang.
const PLACES: &[&str] = &["tc", "xdp", "xdp-generic"];
/// How long answers may differ until it counts: counters follow with a delay of up to two seconds (ipvs.md §9.2).
const AGREE_LIMIT: Duration = Duration::from_secs(6);
/// How long frames may be on their way after all was handled.
const FRAMES_LIMIT: Duration = Duration::from_secs(2);

/// The directors.
pub(crate) struct World {
    pub(crate) ipvs: Lab,
    pub(crate) rvs: Vec<Lab>,
}

impl World {
    pub(crate) fn new(binary: &Path) -> Result<Self> {
        let modprobe = Command::new("modprobe").arg("-a").args(MODULES).status()?;
        ensure!(modprobe.success(), "modprobe -a {}: {modprobe}", MODULES.join(" "));
        let ipvs = Lab::new(Kind::Ipvs, binary)?;
        let rvs = PLACES.iter().map(|place| Lab::new(Kind::Rvs(place), binary)).collect::<Result<_>>()?;
        // Packets are handled on the CPU that sends them: on one only, they keep their order.
        let mut cpus = CpuSet::new();
        cpus.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &cpus)?;
        Ok(Self { ipvs, rvs })
    }

    /// Sends the frames to all; they must do the same, but for the difference if one is given. Answers what IPVS did.
    pub(crate) fn exchange(
        &mut self,
        from: Wire,
        frames: &[Vec<u8>],
        difference: Option<&Difference<Seen>>,
    ) -> Result<Seen> {
        let mut reference = self.ipvs.exchange(from, frames)?;
        let mut others =
            self.rvs.iter_mut().map(|lab| lab.exchange(from, frames)).collect::<Result<Vec<_>>>()?;
        let deadline = Instant::now() + FRAMES_LIMIT;
        loop {
            let expected =
                difference.map_or_else(|| reference.clone(), |difference| difference.apply(&reference));
            let Some(wrong) = others.iter().position(|seen| *seen != expected) else {
                if let Some(difference) = difference {
                    difference.seen(reference != expected)?;
                }
                return Ok(reference);
            };
            if Instant::now() >= deadline {
                let sent: String = frames
                    .iter()
                    .map(|f| format!("  from {from:?}: {}\n", super::frames::describe(f)))
                    .collect();
                bail!(
                    "sent\n{sent}expected\n{}{} sent\n{}(IPVS sent\n{})",
                    expected.describe(),
                    self.rvs[wrong].kind.name(),
                    others[wrong].describe(),
                    reference.describe()
                );
            }
            self.ipvs.collect(&mut reference, Duration::from_millis(5))?;
            for (lab, seen) in self.rvs.iter_mut().zip(&mut others) {
                lab.collect(seen, Duration::from_millis(5))?;
            }
        }
    }

    /// Runs `ipvsadm` for all, once each.
    pub(crate) fn ipvsadm(&self, args: &[&str], input: &str) -> Result<(Ran, Vec<Ran>)> {
        let run = |lab: &Lab| lab.tool.run(&lab.director, args, input);
        Ok((run(&self.ipvs)?, self.rvs.iter().map(run).collect::<Result<_>>()?))
    }

    /// Runs an `ipvsadm` that changes something for all; they must answer the same, but for the difference.
    pub(crate) fn change(
        &self,
        args: &[&str],
        input: &str,
        difference: Option<&Difference<Ran>>,
    ) -> Result<Ran> {
        let (reference, others) = self.ipvsadm(args, input)?;
        let expected =
            difference.map_or_else(|| reference.clone(), |difference| difference.apply(&reference));
        for (lab, ran) in self.rvs.iter().zip(&others) {
            ensure!(
                *ran == expected,
                "ipvsadm {}\n{input}expected {expected:?}\n{} answered {ran:?}\nIPVS answered {reference:?}",
                args.join(" "),
                lab.kind.name()
            );
        }
        if let Some(difference) = difference {
            difference.seen(reference != expected)?;
        }
        Ok(reference)
    }

    /// Runs an `ipvsadm` that only shows something, until all show what is wanted and the same, as far as `view` goes.
    pub(crate) fn show<T: PartialEq + std::fmt::Debug>(
        &self,
        args: &[&str],
        view: impl Fn(&Ran) -> Result<T>,
        is_wanted: impl Fn(&T) -> bool,
        is_same: impl Fn(&T, &T) -> bool,
    ) -> Result<T> {
        let deadline = Instant::now() + AGREE_LIMIT;
        loop {
            let (reference, others) = self.ipvsadm(args, "")?;
            let expected = view(&reference)?;
            let views = others.iter().map(&view).collect::<Result<Vec<_>>>()?;
            let wrong = views.iter().position(|view| !is_same(&expected, view));
            if wrong.is_none() && is_wanted(&expected) {
                return Ok(expected);
            }
            if Instant::now() >= deadline {
                let Some(wrong) = wrong else {
                    bail!("ipvsadm {}: not what the statement says: {expected:#?}", args.join(" "));
                };
                let name = self.rvs[wrong].kind.name();
                bail!(
                    "ipvsadm {}\nIPVS shows {expected:#?}\n{name} shows {:#?}",
                    args.join(" "),
                    views[wrong]
                );
            }
        }
    }
}
