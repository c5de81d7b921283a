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

/// FIN in the flags byte.
pub const FIN: u8 = 0x01;
/// SYN in the flags byte.
pub const SYN: u8 = 0x02;
/// RST in the flags byte.
pub const RST: u8 = 0x04;
/// ACK in the flags byte.
pub const ACK: u8 = 0x10;

/// Options: the kind, and but for [`option::END`] and [`option::NO_OPERATION`] the length in bytes, with both, and what it says.
pub mod option {
    /// The end of the list (RFC 9293 §3.1).
    pub const END: u8 = 0;
    /// An option of one byte, for alignment (RFC 9293 §3.1).
    pub const NO_OPERATION: u8 = 1;
    /// The largest segment that its sender takes, in bytes without headers (RFC 9293 §3.7.1).
    pub const MSS: u8 = 2;
    /// Bytes of that option.
    pub const MSS_LEN: usize = 4;
    /// A selective acknowledgement (RFC 2018).
    pub const SACK: u8 = 5;
    /// Most options that a header has room for: one in each byte.
    pub const MAX: usize = super::LEN_MAX - super::LEN;

    /// How many bytes an option takes, of its kind, the byte behind that, and how many the header has left from the kind on.
    /// 0: no receiver reads on, since the list ends here or doesn't fit.
    #[inline(always)]
    #[must_use]
    pub const fn span(kind: u8, len: u8, left: u64) -> u64 {
        match kind {
            END => 0,
            NO_OPERATION => 1,
            _ if len < 2 || len as u64 > left => 0,
            _ => len as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::option;

    #[test]
    fn an_option_ends_where_a_receiver_says() {
        assert_eq!(option::span(option::END, 9, 40), 0);
        assert_eq!(option::span(option::NO_OPERATION, 0, 1), 1);
        assert_eq!([1, 2, 4, 5].map(|len| option::span(option::MSS, len, 4)), [0, 2, 4, 0]);
    }
}
