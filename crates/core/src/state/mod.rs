//! Protocol states of connections (ipvs.md §5).

pub mod tcp;

use rvs_abi::{Timeout, proto};

/// Where a packet was seen (ipvs.md §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client, replies are seen.
    Input = 0,
    /// From the real server.
    Output = 1,
    /// From the client, replies are not seen.
    InputOnly = 2,
}

/// Whether a connection in that state is active. UDP's only state is 0 and inactive (ipvs.md §4.5).
#[inline(always)]
#[must_use]
pub const fn is_active(state: u8) -> bool {
    tcp::is_active(state)
}

/// The next state, and the index of its time-out.
#[inline(always)]
#[must_use]
pub fn next(protocol: u8, state: u8, tcp_flags: u8, direction: Direction) -> (u8, u32) {
    if protocol == proto::TCP {
        let next = tcp::next(state, tcp_flags, direction);
        (next, Timeout::Tcp as u32 + u32::from(next))
    } else {
        (0, Timeout::Udp as u32)
    }
}

/// Whether a packet of an existing connection shows that this is more than one spoofed packet: for TCP only an
/// acknowledgement that establishes it, for UDP any further packet in either direction.
#[inline(always)]
#[must_use]
pub const fn proves(protocol: u8, state: u8) -> bool {
    protocol != proto::TCP || state == tcp::ESTABLISHED
}

/// The name of a state in listings (ipvs.md §5.3, §5.6).
#[must_use]
pub const fn name(protocol: u8, state: u8) -> &'static str {
    match protocol {
        proto::TCP => tcp::name(state),
        proto::UDP => "UDP",
        _ => "NONE",
    }
}
