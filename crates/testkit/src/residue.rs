//! What tests, demo or a director left behind on this machine.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

use rvs_netlink::NETNS_DIR;

/// Deepest folder below `<bpffs>/rvs` that is looked into: instance, then maps or links.
const PIN_DEPTH_MAX: u32 = 4;

/// Things of rvs that exist now, whoever made them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Residue {
    /// Names of network namespaces `rvs-*`.
    pub namespaces: Vec<String>,
    /// Pinned maps, programs and links below `rvs/` of every mounted BPF file system.
    pub pins: Vec<PathBuf>,
    /// Control groups `rvs-*` directly below the root of the cgroup v2 tree.
    pub cgroups: Vec<PathBuf>,
    /// Processes named `rvs` other than the calling one: id and command line.
    pub processes: Vec<(u32, String)>,
}

impl Residue {
    /// Looks at the whole machine.
    #[must_use]
    pub fn scan() -> Self {
        let mut residue =
            Self { namespaces: namespaces(), pins: Vec::new(), cgroups: cgroups(), processes: processes() };
        for mount in mounts("bpf") {
            collect_pins(&mount.join("rvs"), 0, &mut residue.pins);
        }
        residue.pins.sort();
        residue
    }

    /// Namespaces of the clusters that process `pid` built, told by their names; for a check that is to hold while other
    /// processes use clusters of theirs.
    #[must_use]
    pub fn namespaces_of(pid: u32) -> Vec<String> {
        let prefix = format!("rvs-{pid}-");
        namespaces().into_iter().filter(|name| name.starts_with(&prefix)).collect()
    }

    /// Nothing was left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.namespaces.is_empty()
            && self.pins.is_empty()
            && self.cgroups.is_empty()
            && self.processes.is_empty()
    }
}

impl fmt::Display for Residue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing left behind");
        }
        let namespaces = self.namespaces.iter().map(|name| format!("network namespace {name}"));
        let pins = self.pins.iter().map(|path| format!("pin {}", path.display()));
        let cgroups = self.cgroups.iter().map(|path| format!("cgroup {}", path.display()));
        let processes = self.processes.iter().map(|(pid, command)| format!("process {pid}: {command}"));
        let lines: Vec<String> = namespaces.chain(pins).chain(cgroups).chain(processes).collect();
        f.write_str(&lines.join("\n"))
    }
}

/// Names in a folder; none if it can't be read, as when it does not exist.
fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn namespaces() -> Vec<String> {
    names(NETNS_DIR).into_iter().filter(|name| name.starts_with("rvs-")).collect()
}

fn cgroups() -> Vec<PathBuf> {
    let mut groups: Vec<PathBuf> = mounts("cgroup2")
        .iter()
        .flat_map(|mount| names(mount).into_iter().map(|name| mount.join(name)))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("rvs-")))
        .collect();
    groups.sort();
    groups
}

/// Where file systems of a kind are mounted.
pub(crate) fn mounts(wanted: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (path, kind) = (fields.next()?, fields.next()?);
            (kind == wanted).then(|| PathBuf::from(path))
        })
        .collect()
}

fn collect_pins(folder: &Path, depth: u32, pins: &mut Vec<PathBuf>) {
    for name in names(folder) {
        let path = folder.join(name);
        if path.is_dir() && depth < PIN_DEPTH_MAX {
            collect_pins(&path, depth + 1, pins);
        } else {
            pins.push(path);
        }
    }
}

fn processes() -> Vec<(u32, String)> {
    let ids = names("/proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    ids.filter(|pid| *pid != process::id())
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == "rvs")
        })
        .map(|pid| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&command).trim_end_matches('\0').replace('\0', " "))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_lists_each_thing() {
        assert_eq!(Residue::default().to_string(), "nothing left behind");
        let residue = Residue {
            namespaces: vec!["rvs-1-0-client".to_owned()],
            pins: vec![PathBuf::from("/sys/fs/bpf/rvs/a/CONNS")],
            cgroups: vec![PathBuf::from("/sys/fs/cgroup/rvs-1-0")],
            processes: vec![(7, "rvs director".to_owned())],
        };
        let text = "network namespace rvs-1-0-client\npin /sys/fs/bpf/rvs/a/CONNS\ncgroup /sys/fs/cgroup/rvs-1-0\nprocess \
                    7: rvs director";
        assert_eq!(residue.to_string(), text);
        assert!(!residue.is_empty());
    }
}
