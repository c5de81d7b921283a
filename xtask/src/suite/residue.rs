//! What tests may not leave behind: network namespaces, links, pinned BPF objects, control groups.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::count::Count;

/// Folders in which something left behind would show up.
const FOLDERS: &[&str] = &[
    "/run/netns",
    "/var/run/netns",
    "/sys/class/net",
    "/sys/fs/bpf",
    "/sys/fs/bpf/rvs",
    "/sys/fs/cgroup",
    "/sys/fs/cgroup/unified",
];

/// What the kernel puts into a BPF file system when it is mounted, which `setup` does.
const OF_THE_KERNEL: &[&str] = &["/sys/fs/bpf/maps.debug", "/sys/fs/bpf/progs.debug"];

/// What is there at one moment.
pub(crate) struct Residue(BTreeSet<PathBuf>);

impl Residue {
    pub(crate) fn now() -> Self {
        let entries = FOLDERS.iter().filter_map(|folder| fs::read_dir(Path::new(folder)).ok());
        let paths = entries.flatten().flatten().map(|entry| entry.path());
        Self(paths.filter(|path| !OF_THE_KERNEL.iter().any(|own| path == Path::new(own))).collect())
    }

    /// Names what has come since, and fails if anything has.
    pub(crate) fn compare(&self) -> Count {
        let now = Self::now();
        let left: Vec<_> = now.0.difference(&self.0).collect();
        for path in &left {
            println!("left behind by the tests: {}", path.display());
        }
        if left.is_empty() { Count::PASSED } else { Count::FAILED }
    }
}
