//! The names of the maps, which are also the names of their pins.

/// A map that user space reads and writes as mapped memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Region {
    /// One [`crate::Config`].
    Config,
    /// Bits by hash of address: which addresses may belong to a service or a destination.
    Filter,
    /// [`crate::Port`] by number of the interface.
    Ports,
    /// [`crate::Service`] by id.
    Services,
    /// [`crate::Dest`] by id.
    Dests,
    /// [`crate::DestConns`] by destination id.
    DestConns,
    /// Words of the scheduler tables, see [`crate::sched`].
    SchedTables,
    /// [`crate::Bucket`]: the connection table.
    Conns,
    /// [`crate::Bucket`]: its overflow.
    ConnOverflow,
    /// Who uses a port of the director's for full NAT: words of `rvs_core::conn::local`.
    LocalPorts,
    /// [`crate::Stats`]: one part per CPU, then one part of zero points (`-Z`).
    Stats,
    /// Counters of outcomes: [`crate::limits::COUNTERS`] words per CPU.
    Counters,
    /// Bits by address, for services by mark: see [`crate::mark`].
    Marked,
    /// [`crate::Rule`]: the lists of the classifier.
    Classifier,
    /// [`crate::Addr`]: the director's addresses that full NAT comes from, by the numbers in [`crate::ConnEntry::local`].
    LocalAddresses,
}

impl Region {
    /// Every region.
    pub const ALL: [Self; 15] = [
        Self::Config,
        Self::Filter,
        Self::Ports,
        Self::Services,
        Self::Dests,
        Self::DestConns,
        Self::SchedTables,
        Self::Conns,
        Self::ConnOverflow,
        Self::LocalPorts,
        Self::Stats,
        Self::Counters,
        Self::Marked,
        Self::Classifier,
        Self::LocalAddresses,
    ];

    /// Name of the map.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Config => "CONFIG",
            Self::Filter => "FILTER",
            Self::Ports => "PORTS",
            Self::Services => "SERVICES",
            Self::Dests => "DESTS",
            Self::DestConns => "DEST_CONNS",
            Self::SchedTables => "SCHED_TABLES",
            Self::Conns => "CONNS",
            Self::ConnOverflow => "CONN_OVERFLOW",
            Self::LocalPorts => "LOCAL_PORTS",
            Self::Stats => "STATS",
            Self::Counters => "COUNTERS",
            Self::Marked => "MARKED",
            Self::Classifier => "CLASSIFIER",
            Self::LocalAddresses => "LOCAL_ADDRESSES",
        }
    }

    /// Words of one value.
    #[must_use]
    pub const fn value_words(self) -> usize {
        match self {
            Self::Config => size_of::<crate::Config>() / 8,
            Self::Services => size_of::<crate::Service>() / 8,
            Self::Dests => size_of::<crate::Dest>() / 8,
            Self::Conns | Self::ConnOverflow => size_of::<crate::Bucket>() / 8,
            Self::Stats => size_of::<crate::Stats>() / 8,
            Self::Classifier => size_of::<crate::Rule>() / 8,
            Self::LocalAddresses => size_of::<crate::Addr>() / 8,
            Self::LocalPorts
            | Self::Filter
            | Self::Ports
            | Self::DestConns
            | Self::SchedTables
            | Self::Counters
            | Self::Marked => 1,
        }
    }
}

/// The array of slots for fragments that came before the first of their packet, as user space sees it: of each slot the
/// first word. It belongs to the programs and is not pinned.
pub const HELD: &str = "HELD";

/// The hash map from [`crate::ServiceKey`] to service id (u32).
pub const SERVICE_KEYS: &str = "SERVICE_KEYS";
