//! TCP states as IPVS keeps them (ipvs.md §5.2 to §5.4). They are coarser than a socket's: a director sees one side of a
//! connection only, or both but late.

use rvs_wire::tcp;

/// State number of ESTABLISHED.
pub const ESTABLISHED: u8 = ES;
/// State number of SYN_RECV.
pub const SYN_RECV: u8 = SR;
/// State number of FIN_WAIT.
pub const FIN_WAIT: u8 = FW;
/// State number of TIME_WAIT.
pub const TIME_WAIT: u8 = TW;
/// State number of LISTEN.
pub const LISTEN: u8 = LI;
/// State number of CLOSE.
pub const CLOSE: u8 = CL;

const ES: u8 = 1;
const SS: u8 = 2;
const SR: u8 = 3;
const FW: u8 = 4;
const TW: u8 = 5;
const CL: u8 = 6;
const CW: u8 = 7;
const LA: u8 = 8;
const LI: u8 = 9;
const SA: u8 = 10;

/// Names in listings, by number.
const NAMES: [&str; 11] = [
    "NONE",
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "SYNACK",
];

/// By direction times four plus event: syn, fin, ack, rst.
#[rustfmt::skip]
const ROWS: [[u8; 11]; 12] = [
    // NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA
    [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR], // input syn
    [CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW], // input fin
    [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES], // input ack
    [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR], // input rst
    [SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR], // output syn
    [TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW], // output fin
    [ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES], // output ack
    [CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL], // output rst
    [SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR], // input-only syn
    [CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW], // input-only fin
    [ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES], // input-only ack
    [CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL], // input-only rst
];

/// Row of a packet with none of the four flags: it closes.
const NO_EVENT: u8 = 4;

/// The state after `state`, for the table of all protocols.
pub(crate) const fn transition(direction: usize, event: usize, state: usize) -> u8 {
    if event < NO_EVENT as usize && state < 11 { ROWS[direction * 4 + event][state] } else { CL }
}

/// Rows by the lower five flags: the first of rst, syn, fin, ack that is set decides (ipvs.md §5.2).
static EVENTS: [u8; 32] = events();

const fn events() -> [u8; 32] {
    let mut events = [NO_EVENT; 32];
    let mut flags = 0;
    while flags < events.len() {
        #[allow(clippy::cast_possible_truncation, reason = "below 32")]
        let f = flags as u8;
        if f & tcp::RST != 0 {
            events[flags] = 3;
        } else if f & tcp::SYN != 0 {
            events[flags] = 0;
        } else if f & tcp::FIN != 0 {
            events[flags] = 1;
        } else if f & tcp::ACK != 0 {
            events[flags] = 2;
        }
        flags += 1;
    }
    events
}

/// The row of a packet with those flags.
#[inline(always)]
#[must_use]
pub fn row(flags: u8) -> u8 {
    EVENTS[(flags & 31) as usize]
}

/// A bit for each state that counts as active.
pub(crate) const ACTIVE: u32 = 1 << ES | 1 << SS | 1 << SR | 1 << SA;

/// The name of a state in listings.
#[must_use]
pub const fn name(state: u8) -> &'static str {
    if (state as usize) < NAMES.len() { NAMES[state as usize] } else { "ERR!" }
}
