//! What can become of a packet at a real server that tunnels end at. One counter each, in map [`DECAP_OUTCOMES`].

/// Name of the map: a counter per CPU and [`DecapOutcome`].
pub const DECAP_OUTCOMES: &str = "DECAP_OUTCOMES";

/// Where a packet ends in the programs of a real server. What passes is for the network stack to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum DecapOutcome {
    /// Passes: in no tunnel, or not for this host at link level.
    NotTunnelled = 0,
    /// The outer headers of IP in IP were taken off, and what was inside goes on to the stack.
    Ipip = 1,
    /// The same with those of GRE.
    Gre = 2,
    /// The same with those of GUE.
    Gue = 3,
    /// Passes: the outer addresses are not those that were asked for.
    NotAccepted = 4,
    /// Passes: a fragment, which the program can't put together.
    Fragment = 5,
    /// Passes: the outer IP header has options, or is inconsistent.
    BadOuter = 6,
    /// Passes: the header of GRE, UDP or GUE is inconsistent, or has parts that no director writes.
    BadTunnel = 7,
    /// Passes: the checksum of GRE or UDP is wrong.
    BadChecksum = 8,
    /// Passes: what is inside is no whole IP packet of the family that the tunnel says.
    BadInner = 9,
    /// Discarded: the kernel could not take the headers off.
    Failed = 10,
}

impl DecapOutcome {
    /// Every outcome, in the order of their counters.
    pub const ALL: [Self; 11] = [
        Self::NotTunnelled,
        Self::Ipip,
        Self::Gre,
        Self::Gue,
        Self::NotAccepted,
        Self::Fragment,
        Self::BadOuter,
        Self::BadTunnel,
        Self::BadChecksum,
        Self::BadInner,
        Self::Failed,
    ];

    /// Name of its counter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotTunnelled => "not_tunnelled",
            Self::Ipip => "ipip",
            Self::Gre => "gre",
            Self::Gue => "gue",
            Self::NotAccepted => "not_accepted",
            Self::Fragment => "fragment",
            Self::BadOuter => "bad_outer",
            Self::BadTunnel => "bad_tunnel",
            Self::BadChecksum => "bad_checksum",
            Self::BadInner => "bad_inner",
            Self::Failed => "failed",
        }
    }

    /// Whether the packet came out of its tunnel.
    #[inline(always)]
    #[must_use]
    pub const fn is_decapsulated(self) -> bool {
        matches!(self, Self::Ipip | Self::Gre | Self::Gue)
    }
}
