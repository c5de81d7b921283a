//! SCTP states as IPVS keeps them (ipvs.md §5.7). The first chunk of a packet decides.

use rvs_abi::Timeout;
use rvs_wire::sctp::chunk;

use crate::state::SCTP_ROWS;

/// Number of the first state; IPVS numbers them from 0.
pub(crate) const FIRST: u8 = Timeout::Sctp as u8;
/// State number of ESTABLISHED.
pub const ESTABLISHED: u8 = ES;
/// State number of CLOSED.
pub const CLOSED: u8 = CL;

const I1: u8 = FIRST + 1;
const IN: u8 = FIRST + 2;
const CS: u8 = FIRST + 3;
const CR: u8 = FIRST + 4;
const CW: u8 = FIRST + 5;
const CO: u8 = FIRST + 6;
const CE: u8 = FIRST + 7;
const ES: u8 = FIRST + 8;
const SS: u8 = FIRST + 9;
const SR: u8 = FIRST + 10;
const SA: u8 = FIRST + 11;
const RJ: u8 = FIRST + 12;
const CL: u8 = FIRST + 13;

/// Names in listings.
const NAMES: [&str; 14] = [
    "NONE",
    "INIT1",
    "INIT",
    "C-SENT",
    "C-REPLIED",
    "C-WAIT",
    "COOKIE",
    "C-ECHOED",
    "ESTABLISHED",
    "S-SENT",
    "S-RECEIVED",
    "S-ACK-SENT",
    "REJECTED",
    "CLOSED",
];

/// Events of one direction: d, i, ia, ce, ca, s, sa, sc, er, ab.
const EVENTS: usize = 10;

/// By direction times [`EVENTS`] plus event.
#[rustfmt::skip]
const ROWS: [[u8; 14]; 3 * EVENTS] = [
    // NO  I1  IN  CS  CR  CW  CO  CE  ES  SS  SR  SA  RJ  CL
    [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // input d
    [I1, IN, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, IN, IN], // input i
    [CW, CW, CW, CS, CR, CO, CO, CE, ES, SS, SR, SA, RJ, CL], // input ia
    [CR, IN, IN, CR, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // input ce
    [ES, I1, IN, CS, CR, CW, CO, ES, ES, SS, SR, SA, RJ, CL], // input ca
    [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL], // input s
    [CL, IN, IN, CS, CR, CW, CO, CE, ES, CL, SR, CL, RJ, CL], // input sa
    [CL, CL, CL, CS, CR, CW, CO, CE, ES, SS, SR, CL, RJ, CL], // input sc
    [CL, I1, IN, CS, CR, CW, CO, CL, ES, SS, SR, SA, RJ, CL], // input er
    [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL], // input ab
    [ES, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // output d
    [CW, CW, CW, CW, CW, CW, CW, CW, ES, CW, CW, CW, CW, CW], // output i
    [CS, CS, CS, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // output ia
    [CE, CE, CE, CE, CE, CE, CE, CE, ES, SS, SR, SA, RJ, CL], // output ce
    [ES, ES, ES, ES, ES, ES, ES, ES, ES, SS, SR, SA, RJ, CL], // output ca
    [SS, SS, SS, SS, SS, SS, SS, SS, SS, SS, SR, SA, RJ, CL], // output s
    [SA, SA, SA, SA, SA, CW, CO, CE, ES, SA, SA, SA, RJ, CL], // output sa
    [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // output sc
    [CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // output er
    [CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL, CL], // output ab
    [ES, I1, IN, CS, CR, ES, CO, CE, ES, SS, SR, SA, RJ, CL], // input-only d
    [I1, IN, IN, IN, IN, IN, CO, CE, ES, SS, SR, SA, IN, IN], // input-only i
    [CE, CE, CE, CE, CE, CE, CO, CE, ES, SS, SR, SA, RJ, CL], // input-only ia
    [ES, ES, ES, ES, ES, ES, CO, CE, ES, SS, SR, SA, RJ, CL], // input-only ce
    [ES, I1, IN, ES, ES, CW, ES, ES, ES, SS, SR, SA, RJ, CL], // input-only ca
    [SR, I1, IN, CS, CR, CW, CO, CE, SR, SS, SR, SA, RJ, CL], // input-only s
    [CL, IN, IN, CS, CR, CW, CO, CE, CL, CL, SR, CL, RJ, CL], // input-only sa
    [CL, CL, CL, CL, CL, CW, CO, CE, ES, SS, CL, CL, RJ, CL], // input-only sc
    [CL, I1, IN, CS, CR, CW, CO, CE, ES, SS, SR, SA, RJ, CL], // input-only er
    [CL, CL, CL, CL, CL, RJ, CL, CL, CL, CL, CL, CL, CL, CL], // input-only ab
];

/// A bit for each state that counts as active.
pub(crate) const ACTIVE: u32 = 1 << ES;

/// The state after `state`, for the table of all protocols. A connection that is made begins in state 0 of all.
pub(crate) const fn transition(direction: usize, event: usize, state: usize) -> u8 {
    let index = state.saturating_sub(FIRST as usize);
    if index < NAMES.len() { ROWS[direction * EVENTS + event][index] } else { CL }
}

/// Events by type of chunk.
static EVENT_OF: [u8; 256] = event_of();

const fn event_of() -> [u8; 256] {
    // DATA, SACK, HEARTBEAT, HEARTBEAT ACK, ECNE, CWR and what is not known: 0.
    let mut events = [0; 256];
    events[chunk::INIT as usize] = 1;
    events[chunk::INIT_ACK as usize] = 2;
    events[chunk::COOKIE_ECHO as usize] = 3;
    events[chunk::COOKIE_ACK as usize] = 4;
    events[chunk::SHUTDOWN as usize] = 5;
    events[chunk::SHUTDOWN_ACK as usize] = 6;
    events[chunk::SHUTDOWN_COMPLETE as usize] = 7;
    events[chunk::ERROR as usize] = 8;
    events[chunk::ABORT as usize] = 9;
    events
}

/// The row of a packet whose first chunk is of that type.
#[inline(always)]
#[must_use]
pub fn row(chunk: u8) -> u8 {
    SCTP_ROWS + EVENT_OF[chunk as usize]
}

/// The name of a state in listings.
#[must_use]
pub const fn name(state: u8) -> &'static str {
    let index = state.wrapping_sub(FIRST) as usize;
    if index < NAMES.len() { NAMES[index] } else { "ERR!" }
}
