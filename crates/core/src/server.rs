//! Packets from real servers that are of no connection (ipvs.md §2.7 step 6, `nat_icmp_send`).

use rvs_abi::{Outcome, ServiceKey, mark, proto};

use crate::parse::Signal;
use crate::{DestRecord, Tables};

/// The stage behind 2a while that setting is on: a NAT destination that speaks without having been asked is told that
/// nobody listens. [`Outcome::Balanced`]: it is none.
#[inline(always)]
pub fn server<T: Tables>(tables: &T) -> Outcome {
    let outcome = tables.with_scratch(|scratch| {
        let parsed = &scratch.parsed;
        // One whose time is up is refused by the stack before IPVS would see it.
        let has_ports = matches!(parsed.protocol, proto::TCP | proto::UDP | proto::SCTP);
        if !has_ports || parsed.is(Signal::RESETS) || parsed.ttl() <= 1 {
            return Outcome::Balanced;
        }
        let of = |protocol| {
            tables.service_id(&ServiceKey {
                vip: parsed.source,
                vport: u16::from_ne_bytes(parsed.sport),
                protocol,
                family: parsed.family,
                zero: ServiceKey::REAL_SERVER,
            })
        };
        // A destination of a service by mark is one whatever the protocol. It need not be of the service's family.
        let has_marks = tables.mark_services(true) | tables.mark_services(false) != 0;
        let id = match of(parsed.protocol) {
            Some(id) => id,
            None if !has_marks => return Outcome::Balanced,
            None => match of(mark::PROTOCOL) {
                Some(id) => id,
                None => return Outcome::Balanced,
            },
        };
        let Some(dest) = tables.dest(id) else { return Outcome::Inconsistent };
        // The director's address on the way back, as the stack would choose it.
        scratch.way.notice.from = dest.source();
        Outcome::ServerUnknown
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}
