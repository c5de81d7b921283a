//! `rvs ipvsadm` with a real director: listings, texts and statuses (ipvs.md §1.6, §10).

use std::os::unix::fs::symlink;

use crate::support::{Director, RVS, Ran, SMALL, namespace, run_reading};

/// Two services, three destinations. Destinations are listed by address, services by protocol first.
const RULES: &str = "\
-A -t 203.0.113.1:80 -s wrr
-a -t 203.0.113.1:80 -r 10.0.0.3:8080 -m -w 3
-a -t 203.0.113.1:80 -r 10.0.0.2:8080 -m -w 0
-A -u 203.0.113.1:53 -s sh -b sh-port
-a -u 203.0.113.1:53 -r 10.0.0.2 -i -w 1
";

const LISTING: &str = "\
IP Virtual Server version 1.2.1 (size=1477)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  203.0.113.1:80 wrr
  -> 10.0.0.2:8080                Masq    0      0          0         
  -> 10.0.0.3:8080                Masq    3      0          0         
UDP  203.0.113.1:53 sh (sh-port)
  -> 10.0.0.2:53                  Tunnel  1      0          0         
";

fn restored(director: &Director<'_>) {
    director.ipvsadm_reading(&["-R"], RULES).success();
}

#[test]
fn listings_are_those_of_ipvsadm() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    restored(&director);
    for args in [&["-Ln"][..], &["-l", "-n"], &["-L", "--numeric", "--sort"]] {
        assert_eq!(director.ipvsadm(args).success(), LISTING, "{args:?}");
    }
    let one = director.ipvsadm(&["-Ln", "-u", "203.0.113.1:53"]).success();
    assert_eq!(
        one,
        "\
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
UDP  203.0.113.1:53 sh (sh-port)
  -> 10.0.0.2:53                  Tunnel  1      0          0         
"
    );
    let stats = director.ipvsadm(&["-Ln", "--stats", "-t", "203.0.113.1:80"]).success();
    assert_eq!(
        stats,
        "\
Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  203.0.113.1:80                      0        0        0        0        0
  -> 10.0.0.2:8080                       0        0        0        0        0
  -> 10.0.0.3:8080                       0        0        0        0        0
"
    );
    let rates = director.ipvsadm(&["-Ln", "--rate", "--exact", "-u", "203.0.113.1:53"]).success();
    assert_eq!(
        rates,
        "\
Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress:Port
UDP  203.0.113.1:53                      0        0        0        0        0
  -> 10.0.0.2:53                         0        0        0        0        0
"
    );
}

#[test]
fn other_listings() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    assert_eq!(director.ipvsadm(&["-L", "--timeout"]).success(), "Timeout (tcp tcpfin udp): 900 120 300\n");
    director.ipvsadm(&["--set", "60", "0", "10"]).success();
    assert_eq!(director.ipvsadm(&["-L", "--timeout"]).success(), "Timeout (tcp tcpfin udp): 60 120 10\n");
    assert_eq!(director.ipvsadm(&["-L", "--daemon"]).success(), "");
    let titles =
        "IPVS connection entries\npro expire state       source             virtual            destination\n";
    assert_eq!(director.ipvsadm(&["-Lnc"]).success(), titles);
}

#[test]
fn saved_rules_make_the_same_services() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    restored(&director);
    let saved = director.ipvsadm(&["-Sn"]).success();
    assert_eq!(
        saved,
        "\
-A -t 203.0.113.1:80 -s wrr
-a -t 203.0.113.1:80 -r 10.0.0.2:8080 -m -w 0
-a -t 203.0.113.1:80 -r 10.0.0.3:8080 -m -w 3
-A -u 203.0.113.1:53 -s sh -b sh-port
-a -u 203.0.113.1:53 -r 10.0.0.2:53 -i -w 1 --tun-type ipip
"
    );
    director.ipvsadm(&["-C"]).success();
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), "");
    director.ipvsadm_reading(&["-R"], &saved).success();
    assert_eq!(director.ipvsadm(&["-Ln"]).success(), LISTING);
}

