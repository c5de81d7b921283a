//! UDP headers (RFC 768).

/// Bytes of a header.
pub const LEN: usize = 8;
/// Offset of the checksum.
pub const CHECKSUM: usize = 6;
