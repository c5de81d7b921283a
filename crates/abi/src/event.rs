//! What is counted beside the outcomes of packets.

/// Something that happens on the way of a packet and does not end it. Counted in the words behind those of the outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// The connection table was full where a new connection belongs: one that had seen only one packet made room.
    Evicted = 96,
    /// A packet that was dropped was answered with an ICMP error.
    ErrorSent = 97,
    /// It would have been, but so many were sent to that address, or at all, that this one was not.
    ErrorLimited = 98,
    /// Full NAT: a segment that was to tell the server the client's address had no room for one more TCP option.
    ClientOptionNoRoom = 99,
    /// A packet ended its connection, whose destination is removed (`expire_nodest_conn`).
    Expired = 103,
    /// A rule of the classifier gave a packet its mark.
    Classified = 102,
    /// A fragment was made of a packet that was too large for its way.
    PieceMade = 106,
    /// A fragment that had come before the first of its packet went on behind it.
    HeldSent = 107,
    /// A fragment that had come before the first of its packet was given up: the first did not come.
    HeldExpired = 108,
    /// A fragment that had come before the first of its packet made room for another: all slots for its source were in use.
    HeldEvicted = 113,
    /// FTP's next data connection became known before it begins.
    FtpExpected = 109,
    /// A segment of an FTP control connection was given another address.
    FtpRewritten = 110,
    /// A connection's data were given a header of the PROXY protocol.
    ProxySent = 111,
    /// Likewise, and the data that came with it were left out: they would not have fitted.
    ProxyAlone = 112,
    /// A bundle of segments left for a tunnel without the outer checksum that its destination asks for.
    TunnelUnsummed = 115,
    /// Full NAT's ports were taken: a connection of one packet gave its port to a new one.
    PortTaken = 116,
}

impl Event {
    /// Every event.
    pub const ALL: [Self; 16] = [
        Self::Evicted,
        Self::ErrorSent,
        Self::ErrorLimited,
        Self::ClientOptionNoRoom,
        Self::Classified,
        Self::Expired,
        Self::PieceMade,
        Self::HeldSent,
        Self::HeldExpired,
        Self::HeldEvicted,
        Self::FtpExpected,
        Self::FtpRewritten,
        Self::ProxySent,
        Self::ProxyAlone,
        Self::TunnelUnsummed,
        Self::PortTaken,
    ];

    /// Its name in listings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Evicted => "evicted",
            Self::ErrorSent => "error_sent",
            Self::ErrorLimited => "error_limited",
            Self::ClientOptionNoRoom => "client_unsaid",
            Self::Classified => "classified",
            Self::Expired => "expired",
            Self::PieceMade => "piece_made",
            Self::HeldSent => "held_sent",
            Self::HeldExpired => "held_expired",
            Self::HeldEvicted => "held_evicted",
            Self::FtpExpected => "ftp_expected",
            Self::FtpRewritten => "ftp_rewritten",
            Self::ProxySent => "proxy_sent",
            Self::ProxyAlone => "proxy_alone",
            Self::TunnelUnsummed => "tunnel_unsummed",
            Self::PortTaken => "port_taken",
        }
    }

    /// One line that explains it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Evicted => "a connection of one packet made room for a new one in the full table",
            Self::ErrorSent => "a dropped packet was answered with an ICMP error",
            Self::ErrorLimited => {
                "a dropped packet was not answered: too many errors to that address, or at all"
            }
            Self::ClientOptionNoRoom => "full NAT: a TCP header had no room for the client's address",
            Self::Classified => "a rule of the classifier gave a packet its mark",
            Self::Expired => {
                "a packet ended its connection, whose destination is removed (expire_nodest_conn)"
            }
            Self::PieceMade => "a fragment was made of a packet that was too large for its way",
            Self::HeldSent => "a fragment that had come before the first of its packet went on behind it",
            Self::HeldExpired => {
                "a held fragment was given up: the first of its packet had not come within a second"
            }
            Self::HeldEvicted => {
                "a held fragment made room for another: too many at once of its source, or those that share with it"
            }
            Self::FtpExpected => "FTP announced a data connection, which is expected now",
            Self::FtpRewritten => "a segment of FTP's control connection was given another address",
            Self::ProxySent => "a connection's data were given a PROXY header",
            Self::ProxyAlone => {
                "a PROXY header was sent without the data that came with it, which come again: too long for both"
            }
            Self::TunnelUnsummed => {
                "a bundle of segments left for a tunnel without the checksum that it is to have"
            }
            Self::PortTaken => {
                "full NAT: all ports that were tried were taken, and a connection of one packet gave way"
            }
        }
    }
}

/// The counter beside that of [`Event::HeldExpired`], of those that the director has counted: no program writes it.
pub const HELD_ENDED: u32 = 114;

/// Whether a counter is that of an event.
#[must_use]
pub const fn is_event(counter: usize) -> bool {
    let mut i = 0;
    while i < Event::ALL.len() {
        if Event::ALL[i] as usize == counter {
            return true;
        }
        i += 1;
    }
    counter == HELD_ENDED as usize
}

// Outcomes have others, and all are in the map.
const _: () = {
    let mut i = 0;
    while i < Event::ALL.len() {
        assert!((Event::ALL[i] as u32) < crate::limits::COUNTERS && Event::ALL[i] as u32 != HELD_ENDED);
        i += 1;
    }
    let mut i = 0;
    while i < crate::OUTCOMES.len() {
        assert!(!is_event(crate::OUTCOMES[i] as usize));
        i += 1;
    }
};
