//! Protocol states of connections (ipvs.md §5).
//!
//! All transitions stand in one table, looked up without branches: the verifier follows every branch of the packet path
//! with everything behind it. A row is a direction and an event; its entries are [`Next`] by current state.

pub mod tcp;

use rvs_abi::{Timeout, proto};

/// Where a packet was seen (ipvs.md §5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Direction {
    /// From the client, replies are seen.
    Input = 0,
    /// From the real server.
    Output = 1,
    /// From the client, replies are not seen.
    InputOnly = 2,
}

/// What a packet means to the state of its connection: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event(u16);

/// Rows of one direction; of 16 states each.
const ROWS: usize = 8;
/// The row of protocols without states.
const STATELESS: u8 = 5;

impl Event {
    /// A packet of that protocol, with those TCP flags if it is TCP.
    #[inline(always)]
    #[must_use]
    pub fn new(protocol: u8, tcp_flags: u8, direction: Direction) -> Self {
        let row = if protocol == proto::TCP { tcp::event(tcp_flags) } else { STATELESS };
        Self((direction as u16) << 7 | u16::from(row) << 4)
    }

    /// The row's number.
    #[inline(always)]
    #[must_use]
    pub(crate) const fn to_bits(self) -> u16 {
        self.0
    }

    /// From [`Self::to_bits`].
    #[inline(always)]
    #[must_use]
    pub(crate) const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// What comes after `state`.
    #[inline(always)]
    #[must_use]
    pub fn next(self, state: u8) -> Next {
        Next(TABLE[self.0.wrapping_add(u16::from(state & 15)) as usize & (TABLE.len() - 1)])
    }
}

/// A state to come, with its time-out: bits 0 to 3 the state, 0 to 4 the index of the time-out, bit 7 whether a repeated
/// packet that leads here proves its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next(u8);

impl Next {
    const PROVES: u8 = 0x80;

    /// The state.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u8 {
        self.0 & 15
    }

    /// Index in `Config::timeouts`.
    #[inline(always)]
    #[must_use]
    pub const fn timeout(self) -> u32 {
        (self.0 & 31) as u32
    }

    /// 1 if a packet of an existing connection that leads here shows that the connection is more than one spoofed packet:
    /// for TCP only what establishes it, for UDP any further packet in either direction.
    #[inline(always)]
    #[must_use]
    pub const fn proves(self) -> u64 {
        (self.0 >> 7) as u64
    }
}

static TABLE: [u8; 512] = table();

const fn table() -> [u8; 512] {
    let mut table = [0; 512];
    let mut direction = 0;
    while direction < 3 {
        let mut row = 0;
        while row < ROWS {
            let mut state = 0;
            while state < 16 {
                table[direction << 7 | row << 4 | state] = if row == STATELESS as usize {
                    Timeout::Udp as u8 | Next::PROVES
                } else {
                    let next = tcp::transition(direction, row, state);
                    next | if next == tcp::ESTABLISHED { Next::PROVES } else { 0 }
                };
                state += 1;
            }
            row += 1;
        }
        direction += 1;
    }
    table
}

// The time-outs of TCP states begin at 0, so that a state is the index of its own.
const _: () = assert!(Timeout::Tcp as u8 == 0 && Timeout::Udp as u8 & 15 == 0);

/// Whether a connection in that state is active. UDP's only state is 0 and inactive (ipvs.md §4.5).
#[inline(always)]
#[must_use]
pub const fn is_active(state: u8) -> bool {
    tcp::is_active(state)
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
