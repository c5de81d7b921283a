//! SCTP headers and their checksum (RFC 9260).
//!
//! The checksum is a CRC32c over the whole packet, its own field taken as zero, and no other header takes part. A CRC is
//! linear: when bytes of a packet change, its CRC changes by the CRC (without the usual complements) of the difference.
//! Where the difference is in the first four bytes, the ports, that is the difference times `x^(8·len)` modulo the
//! polynomial, whatever the other bytes are. So a port can be rewritten without reading the packet.

/// Bytes of the common header.
pub const LEN: usize = 12;
/// Offset of the verification tag.
pub const TAG: usize = 4;
/// Offset of the checksum.
pub const CHECKSUM: usize = 8;
/// Bytes of a chunk's header: type, flags, and a length that covers the header but no padding. A chunk begins on a
/// multiple of four bytes.
pub const CHUNK_LEN: usize = 4;

/// Types of chunks (RFC 9260 §3.2).
pub mod chunk {
    /// User data.
    pub const DATA: u8 = 0;
    /// Opens an association.
    pub const INIT: u8 = 1;
    /// Answers INIT.
    pub const INIT_ACK: u8 = 2;
    /// Acknowledges data.
    pub const SACK: u8 = 3;
    /// Asks whether a path works.
    pub const HEARTBEAT: u8 = 4;
    /// Answers HEARTBEAT.
    pub const HEARTBEAT_ACK: u8 = 5;
    /// Ends an association at once.
    pub const ABORT: u8 = 6;
    /// Begins to end an association.
    pub const SHUTDOWN: u8 = 7;
    /// Answers SHUTDOWN.
    pub const SHUTDOWN_ACK: u8 = 8;
    /// Reports an error that ends nothing.
    pub const ERROR: u8 = 9;
    /// Brings back the cookie of INIT ACK.
    pub const COOKIE_ECHO: u8 = 10;
    /// Answers COOKIE ECHO.
    pub const COOKIE_ACK: u8 = 11;
    /// Reports congestion.
    pub const ECNE: u8 = 12;
    /// Answers ECNE.
    pub const CWR: u8 = 13;
    /// Answers SHUTDOWN ACK.
    pub const SHUTDOWN_COMPLETE: u8 = 14;
}

/// The polynomial of CRC32c without its highest term, bits reversed: the highest bit is that of `x^0`.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// `x^0`.
const ONE: u32 = 1 << 31;
/// `x^8`: one byte more.
const BYTE: u32 = 1 << 23;

/// `x^(8n)` for each n.
const BYTES: [u32; 256] = powers(BYTE);
/// `x^(8·256·n)` for each n.
const PAGES: [u32; 256] = powers(times(BYTES[255], BYTE));

/// The powers of `base` from the zeroth on.
const fn powers(base: u32) -> [u32; 256] {
    let mut table = [ONE; 256];
    let mut i = 1;
    while i < table.len() {
        table[i] = times(table[i - 1], base);
        i += 1;
    }
    table
}

/// `a * b` modulo the polynomial. Without branches: a verifier that follows each of them would go 2^32 ways.
#[inline(always)]
const fn times(mut a: u32, mut b: u32) -> u32 {
    let mut product = 0;
    let mut round = 0;
    while round < u32::BITS {
        product ^= b & 0_u32.wrapping_sub(a >> 31);
        a <<= 1;
        b = b >> 1 ^ POLYNOMIAL & 0_u32.wrapping_sub(b & 1);
        round += 1;
    }
    product
}

/// The new value of the checksum field of a packet of `len` bytes, common header included, whose ports change: both of
/// them as the first four bytes of the packet.
///
/// A field of 0 stays 0. It says that the device is still to compute the checksum, as Linux leaves it on a host's own
/// packets, or that both ends go without (RFC 9653). One in 2^32 packets has a computed checksum of 0: that one arrives
/// with a wrong one, and is sent again.
#[inline(always)]
#[must_use]
pub const fn update_checksum(field: [u8; 4], old: [u8; 4], new: [u8; 4], len: u16) -> [u8; 4] {
    let stored = u32::from_le_bytes(field);
    if stored == 0 {
        return field;
    }
    let difference = u32::from_le_bytes(old) ^ u32::from_le_bytes(new);
    let [page, byte] = len.to_be_bytes();
    let shifted = times(times(difference, BYTES[byte as usize]), PAGES[page as usize]);
    (stored ^ shifted).to_le_bytes()
}

/// CRC32c of bytes, computed in full: for the host, and as the reference in tests.
#[must_use]
pub fn crc32c(bytes: impl IntoIterator<Item = u8>) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ POLYNOMIAL };
        }
    }
    !crc
}

/// The checksum field of a packet, computed in full; what is in the field now is taken as zero.
#[must_use]
pub fn checksum(packet: &[u8]) -> [u8; 4] {
    let is_field = |at: usize| (CHECKSUM..LEN).contains(&at);
    let bytes = packet.iter().enumerate().map(|(at, byte)| if is_field(at) { 0 } else { *byte });
    // The lowest byte first (RFC 9260 appendix A).
    crc32c(bytes).to_le_bytes()
}
