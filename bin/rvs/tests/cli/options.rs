//! Options of services that IPVS lacks, `--mss` and `--client-address`, through every door and a crash.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Director, namespace};

const SAVED: &str = "\
-A -t 203.0.113.1:80 -s rr --mss 1360
-a -t 203.0.113.1:80 -r 10.0.0.2:80 -i -w 1 --tun-type ipip
-A -t 203.0.113.1:443 -s wlc --client-address none
-A -f 7 -s rr --mss 536 --client-address none
";

const LISTED: &str = "\
IP Virtual Server version 1.2.1 (size=";

#[test]
fn options_are_kept_shown_and_read_back() {
    let netns = namespace();
    let mut director = Director::start(&netns, &[]);
    director.ipvsadm_reading(&["-R"], SAVED).success();
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), SAVED);
    // Listings are exactly ipvsadm's.
    let listed = director.ipvsadm(&["-Ln"]).success();
    assert!(listed.starts_with(LISTED) && listed.contains("\nTCP  203.0.113.1:80 rr\n"), "{listed}");
    assert!(!listed.contains("mss") && !listed.contains("none"), "{listed}");
    let shown = director.rvs(&["services"]).success();
    for line in ["203.0.113.1:80/tcp   rr, mss 1360 ", "203.0.113.1:443/tcp  wlc, client address none "] {
        assert!(shown.contains(line), "{shown}");
    }
    let options = |director: &Director<'_>| {
        let listing = director.json(&["services"]);
        let services = listing["services"].as_array().unwrap().clone();
        services.iter().map(|service| json!([service["mss"], service["client_address"]])).collect::<Vec<_>>()
    };
    let expected = [json!([1360, "option"]), json!([0, "none"]), json!([536, "none"])];
    let mut found = options(&director);
    found.sort_by_key(ToString::to_string);
    let mut sorted = expected.to_vec();
    sorted.sort_by_key(ToString::to_string);
    assert_eq!(found, sorted);
    director.end(Signal::SIGKILL);
    director.start_again();
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), SAVED);
    // An edit says all of them anew.
    director.ipvsadm(&["-E", "-t", "203.0.113.1:80", "-s", "rr"]).success();
    assert!(director.ipvsadm(&["-Sn"]).success().starts_with("-A -t 203.0.113.1:80 -s rr\n"));
}

#[test]
fn refused_options_are_one_clear_line() {
    let netns = namespace();
    let director = Director::start(&netns, &[]);
    let cases = [
        ("-t 203.0.113.1:80 --mss 100", 2, "invalid mss value `100' specified: expected 536 to 65495, or 0"),
        ("-u 203.0.113.1:80 --mss 600", 2, "A maximum segment size is only for TCP virtual services"),
        (
            "-t 203.0.113.1:80 --client-address toa",
            2,
            "invalid client-address value `toa' specified: expected option, none or proxy",
        ),
    ];
    for (options, status, text) in cases {
        let args: Vec<&str> = ["-A"].into_iter().chain(options.split(' ')).collect();
        assert_eq!(director.ipvsadm(&args).failure(status).trim_end(), text, "{options}");
    }
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), "");
}
