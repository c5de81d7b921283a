//! What can become of a packet at a real server that tunnels end at. One counter each, in map [`DECAP_OUTCOMES`].

/// Name of the map: a counter per CPU and [`DecapOutcome`].
pub const DECAP_OUTCOMES: &str = "DECAP_OUTCOMES";

/// Where a packet ends in the programs of a real server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum DecapOutcome {
    /// Passes: no IP-in-IP packet, or not for this host at link level.
    NotTunnelled = 0,
    /// The outer header was taken off, and what was inside goes on to the stack.
    Decapsulated = 1,
    /// Passes: the outer addresses are not those that were asked for.
    NotAccepted = 2,
    /// Passes: a fragment, which the program can't put together.
    Fragment = 3,
    /// Passes: the outer header has options, or is inconsistent.
    BadOuter = 4,
    /// Passes: what is inside is no whole IPv4 packet.
    BadInner = 5,
    /// Discarded: the kernel could not take the header off.
    Failed = 6,
}

impl DecapOutcome {
    /// Every outcome, in the order of their counters.
    pub const ALL: [Self; 7] = [
        Self::NotTunnelled,
        Self::Decapsulated,
        Self::NotAccepted,
        Self::Fragment,
        Self::BadOuter,
        Self::BadInner,
        Self::Failed,
    ];
}
