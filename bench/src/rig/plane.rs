//! The data plane under test, configured by the director's own code in this process.

use core::sync::atomic::Ordering::Relaxed;
use std::fs;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use rvs_abi::map::Region;
use rvs_abi::{Outcome, limits};
use rvs_config::{
    Command, DestKey, Destination, ForwardingMethod, Protocol, Scheduler, SchedulerFlags, ServiceKey, Tunnel,
    VirtualService,
};
use rvs_core::conn::ticks;
use rvs_dataplane::{AttachMode, Handle, Kernel, Options};
use rvs_director::{Director, RouteInfo};
use rvs_model::Memory;

use super::{DESTS, Rig, dest};
use crate::measure::now_ns;

/// Port of the destinations.
pub(crate) const BIND_PORT: u16 = 9000;
/// MTU of the rig's cables.
const MTU: u32 = 1500;

/// The services that every data plane here has, each for TCP and for UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Dr,
    Tunnel,
    Nat,
    /// NAT with one destination only, so that it is known which one answers.
    OneNat,
}

impl Service {
    const ALL: [Self; 4] = [Self::Dr, Self::Tunnel, Self::Nat, Self::OneNat];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Dr => "DR",
            Self::Tunnel => "TUN",
            Self::Nat | Self::OneNat => "NAT",
        }
    }

    /// Its virtual port.
    pub(crate) const fn port(self) -> u16 {
        match self {
            Self::Dr => 7001,
            Self::Tunnel => 7002,
            Self::Nat => 7003,
            Self::OneNat => 7004,
        }
    }

    /// What its requests end in.
    pub(crate) const fn outcome(self) -> Outcome {
        match self {
            Self::Dr => Outcome::ForwardDr,
            Self::Tunnel => Outcome::ForwardTunnel,
            Self::Nat | Self::OneNat => Outcome::ForwardMasq,
        }
    }

    const fn method(self) -> ForwardingMethod {
        match self {
            Self::Dr => ForwardingMethod::Dr,
            Self::Tunnel => ForwardingMethod::Tunnel,
            Self::Nat | Self::OneNat => ForwardingMethod::Masq,
        }
    }

    const fn dests(self) -> u8 {
        match self {
            Self::OneNat => 1,
            _ => DESTS,
        }
    }

    fn commands(self, vip: Ipv4Addr) -> Vec<Command> {
        let port = if self.method() == ForwardingMethod::Masq { BIND_PORT } else { self.port() };
        let mut commands = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let key = ServiceKey { protocol, address: vip.into(), port: self.port() };
            commands.push(add_service(key));
            commands.extend((0..self.dests()).map(|number| {
                let address = SocketAddrV4::new(dest(number), port);
                add_destination(key, address, self.method())
            }));
        }
        commands
    }
}

/// A service that takes turns.
pub(crate) fn add_service(key: ServiceKey) -> Command {
    Command::AddService(VirtualService {
        key,
        scheduler: Scheduler::Rr,
        flags: SchedulerFlags::default(),
        one_packet: false,
        mss: 0,
        client_address: rvs_config::ClientAddress::default(),
    })
}

/// A destination of weight 1.
pub(crate) fn add_destination(
    service: ServiceKey,
    address: SocketAddrV4,
    method: ForwardingMethod,
) -> Command {
    let key = DestKey { address: (*address.ip()).into(), port: address.port() };
    let tunnel = Tunnel::Ipip;
    let destination = Destination { key, method, weight: 1, upper_threshold: 0, lower_threshold: 0, tunnel };
    Command::AddDestination { service, destination }
}

/// A data plane of its own, taken down when this value is dropped.
#[derive(Debug)]
pub(crate) struct DataPlane {
    kernel: Option<Kernel>,
    pub(crate) director: Director<Handle>,
    pub(crate) options: Options,
    bpffs: PathBuf,
}

impl DataPlane {
    /// Makes one with room for that many connections; without a service.
    pub(crate) fn empty(conns: u32) -> Result<Self> {
        let bpffs = std::env::temp_dir().join(format!("rvs-bench-{}", std::process::id()));
        let mut options = Options::new("bench")?;
        options.bpffs = Some(bpffs.clone());
        options.capacity.conns = conns;
        let kernel = Kernel::open(&options).inspect_err(|_| unmount(&bpffs))?;
        let director = Director::create(kernel.handle())?;
        Ok(Self { kernel: Some(kernel), director, options, bpffs })
    }

