//! Real servers whose answers go past the director: their listeners announce no larger TCP segments than they are told.
//!
//! A program on a cgroup sets the option `TCP_MAXSEG` of sockets that begin to listen; those that listen already are told from
//! outside. Program and sizes are pinned: they stay when the process ends, in whatever way, and the next one adopts them.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::{HashMap, MapError};
use aya::programs::SockOps;
use aya::{Ebpf, EbpfLoader};
use rvs_abi::{Addr, ListenerKey, SEGMENT_SIZES, limits};

use crate::bpf::{self, AttachType};
use crate::cgroup::Cgroup;
use crate::cgroup_links;
use crate::error::{Error, Result};
use crate::instance::{Instance, Place};
use crate::listeners;
use crate::programs;

pub use crate::listeners::Listeners;

/// The object as `cargo xtask ebpf` made it.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../programs/segment-size.bpf.o");

/// The part of an instance's directory that says what it is for.
const ROLE: &str = "segment-size";
const PROGRAM: &str = "rvs_segment_ops";
/// The kernel's number for a hash table.
const HASH: u32 = 1;

/// What to attach, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name that tells several on one machine apart: letters, digits, `-` and `_`.
    pub instance: String,
    /// The BPF file system, as [`crate::Options::bpffs`].
    pub bpffs: Option<PathBuf>,
    /// Directory of the cgroup whose listeners are meant, with all cgroups below. `None`: the root, all of the machine.
    pub cgroup: Option<PathBuf>,
    /// TCP maximum segment size, in bytes.
    pub mss: u16,
    /// Only listeners that clients reach at these; port 0: at any. Empty: all.
    pub addresses: Vec<SocketAddr>,
}

impl Options {
    fn place(&self) -> Place<'_> {
        Place { name: &self.instance, role: Some(ROLE), bpffs: self.bpffs.as_deref() }
    }

    /// Where such listeners listen: at the address itself, or at all of the host's.
    fn keys(&self) -> BTreeSet<Words> {
        if self.addresses.is_empty() {
            return BTreeSet::from([words(ListenerKey::ALL)]);
        }
        let keys = |address: &SocketAddr| {
            let all_v4 = address.is_ipv4().then_some(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            let (own, all, port) = (address.ip(), IpAddr::V6(Ipv6Addr::UNSPECIFIED), address.port());
            let key = move |address| words(ListenerKey::new(Addr::from_ip(address), port.into()));
            [Some(own), Some(all), all_v4].into_iter().flatten().map(key)
        };
        self.addresses.iter().flat_map(keys).collect()
    }
}

/// The program at work. Nothing of it ends with this value.
#[derive(Debug)]
pub struct Attached {
    instance: Instance,
    cgroup: Cgroup,
    listeners: Listeners,
    adopted: bool,
}

/// Attaches the program to a cgroup. If an earlier process left one, this takes its place between two events, and the sizes
/// are now those given here.
///
/// # Errors
/// When another process has the instance open, there is no such cgroup, there are too many addresses, or the kernel refuses.
pub fn attach(options: &Options) -> Result<Attached> {
    let keys = options.keys();
    if keys.len() > limits::LISTENER_KEYS_MAX as usize {
        let max = limits::LISTENER_KEYS_MAX / KEYS_OF_ADDRESS;
        return Err(Error::TooManyAddresses { count: options.addresses.len(), max });
    }
    let cgroup = Cgroup::open(options.cgroup.as_deref())?;
    let instance = Instance::open_or_create(&options.place())?;
    let adopted = check_map(&instance)?;
    let attached = load(&instance, &cgroup, &keys, options.mss);
    // After the program: it sees to the listeners that come from now on.
    match attached.and_then(|()| listeners::bound_segments(&cgroup, &keys, options.mss)) {
        Ok(listeners) => Ok(Attached { instance, cgroup, listeners, adopted }),
        Err(e) => {
            if !adopted {
                // Nothing is to be left of a first start that fails.
                take_down(instance)?;
            }
            Err(e)
        }
    }
}

/// A key as the kernel compares it.
pub(crate) type Words = [u32; 6];

pub(crate) fn words(key: ListenerKey) -> Words {
    zerocopy::transmute!(key)
}

/// Keys that an address comes to, at most.
const KEYS_OF_ADDRESS: u32 = 3;

/// Takes the program off and removes every pin. Tells whether there was such an instance.
///
/// # Errors
/// When another process has the instance open, or the kernel refuses.
pub fn remove(options: &Options) -> Result<bool> {
    let Some(instance) = Instance::open(&options.place())? else { return Ok(false) };
    take_down(instance).map(|()| true)
}

