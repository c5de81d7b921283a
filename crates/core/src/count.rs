//! What packets count for (ipvs.md §9.1).

use rvs_abi::{DestFlags, Stats};

use crate::pipeline::Context;
use crate::{DestRecord, Tables};

impl<T: Tables> Context<'_, T> {
    /// Counts a packet of a connection for destination and service, while the destination is one: not for one that was removed,
    /// and not past the real servers, where there is none.
    #[inline(always)]
    pub(crate) fn count(&self, (dest, service): (u32, u32), delta: &Stats) {
        if self.tables.dest(dest).is_some_and(|dest| dest.flags() & DestFlags::AVAILABLE != 0) {
            self.tables.count(service, dest, delta);
        }
    }
}
