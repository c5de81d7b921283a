//! The header of the PROXY protocol, version 2, in front of a connection's data: who the client is, and whom it called
//! (haproxy.org, "The PROXY protocol", §2.2). For TCP, without further fields.

/// What it begins with.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and the command PROXY: the connection is made for somebody else.
pub const VERSION_COMMAND: u8 = 0x21;
/// TCP over IPv4.
pub const TCP_V4: u8 = 0x11;
/// TCP over IPv6.
pub const TCP_V6: u8 = 0x21;
/// Bytes in front of the addresses.
pub const HEAD: usize = 16;
/// Bytes of the header of an IPv4 client: two addresses, two ports.
pub const LEN_V4: usize = HEAD + 12;
/// Bytes of the header of an IPv6 client.
pub const LEN_V6: usize = HEAD + 36;

/// What stands in front of the addresses.
#[inline(always)]
#[must_use]
#[allow(clippy::cast_possible_truncation, reason = "below 256")]
pub const fn head(is_v4: bool) -> [u8; HEAD] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = SIGNATURE;
    let (kind, len) = if is_v4 { (TCP_V4, LEN_V4 - HEAD) } else { (TCP_V6, LEN_V6 - HEAD) };
    [a, b, c, d, e, f, g, h, i, j, k, l, VERSION_COMMAND, kind, 0, len as u8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_is_that_of_the_specification() {
        assert_eq!(SIGNATURE, [0x0d, 0x0a, 0x0d, 0x0a, 0, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a]);
        assert_eq!(head(true)[12..], [0x21, 0x11, 0, 12]);
        assert_eq!(head(false)[12..], [0x21, 0x21, 0, 36]);
        assert_eq!((LEN_V4, LEN_V6), (28, 52));
    }
}
