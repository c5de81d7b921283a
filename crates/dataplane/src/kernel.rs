//! The data plane in the kernel.

use core::sync::atomic::{AtomicU64, Ordering};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rvs_abi::map::Region;
use rvs_abi::{LOOPBACK, Port, ProgramSet, ServiceKey};
use rvs_model::{Memory, MemoryError, records};

use crate::error::Result;
use crate::generations;
use crate::hooks::{AttachMode, Attached, Attachment, Hooks, Mode};
use crate::instance::{Instance, Options};
use crate::journal::{JOURNAL, Journal};
use crate::mapping::Mapping;
use crate::maps::Maps;
use crate::netlink::{Interface, Rtnetlink};
use crate::programs::{First, ProgramInfo, Programs, TestRun};
use crate::store::{self, Found};

/// A data plane in the kernel, and the right to change it.
///
/// Nothing of it ends with this value: maps, programs and attachments stay as they are until
/// [`Kernel::remove`]. Interfaces are those of the network namespace of the thread that calls.
#[derive(Debug)]
pub struct Kernel {
    instance: Instance,
    maps: Arc<Maps>,
    programs: Arc<Mutex<Programs>>,
    held: Mapping,
    hooks: Hooks,
    adopted: bool,
    warnings: Vec<String>,
}

impl Kernel {
    /// Opens the data plane of an instance: makes it if there is none, otherwise adopts its maps with all
    /// that is in them. Loads the programs of this build; those that run go on running until
    /// [`Kernel::attach`] replaces them.
    ///
    /// # Errors
    /// When another process has the instance open, its maps have another layout, or the kernel refuses.
    pub fn open(options: &Options) -> Result<Self> {
        let instance = Instance::open_or_create(&options.place())?;
        let found = store::look(&instance, &options.capacity)?;
        let result = Self::load(&instance, options, &found);
        let (maps, programs, hooks) = match (result, &found) {
            (Ok(loaded), _) => loaded,
            (Err(e), Found::Complete { .. }) => return Err(e),
            (Err(e), Found::Nothing) => {
                // Memory that nobody uses would stay until the next start.
                store::remove(&instance.directory())?;
                return Err(e);
            }
        };
        let adopted = found != Found::Nothing;
        let mut warnings = match found {
            Found::Complete { warnings } => warnings,
            Found::Nothing => Vec::new(),
        };
        warnings.extend(hooks.tidy()?);
        generations::tidy(&instance.directory())?;
        let held = programs.held()?;
        let programs = Arc::new(Mutex::new(programs));
        Ok(Self { instance, maps: Arc::new(maps), programs, held, hooks, adopted, warnings })
    }

    fn load(instance: &Instance, options: &Options, found: &Found) -> Result<(Maps, Programs, Hooks)> {
        let programs = Programs::open(&instance.directory(), &options.capacity)?;
        let hooks = Hooks::open(instance, options.tc)?;
        let maps = Maps::open(&instance.directory())?;
        if *found == Found::Nothing {
            store::finish(&maps, &options.capacity)?;
        }
        Ok((maps, programs, hooks))
    }

