//! Real servers behind directors that put their own address before the client's: sockets show the client's instead.
//!
//! Programs on a cgroup read it from a TCP option that the director adds, keep it with the socket, and give it to whoever
//! asks for the socket's peer: `accept`, `getpeername`. Programs, addresses and counters are pinned, so they stay when the
//! process ends, in whatever way, and the next one adopts them: connections of before keep their clients.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{MapError, PerCpuArray};
use aya::programs::{CgroupSockAddr, SockOps};
use aya::{Ebpf, EbpfLoader};
use rvs_abi::{CLIENT_OUTCOMES, CLIENTS, ClientAddress, ClientOutcome, DIRECTORS, DirectorPrefix, limits};

use crate::bpf::{self, AttachType};
use crate::cgroup::Cgroup;
use crate::cgroup_links;
use crate::error::{Error, Result};
use crate::instance::{Instance, Place};
use crate::listeners;
use crate::programs::{self, ProgramInfo};

pub use crate::listeners::Listeners;

/// The object as `cargo xtask ebpf` made it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../programs/client-address.bpf.o");

/// The part of an instance's directory that says what it is for.
const ROLE: &str = "client-address";
/// The maps, with the kernel's number of their type and the sizes of keys and values.
const MAPS: [(&str, u32, usize, usize); 3] = [
    (CLIENTS, 24, size_of::<i32>(), size_of::<ClientAddress>()),
    (DIRECTORS, 11, size_of::<DirectorPrefix>(), size_of::<u32>()),
    (CLIENT_OUTCOMES, 6, size_of::<u32>(), size_of::<u64>()),
];
/// The programs, and where they hang. What shows addresses comes before what learns them.
const PROGRAMS: [(&str, AttachType); 3] = [
    ("rvs_client_name4", AttachType::CgroupGetpeername4),
    ("rvs_client_name6", AttachType::CgroupGetpeername6),
    ("rvs_client_ops", AttachType::CgroupSockOps),
];
/// Value of each entry in the map of directors.
const IS_DIRECTOR: u32 = 1;

/// What to attach, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name that tells several on one machine apart: letters, digits, `-` and `_`.
    pub instance: String,
    /// The BPF file system, as [`crate::Options::bpffs`].
    pub bpffs: Option<PathBuf>,
    /// Directory of the cgroup whose sockets show clients' addresses, with all cgroups below. `None`: the root, all of the
    /// machine.
    pub cgroup: Option<PathBuf>,
    /// Who may say who a client is.
    pub directors: Vec<DirectorPrefix>,
}

impl Options {
    fn place(&self) -> Place<'_> {
        Place { name: &self.instance, role: Some(ROLE), bpffs: self.bpffs.as_deref() }
    }
}

/// Programs that show clients' addresses. Nothing of it ends with this value.
#[derive(Debug)]
pub struct Attached {
    instance: Instance,
    ebpf: Ebpf,
    cgroup: Cgroup,
    programs: Vec<ProgramInfo>,
    listeners: Listeners,
    adopted: bool,
}

/// Attaches the programs to a cgroup. If an earlier process left some, these take their place between two events, its
/// addresses are adopted, and the directors are now those given here.
///
/// # Errors
/// When another process has the instance open, there is no such cgroup, there are too many directors, or the kernel
/// refuses.
pub fn attach(options: &Options) -> Result<Attached> {
    if options.directors.len() > limits::DIRECTORS_MAX as usize {
        return Err(Error::TooManyDirectors { count: options.directors.len(), max: limits::DIRECTORS_MAX });
    }
    let cgroup = Cgroup::open(options.cgroup.as_deref())?;
    let instance = Instance::open_or_create(&options.place())?;
    let adopted = check_maps(&instance)?;
    let loaded = load(&instance, &cgroup, &options.directors);
    // After the programs: they see to the listeners that come from now on.
    match loaded.and_then(|loaded| Ok((loaded, listeners::keep_syns(&cgroup)?))) {
        Ok(((ebpf, programs), listeners)) => {
            Ok(Attached { instance, ebpf, cgroup, programs, listeners, adopted })
        }
        Err(e) => {
            if !adopted {
                // Nothing is to be left of a first start that fails.
                take_down(instance)?;
            }
            Err(e)
        }
    }
}

/// Takes the programs off and removes every pin; sockets show the directors' addresses again. Tells whether there was such
/// an instance.
///
/// # Errors
/// When another process has the instance open, or the kernel refuses.
pub fn remove(options: &Options) -> Result<bool> {
    let Some(instance) = Instance::open(&options.place())? else { return Ok(false) };
    take_down(instance).map(|()| true)
}

