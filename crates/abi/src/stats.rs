//! Traffic counters: a row of map `STATS`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Counters of one object on one CPU (ipvs.md §9.1). Row 0 is the total, then services by id, then destinations by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Stats {
    /// Connections created.
    pub conns: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes from clients, IP total length.
    pub in_bytes: u64,
    /// Bytes to clients, IP total length.
    pub out_bytes: u64,
    /// Zero.
    pub spare: [u64; 3],
}

const _: () = assert!(size_of::<Stats>() == 64);
