//! The kernel's filter by reverse path (`rp_filter`), which packets meet that are left to the stack. What is balanced does not
//! meet it.

use std::collections::BTreeSet;

use rvs_abi::Outcome;
use rvs_netlink::sysctl;

use super::answers::counter;
use super::daemon::Daemon;

/// `rp_filter`: a packet is dropped unless its source is routed by the interface that it came in on.
const STRICT: u8 = 1;
/// Packets of real servers that are left to the stack: replies from virtual addresses, and requests of clients.
const FROM_SERVERS: [Outcome; 2] = [Outcome::ReplyUnchanged, Outcome::AlreadyBalanced];

impl Daemon {
    /// Interfaces to destinations where the filter is strict, if packets came that it may drop: their sources are not there.
    pub(super) fn strict_reverse_paths(&self) -> Vec<String> {
        if FROM_SERVERS.iter().all(|outcome| counter(self.director.memory(), *outcome) == 0) {
            return Vec::new();
        }
        let links = self.routes.next_hops().into_iter().filter(|(_, gateway)| gateway.is_ipv4());
        let links: BTreeSet<u32> = links.map(|(ifindex, _)| ifindex).collect();
        let names = links.into_iter().map(|ifindex| self.interfaces.name(ifindex));
        names.filter(|name| mode(name) == Some(STRICT)).map(|name| warning(&name)).collect()
    }
}

/// The stricter of what is set for all interfaces and for this one; 2, loose, counts as more than 1.
fn mode(interface: &str) -> Option<u8> {
    let read = |name: &str| sysctl::read(&path(name)).ok()?.parse::<u8>().ok();
    Some(read("all")?.max(read(interface)?))
}

/// With slashes: names of interfaces may have dots.
fn path(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/rp_filter")
}

fn warning(interface: &str) -> String {
    format!(
        "interface {interface}: a strict rp_filter drops packets of real servers that are left to the stack (reply_unchanged, \
         already_balanced) if their sources are routed elsewhere: sysctl -w {}=2",
        path(interface)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_has_the_command() {
        let text = warning("eth0.100");
        assert!(text.ends_with(": sysctl -w net/ipv4/conf/eth0.100/rp_filter=2"), "{text}");
    }

    #[test]
    fn who_has_no_such_interface_has_no_mode() {
        assert_eq!(mode("no-such-link"), None);
        assert!(mode("lo").is_some());
    }
}