    /// Whether the maps were there already.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// What the user should know about how it was opened; one sentence each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Where it is pinned.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.instance.shown()
    }

    /// Its memory, to be shared with other threads.
    #[must_use]
    pub fn maps(&self) -> Arc<Maps> {
        Arc::clone(&self.maps)
    }

    /// Its memory, for whoever changes what is balanced.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle { maps: self.maps(), programs: Arc::clone(&self.programs) }
    }

    /// Counts the held fragments that were given up, and frees their slots; `now` in ticks.
    pub fn end_held(&self, now: u64) {
        rvs_model::end_held(self.held.words(), self.maps.region(Region::Counters), now);
    }

    /// Writes down what is about to be done to the maps, for whoever adopts them should this process not come
    /// to the end of it.
    ///
    /// # Errors
    /// When the kernel refuses. Then there is no journal.
    pub fn write_journal(&self, text: &[u8]) -> Result<Journal> {
        Journal::write(&self.instance.directory(), self.directory().join(JOURNAL), text)
    }

    /// What an earlier process has written down and not erased.
    ///
    /// # Errors
    /// When what is there is no journal.
    pub fn journal(&self) -> Result<Option<Journal>> {
        Journal::find(&self.instance.directory(), self.directory().join(JOURNAL))
    }

    /// What the kernel says about those of its programs that are loaded: for which there is an interface, or that something
    /// needs ([`Memory::load`]).
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramInfo> {
        locked(&self.programs).infos().to_vec()
    }

    /// Attaches the programs to an interface. If it is attached already, they take the place of those that
    /// are there between two packets, in the mode that is asked for now.
    ///
    /// # Errors
    /// When there is no such interface, its frames have no Ethernet header, or the kernel refuses. What was
    /// attached before still is then, under TC at least.
    pub fn attach(&mut self, ifindex: u32, mode: AttachMode) -> Result<Attached> {
        let interface = Rtnetlink::open()?.interface(ifindex)?;
        self.attach_interface(&interface, mode)
    }

    /// As [`Kernel::attach`], by name.
    ///
    /// # Errors
    /// As [`Kernel::attach`].
    pub fn attach_by_name(&mut self, name: &str, mode: AttachMode) -> Result<Attached> {
        let interface = Rtnetlink::open()?.interface_by_name(name)?;
        self.attach_interface(&interface, mode)
    }

    /// Attaches the loopback interface of this network namespace, for what this host sends to itself.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach_loopback(&mut self) -> Result<()> {
        let interface = Rtnetlink::open()?.interface(LOOPBACK)?;
        self.hooks.attach_loopback(&interface, &mut locked(&self.programs))
    }

    fn attach_interface(&mut self, interface: &Interface, mode: AttachMode) -> Result<Attached> {
        // While its programs change, and for good unless its driver has XDP, frames reach it by way of TC: a driver
        // without loses redirected XDP frames in silence.
        let port = |takes_xdp| Port::new(interface.address, takes_xdp);
        records::write_port(&*self.maps, interface.index, port(false));
        let attached = self.hooks.attach(interface, mode, &mut locked(&self.programs))?;
        let is_veth = interface.kind.as_deref() == Some("veth");
        let port = port(attached.mode == Mode::Xdp);
        // A veth wakes its other end for frames that are sent back only if there is an XDP program.
        let port = if is_veth { port.losing_turned() } else { port };
        records::write_port(&*self.maps, interface.index, port);
        generations::tidy(&self.instance.directory())?;
        Ok(attached)
    }

    /// Follows the Ethernet address of an interface that is attached. Until then, frames to a new address are taken under
    /// TC.
    pub fn follow_address(&self, ifindex: u32, address: [u8; 6]) {
        let port = records::port(&*self.maps, ifindex).with_address(address);
        records::write_port(&*self.maps, ifindex, port);
    }

    /// Takes the programs off an interface, which may be gone; tells whether any were there.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn detach(&mut self, ifindex: u32) -> Result<bool> {
        records::write_port(&*self.maps, ifindex, Port::default());
        let found = self.hooks.detach(ifindex)?;
        generations::tidy(&self.instance.directory())?;
        Ok(found)
    }

    /// Takes the programs off all interfaces.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn detach_all(&mut self) -> Result<()> {
        for word in self.region(Region::Ports) {
            word.store(0, Ordering::Relaxed);
        }
        self.hooks.detach_all()
    }

    /// What is attached, by number of interface.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attachments(&self) -> Result<Vec<Attachment>> {
        self.hooks.attachments()
    }

    /// Detaches everything and removes every pin. Memory of [`Kernel::maps`] that others still hold stays
    /// valid.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(self) -> Result<()> {
        self.hooks.detach_all()?;
        self.instance.remove()
    }

    /// Runs the program under XDP on one frame, as if it had come in on an interface (0: none in particular),
    /// `repeat` times on the same buffer: from the second time on it sees its own work. Connections and
    /// counters are real.
    ///
    /// # Errors
    /// When the kernel refuses: a frame of less than 14 bytes or more than a page holds, no such interface.
    pub fn run_xdp(&self, frame: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun> {
        locked(&self.programs).run_xdp(frame, ifindex, repeat)
    }

    /// As [`Kernel::run_xdp`], the program under TC. The frame is for this host if its destination is the
    /// interface's address.
    ///
    /// # Errors
    /// As [`Kernel::run_xdp`].
    pub fn run_tc(&self, frame: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun> {
        locked(&self.programs).run_classifier(First::Tc, frame, ifindex, 0, repeat)
    }

    /// As [`Kernel::run_tc`], once, for a packet that comes with a mark.
    ///
    /// # Errors
    /// As [`Kernel::run_xdp`].
    pub fn run_tc_marked(&self, frame: &[u8], ifindex: u32, mark: u32) -> Result<TestRun> {
        locked(&self.programs).run_classifier(First::Tc, frame, ifindex, mark, 1)
    }

    /// As [`Kernel::run_tc`], the program under TC on interfaces that have one under XDP too.
    ///
    /// # Errors
    /// As [`Kernel::run_xdp`].
    pub fn run_tc_after_xdp(&self, frame: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun> {
        locked(&self.programs).run_classifier(First::TcAfterXdp, frame, ifindex, 0, repeat)
    }

    /// As [`Kernel::run_tc`], the program for what this host sends: the frame is one on its way out.
    ///
    /// # Errors
    /// As [`Kernel::run_xdp`].
    pub fn run_local(&self, frame: &[u8], ifindex: u32, repeat: u32) -> Result<TestRun> {
        locked(&self.programs).run_classifier(First::Local, frame, ifindex, 0, repeat)
    }

    /// For tests: what limits the ICMP errors that are made sees so many nanoseconds go by at once.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn age_error_budgets(&mut self, nanoseconds: u64) -> Result<()> {
        locked(&self.programs).age_error_budgets(nanoseconds)
    }
}

impl Memory for Kernel {
    fn region(&self, region: Region) -> &[AtomicU64] {
        self.maps.region(region)
    }

    fn set_service_key(&self, key: &ServiceKey, id: Option<u32>) -> Result<(), MemoryError> {
        self.maps.set_service_key(key, id)
    }

    fn service_keys(&self) -> Result<Vec<ServiceKey>, MemoryError> {
        self.maps.service_keys()
    }

    fn load(&self, programs: ProgramSet) -> Result<(), MemoryError> {
        load(&self.programs, programs)
    }
}

/// The memory of a data plane, with the right to have programs loaded: both are its [`Kernel`]'s. Valid as long as it is held.
#[derive(Debug, Clone)]
pub struct Handle {
    maps: Arc<Maps>,
    programs: Arc<Mutex<Programs>>,
}

impl Memory for Handle {
    fn region(&self, region: Region) -> &[AtomicU64] {
        self.maps.region(region)
    }

    fn set_service_key(&self, key: &ServiceKey, id: Option<u32>) -> Result<(), MemoryError> {
        self.maps.set_service_key(key, id)
    }

    fn service_keys(&self) -> Result<Vec<ServiceKey>, MemoryError> {
        self.maps.service_keys()
    }

    fn load(&self, programs: ProgramSet) -> Result<(), MemoryError> {
        load(&self.programs, programs)
    }
}

fn load(programs: &Mutex<Programs>, on_demand: ProgramSet) -> Result<(), MemoryError> {
    locked(programs).load(on_demand).map_err(|e| MemoryError::Program(e.to_string()))
}

/// A thread that died while it loaded programs left some of them unloaded, no more.
fn locked(programs: &Mutex<Programs>) -> MutexGuard<'_, Programs> {
    programs.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Detaches everything of an instance and removes every pin, without loading anything: whatever layout its
/// maps have. Tells whether there was such an instance.
///
/// # Errors
/// When another process has the instance open, or the kernel refuses.
pub fn remove(options: &Options) -> Result<bool> {
    let Some(instance) = Instance::open(&options.place())? else { return Ok(false) };
    Hooks::open(&instance, options.tc)?.detach_all()?;
    instance.remove()?;
    Ok(true)
}

/// The names of the instances that exist in a BPF file system (as [`Options::bpffs`]), with or without a process that has
/// them open, in order.
///
/// # Errors
/// When it can't be read: it takes root.
pub fn instances(bpffs: Option<&Path>) -> Result<Vec<String>> {
    Instance::all(bpffs)
}

const _: () = {
    const fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Kernel>();
    is_send_and_sync::<Maps>();
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use rvs_netlink::Netns;

    use super::*;

    /// What `auto` does on an interface with a driver: on a veth that claims to have one.
    #[test]
    fn auto_takes_xdp_where_the_driver_does_and_tc_otherwise() {
        let place = std::env::temp_dir().join(format!("rvs-auto-{}", std::process::id()));
        let [here, there] = ["dpu", "dpv"].map(|prefix| Netns::create_unique(prefix).unwrap());
        let mut netlink = here.netlink().unwrap();
        netlink.create_veth("d0", "c0", &there).unwrap();
        let d0 = netlink.link("d0").unwrap().index;
        let mut options = Options::new("auto").unwrap();
        options.capacity.conns = 1000;
        options.bpffs = Some(place.clone());
        let kernel = Kernel::open(&options);
        let attached = kernel.and_then(|mut kernel| {
            let attach = |kernel: &mut Kernel| {
                let device = Interface { is_device: true, ..Rtnetlink::open()?.interface(d0)? };
                kernel.attach_interface(&device, AttachMode::Auto)
            };
            let small = here.enter(|| attach(&mut kernel)).unwrap()?;
            here.enter(|| kernel.detach(d0)).unwrap()?;
            there
                .netlink()
                .unwrap()
                .set_mtu(there.netlink().unwrap().link("c0").unwrap().index, 9000)
                .unwrap();
            netlink.set_mtu(d0, 9000).unwrap();
            let large = here.enter(|| attach(&mut kernel)).unwrap()?;
            Ok([small, large])
        });
        nix::mount::umount(&place).unwrap();
        std::fs::remove_dir(&place).unwrap();
        let [small, large] = attached.unwrap();
        assert_eq!((small.mode, small.reason.as_str()), (Mode::Xdp, "its driver takes XDP"));
        assert_eq!(large.mode, Mode::Tc);
        assert!(large.reason.starts_with("no native XDP: its MTU of 9000 bytes"), "{}", large.reason);
    }
}
