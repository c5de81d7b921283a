//! What `residue.rs` does on a real kernel.

use rvs_netlink::Netns;
use rvs_testkit::Residue;

#[test]
fn namespaces_are_found_while_they_exist() {
    let netns = Netns::create_unique("rvs-residue").unwrap();
    let name = netns.name().to_owned();
    let residue = Residue::scan();
    assert!(residue.namespaces.contains(&name));
    assert!(residue.to_string().contains(&format!("network namespace {name}")));
    drop(netns);
    assert!(!Residue::scan().namespaces.contains(&name));
}
