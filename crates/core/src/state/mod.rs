//! States of connections (ipvs.md §5).
//!
//! States of all protocols are numbered through, so that a state's number says all about it: whether it is active, its
//! name, its time-out. All transitions stand in one table, looked up without branches: the verifier follows every branch
//! of the packet path with everything behind it. A row is a direction and an event; its entries are [`Next`] by current
//! state.

pub mod sctp;
pub mod tcp;

use rvs_abi::Timeout;

/// Number of UDP's only state, which is that of everything without states (ipvs.md §5.6).
pub const UDP: u8 = Timeout::Udp as u8;
/// Numbers of states are below this.
const STATES: usize = 32;
/// Rows of one direction.
const ROWS: usize = 16;
/// The row of protocols without states. Those of TCP come before it, those of SCTP behind.
pub const STATELESS: u8 = 5;
/// First of SCTP's rows.
const SCTP_ROWS: u8 = STATELESS + 1;

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

impl Event {
    /// A packet of that row, which its parser found: [`tcp::row`], [`sctp::row`] or [`STATELESS`].
    #[inline(always)]
    #[must_use]
    pub const fn new(row: u8, direction: Direction) -> Self {
        Self((direction as u16) << 9 | (row as u16 & 15) << 5)
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
        Next(TABLE[self.0.wrapping_add(u16::from(state & 31)) as usize & (TABLE.len() - 1)])
    }
}

/// A state to come: bits 0 to 4 its number, which is also the index of its time-out, bit 7 whether a repeated packet that
/// leads here proves its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next(u8);

impl Next {
    const PROVES: u8 = 0x80;

    /// The state.
    #[inline(always)]
    #[must_use]
    pub const fn state(self) -> u8 {
        self.0 & 31
    }

    /// Index in `Config::timeouts`.
    #[inline(always)]
    #[must_use]
    pub const fn timeout(self) -> u32 {
        self.state() as u32
    }

    /// 1 if a packet of an existing connection that leads here shows that the connection is more than one spoofed packet:
    /// for TCP and SCTP only what establishes it, for UDP any further packet in either direction.
    #[inline(always)]
    #[must_use]
    pub const fn proves(self) -> u64 {
        (self.0 >> 7) as u64
    }
}

static TABLE: [u8; 4 * ROWS * STATES] = table();

const fn table() -> [u8; 4 * ROWS * STATES] {
    let mut table = [0; 4 * ROWS * STATES];
    let mut direction = 0;
    while direction < 3 {
        let mut row = 0;
        while row < ROWS {
            let mut state = 0;
            while state < STATES {
                let next = after(direction, row, state);
                let proves = matches!(next, UDP | tcp::ESTABLISHED | sctp::ESTABLISHED);
                table[direction << 9 | row << 5 | state] = next | if proves { Next::PROVES } else { 0 };
                state += 1;
            }
            row += 1;
        }
        direction += 1;
    }
    table
}

const fn after(direction: usize, row: usize, state: usize) -> u8 {
    if row == STATELESS as usize {
        UDP
    } else if row < STATELESS as usize {
        tcp::transition(direction, row, state)
    } else {
        sctp::transition(direction, row - SCTP_ROWS as usize, state)
    }
}

// A state is the index of its own time-out.
const _: () = assert!(Timeout::Tcp as u8 == 0 && Timeout::Sctp as u8 == sctp::FIRST);

/// Whether a connection in that state is active (ipvs.md §4.5).
#[inline(always)]
#[must_use]
pub const fn is_active(state: u8) -> bool {
    (tcp::ACTIVE | sctp::ACTIVE) >> (state & 31) & 1 != 0
}

/// The name of a state in listings (ipvs.md §5.3, §5.6, §5.7).
#[must_use]
pub const fn name(state: u8) -> &'static str {
    match state {
        UDP => "UDP",
        sctp::FIRST.. => sctp::name(state),
        _ => tcp::name(state),
    }
}

/// The state of a connection of that protocol before its first packet.
#[inline(always)]
#[must_use]
pub(crate) const fn first(protocol: u8) -> u8 {
    match protocol {
        rvs_abi::proto::TCP => 0,
        rvs_abi::proto::SCTP => sctp::FIRST,
        _ => UDP,
    }
}
