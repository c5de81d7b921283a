//! ICMP (RFC 792) and `ICMPv6` (RFC 4443): what a balancer has to know of errors (ipvs.md §2.8).

/// Bytes of the header of an error; behind it stands the beginning of the packet that it is about.
pub const LEN: usize = 8;
/// Offset of the checksum, in both.
pub const CHECKSUM: usize = 2;

/// ICMP of IPv4. Its checksum covers the message only.
pub mod v4 {
    /// Protocol number.
    pub const PROTOCOL: u8 = 1;
    /// Offset of the next hop's MTU in "fragmentation needed": two bytes (RFC 1191 §4).
    pub const MTU: usize = 6;

    /// Type: answer to an echo request.
    pub const ECHO_REPLY: u8 = 0;
    /// Type: destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Type: source quench.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Type: redirect.
    pub const REDIRECT: u8 = 5;
    /// Type: echo request.
    pub const ECHO: u8 = 8;
    /// Type: time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Type: parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;

    /// Code of unreachable: network.
    pub const NETWORK: u8 = 0;
    /// Code of unreachable: host.
    pub const HOST: u8 = 1;
    /// Code of unreachable: protocol.
    pub const PROTOCOL_UNREACHABLE: u8 = 2;
    /// Code of unreachable: port.
    pub const PORT: u8 = 3;
    /// Code of unreachable: too big, and not to be fragmented.
    pub const FRAGMENTATION_NEEDED: u8 = 4;
    /// Code of unreachable: source route failed.
    pub const SOURCE_ROUTE: u8 = 5;
    /// Code of unreachable: forbidden, network.
    pub const NETWORK_PROHIBITED: u8 = 9;
    /// Code of unreachable: forbidden, host.
    pub const HOST_PROHIBITED: u8 = 10;
    /// Code of unreachable: forbidden by a filter.
    pub const PROHIBITED: u8 = 13;
    /// Code of unreachable: host, for its precedence.
    pub const HOST_PRECEDENCE: u8 = 14;
    /// Code of unreachable: for too low a precedence.
    pub const PRECEDENCE_CUTOFF: u8 = 15;
    /// Code of time exceeded: on the way.
    pub const TTL: u8 = 0;
    /// Code of time exceeded: of a packet's fragments.
    pub const REASSEMBLY: u8 = 1;

    /// Whether it is an error that a balancer takes to the end it is for. Redirects and parameter problems are not
    /// (ipvs.md §2.8).
    #[inline(always)]
    #[must_use]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | SOURCE_QUENCH | TIME_EXCEEDED)
    }
}

/// ICMP of IPv6. Its checksum covers the pseudo header too.
pub mod v6 {
    /// Protocol number.
    pub const PROTOCOL: u8 = 58;
    /// Offset of the next hop's MTU in "packet too big": four bytes (RFC 4443 §3.2).
    pub const MTU: usize = 4;

    /// Type: destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Type: packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Type: time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Type: parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Type: echo request, the first that is no error.
    pub const ECHO: u8 = 128;
    /// Type: answer to an echo request.
    pub const ECHO_REPLY: u8 = 129;
    /// Type: neighbour solicitation (RFC 4861).
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Type: neighbour advertisement (RFC 4861).
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

    /// Code of unreachable: no route.
    pub const NO_ROUTE: u8 = 0;
    /// Code of unreachable: forbidden.
    pub const PROHIBITED: u8 = 1;
    /// Code of unreachable: address.
    pub const ADDRESS: u8 = 3;
    /// Code of unreachable: port.
    pub const PORT: u8 = 4;
    /// Code of unreachable: beyond the scope of the source address.
    pub const BEYOND_SCOPE: u8 = 2;
    /// Code of parameter problem: an erroneous header field.
    pub const ERRONEOUS_FIELD: u8 = 0;
    /// Code of parameter problem: an unknown next header.
    pub const UNKNOWN_NEXT_HEADER: u8 = 1;
    /// Code of time exceeded: on the way.
    pub const HOP_LIMIT: u8 = 0;
    /// Code of time exceeded: of a packet's fragments.
    pub const REASSEMBLY: u8 = 1;

    /// Whether it is an error (RFC 4443 §2.1).
    #[inline(always)]
    #[must_use]
    pub const fn is_error(kind: u8) -> bool {
        kind < ECHO
    }
}
