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

/// What is there at one moment.
pub(crate) struct Residue(BTreeSet<PathBuf>);

impl Residue {
    pub(crate) fn now() -> Self {
        let entries = FOLDERS.iter().filter_map(|folder| fs::read_dir(Path::new(folder)).ok());
        Self(entries.flatten().flatten().map(|entry| entry.path()).collect())
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
