//! The options.

use super::OptionName as N;
use super::Value::{None as Bare, Optional, Required};
use super::Verb::{
    AddServer, AddService, DeleteServer, DeleteService, EditServer, EditService, Flush, List, Restore, Save,
    Set, StartDaemon, StopDaemon, Zero,
};
use super::{OptionName, Value, Verb};

/// An option.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each is explained by the help text of its row in FLAGS")]
pub enum Flag {
    TcpService,
    UdpService,
    SctpService,
    FwmarkService,
    Ipv6,
    Scheduler,
    SchedFlags,
    Persistent,
    Netmask,
    Pe,
    Ops,
    Mss,
    ClientAddress,
    RealServer,
    Gatewaying,
    Ipip,
    Masquerading,
    FullNat,
    Weight,
    UpperThreshold,
    LowerThreshold,
    TunType,
    TunPort,
    TunNocsum,
    TunCsum,
    TunRemcsum,
    Connection,
    Timeout,
    Daemon,
    Stats,
    Rate,
    Thresholds,
    PersistentConn,
    TunInfo,
    NoSort,
    Exact,
    Numeric,
    Sort,
    McastInterface,
    SyncMaxlen,
    McastGroup,
    McastPort,
    McastTtl,
    SyncId,
}

/// A row of [`FLAGS`].
#[derive(Debug, Clone, Copy)]
pub struct FlagSpec {
    /// Which option.
    pub flag: Flag,
    /// What messages call it; options without a name may be repeated and go with every command that reads them.
    pub name: Option<OptionName>,
    /// The letter after `-`.
    pub short: Option<char>,
    /// The word after `--`.
    pub long: &'static str,
    /// The value it takes.
    pub value: Value,
    /// The commands that take it.
    pub with: &'static [Verb],
    /// One line for the help text.
    pub help: &'static str,
    /// Whether this version of rvs can do it. If not, it is parsed and checked, and then refused.
    pub supported: bool,
}

impl FlagSpec {
    const fn not_yet(mut self) -> Self {
        self.supported = false;
        self
    }
}

const ON_SERVICES: &[Verb] =
    &[AddService, EditService, DeleteService, AddServer, EditServer, DeleteServer, List, Zero];
const ATTRIBUTES: &[Verb] = &[AddService, EditService];
const ON_SERVERS: &[Verb] = &[AddServer, EditServer, DeleteServer];
const SERVER_ATTRIBUTES: &[Verb] = &[AddServer, EditServer];
const LISTING: &[Verb] = &[List];
const DAEMON: &[Verb] = &[StartDaemon];
const EVERYWHERE: &[Verb] = &[
    AddService,
    EditService,
    DeleteService,
    Flush,
    Restore,
    Save,
    AddServer,
    EditServer,
    DeleteServer,
    List,
    Zero,
    Set,
    StartDaemon,
    StopDaemon,
];

/// Whether a command takes the options of that name.
pub(crate) fn takes(verb: Verb, name: OptionName) -> bool {
    FLAGS.iter().any(|spec| spec.name == Some(name) && spec.with.contains(&verb))
}

type Short = Option<char>;

const fn flag(
    flag: Flag,
    name: OptionName,
    short: Short,
    long: &'static str,
    value: Value,
    with: &'static [Verb],
    help: &'static str,
) -> FlagSpec {
    FlagSpec { flag, name: Some(name), short, long, value, with, help, supported: true }
}

const fn nameless(
    flag: Flag,
    short: Short,
    long: &'static str,
    with: &'static [Verb],
    help: &'static str,
) -> FlagSpec {
    FlagSpec { flag, name: None, short, long, value: Bare, with, help, supported: true }
}

