//! IPv6, SCTP and the kinds of tunnels with a real director: through its socket, in the kernel's maps, and back.

use std::net::IpAddr;

use nix::sys::signal::Signal;
use rvs_netlink::Route;
use rvs_testkit::wait_until;
use serde_json::json;

use crate::support::{Director, LIMIT, SMALL, namespace};

/// In the order of `-S`.
const RULES: &str = "\
-A -t 203.0.113.1:80 -s rr
-a -t 203.0.113.1:80 -r 10.0.0.2:80 -i -w 1 --tun-type gue --tun-port 5555 --tun-nocsum
-a -t 203.0.113.1:80 -r 10.0.0.3:80 -i -w 2 --tun-type gue --tun-port 6080 --tun-remcsum
-a -t 203.0.113.1:80 -r 10.0.0.4:80 -i -w 1 --tun-type gre --tun-csum
-a -t 203.0.113.1:80 -r [2001:db8:9::2]:80 -i -w 1 --tun-type ipip
-A --sctp-service 203.0.113.1:3868 -s wlc
-a --sctp-service 203.0.113.1:3868 -r 10.0.0.2:3868 -m -w 1
-A -t [2001:db8::1]:80 -s sh
-a -t [2001:db8::1]:80 -r 10.0.0.2:80 -i -w 1 --tun-type gre --tun-nocsum
-a -t [2001:db8::1]:80 -r [2001:db8:9::2]:8080 -m -w 1
-a -t [2001:db8::1]:80 -r [2001:db8:9::3]:80 -g -w 1
";

#[test]
fn what_was_restored_is_saved_also_by_the_next_director() {
    let netns = namespace();
    let mut director = Director::start(&netns, &SMALL);
    director.ipvsadm_reading(&["-R"], RULES).success();
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), RULES);
    let tunnels = director.ipvsadm(&["-Ln", "--tun-info"]).success();
    assert!(tunnels.contains("\n  -> 10.0.0.3:80                  Tunnel  gue:6080:r+c  2 "), "{tunnels}");

    // A change of one tunnel and of one family, and another director.
    director.ipvsadm(&["-e", "-t", "203.0.113.1:80", "-r", "10.0.0.2", "-i", "--tun-type", "gre"]).success();
    director.ipvsadm(&["-D", "-t", "[2001:db8::1]:80"]).success();
    let expected = RULES.replace("gue --tun-port 5555", "gre");
    let expected = &expected[..expected.find("-A -t [").unwrap()];
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), expected);
    director.end(Signal::SIGKILL);
    director.start_again();
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), expected);
}

#[test]
fn the_other_listings_know_them_too() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    director.ipvsadm_reading(&["-R"], RULES).success();
    let text = director.rvs(&["services"]).success();
    for line in [
        "203.0.113.1:3868/sctp ",
        "[2001:db8::1]:80/tcp ",
        "  [2001:db8:9::3]:80 ",
        "  10.0.0.3:80           gue 6080 remcsum ",
    ] {
        assert!(text.lines().any(|found| found.starts_with(line)), "{line:?}\n{text}");
    }
    let listing = director.json(&["services"]);
    let services = listing["services"].as_array().unwrap();
    let dests = services.iter().flat_map(|service| service["destinations"].as_array().unwrap());
    let gue = dests.clone().find(|dest| dest["address"] == "10.0.0.3").unwrap();
    assert_eq!(gue["tunnel"], json!({"type": "gue", "port": 6080, "checksum": "remcsum"}));
    assert!(dests.clone().any(|dest| dest["address"] == "2001:db8:9::2" && dest["method"] == "tunnel"));
}

/// An IPv6 destination behind a router that is known by its link-local address; another has no route.
#[test]
fn routes_to_ipv6_destinations_are_asked_for() {
    let netns = namespace();
    let mut netlink = netns.netlink().unwrap();
    netlink.create_veth("v0", "v1", &netns).unwrap();
    let link = netlink.link("v0").unwrap().index;
    for name in ["v0", "v1"] {
        let index = netlink.link(name).unwrap().index;
        netlink.set_up(index).unwrap();
    }
    netlink.add_address(link, "2001:db8:2::1/64".parse().unwrap()).unwrap();
    let network = Route::to("2001:db8:9::/64".parse().unwrap());
    let router: IpAddr = "fe80::99".parse().unwrap();
    netlink.add_route(&network.via(router).dev(link)).unwrap();
    let director = Director::start(&netns, &SMALL);
    let rules = "\
-A -t [2001:db8::1]:80 -s rr
-a -t [2001:db8::1]:80 -r [2001:db8:9::2]:80 -i
-a -t [2001:db8::1]:80 -r [2001:db8:a::2]:80 -m
";
    director.ipvsadm_reading(&["-R"], rules).success();
    director.wait_for_log("destination 2001:db8:a::2: no route (unreachable)");
    let warnings = director.json(&["status"])["warnings"].to_string();
    assert!(warnings.contains("destinations without a route: 2001:db8:a::2 (unreachable)"), "{warnings}");
    assert!(!warnings.contains("2001:db8:9::2"), "{warnings}");
    // The router is looked for on the link.
    let is_asked_for = || {
        let neighbours = netns.netlink().unwrap().neighbours().unwrap();
        neighbours.iter().any(|neighbour| (neighbour.ifindex, neighbour.address) == (link, router))
    };
    wait_until("the router is looked for", LIMIT, is_asked_for).unwrap();
}
