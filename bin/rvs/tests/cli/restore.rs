//! Ten thousand services in one restore: whole, or not at all with the number of the first bad line.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::support::{Director, namespace};

const SERVICES: usize = 10_000;
/// Room for them.
pub(crate) const LARGE: [&str; 6] =
    ["--services-max", "16384", "--dests-max", "16384", "--conns-max", "1000"];

/// A service and a destination each: lines 2n+1 and 2n+2.
pub(crate) fn rules(services: usize) -> String {
    let mut text = String::new();
    for n in 0..services {
        let service = format!("-t 198.18.{}.{}:80", n / 200, n % 200 + 1);
        writeln!(text, "-A {service} -s rr").unwrap();
        writeln!(text, "-a {service} -r 10.0.{}.{}:80 -m -w 1", n / 200 % 4, n % 200 + 1).unwrap();
    }
    text
}

/// The same with another line in one place; lines are numbered from 1.
fn with_line(text: &str, number: usize, line: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines[number - 1] = line;
    lines.join("\n")
}

#[test]
fn ten_thousand_services_apply_whole_or_not_at_all() {
    let netns = namespace();
    let director = Director::start(&netns, &LARGE);
    let rules = rules(SERVICES);
    let refused = [
        (7_777, "-A -t 198.18.0.1:80 -s rr", 255, "line 7777: Service already exists\n"),
        (20_000, "-a -t 192.0.2.1:80 -r 10.0.0.1", 255, "line 20000: Service not defined\n"),
        (
            12_345,
            "-A -t 198.18.200.1:80 -s frob",
            255,
            "line 12345: Scheduler or persistence engine not found\n",
        ),
        (4, "-A -t 198.18.0.1:frob -s rr", 2, "line 4: illegal virtual server address[:port] specified\n"),
        (9_999, "frob", 255, "line 9999: Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n"),
    ];
    for (number, line, status, message) in refused {
        let ran = director.ipvsadm_reading(&["-R"], &with_line(&rules, number, line));
        assert_eq!(ran.failure(status), message);
        assert_eq!(director.ipvsadm(&["-Sn"]).success(), "", "something of it was applied");
    }

    let start = Instant::now();
    director.ipvsadm_reading(&["-R"], &rules).success();
    let took = start.elapsed();
    let saved = director.ipvsadm(&["-Sn"]).success();
    assert_eq!(saved.lines().count(), 2 * SERVICES);
    assert_eq!(director.json(&["status"])["capacity"]["services"]["used"], SERVICES);
    // Far from what it takes; ten thousand requests would take longer.
    assert!(took < Duration::from_secs(20), "{took:?}");

    let again = director.ipvsadm_reading(&["-R"], &rules).failure(255);
    assert_eq!(again, "line 1: Service already exists\n");
    assert_eq!(director.ipvsadm(&["-Sn"]).success(), saved);
}

#[test]
fn nothing_to_restore_is_no_error() {
    let netns = namespace();
    let director = Director::start(&netns, &LARGE);
    director.ipvsadm_reading(&["-R"], "\n\n").success();
}
