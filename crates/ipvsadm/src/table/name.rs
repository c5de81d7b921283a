//! The names that messages give to options.

macro_rules! option_names {
    ($($variant:ident $text:literal),+ $(,)?) => {
        /// What a message calls an option (ipvs.md §10.4). The order is the order of the checks: the first option in
        /// it that breaks a rule is the one reported.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum OptionName {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
        }

        impl OptionName {
            /// Every name, in the order of the checks.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name as messages show it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

option_names! {
    Numeric "numeric",
    Connection "connection",
    ServiceAddress "service-address",
    Scheduler "scheduler",
    Persistent "persistent",
    Netmask "netmask",
    RealServer "real-server",
    ForwardingMethod "forwarding-method",
    Weight "weight",
    UpperThreshold "u-threshold",
    LowerThreshold "l-threshold",
    McastInterface "mcast-interface",
    Timeout "timeout",
    Daemon "daemon",
    Stats "stats",
    Rate "rate",
    Thresholds "thresholds",
    PersistentConn "persistent-conn",
    NoSort "nosort",
    SyncId "syncid",
    Exact "exact",
    Ops "ops",
    Pe "pe",
    SchedFlags "sched-flags",
    McastGroup "mcast-group",
    McastPort "mcast-port",
    McastTtl "mcast-ttl",
    SyncMaxlen "sync-maxlen",
    TunInfo "tun-info",
    TunType "tun-type",
    TunPort "tun-port",
    TunNocsum "tun-nocsum",
    TunCsum "tun-csum",
    TunRemcsum "tun-remcsum",
    Mss "mss",
    ClientAddress "client-address",
}

/// Which names were given.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct NameSet(u64);

const _: () = assert!(OptionName::ALL.len() <= 64);

impl NameSet {
    const fn bit(name: OptionName) -> u64 {
        1 << name as u32
    }

    pub(crate) const fn contains(self, name: OptionName) -> bool {
        self.0 & Self::bit(name) != 0
    }

    pub(crate) fn contains_any(self, names: &[OptionName]) -> bool {
        names.iter().any(|name| self.contains(*name))
    }

    /// Adds a name; whether it is new.
    pub(crate) fn insert(&mut self, name: OptionName) -> bool {
        let new = !self.contains(name);
        self.0 |= Self::bit(name);
        new
    }
}
