//! A rule of the classifier, read field by field.

use rvs_abi::{Addr, Rule};
use rvs_core::RuleRecord;

use crate::tables::field;

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
