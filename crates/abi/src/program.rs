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
    /// For packets of services by mark that have no destination.
    Bypass = 10,
    /// For TCP segments whose service lowers the maximum segment size that they announce.
    Clamp = 11,
    /// For segments of connections whose data begin with a header that says who the client is.
    Head = 12,
}

impl Program {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 13] = [
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
        Self::Bypass,
        Self::Clamp,
        Self::Head,
    ];
}

/// A set of programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProgramSet(pub u32);

impl ProgramSet {
    /// None.
    pub const NONE: Self = Self(0);
    /// Those that only services, destinations or settings of one kind send packets to: they are loaded once there is one.
    pub const ON_DEMAND: Self = Self::of(&[
        Program::Translate,
        Program::Ftp,
        Program::Heard,
        Program::Bypass,
        Program::Clamp,
        Program::Head,
    ]);

    /// These.
    #[must_use]
    pub const fn of(programs: &[Program]) -> Self {
        let mut set = 0;
        let mut i = 0;
        while i < programs.len() {
            set |= 1 << programs[i] as u32;
            i += 1;
        }
        Self(set)
    }

    /// Those of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether one is in it.
    #[must_use]
    pub const fn has(self, program: Program) -> bool {
        self.0 & 1 << program as u32 != 0
    }
}
