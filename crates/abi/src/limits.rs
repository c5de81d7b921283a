//! Limits of the data plane. Capacities of maps are chosen when they are created; these are the defaults and bounds.

/// Virtual services, unless chosen otherwise.
pub const SERVICES_DEFAULT: u32 = 32_768;
/// Destinations of all services together, unless chosen otherwise.
pub const DESTS_DEFAULT: u32 = 65_536;
/// Connections that the table is sized for (60 % fill), unless chosen otherwise.
pub const CONNS_DEFAULT: u32 = 1 << 20;
/// Destinations of one service: the bound of a scheduler's search.
pub const DESTS_PER_SERVICE_MAX: u32 = 4096;
/// Words of the scheduler tables, per destination of the capacity.
pub const SCHED_WORDS_PER_DEST: u32 = 16;
/// Most CPUs that the statistics are kept for.
pub const CPUS_MAX: u32 = 1024;
/// Words of the address filter: 2^16 bits.
pub const FILTER_WORDS: u32 = 1024;
/// Words of `MARKED`: three bit maps as large as the address filter.
pub const MARKED_WORDS: u32 = 3 * FILTER_WORDS;
/// Rules of the classifier.
pub const RULES_MAX: u32 = 256;
/// Lists of rules that `CLASSIFIER` has room for: the one in force, and those that packets in flight may still read.
pub const RULE_LISTS: u32 = 4;
/// Interfaces that are known by number. Frames to those with higher ones go by way of TC.
pub const PORTS: u32 = 1 << 16;
/// Entries of a CPU's cache of next hops.
pub const NEXT_HOPS: u32 = 4096;
/// Marks of a CPU of when neighbours were refreshed.
pub const NEIGHBOUR_MARKS: u32 = 4096;
/// Budgets of a CPU for ICMP errors: the first is for all together, the others are shared by the addresses they go to.
pub const ERROR_BUDGETS: u32 = 1024;
/// Fragmented packets of which is known where their first fragment went. The oldest give way.
pub const FRAGMENTS: u32 = 1 << 16;
/// Fragments that one packet is sent in.
pub const PIECES_MAX: u32 = 64;
/// Groups of slots for fragments that come before the first of their packet, half of them for each family; a source's go
/// into one of them.
pub const HOLD_GROUPS: u32 = 32;
/// Slots of a group: so many fragments of one source, and those it shares them with, are held.
pub const HOLD_SHARE: u32 = 32;
/// Largest frame that is held or sent in fragments, in bytes: a jumbo frame.
pub const HOLD_FRAME: u32 = 9216;
/// The director's ports that full NAT uses: below those that Linux takes for its own connections.
pub const LOCAL_PORTS: core::ops::Range<u16> = 1024..32768;
/// Numbers of addresses that full NAT comes from, in `LOCAL_ADDRESSES`: those of the pools in force, and of former ones that
/// have connections. 0 is none.
pub const LOCAL_ADDRESSES: u32 = 1 << 14;
/// Addresses of one pool: so many times the ports above are the connections to one server's port.
pub const FULL_NAT_SOURCES_MAX: u32 = 1024;
/// Ports at which FTP's control connections are listened to.
pub const FTP_PORTS: usize = 2;
/// Control connections of FTP of which something is noted: that a reply with an address is awaited, or that sequence numbers
/// are shifted. A power of two.
pub const FTP_CONTROLS: u32 = 1 << 14;
/// Places for one of them.
pub const FTP_WAYS: u32 = 8;
/// Words of each.
pub const FTP_WORDS: u32 = 4;
/// Bytes of a client's segment that are searched for a request for an address.
pub const FTP_SEARCHED: u32 = 512;
/// Bytes of a segment in which an announced address must end.
pub const FTP_LINE: u32 = 256;
/// Counters per CPU in `COUNTERS`.
pub const COUNTERS: u32 = 128;
/// Directors, or networks of them, whose word about a client a server takes.
pub const DIRECTORS_MAX: u32 = 1024;
/// Keys of listeners whose segments have a size: up to three for each address that an agent is told.
pub const LISTENER_KEYS_MAX: u32 = 3072;