#[test]
fn the_other_tools_of_the_package() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    restored(&director);
    let tool = |name: &str| {
        let link = director.folder().join(name);
        symlink(RVS, &link).unwrap();
        link
    };
    let (save, restore) = (tool("ipvsadm-save"), tool("ipvsadm-restore"));
    let all = director.ipvsadm(&["-Sn"]).success();
    for args in [&["-x"][..], &["rules"], &["-n"]] {
        let message = run_reading(director.client(&restore).args(args), "").failure(2);
        let expected = "ipvsadm-restore: takes no arguments but --help, and rules on its standard input";
        assert_eq!(message, format!("{expected}: unexpected argument {}\n", args[0]));
        assert_eq!(director.ipvsadm(&["-Sn"]).success(), all, "{args:?}");
    }
    let saved = Ran::of(director.client(save).arg("-n").output().unwrap()).success();
    let rules = format!("# a comment\n{}", saved.lines().take(1).collect::<String>());
    run_reading(&mut director.client(restore), &rules).success();
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), "-A -t 203.0.113.1:80 -s wrr\n");
}

#[test]
fn refusals_have_the_texts_and_statuses_of_ipvsadm() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    restored(&director);
    let cases: &[(&str, i32, &str)] = &[
        ("-A -t 203.0.113.1:80", 255, "Service already exists"),
        ("-A -t 203.0.113.1:80 -s frob", 255, "Service already exists"),
        ("-A -t 203.0.113.1:81 -s frob", 255, "Scheduler or persistence engine not found"),
        ("-E -t 203.0.113.1:81", 255, "No such service"),
        ("-E -t 203.0.113.1:81 -s frob", 255, "No such service"),
        ("-D -t 203.0.113.1:81", 255, "No such service"),
        ("-Z -t 203.0.113.1:81", 255, "No such service"),
        ("-Ln -t 203.0.113.1:81", 1, "No such service"),
        ("-a -t 203.0.113.1:81 -r 10.0.0.9", 255, "Service not defined"),
        ("-a -t 203.0.113.1:80 -r 10.0.0.2:8080 -m", 255, "Destination already exists"),
        ("-d -t 203.0.113.1:80 -r 10.0.0.9", 255, "No such destination"),
        ("-e -t 203.0.113.1:80 -r 10.0.0.9", 255, "No such destination"),
        (
            "-a -t 203.0.113.1:80 -r 224.0.0.1 -m",
            255,
            "Invalid operation.  Possibly wrong module version, address not unicast, ...",
        ),
    ];
    for (line, status, message) in cases {
        let args: Vec<&str> = line.split(' ').collect();
        assert_eq!(director.ipvsadm(&args).failure(*status), format!("{message}\n"), "{line}");
    }
    assert_eq!(director.ipvsadm(&["-Ln"]).success(), LISTING, "a refused command changed something");
}

#[test]
fn a_limit_is_named() {
    let netns = namespace();
    let director =
        Director::start(&netns, &["--services-max", "1", "--dests-max", "64", "--conns-max", "100"]);
    director.ipvsadm(&["-A", "-t", "203.0.113.1:80"]).success();
    let message = director.ipvsadm(&["-A", "-t", "203.0.113.1:81"]).failure(255);
    assert!(message.starts_with("Memory allocation problem: "), "{message}");
    let reached = &director.json(&["status"])["limits_reached"][0];
    assert_eq!(reached["times"], 1, "{reached}");
}

#[test]
fn every_change_does_what_it_says() {
    let netns = namespace();
    let director = Director::start(&netns, &SMALL);
    let lines = [
        "-A -t 203.0.113.1:80",
        "-a -t 203.0.113.1:80 -r 10.0.0.2",
        "-a -t 203.0.113.1:80 -r 10.0.0.3",
        "-E -t 203.0.113.1:80 -s rr",
        "-e -t 203.0.113.1:80 -r 10.0.0.3 -m -w 7",
        "-d -t 203.0.113.1:80 -r 10.0.0.2",
        "-Z -t 203.0.113.1:80",
        "-Z",
        "-A -t 203.0.113.2:80",
        "-D -t 203.0.113.2:80",
    ];
    for line in lines {
        let args: Vec<&str> = line.split(' ').collect();
        assert_eq!(director.ipvsadm(&args).success(), "", "{line}");
    }
    let saved = "-A -t 203.0.113.1:80 -s rr\n-a -t 203.0.113.1:80 -r 10.0.0.3:80 -m -w 7\n";
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), saved);
}