impl Attached {
    /// Whether an earlier process's programs and addresses were adopted.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// Where it is pinned.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        self.instance.shown()
    }

    /// Directory of the cgroup.
    #[must_use]
    pub fn cgroup(&self) -> &Path {
        self.cgroup.path()
    }

    /// The listeners that were there already.
    #[must_use]
    pub fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// What the kernel says about the programs.
    #[must_use]
    pub fn programs(&self) -> &[ProgramInfo] {
        &self.programs
    }

    /// How many options ended in an outcome, since the first process of this instance.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn count(&self, outcome: ClientOutcome) -> Result<u64> {
        let read = || {
            let map = self.ebpf.map(CLIENT_OUTCOMES).ok_or(MapError::ElementNotFound)?;
            let counters = PerCpuArray::<_, u64>::try_from(map)?;
            Ok::<u64, MapError>(counters.get(&(outcome as u32), 0)?.iter().sum())
        };
        read().map_err(|e| failed("read the counters of clients' addresses", e))
    }

    /// Takes the programs off and removes every pin.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(self) -> Result<()> {
        take_down(self.instance)
    }
}

fn failed(operation: &str, e: MapError) -> Error {
    Error::system(operation, io::Error::other(e))
}

/// Whether maps are pinned; fails if they are not this version's.
fn check_maps(instance: &Instance) -> Result<bool> {
    let mut found = false;
    for (name, map_type, key_size, value_size) in MAPS {
        let map = match bpf::get(&instance.directory().join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            result => result.map_err(|e| Error::system(format!("open map {name}"), e))?,
        };
        let info = bpf::map_info(map.as_fd()).map_err(|e| Error::system(format!("look at map {name}"), e))?;
        if (info.map_type, info.key_size as usize, info.value_size as usize)
            != (map_type, key_size, value_size)
        {
            return Err(Error::Outdated { pin: instance.shown().join(name) });
        }
        found = true;
    }
    Ok(found)
}

/// Loads the programs over the maps that are pinned, or makes and pins those, and attaches them.
fn load(
    instance: &Instance,
    cgroup: &Cgroup,
    directors: &[DirectorPrefix],
) -> Result<(Ebpf, Vec<ProgramInfo>)> {
    let pins = MAPS.map(|(name, ..)| (name, instance.directory().join(name)));
    let mut loader = EbpfLoader::new();
    // Nothing in the object is relocated against the kernel's own types.
    loader.btf(None);
    for (name, pin) in &pins {
        loader.map_pin_path(name, pin.as_path());
    }
    let mut ebpf = loader.load(OBJECT).map_err(|e| programs::refused_maps(&e))?;
    set_directors(&mut ebpf, directors).map_err(|e| failed("write the list of directors", e))?;
    let mut infos = Vec::new();
    for (name, _) in PROGRAMS {
        infos.push(programs::load_of(&mut ebpf, name).map_err(|e| programs::refusal(name, e))?);
    }
    for (name, attach_type) in PROGRAMS {
        let refused = |e: io::Error| Error::Cgroup {
            path: cgroup.path().to_path_buf(),
            reason: format!("can't attach {name}: {e}"),
        };
        cgroup_links::put(instance, cgroup, name, descriptor(&ebpf, name)?, attach_type).map_err(refused)?;
    }
    Ok((ebpf, infos))
}

fn descriptor<'a>(ebpf: &'a Ebpf, name: &'static str) -> Result<BorrowedFd<'a>> {
    let program = ebpf.program(name).ok_or_else(|| programs::missing(name))?;
    let fd = match <&SockOps>::try_from(program) {
        Ok(program) => program.fd(),
        Err(_) => <&CgroupSockAddr>::try_from(program).and_then(CgroupSockAddr::fd),
    };
    fd.map(AsFd::as_fd).map_err(|e| programs::refusal(name, e))
}

/// Makes the list of directors the one given. Those that are none any more go first: of the two lists, neither too much is
/// ever believed nor more room needed.
fn set_directors(ebpf: &mut Ebpf, directors: &[DirectorPrefix]) -> Result<(), MapError> {
    let words = |prefix: &DirectorPrefix| -> [u32; 6] { zerocopy::transmute!(*prefix) };
    let wanted: BTreeSet<[u32; 6]> = directors.iter().map(words).collect();
    let key = |[bits, data @ ..]: [u32; 6]| Key::new(bits, data);
    let map = ebpf.map_mut(DIRECTORS).ok_or(MapError::ElementNotFound)?;
    let mut map = LpmTrie::<_, [u32; 5], u32>::try_from(map)?;
    let present = map
        .keys()
        .map(|key| {
            let key = key?;
            let [a, b, c, d, e] = key.data();
            Ok([key.prefix_len(), a, b, c, d, e])
        })
        .collect::<Result<BTreeSet<_>, MapError>>()?;
    for gone in present.difference(&wanted) {
        map.remove(&key(*gone))?;
    }
    for new in wanted.difference(&present) {
        map.insert(&key(*new), IS_DIRECTOR, 0)?;
    }
    Ok(())
}

fn take_down(instance: Instance) -> Result<()> {
    // What learns addresses goes before what shows them.
    for (name, _) in PROGRAMS.iter().rev() {
        cgroup_links::detach(&instance.directory().join(name))
            .map_err(|e| Error::system(format!("detach program {name}"), e))?;
    }
    instance.remove()
}
