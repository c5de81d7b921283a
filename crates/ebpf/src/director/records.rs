//! Records in map memory, as the core reads them.

use rvs_abi::sched::{high, low};
use rvs_abi::{Addr, Dest, Rule, Service};
use rvs_core::{DestRecord, RuleRecord, ServiceRecord};

/// A destination in map memory: a pointer that the kernel gave, valid for the program's whole run.
#[derive(Clone, Copy)]
pub(crate) struct DestPointer(pub(crate) *const Dest);

/// A service in map memory.
#[derive(Clone, Copy)]
pub(crate) struct ServicePointer(pub(crate) *const Service);

/// Reads a field of a record in map memory, once: user space changes it.
macro_rules! field {
    ($pointer:expr, $field:ident) => {
        // SAFETY: the pointer is that of a live record in a map.
        unsafe { (&raw const (*$pointer).$field).read_volatile() }
    };
}
pub(crate) use field;

impl DestRecord for DestPointer {
    #[inline(always)]
    fn addr(self) -> Addr {
        field!(self.0, addr)
    }
    #[inline(always)]
    fn port(self) -> u16 {
        field!(self.0, port)
    }
    #[inline(always)]
    fn method(self) -> u8 {
        field!(self.0, method)
    }
    #[inline(always)]
    fn flags(self) -> u16 {
        field!(self.0, flags)
    }
    #[inline(always)]
    fn tunnel(self) -> (u8, u8, u16) {
        (field!(self.0, tunnel), field!(self.0, tunnel_flags), field!(self.0, tunnel_port))
    }
    #[inline(always)]
    fn source(self) -> Addr {
        field!(self.0, source)
    }
    #[inline(always)]
    fn weight(self) -> u32 {
        field!(self.0, weight)
    }
}

impl ServiceRecord for ServicePointer {
    #[inline(always)]
    fn flags(self) -> u16 {
        field!(self.0, flags)
    }
    #[inline(always)]
    fn protocol(self) -> u8 {
        field!(self.0, protocol)
    }
    #[inline(always)]
    fn port(self) -> u16 {
        field!(self.0, vport)
    }
    #[inline(always)]
    fn mss(self) -> u16 {
        field!(self.0, mss)
    }
    #[inline(always)]
    fn client_address(self) -> u8 {
        field!(self.0, client_address)
    }
    #[inline(always)]
    fn table(self) -> (u32, u32) {
        // SAFETY: the pointer is that of a live record in a map; both halves are of one aligned word.
        let word = unsafe { (&raw const (*self.0).table).cast::<u64>().read_volatile() };
        (low(word), high(word))
    }
}

/// A rule of the classifier in map memory.
#[derive(Clone, Copy)]
pub(crate) struct RulePointer(pub(crate) *const Rule);

impl RuleRecord for RulePointer {
    #[inline(always)]
    fn is_between(self, source: Addr, destination: Addr) -> bool {
        let (from, to) = (field!(self.0, source).0, field!(self.0, destination).0);
        let (from_mask, to_mask) = (field!(self.0, source_mask).0, field!(self.0, destination_mask).0);
        (source.0[0] ^ from[0]) & from_mask[0]
            | (source.0[1] ^ from[1]) & from_mask[1]
            | (destination.0[0] ^ to[0]) & to_mask[0]
            | (destination.0[1] ^ to[1]) & to_mask[1]
            == 0
    }
    #[inline(always)]
    fn ports(self) -> [u16; 4] {
        let (source, destination) = (field!(self.0, source_ports), field!(self.0, destination_ports));
        [source[0], source[1], destination[0], destination[1]]
    }
    #[inline(always)]
    fn kind(self) -> (u8, u8) {
        (field!(self.0, protocol), field!(self.0, family))
    }
    #[inline(always)]
    fn mark(self) -> u32 {
        field!(self.0, mark)
    }
}
