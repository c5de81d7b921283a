//! Control groups: programs are in them from their first instruction, and end with them.

use std::fs;
use std::time::Duration;

use rvs_testkit::{Cgroup, Residue, wait_until};

#[test]
fn programs_in_a_cgroup_end_with_it_and_nothing_is_left() {
    let cgroup = Cgroup::create().unwrap();
    let path = cgroup.path().to_owned();
    let mut child = cgroup.command("sleep").arg("600").spawn().unwrap();
    let pid = child.id().to_string();
    let is_in = || fs::read_to_string(path.join("cgroup.procs")).unwrap().lines().any(|line| line == pid);
    let entered = wait_until("the program is in the cgroup", Duration::from_secs(10), is_in);
    let residue = Residue::scan();
    drop(cgroup);
    // Killed by a signal, not by its own will.
    assert_eq!(child.wait().unwrap().code(), None);
    entered.unwrap();
    assert!(residue.cgroups.contains(&path), "{residue}");
    assert!(residue.to_string().contains(&format!("cgroup {}", path.display())));
    assert!(!path.exists());
    assert!(!Residue::scan().cgroups.contains(&path));
}
