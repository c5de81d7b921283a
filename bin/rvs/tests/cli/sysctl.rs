//! `rvs sysctl`, and settings through restarts and crashes.

use nix::sys::signal::Signal;

use crate::support::{Director, SMALL, namespace};

const DEFAULTS: &str = "\
net.ipv4.vs.cache_bypass = 0
net.ipv4.vs.conn_reuse_mode = 1
net.ipv4.vs.expire_nodest_conn = 0
net.ipv4.vs.nat_icmp_send = 0
net.ipv4.vs.pmtu_disc = 1
net.ipv4.vs.schedule_icmp = 0
net.ipv4.vs.sloppy_sctp = 0
net.ipv4.vs.sloppy_tcp = 0
net.ipv4.vs.snat_reroute = 1
";

#[test]
fn settings_are_shown_and_changed_whole_or_not_at_all() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    assert_eq!(director.rvs(&["sysctl"]).success(), DEFAULTS);
    let set = director.rvs(&["sysctl", "sloppy_tcp=1", "net.ipv4.vs.conn_reuse_mode=3", "snat_reroute"]);
    let shown = "\
net.ipv4.vs.sloppy_tcp = 1
net.ipv4.vs.conn_reuse_mode = 3
net.ipv4.vs.snat_reroute = 1
";
    assert_eq!(set.success(), shown);
    let before = director.rvs(&["sysctl"]).success();
    let refused = [
        (
            &["sysctl", "sloppy_sctp=1", "schedule_icmp=2"][..],
            "setting schedule_icmp: value 2, expected 0 to 1",
        ),
        (&["sysctl", "sloppy_sctp=1", "pmtu_disc=off"], "setting pmtu_disc: value `off', expected 0 to 1"),
        (
            &["sysctl", "sloppy_sctp=1", "drop_entry=1"],
            "setting drop_entry: not supported by this version of rvs",
        ),
        (&["sysctl", "ignore_tunneled"], "setting ignore_tunneled: not supported by this version of rvs"),
        (&["sysctl", "sloppy_sctp=1", "sloppy_sctp"], "setting sloppy_sctp: given twice"),
        (
            &["sysctl", "frob"],
            "setting `frob': expected one of cache_bypass, conn_reuse_mode, expire_nodest_conn, nat_icmp_send, \
             pmtu_disc, schedule_icmp, sloppy_sctp, sloppy_tcp, snat_reroute",
        ),
    ];
    for (args, line) in refused {
        assert_eq!(director.rvs(args).failure(1), format!("rvs: {line}\n"), "{args:?}");
        assert_eq!(director.rvs(&["sysctl"]).success(), before, "{args:?} changed something");
    }
    let row = &director.json(&["sysctl", "sloppy_tcp"])["settings"][0];
    assert_eq!((&row["name"], &row["value"]), (&"sloppy_tcp".into(), &1.into()));
    assert_eq!((&row["default"], &row["maximum"]), (&0.into(), &1.into()));
}

#[test]
fn settings_live_with_the_data_plane() {
    let netns = namespace();
    let mut director = Director::start(&netns, &SMALL);
    director.rvs(&["sysctl", "expire_nodest_conn=1", "nat_icmp_send=1"]).success();
    director.ipvsadm(&["-A", "-u", "192.0.2.1:53", "-s", "rr", "-o"]).success();
    let settings = director.rvs(&["sysctl"]).success();
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        director.end(signal);
        director.start_again();
        assert_eq!(director.rvs(&["sysctl"]).success(), settings);
        assert_eq!(director.ipvsadm(&["-Sn"]).success(), "-A -u 192.0.2.1:53 -s rr -o\n");
    }
    director.stop().success();
    director.wait();
    director.start_again();
    assert_eq!(director.rvs(&["sysctl"]).success(), DEFAULTS);
}

/// What the programs count beside outcomes is in `rvs status`.
#[test]
fn status_shows_events() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    let text = director.rvs(&["status"]).success();
    let width = rvs_abi::Event::ALL.map(|event| event.name().len()).into_iter().max().unwrap();
    for event in rvs_abi::Event::ALL {
        let line = format!("    0  {:<width$}  {}\n", event.name(), event.text());
        assert!(text.contains(&line), "{line}{text}");
    }
    let drops = director.rvs(&["status", "--drops"]).success();
    for outcome in rvs_abi::OUTCOMES.iter().filter(|outcome| !rvs_abi::STEPS.contains(outcome)) {
        let has = drops.lines().filter(|line| line.ends_with(outcome.text())).count();
        let is_reason = outcome.class() != rvs_abi::Class::Forward;
        assert_eq!(has, usize::from(is_reason), "{outcome:?}");
    }
}
