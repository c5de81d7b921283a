//! Where the programs are put, and what the director says about it.

use rvs_testkit::{Cluster, wait_until};

use crate::daemon::Daemon;
use crate::stage::{LIMIT, start_daemon};

/// Attachment and reason of each interface.
fn attached(args: &[&str]) -> Vec<(String, String, String)> {
    let cluster = Cluster::switched(1).build().unwrap();
    let daemon = start_daemon(&cluster, args);
    let status = daemon.status();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let interfaces = status["interfaces"].as_array().unwrap();
    interfaces.iter().map(|i| (text(&i["name"]), text(&i["attach"]), text(&i["reason"]))).collect()
}

#[test]
fn auto_takes_tc_on_virtual_interfaces_and_says_why() {
    let interfaces = attached(&[]);
    assert_eq!(interfaces.len(), 2);
    for ((name, attach, reason), expected) in interfaces.iter().zip(["to-client", "to-servers"]) {
        assert_eq!((name.as_str(), attach.as_str()), (expected, "tc"));
        assert!(reason.contains("veth"), "{reason}");
    }
}

#[test]
fn what_is_asked_for_is_taken() {
    for mode in ["xdp", "xdp-generic", "tc"] {
        let interfaces = attached(&["--attach", mode]);
        assert_eq!(interfaces.len(), 2);
        for (name, attach, reason) in interfaces {
            assert_eq!(attach, mode, "{name}: {reason}");
        }
    }
}

#[test]
fn only_named_interfaces_are_attached() {
    let interfaces = attached(&["--interface", "to-client", "--attach", "tc"]);
    let names: Vec<&str> = interfaces.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["to-client"]);
}

fn places(daemon: &Daemon) -> Vec<String> {
    let status = daemon.status();
    let interfaces = status["interfaces"].as_array().unwrap();
    interfaces.iter().map(|interface| interface["attach"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn an_interface_that_another_had_is_attached_once_it_is_free() {
    let mut cluster = Cluster::switched(1).build().unwrap();
    let first = start_daemon(&cluster, &["--attach", "xdp"]);
    let second = start_daemon(&cluster, &["--attach", "xdp"]);
    assert_eq!(
        (places(&first), places(&second)),
        (["xdp"; 2].map(str::to_owned).to_vec(), ["none"; 2].map(str::to_owned).to_vec())
    );
    drop(first);
    // The kernel tells of changes of links, not of places that are free.
    let index = cluster.director().interfaces()[0].index;
    let netlink = cluster.director_mut().netlink();
    netlink.set_down(index).unwrap();
    netlink.set_up(index).unwrap();
    wait_until("the place is taken", LIMIT, || places(&second) == ["xdp"; 2]).unwrap();
}
