//! This director itself as a real server or as a client (ipvs.md §3.1, §3.7): packets that are left to its own stack, and
//! those that come from there.

use rvs_abi::{Addr, LOOPBACK, Method, Outcome};

use crate::forward::{address, masq};
use crate::{Link, NextHop, Packet, Parsed, Tables};

/// What is done to a packet from or for this host's own stack.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local {
    /// The address that it gets.
    pub address: Addr,
    /// The port that it gets, network order.
    pub port: [u8; 2],
    /// One of the constants below.
    pub kind: u16,
}

impl Local {
    /// A request that stays as it is.
    pub const REQUEST: u16 = 0;
    /// A request that gets another destination.
    pub const REQUEST_MASQ: u16 = 1;
    /// A reply that gets another source.
    pub const REPLY_MASQ: u16 = 2;

    /// A request of a connection with that method, to a destination on this host.
    #[inline(always)]
    pub(crate) fn request(&mut self, method: u8, address: Addr, port: [u8; 2]) {
        // Field by field: a whole record would be put together on the stack.
        self.address = address;
        self.port = port;
        self.kind = if method == Method::MASQ { Self::REQUEST_MASQ } else { Self::REQUEST };
    }

    /// A reply to a client on this host, or of a destination on this host.
    #[inline(always)]
    pub(crate) fn reply(&mut self, vip: Addr, port: [u8; 2]) {
        self.address = vip;
        self.port = port;
        self.kind = Self::REPLY_MASQ;
    }
}

/// The way to this host's own stack. By way of the loopback interface, where it believes that a packet with one of its own
/// addresses as source is its own.
#[inline(always)]
pub(crate) fn to_stack() -> NextHop {
    NextHop { link: Link { ifindex: LOOPBACK, resolved: 1, ..Link::default() }, mtu: 0 }
}

/// Rewrites a packet and leaves it to the stack.
///
/// # Errors
/// The outcome of a packet that can't be left there.
#[inline(always)]
pub(crate) fn deliver<P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    parsed: &Parsed,
    local: &Local,
    hop: &mut NextHop,
) -> Result<Outcome, Outcome> {
    *hop = NextHop::default();
    if local.kind == Local::REQUEST {
        return Ok(Outcome::LocalNode);
    }
    if local.kind == Local::REQUEST_MASQ {
        if !tables.is_local() && is_loopback(local.address) {
            return Err(Outcome::LoopbackAddress);
        }
        masq::rewrite(packet, parsed, masq::End::Destination, local.address, local.port)?;
        return Ok(Outcome::LocalNode);
    }
    masq::rewrite(packet, parsed, masq::End::Source, local.address, local.port)?;
    if tables.is_local() {
        return Ok(Outcome::ReplyMasq);
    }
    *hop = to_stack();
    address(packet, &hop.link)?;
    Ok(Outcome::ReplyLocal)
}

/// Whether an address means the host that it is found on.
#[inline(always)]
pub(crate) fn is_loopback(address: Addr) -> bool {
    if address.is_v4() {
        return address.v4_bytes()[0] == 127;
    }
    address.0[0] == 0 && address.0[1] == u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1])
}
