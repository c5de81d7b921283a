//! Answers to requests that only read.

use core::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::{Event, HELD_ENDED, OUTCOMES, Outcome, limits};
use rvs_config::{CommandError, ServiceKey};
use rvs_control::api::{
    Capacity, CounterListing, CounterTable, EventListing, Failure, Fill, LimitReached, Response, Status,
};
use rvs_control::limits::Limits;
use rvs_core::conn::ticks;
use rvs_model::{Memory, records};

use super::daemon::Daemon;
use super::limits::NAMED_MAX;

impl Daemon {
    /// One service.
    pub(super) fn service(&self, service: ServiceKey) -> Response {
        match self.director.service_listing(&service) {
            Some(listing) => Response::Service(Box::new(listing)),
            None => Response::Failed(Failure::NotFound(CommandError::NoSuchService { service })),
        }
    }

    /// What became of packets.
    pub(super) fn counters(&self) -> Response {
        let counters = OUTCOMES
            .iter()
            .map(|outcome| CounterListing::new(*outcome, counter(self.director.memory(), *outcome)));
        Response::Counters(CounterTable { counters: counters.collect() })
    }

    /// How the director is.
    pub(super) fn status(&self, now_ns: u64) -> Response {
        // Those that wait no longer, and that no program has come across.
        if let Some(kernel) = &self.kernel {
            kernel.end_held(ticks(now_ns));
        }
        let director = self.director.status();
        let fill = |used: u32, maximum: u32| Fill { used: used.into(), maximum: maximum.into() };
        let capacity = Capacity {
            services: fill(director.services, director.services_max),
            destinations: fill(director.dests, director.dests_max),
            connections: self.connections(),
        };
        Response::Status(Box::new(Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance.clone(),
            pid: std::process::id(),
            uptime_s: now_ns.saturating_sub(self.started_ns) / 1_000_000_000,
            kernel: self.kernel_release.clone(),
            interfaces: self.interfaces.list(),
            limits_reached: self.limits_reached(&capacity),
            capacity,
            events: Event::ALL
                .map(|event| EventListing::new(event, noted(self.director.memory(), event)))
                .into(),
            warnings: self.warnings(),
        }))
    }

    /// Connections that destinations have, of all the slots. The table is sized so that 60 % of them suffice.
    fn connections(&self) -> Fill {
        let memory = self.director.memory();
        let dests = self.director.status().dests_max;
        let used = (0..dests).map(|id| u64::from(records::dest_conns(memory, id).total)).sum();
        Fill { used, maximum: u64::from(rvs_model::buckets(memory)) * rvs_abi::SLOTS as u64 }
    }

    fn limits_reached(&self, capacity: &Capacity) -> Vec<LimitReached> {
        let refused = self.control.as_ref().map_or(0, |control| {
            let counts = control.counts();
            counts.clients_refused + counts.clients_closed
        });
        let full = times_full(self.director.memory());
        let rows = [
            ("connections", capacity.connections.maximum, full - self.full_at_start),
            (
                "full NAT's ports of an address (--full-nat-sources gives more of them)",
                limits::LOCAL_PORTS.len() as u64,
                times_out_of_ports(self.director.memory()) - self.out_of_ports_at_start,
            ),
            (
                "services, destinations, scheduler tables or mark rules (the log says which)",
                capacity.services.maximum,
                self.director.status().limits_reached,
            ),
            ("clients of the control socket", Limits::default().clients as u64, refused),
        ];
        let reached = rows.into_iter().filter(|(_, _, times)| *times > 0);
        reached
            .map(|(limit, maximum, times)| LimitReached { limit: limit.to_owned(), maximum, times })
            .collect()
    }

    /// What an operator should know.
    fn warnings(&self) -> Vec<String> {
        let mut warnings = self.kernel.as_ref().map_or_else(Vec::new, |kernel| kernel.warnings().to_vec());
        let refused = self.routes.refused().map(|(address, kind)| format!("{address} ({kind})"));
        warnings.extend(named("destinations without a route", refused));
        let failed = self.neighbours.failed();
        let failed =
            failed.map(|(ifindex, address)| format!("{address} on {}", self.interfaces.name(ifindex)));
        warnings.extend(named("next hops that don't answer", failed));
        warnings.extend(self.strict_reverse_paths());
        if self.interfaces.attached() == 0 {
            warnings.push("no interface is attached: no packet is balanced".to_owned());
        }
        warnings
    }
}

