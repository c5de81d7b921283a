//! Bits of [`crate::Config::settings`]: what IPVS keeps in `net.ipv4.vs.*` (ipvs.md §8.1).

/// One word, so that a change of several settings is one store, and a packet that needs one finds it beside what it has read.
#[derive(Debug)]
pub struct Settings;

impl Settings {
    /// `sloppy_tcp`: any segment but a reset begins a connection (§2.4).
    pub const SLOPPY_TCP: u32 = 1;
    /// `sloppy_sctp`: any chunk but ABORT begins a connection (§2.4).
    pub const SLOPPY_SCTP: u32 = 1 << 1;
    /// `expire_nodest_conn` (§2.2 step 9, §2.3).
    pub const EXPIRE_NODEST_CONN: u32 = 1 << 2;
    /// `schedule_icmp`: an ICMP error about a packet of no connection begins one (§2.8).
    pub const SCHEDULE_ICMP: u32 = 1 << 3;
    /// `nat_icmp_send` (§2.7 step 6).
    pub const NAT_ICMP_SEND: u32 = 1 << 4;
    /// `snat_reroute`: replies by NAT are routed as from the virtual address, not as from the real server (§2.7.1).
    pub const SNAT_REROUTE: u32 = 1 << 5;
    /// `pmtu_disc`: tunnels take over "don't fragment", and clients are told what is too big for them (§3.2, §3.5).
    pub const PMTU_DISC: u32 = 1 << 6;
    /// `cache_bypass`: without a destination, packets of services by mark go where they were going (§2.6).
    pub const CACHE_BYPASS: u32 = 1 << 7;
    /// `conn_reuse_mode`, bit 0 (§2.3).
    pub const REUSE: u32 = 1 << 8;
    /// `conn_reuse_mode`, bit 1: connections in FIN_WAIT too, if no reply is seen (§2.3).
    pub const REUSE_FIN_WAIT: u32 = 1 << 9;

    /// IPVS's defaults.
    pub const DEFAULT: u32 = Self::SNAT_REROUTE | Self::PMTU_DISC | Self::REUSE;
    /// Every bit that means something.
    pub const ALL: u32 = 0xff | Self::REUSE | Self::REUSE_FIN_WAIT;
}
