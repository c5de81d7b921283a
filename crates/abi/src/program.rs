//! The programs that are called by others.

/// The programs behind the first, which packets reach by a tail call. Their numbers are those in the arrays of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Program {
    /// For packets without a connection: makes one, and sends them by it.
    Connect = 0,
    /// For ICMP errors.
    Error = 1,
    /// For fragments behind the first, and for a first one that they are gathered behind and that goes into a tunnel.
    Fragment = 2,
    /// For packets that are dropped and whose sender is to know it.
    Answer = 3,
    /// For first fragments that are ready, and for fragments that come before them.
    Gather = 4,
    /// For packets that are too large for their way and may be fragmented.
    Cut = 5,
    /// For what is from or for this host's own stack. Under TC alone.
    Here = 6,
    /// For packets that become packets of the other address family.
    Translate = 7,
    /// For segments of FTP's control connections, under TC.
    Ftp = 8,
    /// Sends those on.
    Heard = 9,
    /// For TCP segments whose service lowers the maximum segment size that they announce.
    Clamp = 10,
}

impl Program {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Connect,
        Self::Error,
        Self::Fragment,
        Self::Answer,
        Self::Gather,
        Self::Cut,
        Self::Here,
        Self::Translate,
        Self::Ftp,
        Self::Heard,
        Self::Clamp,
    ];
}
