//! Segment sizes of a real server's listeners: which of them announce no more than a size.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Addr;

/// Name of the map from [`ListenerKey`] to the size: TCP maximum segment size in bytes.
pub const SEGMENT_SIZES: &str = "SEGMENT_SIZES";

/// Listeners, by where they listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ListenerKey {
    /// Its own address; `0.0.0.0` in its mapped form.
    pub addr: Addr,
    /// Port, host order; 0: any.
    pub port: u32,
    /// Zero.
    pub zero: u32,
}

impl ListenerKey {
    /// All listeners. Nobody listens at this address, of multicast.
    pub const ALL: Self = Self::new(Addr([u64::MAX; 2]), 0);

    /// Those at an address, and at a port or any.
    #[inline(always)]
    #[must_use]
    pub const fn new(addr: Addr, port: u32) -> Self {
        Self { addr, port, zero: 0 }
    }
}
