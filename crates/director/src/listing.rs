//! What is there: the material of `ipvsadm -L`.
//!
//! Counters are live. IPVS shows those of the estimators' last run, up to two seconds old (ipvs.md §9.2); who waits two
//! seconds sees the same.

use rvs_abi::{SLOTS, Stats};
use rvs_config::{Counters, DestListing, Listing, Rates, ServiceKey, ServiceListing, Timeouts};
use rvs_model::{Memory, records};

use crate::director::Director;
use crate::members::Member;
use crate::row::{self, Row};
use crate::state::{ServiceId, ServiceState};

impl<M: Memory> Director<M> {
    /// Everything, services in the order of their identities.
    pub fn listing(&self) -> Listing {
        let config = records::config(&self.memory);
        let ids = self.state.ids.values();
        let services = ids.filter_map(|id| self.list_service(*id, self.state.services.get(id)?));
        Listing {
            services: services.collect(),
            conn_table_size: config.buckets.saturating_mul(u32::try_from(SLOTS).unwrap_or(u32::MAX)),
            timeouts: self.state.timeouts,
        }
    }

    /// One service; `None` when it does not exist.
    pub fn service_listing(&self, key: &ServiceKey) -> Option<ServiceListing> {
        let id = self.state.ids.get(key)?;
        self.list_service(*id, self.state.services.get(id)?)
    }

    /// Counters and rates of all that is balanced.
    pub fn total(&self) -> (Counters, Rates) {
        (self.counters(Row::Total), self.estimators.rates(Row::Total))
    }

    /// The time-outs in force.
    pub const fn timeouts(&self) -> Timeouts {
        self.state.timeouts
    }

    fn list_service(&self, id: ServiceId, service: &ServiceState) -> Option<ServiceListing> {
        let row = Row::Service(id);
        Some(ServiceListing {
            service: service.service()?,
            destinations: service.members().map(|member| self.list_dest(member)).collect(),
            counters: self.counters(row),
            rates: self.estimators.rates(row),
        })
    }

    fn list_dest(&self, member: &Member) -> DestListing {
        let row = Row::Dest(member.id);
        let conns = records::dest_conns(&self.memory, member.id.0);
        DestListing {
            destination: member.destination(),
            active_conns: conns.active,
            inactive_conns: conns.inactive(),
            persistent_conns: 0,
            counters: self.counters(row),
            rates: self.estimators.rates(row),
        }
    }

    fn counters(&self, row: Row) -> Counters {
        let config = records::config(&self.memory);
        let row = row.index(self.state.space.services.capacity());
        let Stats { conns, in_packets, out_packets, in_bytes, out_bytes, spare: _ } =
            row::since_zero(&self.memory, &config, row);
        Counters { conns, in_packets, out_packets, in_bytes, out_bytes }
    }
}
