//! What can become of a packet. Each ends in exactly one outcome, and each outcome has one counter.

/// What kind of outcome it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The packet goes on to the network stack as it came.
    Pass,
    /// Like `Pass`, and the program under TC takes it up; counted here, not as another packet.
    HandOver,
    /// Sent on by this director.
    Forward,
    /// Discarded.
    Drop,
}

macro_rules! outcomes {
    ($($(#[$meta:meta])* $variant:ident = $index:literal, $class:ident, $name:literal, $text:literal;)+) => {
        /// Where a packet ends.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Outcome { $(#[doc = $text] $variant = $index,)+ }

        /// Every outcome, in the order of their counters.
        pub const OUTCOMES: &[Outcome] = &[$(Outcome::$variant,)+];

        impl Outcome {
            /// Its class.
            #[inline(always)]
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)+ }
            }

            /// Its name in listings and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// One line that explains it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

outcomes! {
    NoServices = 0, Pass, "no_services", "no service of this address family is configured: nothing is looked at";
    NotIp = 1, Pass, "not_ip", "neither IPv4 nor IPv6 (ARP and others)";
    NotForHost = 2, Pass, "not_for_host", "link-level broadcast, multicast or another host's frame";
    BadIpHeader = 3, Pass, "bad_ip_header", "IP header cut short or inconsistent: left to the stack, which drops it";
    BadIpChecksum = 4, Pass, "bad_ip_checksum", "IPv4 header checksum wrong: left to the stack, which drops it";
    Fragment = 5, Pass, "fragment", "fragment that came before the first of its packet, whose first is not balanced, or of an ICMP error";
    OtherProtocol = 6, Pass, "other_protocol", "protocol that is not balanced";
    NotOurs = 7, Pass, "not_ours", "neither address belongs to a service or a destination";
    NoService = 8, Pass, "no_service", "no service at this address and port, and no connection";
    NoSyn = 9, Pass, "no_syn", "TCP without SYN or SCTP without INIT, and without a connection: the stack answers";
    Rst = 10, Pass, "rst", "TCP reset or SCTP abort without a connection";
    FtpDataPort = 11, Pass, "ftp_data_port", "source port 20 is never scheduled";
    ReplyUnchanged = 12, Pass, "reply_unchanged", "reply of a DR or tunnel destination: passed on unchanged";

    AlreadyBalanced = 31, Pass, "already_balanced", "sent here by a DR or tunnel destination of the same service, so balanced there before: left to the stack";

    Vlan = 16, Pass, "vlan", "VLAN tag: left to the stack, which hands it to that VLAN's interface";

    MartianSource = 17, Pass, "martian_source", "source address that no host has (0/8, 127/8, ::, ::1, multicast, reserved): left to the stack, which drops it";

    NoKeyExchange = 18, Pass, "no_key_exchange", "AH or ESP between two hosts that have no connection at UDP port 500";
    IcmpNoConnection = 19, Pass, "icmp_no_connection", "ICMP error about a packet of no connection";
    IcmpQuote = 20, Pass, "icmp_quote", "ICMP error whose quoted packet can't be told: cut short, a later fragment, or of another protocol";

    OnePacket = 30, Pass, "one_packet", "a datagram that is scheduled by itself; never the end of a packet";
    FtpPort = 29, Pass, "ftp_port", "another port at the address of an FTP service, which needs persistence: left to the stack";

    IcmpError = 21, Pass, "icmp_error", "an ICMP error; never the end of a packet";
    LaterFragment = 27, Pass, "later_fragment", "a fragment behind the first; never the end of a packet";
    MaybeMarked = 28, Pass, "maybe_marked", "may have a mark that a service is for; never the end of a packet";
    Tunnel = 23, Pass, "tunnel", "goes on into a tunnel; never the end of a packet";
    TunnelCut = 46, Pass, "tunnel_cut", "is in its tunnel and too large for its way: goes on in fragments; never the end of a packet";
    TunnelError = 22, Pass, "tunnel_error", "an ICMP error about a packet that may be a tunnel's; never the end of a packet";
    FtpRequest = 90, Pass, "ftp_request", "from the client of an FTP control connection; never the end of a packet";
    FtpReply = 91, Pass, "ftp_reply", "from the server of an FTP control connection; never the end of a packet";
    FtpLocalReply = 92, Pass, "ftp_local_reply", "likewise, by full NAT; never the end of a packet";
    Local = 68, Pass, "local", "goes on to this director's own stack; never the end of a packet";
    LocalReply = 86, Pass, "local_reply", "goes on to this director's own stack, as a reply; never the end of a packet";
    LocalPacket = 87, Pass, "local_packet", "from or for this director's own stack, and of no connection that is kept; never the end of a packet";
    Bypass = 78, Pass, "bypass", "goes on past the real servers; never the end of a packet";
    Balanced = 13, Pass, "balanced", "goes on to the next step; never the end of a packet";
    FromServer = 15, Pass, "from_server", "may come from a real server; never the end of a packet";
    NoConnection = 14, Pass, "no_connection", "has no connection yet; never the end of a packet";

    HandOverNeighbour = 24, HandOver, "hand_over_neighbour", "next hop not resolved, or by an interface that takes no frames from XDP: taken up under TC";
    HandOverRefresh = 25, HandOver, "hand_over_refresh", "the first packet of a connection, once a second, takes the stack's way and keeps the neighbour fresh";
    HandOverRoute = 26, HandOver, "hand_over_route", "route that XDP can't follow: taken up under TC";

    HandOverFragment = 72, HandOver, "hand_over_fragment", "fragment before the first of its packet, or a first one while others wait, or a packet to be fragmented: taken up under TC";

    HandOverFtp = 76, HandOver, "hand_over_ftp", "segment of an FTP control connection: taken up under TC";

    ForwardMasq = 32, Forward, "forward_masq", "request sent to a NAT destination";
    ForwardDr = 33, Forward, "forward_dr", "request sent to a direct-routing destination";
    ForwardTunnel = 34, Forward, "forward_tunnel", "request sent through a tunnel";
    ReplyMasq = 35, Forward, "reply_masq", "reply of a NAT destination sent to the client";

    IcmpToServer = 36, Forward, "icmp_to_server", "ICMP error about a reply sent on to the real server";
    IcmpToClient = 37, Forward, "icmp_to_client", "ICMP error about a request sent on to the client";

    IcmpFromTunnel = 38, Forward, "icmp_from_tunnel", "ICMP error about a tunnel's packet sent to the client whose packet was inside";

    LocalNode = 39, Forward, "local_node", "request left to this director's own stack, which is the destination";
    ReplyLocal = 40, Forward, "reply_local", "reply of a NAT destination left to this director's own stack, which is the client";
    ForwardCut = 42, Forward, "forward_cut", "larger than the MTU on its way, and may be fragmented: its fragments go on, and are counted once more";
    ForwardTunnelCut = 41, Forward, "forward_tunnel_cut", "sent through a tunnel in fragments of the outer packet, which was larger than the MTU on its way";
    FragmentHeld = 43, Forward, "fragment_held", "fragment that came before the first of its packet: held, and counted once more when it goes on behind that";

    ForwardBypass = 79, Forward, "forward_bypass", "sent on to where it was going, since its service by mark had no destination (cache_bypass)";
    ForwardFullNat = 44, Forward, "forward_full_nat", "request sent to a full NAT destination";
    ReplyFullNat = 45, Forward, "reply_full_nat", "reply of a full NAT destination sent to the client";

    FullNat = 80, Pass, "full_nat", "goes on to full NAT; never the end of a packet";
    FullNatReply = 81, Pass, "full_nat_reply", "goes on as a reply of full NAT; never the end of a packet";
    LocalPort = 83, Pass, "local_port", "may be a reply of full NAT; never the end of a packet";
    ClientOption = 84, Pass, "client_option", "goes on to tell the server who the client is; never the end of a packet";
    Classified = 85, Pass, "classified", "has no connection yet, and its mark is known; never the end of a packet";
    Proxied = 88, Pass, "proxied", "goes on to full NAT behind a header that tells the server who the client is; never the end of a packet";
    ProxiedReply = 89, Pass, "proxied_reply", "likewise, of the server; never the end of a packet";
    Clamp = 127, Pass, "clamp", "goes on when the segment size that it announces has been lowered; never the end of a packet";
    Reserve = 82, Pass, "reserve", "needs a port for full NAT; never the end of a packet";

    Translate = 95, Pass, "translate", "goes on to translation into the other family; never the end of a packet";
    TranslateError = 100, Pass, "translate_error", "an ICMP error that goes on to translation; never the end of a packet";
    ForwardTranslated = 101, Forward, "forward_translated", "request translated and sent to a full NAT destination of the other address family";
    ReplyTranslated = 104, Forward, "reply_translated", "reply of a full NAT destination of the other address family translated and sent to the client";

    TruncatedTransport = 48, Drop, "truncated_transport", "TCP, UDP, SCTP or ICMP header cut short or inconsistent";
    NoDestination = 49, Drop, "no_destination", "the service has no destination that takes new connections";
    DestinationGone = 50, Drop, "destination_gone", "the connection's destination was removed";
    TtlExceeded = 51, Drop, "ttl_exceeded", "time to live used up";
    TooBig = 52, Drop, "too_big", "larger than the MTU on the way to the destination; a bundle of segments counts as one";
    NoRoute = 53, Drop, "no_route", "no route to the destination, or a route that refuses";
    ConnTableFull = 54, Drop, "conn_table_full", "no slot for a new connection";
    ConnContended = 55, Drop, "conn_contended", "two CPUs made the same connection at the same moment, too often in a row";
    RewriteFailed = 57, Drop, "rewrite_failed", "the kernel could not make room for headers";
    NoTunnelSource = 58, Drop, "no_tunnel_source", "no address of this director is known on the way to the tunnel destination";
    TunnelMtu = 61, Drop, "tunnel_mtu", "a tunnel's packet that may be fragmented, or of IPv6 and 1280 bytes at most, was called too big, or an MTU too small to be true told";
    FragmentedSctp = 62, Drop, "fragmented_sctp", "fragments of SCTP whose port is mapped: the checksum can't be made right";
    FragmentDropped = 47, Drop, "fragment_dropped", "fragment behind the first of a packet whose first was dropped";
    CutFailed = 69, Drop, "cut_failed", "larger than the MTU on its way, and not to be fragmented here: IP options, too long, or too many fragments";
    HoldFull = 70, Drop, "hold_full", "fragment that came before the first of its packet, and others were at work wherever it could be held";
    HoldTooLong = 71, Drop, "hold_too_long", "fragment that came before the first of its packet, and is too long to be held";
    NoLocalPort = 73, Drop, "no_local_port", "full NAT: none of the ports that were tried is free";
    NoLocalAddress = 74, Drop, "no_local_address", "full NAT: no address of this director is known on the way to the destination";
    FullNatProtocol = 75, Drop, "full_nat_protocol", "full NAT of a protocol without ports";
    HandOverProxy = 63, HandOver, "hand_over_proxy", "segment that may need a PROXY header before its data: taken up under TC";
    ProxyBundle = 64, Drop, "proxy_bundle", "PROXY: first data of a connection, bundled with others before the header was sent; they come again alone";
    ProxyPlace = 66, Drop, "proxy_place", "PROXY: data, or a fragment, that a server without the header yet would take for part of it";

    FtpFull = 77, Drop, "ftp_full", "FTP: no room to note what a client asked its server for";
    FtpBundle = 93, Drop, "ftp_bundle", "FTP: an address in a segment that is too long, or bundled with others; it comes again alone";
    FtpShifted = 94, Drop, "ftp_shifted", "FTP: a control connection's sequence numbers have been shifted by 4 million already";
    TranslateHeader = 105, Drop, "translate_header", "translation: an IPv4 source route or an IPv6 routing header that is not used up, or headers that IPv4 lacks";
    TranslateChecksum = 120, Drop, "translate_checksum", "translation: UDP without a checksum, which IPv6 needs, in fragments or of a wrong length";
    TranslateIcmp = 121, Drop, "translate_icmp", "translation: an ICMP error that says what the other family has no word for";
    TranslateMtu = 122, Drop, "translate_mtu", "translation: too large for an IPv4 way with an MTU below 1260, and too small to be made smaller in IPv6";
    TranslateLocal = 56, Drop, "translate_local", "translation: client or destination is this director itself";
    ServerUnknown = 65, Drop, "server_unknown", "a real server's packet of no connection, refused by port unreachable (nat_icmp_send)";
    BadIcmpChecksum = 60, Drop, "bad_icmp_checksum", "ICMP error with a wrong checksum";
    LoopbackAddress = 67, Drop, "loopback_address", "a packet that would carry a loopback address from one host to another";
    Inconsistent = 59, Drop, "inconsistent", "a map lacks what another refers to: a fault of this program";
}

const _: () = {
    let mut i = 0;
    while i < OUTCOMES.len() {
        assert!((OUTCOMES[i] as u32) < crate::limits::COUNTERS, "no counter for an outcome");
        i += 1;
    }
};

/// The outcomes between two steps of the programs, with which no packet ends.
pub const STEPS: &[Outcome] = &[
    Outcome::OnePacket,
    Outcome::IcmpError,
    Outcome::LaterFragment,
    Outcome::MaybeMarked,
    Outcome::Tunnel,
    Outcome::TunnelCut,
    Outcome::TunnelError,
    Outcome::FtpRequest,
    Outcome::FtpReply,
    Outcome::FtpLocalReply,
    Outcome::Local,
    Outcome::LocalReply,
    Outcome::LocalPacket,
    Outcome::Bypass,
    Outcome::Balanced,
    Outcome::FromServer,
    Outcome::NoConnection,
    Outcome::FullNat,
    Outcome::FullNatReply,
    Outcome::LocalPort,
    Outcome::ClientOption,
    Outcome::Classified,
    Outcome::Proxied,
    Outcome::ProxiedReply,
    Outcome::Clamp,
    Outcome::Reserve,
    Outcome::Translate,
    Outcome::TranslateError,
];
