//! Packets from real servers that are of no connection (ipvs.md §2.7 step 6, `nat_icmp_send`).

use rvs_abi::{Outcome, ServiceKey, proto};

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
        let key = ServiceKey {
            vip: parsed.source,
            vport: u16::from_ne_bytes(parsed.sport),
            protocol: parsed.protocol,
            family: parsed.family,
            zero: ServiceKey::REAL_SERVER,
        };
        let Some(id) = tables.service_id(&key) else { return Outcome::Balanced };
        let Some(dest) = tables.dest(id) else { return Outcome::Inconsistent };
        // The director's address on the way back, as the stack would choose it.
        scratch.way.notice.from = dest.source();
        Outcome::ServerUnknown
    });
    outcome.unwrap_or(Outcome::Inconsistent)
}
