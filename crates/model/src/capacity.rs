//! How large a data plane is made. Chosen once, when its maps are created.

use rvs_abi::map::Region;
use rvs_abi::{Addr, Config, SLOTS, Settings, limits, ticks_from_secs};

/// Capacities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Virtual services.
    pub services: u32,
    /// Destinations of all services together, those in the trash included.
    pub dests: u32,
    /// Connections that the table holds at 60 % fill.
    pub conns: u32,
    /// Possible CPUs.
    pub cpus: u32,
}

impl Capacity {
    /// The defaults for a machine with that many possible CPUs. Statistics take 64 bytes per CPU and object, so on large
    /// machines the defaults for objects are lower: beyond 16 CPUs they share out what 16 would take.
    #[must_use]
    pub const fn for_cpus(cpus: u32) -> Self {
        let share = if cpus > 16 { cpus.div_ceil(16) } else { 1 };
        Self {
            services: limits::SERVICES_DEFAULT / share,
            dests: limits::DESTS_DEFAULT / share,
            conns: limits::CONNS_DEFAULT,
            cpus,
        }
    }

    /// Buckets of the connection table: as many as `conns` need at 60 % fill, an eighth of them in the overflow
    /// (conntable.md §4).
    #[must_use]
    pub const fn buckets(&self) -> u32 {
        let slots = self.conns as u64 * 5 / 3;
        let all = slots.div_ceil(SLOTS as u64);
        let main = all * 8 / 9;
        #[allow(clippy::cast_possible_truncation, reason = "fewer than the connections, which are u32")]
        let main = main as u32;
        if main < 8 { 8 } else { main }
    }

    /// Connections that so many buckets, with those of their overflow, are for: but for rounding, the reverse of
    /// [`buckets`](Self::buckets).
    #[must_use]
    pub const fn conns_in(buckets: u32) -> u32 {
        let slots = (buckets as u64 + buckets.div_ceil(8) as u64) * SLOTS as u64;
        #[allow(clippy::cast_possible_truncation, reason = "as many as were asked for, which is u32")]
        let conns = (slots * 3 / 5) as u32;
        conns
    }

    /// Buckets of the overflow table.
    #[must_use]
    pub const fn overflow_buckets(&self) -> u32 {
        self.buckets().div_ceil(8)
    }

    /// Words of the map of the director's ports: a power of two, and at least one for each slot of the connection table, as
    /// far as a map can have so many.
    #[must_use]
    pub const fn local_ports(&self) -> u32 {
        const MAX: u64 = 1 << 31;
        let slots = (self.buckets() as u64 + self.overflow_buckets() as u64) * SLOTS as u64;
        let words = slots.next_power_of_two();
        #[allow(clippy::cast_possible_truncation, reason = "at most 2^31")]
        let words = if words < MAX { words } else { MAX } as u32;
        words
    }

    /// Entries of the map of service keys. A destination may have two too: with `nat_icmp_send` by NAT, by a tunnel as its
    /// end, and by that or direct routing as a peer.
    #[must_use]
    pub const fn service_keys(&self) -> u32 {
        self.services.saturating_add(self.dests.saturating_mul(2))
    }

    /// Rows of one part of the statistics: the total, services, destinations.
    #[must_use]
    pub const fn stats_rows(&self) -> u32 {
        1 + self.services + self.dests
    }

    /// Entries of a region's map.
    #[must_use]
    pub const fn entries(&self, region: Region) -> u32 {
        match region {
            Region::Config => 1,
            Region::Filter => limits::FILTER_WORDS,
            Region::Ports => limits::PORTS,
            Region::Services => self.services,
            Region::Dests | Region::DestConns => self.dests,
            Region::SchedTables => self.dests * limits::SCHED_WORDS_PER_DEST,
            Region::Conns => self.buckets(),
            Region::ConnOverflow => self.overflow_buckets(),
            Region::LocalPorts => self.local_ports(),
            Region::Stats => self.stats_rows() * (self.cpus + 1),
            Region::Counters => limits::COUNTERS * self.cpus,
            Region::Marked => limits::MARKED_WORDS,
            Region::Classifier => limits::RULES_MAX * limits::RULE_LISTS,
            Region::LocalAddresses => limits::LOCAL_ADDRESSES,
        }
    }

    /// The first configuration record of a data plane of this capacity, with IPVS's time-outs (ipvs.md §5.3, §5.6).
    #[must_use]
    pub fn config(&self, abi_version: u32, hash_seed: [u64; 3]) -> Config {
        Config {
            abi_version,
            services_v4: 0,
            services_v6: 0,
            settings: Settings::DEFAULT,
            buckets: self.buckets(),
            overflow_buckets: self.overflow_buckets(),
            stats_rows: self.stats_rows(),
            cpus: self.cpus,
            services_max: self.services,
            zero: 0,
            full_nat: 0,
            local_ports_mask: self.local_ports() - 1,
            hash_seed,
            timeouts: timeouts(),
            set_timeouts_s: [900, 120, 300],
            programs: 0,
            marks_v4: 0,
            marks_v6: 0,
            ftp_services: 0,
            any_port_services: 0,
            rules: 0,
            ftp_ports: [0; limits::FTP_PORTS],
            tunnel_sources_v4: Addr::default(),
            tunnel_sources_v6: Addr::default(),
            tunnel_source_masks: [0; 2],
            full_nat_sources: [0; 2],
        }
    }
}

/// Seconds by TCP state 0 to 10, ipvs.md §5.3.
const TCP_S: [u64; 11] = [2, 900, 120, 60, 120, 120, 10, 60, 30, 120, 120];
/// ipvs.md §5.6.
const UDP_S: u64 = 300;
/// Seconds by SCTP state 0 to 13, ipvs.md §5.7.
const SCTP_S: [u64; 14] = [2, 4, 61, 61, 61, 61, 61, 61, 900, 61, 61, 61, 4, 61];

fn timeouts() -> [u32; 32] {
    let mut ticks = [0; 32];
    for (tick, secs) in ticks.iter_mut().zip(TCP_S) {
        *tick = ticks_u32(secs);
    }
    ticks[rvs_abi::Timeout::Udp as usize] = ticks_u32(UDP_S);
    for (tick, secs) in ticks.iter_mut().skip(rvs_abi::Timeout::Sctp as usize).zip(SCTP_S) {
        *tick = ticks_u32(secs);
    }
    ticks
}

/// Ticks of a time-out in seconds; the longest that IPVS knows, 31 days, is 2^25 of them.
#[must_use]
pub fn ticks_u32(secs: u64) -> u32 {
    u32::try_from(ticks_from_secs(secs)).unwrap_or(u32::MAX)
}
