//! The loopback interface: what this host sends to itself passes there.

use std::fs;

use rvs_dataplane::Kernel;

use super::log;

/// Whether the stack takes packets on the loopback interface that carry an address of this host as source.
const ACCEPT_LOCAL: &str = "/proc/sys/net/ipv4/conf/lo/accept_local";

/// Has packets that this host sends to itself balanced, and replies to it taken. Others are balanced without.
pub(super) fn start(kernel: &mut Kernel) {
    if let Err(error) = kernel.attach_loopback() {
        log::warning(format_args!("{error}; what this host sends to itself is not balanced"));
        return;
    }
    // Replies of NAT services to a client on this host come from an address of this host, the service's. Nothing but this
    // host sends on the loopback interface, so the check that is turned off keeps nobody out.
    if fs::read_to_string(ACCEPT_LOCAL).is_ok_and(|value| value.trim() != "0") {
        return;
    }
    match fs::write(ACCEPT_LOCAL, "1") {
        Ok(()) => log::info("net.ipv4.conf.lo.accept_local set to 1, for NAT services' clients on this host"),
        Err(error) => log::warning(format_args!(
            "net.ipv4.conf.lo.accept_local: {error}; replies of NAT services to clients on this host are lost until it is 1"
        )),
    }
}
