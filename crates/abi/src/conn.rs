//! The connection table's buckets and entries. The slot word's bits and the protocol: `rvs_core::conn`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Addr;

/// Entries of a bucket.
pub const SLOTS: usize = 7;

/// Bits of [`ConnEntry::flags`], numbered as in IPVS (ipvs.md §1.4).
#[derive(Debug)]
pub struct ConnFlags;

impl ConnFlags {
    /// The forwarding method.
    pub const METHOD: u16 = 0x0007;
    /// The client is this director itself. No bit of IPVS's, and no business of another director.
    pub const LOCAL_CLIENT: u16 = 0x0008;
    /// Of a connection with [`Self::PROXY`]: its client sent another SYN, which its server may answer. No bit of IPVS's here.
    pub const PROXY_AGAIN: u16 = 0x0040;
    /// No reply was seen or is expected.
    pub const NO_OUTPUT: u16 = 0x0080;
    /// What the client sends begins with a header that tells the server who it is, and its numbers are shifted (IPVS: the
    /// number of incoming segments is).
    pub const PROXY: u16 = 0x0400;
    /// Of such a connection: how far that header is, `rvs_core::proxy`.
    pub const PROXY_STAGE: u16 = 0x0300;
    /// The client's port is not known yet, and 0 until then: FTP's data are expected (ipvs.md §4.2).
    pub const NO_CPORT: u16 = 0x0800;
    /// Of this packet alone; no connection that is kept has it.
    pub const ONE_PACKET: u16 = 0x2000;
    /// A control connection of FTP that is listened to. No bit of IPVS's.
    pub const FTP: u16 = 0x4000;
    /// Its service lowers the maximum segment size that its ends announce ([`crate::Service::mss`]). No bit of IPVS's.
    pub const CLAMPED: u16 = 0x8000;
}

/// A connection. Written once, before it becomes visible; afterwards only `packets`, `NO_OUTPUT` and what
/// [`ConnFlags::PROXY`] is about change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct ConnEntry {
    /// Client address.
    pub client: Addr,
    /// Virtual address.
    pub vip: Addr,
    /// Client port, network order.
    pub cport: u16,
    /// Virtual port, network order.
    pub vport: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// [`crate::family`].
    pub family: u8,
    /// [`ConnFlags`]; not part of the key.
    pub flags: u16,
    /// Destination id.
    pub dest: u32,
    /// Service id.
    pub service: u32,
    /// Port of the destination, network order.
    pub dport: u16,
    /// Full NAT: the director's port towards the destination, network order.
    pub lport: u16,
    /// Full NAT: number of the director's address in `LOCAL_ADDRESSES`; 0: that on the way to the destination.
    pub local: u16,
    /// Full NAT with `local` 0: which address that was, as `rvs_core::conn::local::trace`, since routes change it; 0: not known.
    pub own: u16,
    /// Packets from the client.
    pub packets: u32,
    /// The connection that may not end before this one, see `rvs_core::conn::control`; 0: none (ipvs.md §4.4). With
    /// [`ConnFlags::PROXY`] the number of the client's SYN.
    pub control: u32,
}

/// The top bit of a bucket's number: it is one of the overflow table.
pub const OVERFLOW_BUCKET: u32 = 1 << 31;

/// A bucket: a line of slot words, the overflow count, and the entries.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Bucket {
    /// Slot words.
    pub words: [u64; SLOTS],
    /// Low half: entries of this bucket that live in the overflow table. High half: the bucket's own number, with the
    /// top bit set in the overflow table; written when the table is made.
    pub overflow: u64,
    /// Entries.
    pub entries: [ConnEntry; SLOTS],
}

const _: () = assert!(size_of::<ConnEntry>() == 64 && size_of::<Bucket>() == 512);
