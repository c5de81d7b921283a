//! What a host's kernel counts (`/proc/net/snmp`, `/proc/net/snmp6`), and who listens on it (`/proc/net/tcp`, `tcp6`).

use std::fs;

use rvs_testkit::{Family, Host};

/// How the kernel writes the state of a listening socket.
const LISTENS: &str = "0A";

/// What a file of `/proc/net` says on the host. Of the thread: it is what has entered the namespace.
fn read(host: &Host, file: &str) -> String {
    let path = format!("/proc/thread-self/net/{file}");
    host.netns().enter(|| fs::read_to_string(path)).unwrap().unwrap()
}

/// Whether anyone listens at a port of TCP. Seen from outside: some servers take a connection that only asks for a client,
/// and have no time for others until they know better.
pub(crate) fn is_listening(host: &Host, port: u16) -> bool {
    let end = format!(":{port:04X}");
    let listens = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        matches!(fields[..], [_, local, _, state, ..] if local.ends_with(&end) && state == LISTENS)
    };
    ["tcp", "tcp6"].iter().any(|file| read(host, file).lines().any(listens))
}

/// One counter: of `Ip` or `Udp`, under the kernel's own name for it.
pub(crate) fn counted(host: &Host, family: Family, group: &str, name: &str) -> u64 {
    match family {
        Family::V4 => {
            let snmp = read(host, "snmp");
            // A line of names, and one of numbers.
            let mut lines = snmp.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(": "));
            let mut named = lines.next().unwrap().split(' ').zip(lines.next().unwrap().split(' '));
            named.find(|&(known, _)| known == name).unwrap().1.parse().unwrap()
        }
        Family::V6 => {
            let (snmp, name) = (read(host, "snmp6"), format!("{group}6{name}"));
            let mut named = snmp.lines().filter_map(|line| line.split_once(char::is_whitespace));
            named.find(|&(known, _)| known == name).unwrap().1.trim().parse().unwrap()
        }
    }
}
