//! What a test stands on, and what it leaves nothing of.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rvs_abi::map::Region;
use rvs_dataplane::{Kernel, Options, TcHook};
use rvs_model::Memory;
use rvs_netlink::{Netns, Prefix};

/// Addresses of the two ends.
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
pub(crate) const DIRECTOR: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// A client and a director, each in its own network namespace, with a veth between them: `c0` and `d0`. No
/// packet goes over it but those that a test sends: there is no IPv6, and neighbours are entered by hand.
pub(crate) struct Stage {
    pub(crate) client: Netns,
    pub(crate) director: Netns,
    /// Number of the director's interface.
    pub(crate) d0: u32,
    bpffs: PathBuf,
}

impl Stage {
    pub(crate) fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let bpffs = std::env::temp_dir().join(format!("rvs-dataplane-{}-{number}", std::process::id()));
        let [client, director] = ["dpc", "dpd"].map(|prefix| Netns::create_unique(prefix).unwrap());
        for netns in [&client, &director] {
            netns.sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
        }
        let (mut at_client, mut at_director) = (client.netlink().unwrap(), director.netlink().unwrap());
        at_director.create_veth("d0", "c0", &client).unwrap();
        let (c0, d0) = (at_client.link("c0").unwrap(), at_director.link("d0").unwrap());
        at_client.add_address(c0.index, Prefix::new(CLIENT, 24).unwrap()).unwrap();
        at_director.add_address(d0.index, Prefix::new(DIRECTOR, 24).unwrap()).unwrap();
        at_client.set_up(c0.index).unwrap();
        at_director.set_up(d0.index).unwrap();
        at_client.add_neighbour(c0.index, DIRECTOR.into(), d0.mac.unwrap()).unwrap();
        at_director.add_neighbour(d0.index, CLIENT.into(), c0.mac.unwrap()).unwrap();
        Self { client, director, d0: d0.index, bpffs }
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new("test").unwrap();
        options.bpffs = Some(self.bpffs.clone());
        options.capacity.services = 16;
        options.capacity.dests = 32;
        options.capacity.conns = 1000;
        options
    }

    pub(crate) fn clsact(&self) -> Options {
        Options { tc: TcHook::Clsact, ..self.options() }
    }

    /// Directory of the pins.
    pub(crate) fn directory(&self) -> PathBuf {
        self.bpffs.join("rvs/test")
    }

    /// Names of the links' pins.
    pub(crate) fn links(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory().join("links")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Opens the data plane, and works on it in the director's namespace.
    pub(crate) fn with_kernel<T: Send>(&self, work: impl FnOnce(&mut Kernel) -> T + Send) -> T {
        let options = self.options();
        self.director.enter(|| work(&mut Kernel::open(&options).unwrap())).unwrap()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Not mounted if the test never opened a kernel.
        nix::mount::umount(&self.bpffs).ok();
        fs::remove_dir(&self.bpffs).ok();
    }
}

/// How many packets the programs have counted.
pub(crate) fn counted(memory: &impl Memory) -> u64 {
    memory.region(Region::Counters).iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
}
