//! Virtual services in the maps `SERVICE_KEYS` and `SERVICES`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Addr;

/// Key of `SERVICE_KEYS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ServiceKey {
    /// Virtual address.
    pub vip: Addr,
    /// Virtual port, network order.
    pub vport: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`crate::family`].
    pub family: u8,
    /// Zero; of a real server [`Self::REAL_SERVER`], of a peer [`Self::PEER`], of a tunnel's end [`Self::TUNNEL`].
    pub zero: u32,
}

impl ServiceKey {
    /// In [`Self::zero`]: the key is a NAT destination's address and port, and its value a destination's id. Such keys are
    /// there only while [`crate::Settings::NAT_ICMP_SEND`] is set.
    pub const REAL_SERVER: u32 = 1;
    /// In [`Self::zero`]: see [`crate::peer`].
    pub const PEER: u32 = 2;
    /// In [`Self::zero`]: see [`Self::tunnel`].
    pub const TUNNEL: u32 = 3;

    /// The key of a destination that is reached through a tunnel: its address, the tunnel's [`crate::TunnelType`], and its UDP
    /// port in network order, 0 of those without one. Its value is a destination's id.
    #[inline(always)]
    #[must_use]
    pub const fn tunnel(address: Addr, kind: u8, port: u16) -> Self {
        let family = if address.is_v4() { crate::family::V4 } else { crate::family::V6 };
        Self { vip: address, vport: port, protocol: kind, family, zero: Self::TUNNEL }
    }
}

/// Bits of [`Service::flags`].
#[derive(Debug)]
pub struct ServiceFlags;

impl ServiceFlags {
    /// The record is in use.
    pub const USED: u16 = 1;
    /// The service was removed; destinations in the trash still name it (ipvs.md §1.3).
    pub const REMOVED: u16 = 2;
    /// Each datagram is scheduled by itself, and no connection is kept (ipvs.md §4.6).
    pub const ONE_PACKET: u16 = 4;
}

/// A virtual service, by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Service {
    /// Virtual address.
    pub vip: Addr,
    /// Virtual port, network order.
    pub vport: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`crate::family`].
    pub family: u8,
    /// [`ServiceFlags`].
    pub flags: u16,
    /// [`crate::sched::id`]; 0: none.
    pub scheduler: u8,
    /// The scheduler's options, ipvs.md §1.1.
    pub sched_flags: u8,
    /// First word of its table in `SCHED_TABLES`.
    pub table: u32,
    /// Words that its table occupies there.
    pub table_words: u32,
    /// TCP maximum segment size that neither end of a connection may exceed, in bytes, host order; 0: as the ends agree.
    pub mss: u16,
    /// [`ClientTold`].
    pub client_address: u8,
    /// Zero.
    pub zero: u8,
    /// For later use; zero.
    pub spare: [u32; 7],
}

/// Values of [`Service::client_address`]: how full NAT tells a server who the client is.
#[derive(Debug)]
pub struct ClientTold;

impl ClientTold {
    /// By a TCP option.
    pub const OPTION: u8 = 0;
    /// Not at all. What a client says there itself is made blank all the same.
    pub const NONE: u8 = 1;
    /// By a header of the PROXY protocol in front of the client's data; likewise.
    pub const PROXY: u8 = 2;
}

const _: () = assert!(size_of::<ServiceKey>() == 24 && size_of::<Service>() == 64);
