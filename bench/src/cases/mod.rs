//! What is measured: a file each.

mod alone;
mod bulk;
mod control;
mod memory;
mod new_flows;
mod packets;

use anyhow::Result;

use crate::Options;
use crate::report::Report;

/// A case: one subject of measurement, with its peers.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    pub(crate) run: fn(&Options, &mut Report) -> Result<()>,
}

/// All cases, in the order in which they run.
pub(crate) const CASES: &[Case] = &[
    Case { name: packets::NAME, what: "a packet of an established flow, the whole way", run: packets::run },
    Case { name: new_flows::NAME, what: "the first packet of a flow, the whole way", run: new_flows::run },
    Case { name: alone::NAME, what: "the program under XDP without a network around it", run: alone::run },
    Case { name: memory::NAME, what: "bytes of the connection table per connection", run: memory::run },
    Case { name: bulk::NAME, what: "one TCP stream through the director (iperf3)", run: bulk::run },
    Case { name: control::NAME, what: "what the daemon does beside the packets", run: control::run },
];

/// Connections that the table is made for, unless the case is about its size.
const CONNS: u32 = rvs_abi::limits::CONNS_DEFAULT;
const KI: u32 = 1024;
