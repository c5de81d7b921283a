//! The one record of map `CONFIG`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Addr;

/// Index of a time-out in [`Config::timeouts`]: the number of a state of a connection (ipvs.md §5.3, §5.6, §5.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Timeout {
    /// First of the TCP states; add the number that IPVS gives it.
    Tcp = 0,
    /// UDP, and everything without states.
    Udp = 15,
    /// First of the SCTP states; add the number that IPVS gives it.
    Sctp = 16,
}

/// Settings that hold for the whole data plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Config {
    /// [`crate::ABI_VERSION`] of whoever created the maps.
    pub abi_version: u32,
    /// IPv4 services that exist. 0: every packet is passed on untouched (ipvs.md §1.1).
    pub services_v4: u32,
    /// IPv6 services that exist, likewise.
    pub services_v6: u32,
    /// [`crate::Settings`].
    pub settings: u32,
    /// Buckets of the connection table.
    pub buckets: u32,
    /// Buckets of its overflow table.
    pub overflow_buckets: u32,
    /// Rows of one CPU's part of `STATS`.
    pub stats_rows: u32,
    /// Parts of `STATS` and `COUNTERS` (one per possible CPU).
    pub cpus: u32,
    /// Capacity of `SERVICES`: row of destination `d` in `STATS` is `1 + services_max + d`, of service `s` `1 + s`.
    pub services_max: u32,
    /// Zero.
    pub zero: u32,
    /// [`FullNatUse`]. 0: no reply is looked for by the director's ports.
    pub full_nat: u32,
    /// Words of `LOCAL_PORTS` less one; a power of two less one.
    pub local_ports_mask: u32,
    /// Secret of the connection table's hash; constant while the table lives.
    pub hash_seed: [u64; 3],
    /// Time-outs in ticks, by [`Timeout`].
    pub timeouts: [u32; 32],
    /// Time-outs that `--set` changes, in seconds: TCP established, FIN_WAIT, UDP.
    pub set_timeouts_s: [u32; 3],
    /// Which of [`ProgramSet::ON_DEMAND`](crate::ProgramSet::ON_DEMAND) packets may be sent on to: what was needed once stays, since
    /// connections may.
    pub programs: u32,
    /// IPv4 services by mark; they are among [`Self::services_v4`] too.
    pub marks_v4: u32,
    /// IPv6 services by mark, likewise.
    pub marks_v6: u32,
    /// Services at TCP port 21. 0: no packet to another port can be FTP's data (ipvs.md §2.5 step 3).
    pub ftp_services: u32,
    /// Services at port 0. 0: nobody looks for one (ipvs.md §2.5 step 4).
    pub any_port_services: u32,
    /// The classifier's list in force, [`crate::mark::list`].
    pub rules: u32,
    /// Ports at which FTP's control connections are listened to, network order; 0: none (ipvs.md §12.1).
    pub ftp_ports: [u16; crate::limits::FTP_PORTS],
    /// Addresses that tunnels in IPv4 come from, one for each flow: the first of them. Zero: the director's own address.
    pub tunnel_sources_v4: Addr,
    /// Those of tunnels in IPv6.
    pub tunnel_sources_v6: Addr,
    /// Which bits of the last four bytes of either the flow chooses, network order.
    pub tunnel_source_masks: [u32; 2],
    /// Addresses in `LOCAL_ADDRESSES` that new connections of full NAT come from, to servers in IPv4 and in IPv6: number of
    /// the first in the low half, how many in the high one. 0: the director's address on the way to the server.
    pub full_nat_sources: [u32; 2],
}

const _: () = assert!(size_of::<Config>() == 48 + 24 + 128 + 16 + 24 + 40 + 8);

/// Bits of [`Config::full_nat`].
#[derive(Debug)]
pub struct FullNatUse;

impl FullNatUse {
    /// There are destinations of full NAT, or were.
    pub const ANY: u32 = 1;
    /// Some of another address family than their service's: packets of both families are looked at, whatever services
    /// there are.
    pub const TRANSLATES: u32 = 2;
}