    /// Makes one with all of [`Service`], for a rig.
    pub(crate) fn new(rig: &Rig, conns: u32) -> Result<Self> {
        let mut plane = Self::empty(conns)?;
        let vip = rig.cluster.vip();
        let commands: Vec<_> = Service::ALL.into_iter().flat_map(|service| service.commands(vip)).collect();
        let link = rig.cluster.director().interface("to-s1");
        plane.apply(&commands, link.index, link.address.context("the director has no address there")?)?;
        Ok(plane)
    }

    /// Applies commands; their destinations are on the link `ifindex`, where the director has the address `source`.
    pub(crate) fn apply(&mut self, commands: &[Command], ifindex: u32, source: Ipv4Addr) -> Result<()> {
        self.director
            .apply(commands, now_ns()?)
            .map_err(|refusal| anyhow::anyhow!("command {}: {}", refusal.index, refusal.error))?;
        let needed: Vec<_> = self.director.routes_needed().collect();
        for (id, address) in needed {
            let (gateway, source) = (Some(address), Some(source.into()));
            self.director.set_route(id, &RouteInfo { ifindex, gateway, source, mtu: MTU, is_local: false });
        }
        Ok(())
    }

    /// The kernel's side.
    pub(crate) fn kernel(&mut self) -> Result<&mut Kernel> {
        self.kernel.as_mut().context("the data plane was closed")
    }

    /// The memory.
    pub(crate) fn memory(&self) -> &Handle {
        self.director.memory()
    }

    /// Attaches both of the director's interfaces.
    pub(crate) fn attach(&mut self, rig: &Rig, mode: AttachMode) -> Result<()> {
        let kernel = self.kernel()?;
        let director = rig.cluster.director().netns();
        director.enter(|| -> Result<()> {
            for ifindex in rig.ports() {
                kernel.attach(ifindex, mode)?;
            }
            Ok(())
        })?
    }

    /// Detaches them.
    pub(crate) fn detach(&mut self, rig: &Rig) -> Result<()> {
        let kernel = self.kernel()?;
        Ok(rig.cluster.director().netns().enter(|| kernel.detach_all())??)
    }

    /// Ends all connections.
    pub(crate) fn flush(&self) -> u64 {
        rvs_model::flush(self.memory(), |_| true)
    }

    /// Packets that ended so.
    pub(crate) fn counted(&self, outcome: Outcome) -> u64 {
        let counters = self.memory().region(Region::Counters).iter().skip(outcome as usize);
        counters.step_by(limits::COUNTERS as usize).map(|counter| counter.load(Relaxed)).sum()
    }

    /// Takes the process's hold off the kernel's side, which stays: what a crash does.
    pub(crate) fn close(&mut self) {
        self.kernel = None;
    }

    /// Takes hold again; tells whether it found what was there.
    pub(crate) fn open(&mut self) -> Result<bool> {
        let kernel = Kernel::open(&self.options)?;
        let adopted = kernel.adopted();
        self.kernel = Some(kernel);
        Ok(adopted)
    }

    /// Has a new director take over.
    pub(crate) fn adopt(&mut self) -> Result<()> {
        self.director = Director::adopt(self.kernel()?.handle())?;
        Ok(())
    }
}

impl Drop for DataPlane {
    fn drop(&mut self) {
        if let Some(kernel) = self.kernel.take() {
            // Links elsewhere, if any are left, end with the pins.
            drop(kernel.remove());
        }
        unmount(&self.bpffs);
    }
}

fn unmount(bpffs: &PathBuf) {
    nix::mount::umount(bpffs).ok();
    fs::remove_dir(bpffs).ok();
}

/// Connections that are alive.
pub(crate) fn conns_of(memory: &impl Memory) -> Result<u64> {
    let mut count = 0;
    rvs_model::for_each_conn(memory, ticks(now_ns()?), |_| count += 1);
    Ok(count)
}
