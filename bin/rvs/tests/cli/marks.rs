//! Services by mark and the rules that give marks: the page about them, crashes, refusals.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Director, namespace, rvs};

const PAGE: &str = include_str!("../../../../docs/marks.md");

/// The page's commands, as words.
fn commands() -> Vec<Vec<&'static str>> {
    let (_, block) = PAGE.split_once("```sh\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let line =
        |line: &'static str| line.split(" #").next().unwrap_or(line).split_whitespace().skip(1).collect();
    block.lines().map(line).collect()
}

const TABLE: &str = "\
Number  Mark  Source  Destination      Protocol  Source ports  Ports
     1     7  any     203.0.113.10/32  tcp       any           80
     2     7  any     203.0.113.10/32  tcp       any           443
";

#[test]
fn the_page_is_right_about_its_commands() {
    let netns = namespace();
    let director = Director::start(&netns, &[]);
    let shown: Vec<String> = commands().iter().map(|command| director.rvs(command).success()).collect();
    assert_eq!(shown[2], TABLE);
    assert!(shown.iter().enumerate().all(|(at, text)| at == 2 || text.is_empty()), "{shown:?}");
    assert_eq!(director.rvs(&["marks"]).success(), "no rules\n");
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), "-A -f 7 -s rr\n-a -f 7 -r 10.0.0.11:0 -m -w 1\n");
}

#[test]
fn rules_and_services_survive_a_crash() {
    let netns = namespace();
    let mut director = Director::start(&netns, &[]);
    for command in &commands()[..5] {
        director.rvs(command).success();
    }
    director.ipvsadm(&["-A", "-f", "7", "-6", "-s", "wlc"]).success();
    let (saved, services) = (director.ipvsadm(&["-Sn"]).success(), director.json(&["services"]));
    director.end(Signal::SIGKILL);
    director.start_again();
    assert_eq!(director.rvs(&["marks"]).success(), TABLE);
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), saved);
    assert_eq!(director.json(&["services"])["services"], services["services"]);
    let key = |family: &str| json!({"mark": 7, "family": family});
    let keys: Vec<_> = services["services"].as_array().unwrap().iter().map(|listed| &listed["key"]).collect();
    assert_eq!(keys, [&key("ipv4"), &key("ipv6")]);
    // `-C` is about services.
    director.ipvsadm(&["-C"]).success();
    assert_eq!(director.rvs(&["marks"]).success(), TABLE);
}

#[test]
fn refusals_are_one_clear_line() {
    let netns = namespace();
    let director = Director::start(&netns, &[]);
    for (args, status, line) in [
        (&["delete", "1"][..], 1, "rvs: mark rule number 1: there are no rules\n"),
        (&["add", "7", "--all", "--number", "3"], 1, "rvs: mark rule number 3: expected 1 to 1\n"),
        (
            &["add", "7", "--source", "10.0.0.0/8", "--destination", "2001:db8::/32"],
            1,
            "rvs: mark rule: 10.0.0.0/8 to 2001:db8::/32: expected two of one address family\n",
        ),
        (&["add", "0"], 2, "rvs: invalid value '0' for '<MARK>': 0 is not in 1..=4294967295\n"),
        (
            &["add", "7"],
            2,
            "rvs: the following required arguments were not provided: <--source <ADDRESS[/BITS]>|--destination \
             <ADDRESS[/BITS]>|--protocol <PROTOCOL>|--source-ports <FIRST[-LAST]>|--ports <FIRST[-LAST]>|--all> (see 'rvs \
             marks add --help')\n",
        ),
        (
            &["add", "7", "--all", "--ports", "80"],
            2,
            "rvs: the argument '--all' cannot be used with '--ports <FIRST[-LAST]>' (see 'rvs marks add --help')\n",
        ),
    ] {
        let args: Vec<&str> = ["marks"].iter().chain(args).copied().collect();
        let ran = director.rvs(&args);
        assert_eq!(ran.failure(status), line, "{args:?}");
    }
    let ran = rvs(&["marks", "add", "7", "--destination", "10.0.0.1/8"]);
    assert!(
        ran.failure(2)
            .contains("prefix `10.0.0.1/8': expected ADDRESS or ADDRESS/BITS with no bit set behind them")
    );
    assert_eq!(director.rvs(&["marks"]).success(), "no rules\n");
}

#[test]
fn one_rule_too_many_is_refused_and_counted() {
    let netns = namespace();
    let director = Director::start(&netns, &[]);
    for _ in 0..256 {
        director.rvs(&["marks", "add", "7", "--all"]).success();
    }
    let ran = director.rvs(&["marks", "add", "7", "--all"]);
    assert_eq!(ran.failure(1), "rvs: mark rules: 256 are the maximum\n");
    let reached = &director.json(&["status"])["limits_reached"];
    assert_eq!(
        reached[0]["limit"],
        "services, destinations, scheduler tables or mark rules (the log says which)"
    );
    assert_eq!(reached[0]["times"], 1);
    assert_eq!(director.json(&["marks"])["rules"].as_array().unwrap().len(), 256);
}
