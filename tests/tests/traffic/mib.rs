//! What a host's kernel counts (`/proc/net/snmp`, `/proc/net/snmp6`).

use std::fs;

use rvs_testkit::{Family, Host};

/// One counter: of `Ip` or `Udp`, under the kernel's own name for it.
pub(crate) fn counted(host: &Host, family: Family, group: &str, name: &str) -> u64 {
    // Of the thread: it is what has entered the namespace.
    let read = |file| fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap();
    let count = || match family {
        Family::V4 => {
            let snmp = read("snmp");
            // A line of names, and one of numbers.
            let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(": "));
            let mut named = lines.next().unwrap().split(' ').zip(lines.next().unwrap().split(' '));
            named.find(|&(known, _)| known == name).unwrap().1.parse().unwrap()
        }
        Family::V6 => {
            let (snmp, name) = (read("snmp6"), format!("{group}6{name}"));
            let mut named = snmp.lines().filter_map(|line| line.split_once(char::is_whitespace));
            named.find(|&(known, _)| known == name).unwrap().1.trim().parse().unwrap()
        }
    };
    host.netns().enter(count).unwrap()
}
