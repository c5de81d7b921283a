//! When a connection begins, and when one gives way to another (ipvs.md §2.2 step 9, §2.3, §2.4): what the settings
//! `sloppy_tcp`, `sloppy_sctp`, `conn_reuse_mode` and `expire_nodest_conn` decide.

use rvs_abi::{ConnFlags, DestFlags, Event, Outcome, Settings, proto};

use crate::conn::Found;
use crate::parse::Signal;
use crate::pipeline::{Context, Way};
use crate::{DestRecord, Parsed, Tables, clamp, ftp, state};

/// Whether a packet may begin a connection (ipvs.md §2.4).
#[inline(always)]
pub(crate) fn may_begin<T: Tables>(tables: &T, parsed: &Parsed) -> bool {
    let sloppy = match parsed.protocol {
        proto::TCP => Settings::SLOPPY_TCP,
        proto::SCTP => Settings::SLOPPY_SCTP,
        _ => 0,
    };
    parsed.is(Signal::BEGINS) || !parsed.is(Signal::RESETS) && tables.settings() & sloppy != 0
}

impl<T: Tables> Context<'_, T> {
    /// Whether a packet of this connection may go on to its destination, and goes on here.
    #[inline(always)]
    pub(crate) fn admit(
        &self,
        parsed: &Parsed,
        found: &Found<T::Bucket>,
        dest: T::Dest,
        way: &mut Way,
    ) -> Result<(), Outcome> {
        if dest.flags() & DestFlags::AVAILABLE == 0 || parsed.is(Signal::RENEWS) {
            self.check_dest(parsed, dest)?;
            clamp::check(parsed, found.flags(), way, clamp::request(self.is_near))?;
        }
        ftp::divert(self.tables, parsed, found.flags(), Outcome::FtpRequest)
    }

    /// Whether a connection to that destination goes on with this packet (ipvs.md §2.2 step 9, §2.3).
    ///
    /// # Errors
    /// [`Outcome::NoConnection`]: it ends ([`Self::end_previous`]), and the packet goes on without.
    #[inline(always)]
    pub(crate) fn check_dest(&self, parsed: &Parsed, dest: T::Dest) -> Result<(), Outcome> {
        let expires = !self.is_fresh && self.tables.settings() & Settings::EXPIRE_NODEST_CONN != 0;
        if dest.flags() & DestFlags::AVAILABLE == 0 {
            return Err(if expires { Outcome::NoConnection } else { Outcome::DestinationGone });
        }
        if expires && parsed.is(Signal::RENEWS) && dest.weight() == 0 {
            return Err(Outcome::NoConnection);
        }
        Ok(())
    }

    /// Whether a connection may be replaced by one between the same ends (ipvs.md §2.3, `conn_reuse_mode`).
    #[inline(always)]
    pub(crate) fn is_over(&self, found: &Found<T::Bucket>) -> bool {
        const OVER: u32 = 1 << state::tcp::TIME_WAIT | 1 << state::tcp::CLOSE | 1 << state::sctp::CLOSED;
        const FIN_WAIT: u32 = 1 << state::tcp::FIN_WAIT;
        let settings = self.tables.settings();
        let over = if settings & Settings::REUSE_FIN_WAIT != 0 {
            OVER | if found.flags() & ConnFlags::NO_OUTPUT != 0 { FIN_WAIT } else { 0 }
        } else {
            OVER
        };
        settings & (Settings::REUSE | Settings::REUSE_FIN_WAIT) != 0
            && over >> (found.state() & 31) & 1 != 0
            && found.control() == 0
    }

    /// See [`may_begin`].
    #[inline(always)]
    pub(crate) fn may_begin(&self, parsed: &Parsed) -> bool {
        may_begin(self.tables, parsed)
    }

    /// Ends a connection between the same ends that does not go on with this packet (ipvs.md §2.2 step 9, §2.3).
    #[inline(always)]
    pub(crate) fn end_previous(&self, parsed: &Parsed) {
        let expires = self.tables.settings() & Settings::EXPIRE_NODEST_CONN != 0;
        if !expires && !parsed.is(Signal::RENEWS) {
            return;
        }
        let Some(found) = self.find(parsed) else { return };
        let (dest, _) = found.ids();
        let goes_on = match self.tables.dest(dest) {
            Some(dest) => self.check_dest(parsed, dest) != Err(Outcome::NoConnection),
            None => true,
        };
        if goes_on && !(parsed.is(Signal::RENEWS) && self.is_over(&found)) {
            return;
        }
        // If it fails, somebody else just changed it; the insert then finds a twin, and the packet joins it.
        let ended = found.expire(self.tables);
        if ended && !goes_on {
            self.tables.note(Event::Expired);
        }
    }
}
