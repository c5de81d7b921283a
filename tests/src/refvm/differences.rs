//! What rvs does differently from IPVS, and why. Tests that meet one check that rvs does exactly this; a full run fails
//! if one was not met, so that the list stays true.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};

use super::lab::Seen;
use super::tool::Ran;

/// One difference.
pub(crate) struct Difference<T> {
    pub(crate) name: &'static str,
    /// What rvs does, from what IPVS did.
    expected: fn(&T) -> T,
    seen: &'static AtomicBool,
}

impl<T> Difference<T> {
    pub(crate) fn apply(&self, reference: &T) -> T {
        (self.expected)(reference)
    }

    /// Notes that it was met.
    pub(crate) fn seen(&self, is_different: bool) -> Result<()> {
        ensure!(is_different, "{}: there is no difference here any more: strike it off the list", self.name);
        self.seen.store(true, Ordering::Relaxed);
        Ok(())
    }
}

macro_rules! differences {
    ($($(#[doc = $reason:literal])* $name:ident: $of:ty = $expected:expr;)*) => {
        $(
            $(#[doc = $reason])*
            pub(crate) const $name: Difference<$of> = {
                static SEEN: AtomicBool = AtomicBool::new(false);
                Difference { name: stringify!($name), expected: $expected, seen: &SEEN }
            };
        )*

        /// Whether a run met all.
        pub(crate) fn check_all_seen() -> Result<()> {
            $(ensure!($name.seen.load(Ordering::Relaxed), "no test met the difference {}", $name.name);)*
            Ok(())
        }
    };
}

/// Nothing is sent to clients.
fn silent(reference: &Seen) -> Seen {
    Seen { to_clients: Vec::new(), ..reference.clone() }
}

differences! {
    /// rvs makes no ICMP errors yet (ipvs.md §2.6, §3.2): a client whose packet is dropped is not told.
    NO_ICMP_ERRORS: Seen = silent;
}
