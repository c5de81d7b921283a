//! Where frames end: an interface whose program counts and discards them.

use anyhow::{Context as _, Result};
use aya::maps::PerCpuArray;
use rvs_netlink::Netns;

use super::Programs;

/// A counter at an interface, which is there until this value is dropped.
#[derive(Debug)]
pub(crate) struct Sink(Programs);

impl Sink {
    pub(crate) fn attach(netns: &Netns, ifindex: u32) -> Result<Self> {
        let mut programs = Programs::load("bench_count", 0)?;
        netns.enter(|| programs.attach(ifindex))??;
        Ok(Self(programs))
    }

    /// How many IPv4 frames ended here.
    pub(crate) fn arrived(&self) -> Result<u64> {
        let map = self.0.ebpf.map("ARRIVED").context("the object lacks ARRIVED")?;
        Ok(PerCpuArray::<_, u64>::try_from(map)?.get(&0, 0)?.iter().sum())
    }
}
