//! Full NAT tells servers who a client is by the PROXY protocol: a header in front of the client's data
//! (`rvs_wire::proxy`), of which the client knows nothing. What it sends moves by the header's length, and what the server
//! acknowledges moves back.
//!
//! The first segment behind the SYN gets the header, most often a bare acknowledgement, which becomes a segment with data. Under
//! TC: until then XDP hands the client's segments over. Those behind are only renumbered, under both hooks. When the header is
//! due, and again, is in `proxy/state.rs`.

mod error;
mod rewrite;
mod state;

use rvs_abi::{ClientTold, ConnFlags, proto};

use crate::conn::{Bucket, Found};
use crate::parse::Signal;
use crate::{Parsed, ServiceRecord, Tables};

pub use error::quoted;
pub use rewrite::rewrite;

/// What a connection has of [`ConnFlags`] if its service asks for it.
#[inline(always)]
pub(crate) fn flag<T: Tables>(tables: &T, parsed: &Parsed, service: u32, is_full: bool) -> u16 {
    let is_wanted = is_full
        && parsed.protocol == proto::TCP
        && tables.service(service).is_some_and(|s| s.client_address() == ClientTold::PROXY);
    if is_wanted { ConnFlags::PROXY } else { 0 }
}

/// Whether a connection's data begin with a header.
#[inline(always)]
pub(crate) fn is_on<B: Bucket>(found: &Found<B>) -> bool {
    found.flags() & ConnFlags::PROXY != 0
}

/// Whether a client's segment is taken up under TC, before anything is counted or changed: XDP puts no header into segments.
#[inline(always)]
pub(crate) fn is_handed_over<T: Tables>(tables: &T, parsed: &Parsed, found: &Found<T::Bucket>) -> bool {
    const DUE: u16 = ConnFlags::PROXY | state::DUE;
    !tables.holds()
        && found.flags() & (ConnFlags::PROXY | ConnFlags::PROXY_STAGE) == DUE
        && !parsed.is(Signal::RENEWS)
}