impl Attached {
    /// Whether an earlier process's program was adopted.
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

    /// Takes the program off and removes every pin.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(self) -> Result<()> {
        take_down(self.instance)
    }
}

/// Whether the map is pinned; fails if it is not this version's.
fn check_map(instance: &Instance) -> Result<bool> {
    let map = match bpf::get(&instance.directory().join(SEGMENT_SIZES)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        result => result.map_err(|e| Error::system(format!("open map {SEGMENT_SIZES}"), e))?,
    };
    let info =
        bpf::map_info(map.as_fd()).map_err(|e| Error::system(format!("look at map {SEGMENT_SIZES}"), e))?;
    let sizes = (info.key_size as usize, info.value_size as usize);
    if info.map_type != HASH || sizes != (size_of::<ListenerKey>(), size_of::<u32>()) {
        return Err(Error::Outdated { pin: instance.shown().join(SEGMENT_SIZES) });
    }
    Ok(true)
}

/// Loads the program over the map that is pinned, or makes and pins it, and attaches it.
fn load(instance: &Instance, cgroup: &Cgroup, keys: &BTreeSet<Words>, mss: u16) -> Result<()> {
    let mut loader = EbpfLoader::new();
    // Nothing in the object is relocated against the kernel's own types.
    loader.btf(None);
    let pin = instance.directory().join(SEGMENT_SIZES);
    loader.map_pin_path(SEGMENT_SIZES, pin.as_path());
    let mut ebpf = loader.load(OBJECT).map_err(|e| programs::refused_maps(&e))?;
    set_sizes(&mut ebpf, keys, mss)
        .map_err(|e| Error::system("write the sizes of listeners", io::Error::other(e)))?;
    programs::load_of(&mut ebpf, PROGRAM).map_err(|e| programs::refusal(PROGRAM, e))?;
    let program = ebpf.program(PROGRAM).ok_or_else(|| programs::missing(PROGRAM))?;
    let program = <&SockOps>::try_from(program).and_then(SockOps::fd);
    let program = program.map_err(|e| programs::refusal(PROGRAM, e))?;
    let refused = |e: io::Error| Error::Cgroup {
        path: cgroup.path().to_path_buf(),
        reason: format!("can't attach {PROGRAM}: {e}"),
    };
    cgroup_links::put(instance, cgroup, PROGRAM, program.as_fd(), AttachType::CgroupSockOps).map_err(refused)
}

/// Makes the sizes those given.
fn set_sizes(ebpf: &mut Ebpf, keys: &BTreeSet<Words>, mss: u16) -> Result<(), MapError> {
    let map = ebpf.map_mut(SEGMENT_SIZES).ok_or(MapError::ElementNotFound)?;
    let mut map = HashMap::<_, Words, u32>::try_from(map)?;
    let present = map.keys().collect::<Result<BTreeSet<_>, MapError>>()?;
    for gone in present.difference(keys) {
        map.remove(gone)?;
    }
    keys.iter().try_for_each(|key| map.insert(key, u32::from(mss), 0))
}

fn take_down(instance: Instance) -> Result<()> {
    cgroup_links::detach(&instance.directory().join(PROGRAM))
        .map_err(|e| Error::system(format!("detach program {PROGRAM}"), e))?;
    instance.remove()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use super::*;

    #[test]
    fn listeners_of_an_address_are_those_of_all_addresses_too() {
        let options = |addresses: &[&str]| Options {
            instance: "test".to_owned(),
            bpffs: None,
            cgroup: None,
            mss: 1360,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        };
        let key =
            |address: &str, port| words(ListenerKey::new(Addr::from_ip(address.parse().unwrap()), port));
        let keys = |addresses: &[&str]| options(addresses).keys();
        assert_eq!(keys(&[]), BTreeSet::from([words(ListenerKey::ALL)]));
        let v4 = [key("192.0.2.20", 80), key("0.0.0.0", 80), key("::", 80)];
        assert_eq!(keys(&["192.0.2.20:80"]), BTreeSet::from(v4));
        let v6 = [key("2001:db8::20", 0), key("::", 0)];
        assert_eq!(keys(&["[2001:db8::20]:0"]), BTreeSet::from(v6));
        assert_eq!(keys(&["192.0.2.20:80", "192.0.2.21:80"]).len(), 4);
    }
}
