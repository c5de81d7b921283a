//! Destinations in the maps `DESTS` and `DEST_CONNS`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Addr;

/// Forwarding methods, ipvs.md §1.2.
#[derive(Debug)]
pub struct Method;

impl Method {
    /// NAT.
    pub const MASQ: u8 = 0;
    /// Left to this director itself. Never a destination's: one that is local keeps its own method in listings.
    pub const LOCAL: u8 = 1;
    /// IP tunnel.
    pub const TUNNEL: u8 = 2;
    /// Direct routing.
    pub const DR: u8 = 3;
    /// On to where it was going, without a destination (`cache_bypass`, ipvs.md §2.6). A connection's alone.
    pub const BYPASS: u8 = 4;
    /// Full NAT, which IPVS lacks: like NAT, and from an address of the director's.
    pub const FULL_NAT: u8 = 5;
}

/// In place of a destination's id: the connection has none.
pub const NO_DEST: u32 = u32::MAX;

/// Kinds of tunnels, numbered as in IPVS (ipvs.md §1.2).
#[derive(Debug)]
pub struct TunnelType;

impl TunnelType {
    /// IP in IP (RFC 2003, RFC 2473, RFC 4213).
    pub const IPIP: u8 = 0;
    /// Generic UDP encapsulation.
    pub const GUE: u8 = 1;
    /// Generic routing encapsulation (RFC 2784).
    pub const GRE: u8 = 2;
}

/// Bits of [`Dest::tunnel_flags`], numbered as in IPVS (ipvs.md §1.2).
#[derive(Debug)]
pub struct TunnelFlags;

impl TunnelFlags {
    /// The outer header has a checksum.
    pub const CSUM: u8 = 1;
    /// Remote checksum offload: for packets from the network the same as [`Self::CSUM`] (ipvs.md §3.6).
    pub const REMCSUM: u8 = 2;
}

/// Bits of [`Dest::flags`].
#[derive(Debug)]
pub struct DestFlags;

impl DestFlags {
    /// The record is in use.
    pub const USED: u16 = 1;
    /// It is in its service's list (ipvs.md §1.2); otherwise it is in the trash.
    pub const AVAILABLE: u16 = 2;
    /// Its address is one of this director (ipvs.md §3.1): packets are left to the stack.
    pub const LOCAL: u16 = 4;
    /// Full NAT to another address family than its service's.
    pub const TRANSLATED: u16 = 8;
}

/// A destination, by id. The first line is read for every packet, the second only when the next hop is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Dest {
    /// Address of the real server.
    pub addr: Addr,
    /// Its port, network order; 0 keeps the packet's port.
    pub port: u16,
    /// [`crate::family`].
    pub family: u8,
    /// [`Method`].
    pub method: u8,
    /// [`DestFlags`].
    pub flags: u16,
    /// [`TunnelType`].
    pub tunnel: u8,
    /// [`TunnelFlags`].
    pub tunnel_flags: u8,
    /// Id of its service.
    pub service: u32,
    /// Weight.
    pub weight: u32,
    /// Upper threshold; 0: none.
    pub upper: u32,
    /// Lower threshold.
    pub lower: u32,
    /// UDP port of a GUE tunnel, network order.
    pub tunnel_port: u16,
    /// For later use; zero.
    pub spare: [u16; 11],
    /// Gateway on the way to it, as the director last knew; its own address when it is on the link; zero when unknown.
    pub gateway: Addr,
    /// The director's address on the way to it: the source of tunnelled packets; zero when unknown.
    pub source: Addr,
    /// Interface on the way to it; 0 when unknown.
    pub ifindex: u32,
    /// MTU of that route in bytes; 0 when unknown.
    pub mtu: u32,
    /// For later use; zero.
    pub spare_route: [u64; 3],
}

/// Connections of a destination. One word, changed by one atomic addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DestConns {
    /// In an active state (ipvs.md §4.5).
    pub active: u32,
    /// All.
    pub total: u32,
}

impl DestConns {
    /// One connection more.
    pub const TOTAL: u64 = 1 << 32;
    /// One connection more that is active.
    pub const ACTIVE: u64 = 1;

    /// From the word in the map.
    #[inline(always)]
    #[must_use]
    #[allow(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    pub const fn from_word(word: u64) -> Self {
        Self { active: word as u32, total: (word >> 32) as u32 }
    }

    /// Connections that are not active.
    #[inline(always)]
    #[must_use]
    pub const fn inactive(self) -> u32 {
        self.total.saturating_sub(self.active)
    }
}

const _: () = assert!(size_of::<Dest>() == 128);