/// A line that names objects, a few of them; nothing if there are none.
fn named(what: &str, objects: impl Iterator<Item = String>) -> Option<String> {
    let objects: Vec<String> = objects.collect();
    let shown = objects.get(..NAMED_MAX).unwrap_or(&objects).join(", ");
    let more = objects.len().saturating_sub(NAMED_MAX);
    match (objects.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(format!("{what}: {shown}")),
        (false, more) => Some(format!("{what}: {shown} and {more} more")),
    }
}

/// A counter's sum over all CPUs.
pub(super) fn counter<M: Memory>(memory: &M, outcome: Outcome) -> u64 {
    sum(memory, outcome as u32)
}

/// How often a new connection found the connection table full where it belongs: it was refused, or took another's place.
pub(super) fn times_full<M: Memory>(memory: &M) -> u64 {
    counter(memory, Outcome::ConnTableFull) + sum(memory, Event::Evicted as u32)
}

/// How often a new connection by full NAT found no port of those that were tried: it was refused, or took another's.
pub(super) fn times_out_of_ports<M: Memory>(memory: &M) -> u64 {
    counter(memory, Outcome::NoLocalPort) + sum(memory, Event::PortTaken as u32)
}

/// How often that took place, over all CPUs.
fn noted<M: Memory>(memory: &M, event: Event) -> u64 {
    let by_director = if event == Event::HeldExpired { sum(memory, HELD_ENDED) } else { 0 };
    sum(memory, event as u32) + by_director
}

/// A counter, over all CPUs.
fn sum<M: Memory>(memory: &M, index: u32) -> u64 {
    let cpus = memory.region(Region::Counters).chunks_exact(limits::COUNTERS as usize);
    cpus.map(|counters| counters[index as usize].load(Relaxed)).sum()
}

#[cfg(test)]
mod tests {
    use rvs_model::{Capacity, Heap};

    use super::*;

    #[test]
    fn a_warning_names_a_few_and_counts_the_rest() {
        let line = |count: usize| named("lost", (1..=count).map(|n| n.to_string()));
        assert_eq!(line(0), None);
        assert_eq!(line(2).as_deref(), Some("lost: 1, 2"));
        assert_eq!(line(NAMED_MAX).as_deref(), Some("lost: 1, 2, 3, 4, 5, 6, 7, 8"));
        assert_eq!(line(NAMED_MAX + 3).as_deref(), Some("lost: 1, 2, 3, 4, 5, 6, 7, 8 and 3 more"));
    }

    #[test]
    fn counters_are_summed_over_cpus() {
        let heap = Heap::new(&Capacity { services: 1, dests: 1, conns: 64, cpus: 3 });
        let words = heap.region(Region::Counters);
        for (cpu, count) in [(0, 5), (2, 7)] {
            words[cpu * limits::COUNTERS as usize + Outcome::NoRoute as usize].store(count, Relaxed);
        }
        assert_eq!(counter(&heap, Outcome::NoRoute), 12);
        assert_eq!(counter(&heap, Outcome::TtlExceeded), 0);
        words[Outcome::ConnTableFull as usize].store(1, Relaxed);
        words[limits::COUNTERS as usize + Event::Evicted as usize].store(2, Relaxed);
        assert_eq!(times_full(&heap), 3);
        words[Event::HeldExpired as usize].store(3, Relaxed);
        words[HELD_ENDED as usize].store(4, Relaxed);
        assert_eq!(noted(&heap, Event::HeldExpired), 7, "by the programs and by the director");
        assert_eq!(noted(&heap, Event::Evicted), 2);
    }
}
