//! TCP headers (RFC 9293).

/// Offset of the sequence number.
pub const SEQUENCE: usize = 4;
/// Offset of the number that is acknowledged.
pub const ACKNOWLEDGEMENT: usize = 8;
/// Bytes of a header without options.
pub const LEN: usize = 20;
/// Bytes of the longest header.
pub const LEN_MAX: usize = 60;
/// Offset of the checksum.
pub const CHECKSUM: usize = 16;
/// Offset of the byte whose upper half is the header's length in words of four bytes.
pub const DATA_OFFSET: usize = 12;
/// Offset of the flags byte.
pub const FLAGS: usize = 13;

/// Kind of the end of the list of options (RFC 9293 §3.1).
pub const OPTION_END: u8 = 0;
/// Kind of an option of one byte, for alignment (RFC 9293 §3.1).
pub const OPTION_NOP: u8 = 1;
/// Kind of the option that says the largest segment that its sender takes, in bytes without headers (RFC 9293 §3.7.1).
pub const OPTION_MSS: u8 = 2;
/// Bytes of that option: kind, length, size.
pub const OPTION_MSS_LEN: usize = 4;
/// Most options that a header has room for: one in each byte.
pub const OPTIONS_MAX: usize = LEN_MAX - LEN;

/// FIN in the flags byte.
pub const FIN: u8 = 0x01;
/// SYN in the flags byte.
pub const SYN: u8 = 0x02;
/// RST in the flags byte.
pub const RST: u8 = 0x04;
/// ACK in the flags byte.
pub const ACK: u8 = 0x10;

/// Kinds of options.
pub mod option {
    /// The end of the list.
    pub const END: u8 = 0;
    /// A blank.
    pub const NO_OPERATION: u8 = 1;
    /// A selective acknowledgement (RFC 2018).
    pub const SACK: u8 = 5;
}