/// Every option, in the order of [`Flag`] and of the help text.
#[rustfmt::skip]
pub const FLAGS: &[FlagSpec] = &[
    flag(Flag::TcpService, N::ServiceAddress, Some('t'), "tcp-service", Required("host[:port]"), ON_SERVICES,
        "a TCP service; port 0 or none: any port"),
    flag(Flag::UdpService, N::ServiceAddress, Some('u'), "udp-service", Required("host[:port]"), ON_SERVICES,
        "a UDP service"),
    flag(Flag::SctpService, N::ServiceAddress, None, "sctp-service", Required("host[:port]"), ON_SERVICES,
        "an SCTP service"),
    flag(Flag::FwmarkService, N::ServiceAddress, Some('f'), "fwmark-service", Required("mark"), ON_SERVICES,
        "the packets that carry this firewall mark"),
    nameless(Flag::Ipv6, Some('6'), "ipv6", ON_SERVICES,
        "after -f: the service is for IPv6"),

    flag(Flag::Scheduler, N::Scheduler, Some('s'), "scheduler", Required("name"), ATTRIBUTES,
        "how destinations are chosen (default wlc)"),
    flag(Flag::SchedFlags, N::SchedFlags, Some('b'), "sched-flags", Required("flag,..."), ATTRIBUTES,
        "sh-fallback, sh-port, mh-fallback, mh-port, flag-1, flag-2, flag-3"),
    flag(Flag::Persistent, N::Persistent, Some('p'), "persistent", Optional("seconds"), ATTRIBUTES,
        "keep each client on its destination (default 360)").not_yet(),
    flag(Flag::Netmask, N::Netmask, Some('M'), "netmask", Required("mask"), ATTRIBUTES,
        "which clients persistence takes for one").not_yet(),
    flag(Flag::Pe, N::Pe, None, "pe", Required("engine"), ATTRIBUTES,
        "persistence engine").not_yet(),
    flag(Flag::Ops, N::Ops, Some('o'), "ops", Bare, ATTRIBUTES,
        "schedule each UDP datagram by itself"),
    flag(Flag::Mss, N::Mss, None, "mss", Required("bytes"), ATTRIBUTES,
        "the largest TCP segment that ends may announce (rvs; default 0: any)"),
    flag(Flag::ClientAddress, N::ClientAddress, None, "client-address", Required("option|none|proxy"), ATTRIBUTES,
        "how --fullnat tells servers of clients (rvs; default option)"),

    flag(Flag::RealServer, N::RealServer, Some('r'), "real-server", Required("host[:port]"), ON_SERVERS,
        "the destination; without a port, that of the service"),
    flag(Flag::Gatewaying, N::ForwardingMethod, Some('g'), "gatewaying", Bare, SERVER_ATTRIBUTES,
        "forward by direct routing (the default)"),
    flag(Flag::Ipip, N::ForwardingMethod, Some('i'), "ipip", Bare, SERVER_ATTRIBUTES,
        "forward through a tunnel"),
    flag(Flag::Masquerading, N::ForwardingMethod, Some('m'), "masquerading", Bare, SERVER_ATTRIBUTES,
        "forward by NAT"),
    flag(Flag::FullNat, N::ForwardingMethod, None, "fullnat", Bare, SERVER_ATTRIBUTES,
        "forward by NAT, from an address of the director's (rvs)"),
    flag(Flag::Weight, N::Weight, Some('w'), "weight", Required("number"), SERVER_ATTRIBUTES,
        "capacity (default 1); 0: no new connections"),
    flag(Flag::UpperThreshold, N::UpperThreshold, Some('x'), "u-threshold", Required("number"), SERVER_ATTRIBUTES,
        "connections above which it gets no new ones (0: no limit)").not_yet(),
    flag(Flag::LowerThreshold, N::LowerThreshold, Some('y'), "l-threshold", Required("number"), SERVER_ATTRIBUTES,
        "connections below which it gets new ones again").not_yet(),
    flag(Flag::TunType, N::TunType, None, "tun-type", Required("ipip|gue|gre"), SERVER_ATTRIBUTES,
        "with -i: the encapsulation (default ipip)"),
    flag(Flag::TunPort, N::TunPort, None, "tun-port", Required("port"), SERVER_ATTRIBUTES,
        "with gue: the destination port"),
    flag(Flag::TunNocsum, N::TunNocsum, None, "tun-nocsum", Bare, SERVER_ATTRIBUTES,
        "with gue, gre: no checksum (the default)"),
    flag(Flag::TunCsum, N::TunCsum, None, "tun-csum", Bare, SERVER_ATTRIBUTES,
        "with gue, gre: a checksum"),
    flag(Flag::TunRemcsum, N::TunRemcsum, None, "tun-remcsum", Bare, SERVER_ATTRIBUTES,
        "with gue: remote checksum"),

    flag(Flag::Connection, N::Connection, Some('c'), "connection", Bare, LISTING,
        "list connections"),
    flag(Flag::Timeout, N::Timeout, None, "timeout", Bare, LISTING,
        "list the time-outs"),
    flag(Flag::Daemon, N::Daemon, None, "daemon", Bare, LISTING,
        "list the synchronisation daemons"),
    flag(Flag::Stats, N::Stats, None, "stats", Bare, LISTING,
        "list counters"),
    flag(Flag::Rate, N::Rate, None, "rate", Bare, LISTING,
        "list rates per second"),
    flag(Flag::Thresholds, N::Thresholds, None, "thresholds", Bare, LISTING,
        "list thresholds"),
    flag(Flag::PersistentConn, N::PersistentConn, None, "persistent-conn", Bare, LISTING,
        "list persistent connections"),
    flag(Flag::TunInfo, N::TunInfo, None, "tun-info", Bare, LISTING,
        "list tunnels"),
    flag(Flag::NoSort, N::NoSort, None, "nosort", Bare, LISTING,
        "list in the director's own order"),
    flag(Flag::Exact, N::Exact, Some('X'), "exact", Bare, LISTING,
        "list numbers in full"),
    flag(Flag::Numeric, N::Numeric, Some('n'), "numeric", Bare, &[List, Save],
        "addresses and ports as numbers"),
    nameless(Flag::Sort, None, "sort", EVERYWHERE,
        "no effect: listings are sorted"),

    flag(Flag::McastInterface, N::McastInterface, None, "mcast-interface", Required("name"), DAEMON,
        "interface to synchronise over (default eth0)").not_yet(),
    flag(Flag::SyncMaxlen, N::SyncMaxlen, None, "sync-maxlen", Required("bytes"), DAEMON,
        "longest message").not_yet(),
    flag(Flag::McastGroup, N::McastGroup, None, "mcast-group", Required("address"), DAEMON,
        "multicast group (default 224.0.0.81)").not_yet(),
    flag(Flag::McastPort, N::McastPort, None, "mcast-port", Required("port"), DAEMON,
        "UDP port (default 8848)").not_yet(),
    flag(Flag::McastTtl, N::McastTtl, None, "mcast-ttl", Required("hops"), DAEMON,
        "multicast TTL (default 1)").not_yet(),
    flag(Flag::SyncId, N::SyncId, None, "syncid", Required("number"), &[List, StartDaemon, StopDaemon],
        "whom to synchronise with (default 0)"),
];
