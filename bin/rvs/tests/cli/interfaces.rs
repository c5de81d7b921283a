//! Which interfaces a director takes, and how it follows them.

use rvs_netlink::Netns;
use rvs_testkit::wait_until;
use serde_json::{Value, json};

use crate::support::{Director, LIMIT, Ran, SMALL, namespace};

/// Name, place and reason of each interface.
fn interfaces(director: &Director<'_>) -> Vec<(String, String, String)> {
    let status = director.json(&["status"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = status["interfaces"].as_array().unwrap().iter();
    list.map(|i| (text(&i["name"]), text(&i["attach"]), text(&i["reason"]))).collect()
}

fn names(director: &Director<'_>) -> Vec<String> {
    interfaces(director).into_iter().map(|(name, _, _)| name).collect()
}

#[track_caller]
fn wait_for_names(director: &Director<'_>, expected: &[&str]) {
    let what = format!("interfaces {expected:?}");
    wait_until(&what, LIMIT, || names(director) == expected)
        .unwrap_or_else(|e| panic!("{e}:\n{}", director.log()));
}

fn with_veth(name: &str, peer: &str) -> Netns {
    let netns = namespace();
    netns.netlink().unwrap().create_veth(name, peer, &netns).unwrap();
    netns
}

#[test]
fn all_but_loopback_are_attached_and_it_says_why() {
    let netns = with_veth("v0", "v1");
    let director = Director::start(&netns, &SMALL);
    let why = "veth without a driver of its own: TC keeps segmentation and checksum offload";
    let row = |name: &str| (name.to_owned(), "tc".to_owned(), why.to_owned());
    assert_eq!(interfaces(&director), [row("v0"), row("v1")]);
    let line = format!("rvs director: interface v0: attached to tc: {why}\n");
    assert!(director.log().contains(&line), "{}", director.log());
    let shown = director.rvs(&["status"]).success();
    assert!(shown.contains(&format!("\nv1         tc        {why}\n")), "{shown}");
}

#[test]
fn interfaces_are_attached_as_they_appear_and_forgotten_as_they_go() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    assert_eq!(names(&director), [""; 0]);
    let mut netlink = netns.netlink().unwrap();
    netlink.create_veth("v0", "v1", &netns).unwrap();
    wait_for_names(&director, &["v0", "v1"]);
    assert_eq!(director.links().len(), Director::links_of(2, 1));

    // Moved to another namespace: gone from here, and with it its attachment.
    let elsewhere = namespace();
    netlink.create_veth("w0", "w1", &elsewhere).unwrap();
    wait_for_names(&director, &["v0", "v1", "w0"]);
    let index = netlink.link("v0").unwrap().index;
    netlink.delete_link(index).unwrap();
    wait_for_names(&director, &["w0"]);
    wait_until("the pins are removed", LIMIT, || director.links().len() == Director::links_of(1, 1)).unwrap();
    director.wait_for_log("interface v0: gone");
}

#[test]
fn another_name_is_followed_and_logged() {
    let netns = with_veth("v0", "v1");
    let director = Director::start(&netns, &SMALL);
    let mut netlink = netns.netlink().unwrap();
    let index = netlink.link("v0").unwrap().index;
    netlink.rename(index, "uplink0").unwrap();
    wait_for_names(&director, &["uplink0", "v1"]);
    let line = "rvs director: interface v0: its name is uplink0 now\n";
    assert_eq!(director.log().matches(line).count(), 1, "{}", director.log());
}

#[test]
fn named_interfaces_only() {
    let netns = with_veth("v0", "v1");
    let mut director = Director::start(&netns, &[&SMALL[..], &["--interface", "v1"]].concat());
    assert_eq!(names(&director), ["v1"]);
    netns.netlink().unwrap().create_veth("w0", "w1", &netns).unwrap();

    // What a later start doesn't want is taken off.
    director.end(nix::sys::signal::Signal::SIGTERM);
    director.set_args(&[&SMALL[..], &["--interface", "w0", "--interface", "v0"]].concat());
    director.start_again();
    assert_eq!(names(&director), ["v0", "w0"]);
    assert_eq!(director.links().len(), Director::links_of(2, 1));
    assert!(
        director.log().contains("interface v1: detached: it is not wanted any more"),
        "{}",
        director.log()
    );
}

#[test]
fn a_named_interface_comes_back() {
    let netns = with_veth("v0", "v1");
    let director = Director::start(&netns, &[&SMALL[..], &["--interface", "v0"]].concat());
    let mut netlink = netns.netlink().unwrap();
    let index = netlink.link("v0").unwrap().index;
    netlink.delete_link(index).unwrap();
    wait_for_names(&director, &[]);
    let warnings = director.json(&["status"])["warnings"].clone();
    assert_eq!(warnings, json!(["no interface is attached: no packet is balanced"]));
    netlink.create_veth("v0", "v1", &netns).unwrap();
    wait_for_names(&director, &["v0"]);
}

#[test]
fn an_interface_that_does_not_exist_is_named_and_nothing_is_left() {
    let netns = namespace();
    let director = Director::new(&netns, &[&SMALL[..], &["--interface", "none0"]].concat());
    let message = Ran::of(netns.output(&mut director.command()).unwrap()).failure(1);
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines, ["rvs: interface none0: no such interface in this network namespace"]);
    let nothing = format!("instance {}: nothing to take down", director.instance());
    let said = director.stop().success();
    assert!(said.starts_with(&nothing), "{said}");
}

#[test]
fn places_that_are_asked_for() {
    let netns = with_veth("v0", "v1");
    for (mode, kinds) in [("xdp-generic", 2), ("tc", 1), ("xdp", 2)] {
        let director =
            Director::start(&netns, &[&SMALL[..], &["--interface", "v0", "--attach", mode]].concat());
        let expected = ("v0".to_owned(), mode.to_owned(), "as configured".to_owned());
        assert_eq!(interfaces(&director), [expected]);
        assert_eq!(director.links().len(), Director::links_of(1, kinds), "{mode}: {:?}", director.links());
    }
}
