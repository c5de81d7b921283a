//! The audit's beat: the destinations' connection counts against the connection table, again and again.

use core::net::SocketAddr;
use std::time::Duration;

use rvs_abi::{Dest, DestFlags, Service};
use rvs_config::{Protocol, ServiceKey};
use rvs_model::{Audit, Correction, Memory, records};

use super::limits::{AUDIT_PAUSE, AUDIT_REST, AUDIT_STEP_BUCKETS};

/// Where the audit is. A round's steps follow each other as fast as other work allows, since only what doesn't change
/// during a round is certain.
#[derive(Debug)]
pub(super) struct Auditor {
    audit: Audit,
    /// Steps of this round so far.
    steps: u32,
    due_ns: u64,
}

impl Auditor {
    /// Of a data plane; begins at once.
    pub(super) fn new<M: Memory>(memory: &M) -> Self {
        Self { audit: Audit::new(memory), steps: 0, due_ns: 0 }
    }

    /// When the next step is due.
    pub(super) fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Goes on if it is time. One line for each count that was put right.
    pub(super) fn step<M: Memory>(&mut self, memory: &M, now_ns: u64) -> Vec<String> {
        if now_ns < self.due_ns {
            return Vec::new();
        }
        self.steps += 1;
        let Some(corrections) = self.audit.step(memory, AUDIT_STEP_BUCKETS) else { return Vec::new() };
        let pause = u64::try_from(pause(self.steps).as_nanos()).unwrap_or(u64::MAX);
        self.due_ns = now_ns.saturating_add(pause);
        self.steps = 0;
        corrections.iter().map(|correction| line(memory, correction)).collect()
    }
}

/// How long to wait after a round of so many steps.
fn pause(steps: u32) -> Duration {
    AUDIT_REST.saturating_mul(steps).max(AUDIT_PAUSE)
}

fn line<M: Memory>(memory: &M, correction: &Correction) -> String {
    let Correction { dest, total, active } = *correction;
    let record = records::dest(memory, dest).filter(|record| record.flags & DestFlags::USED != 0);
    let name = record.and_then(|record| name(memory, &record));
    let name = name.unwrap_or_else(|| format!("destination #{dest}"));
    format!("{name}: connections were counted wrong; put right: {total:+} in all, {active:+} active")
}

/// Which it is; `None` if its record says nothing that this version understands.
fn name<M: Memory>(memory: &M, dest: &Dest) -> Option<String> {
    let Service { vip, vport, protocol, .. } = records::service(memory, dest.service)?;
    let protocol = match protocol {
        rvs_abi::mark::PROTOCOL => Protocol::Mark,
        number => Protocol::from_number(number)?,
    };
    let key = ServiceKey { protocol, address: vip.to_ip(), port: u16::from_be(vport) };
    let dest = SocketAddr::new(dest.addr.to_ip(), u16::from_be(dest.port));
    Some(format!("service {key}: destination {dest}"))
}

#[cfg(test)]
mod tests {
    use core::sync::atomic::Ordering::Relaxed;

    use rvs_abi::map::Region;
    use rvs_abi::{Addr, DestConns, proto};
    use rvs_model::{Capacity, Heap};

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn heap(conns: u32) -> Heap {
        let heap = Heap::new(&Capacity { services: 1, dests: 64, conns, cpus: 1 });
        let (vip, addr) = (Addr::v4([203, 0, 113, 1]), Addr::v4([10, 0, 0, 2]));
        let service = Service { vip, vport: 80_u16.to_be(), protocol: proto::TCP, ..Service::default() };
        records::write_service(&heap, 0, &service);
        let dest = Dest { addr, port: 8080_u16.to_be(), flags: DestFlags::USED, ..Dest::default() };
        records::write_dest(&heap, 0, &dest);
        heap
    }

    /// Works as the main loop does, until a time; what it says, and how many steps there were.
    fn run(auditor: &mut Auditor, heap: &Heap, from: u64, to: u64) -> (Vec<String>, u32) {
        let (mut lines, mut steps, mut now) = (Vec::new(), 0, from);
        while now < to {
            lines.extend(auditor.step(heap, now));
            steps += 1;
            now = auditor.due_ns().max(now + 1_000_000);
        }
        (lines, steps)
    }

    #[test]
    fn a_wrong_count_is_put_right_in_20_seconds_and_named() {
        let heap = heap(1000);
        let count = &heap.region(Region::DestConns)[0];
        count.fetch_add(3 * DestConns::TOTAL + 2 * DestConns::ACTIVE, Relaxed);
        heap.region(Region::DestConns)[9].fetch_sub(DestConns::TOTAL, Relaxed);
        let mut auditor = Auditor::new(&heap);
        let (lines, _) = run(&mut auditor, &heap, SECOND, 21 * SECOND);
        let wrong = "connections were counted wrong; put right:";
        let expected = [
            format!("service 203.0.113.1:80/tcp: destination 10.0.0.2:8080: {wrong} -3 in all, -2 active"),
            format!("destination #9: {wrong} +1 in all, +0 active"),
        ];
        assert_eq!(lines, expected);
        assert_eq!(count.load(Relaxed), 0);
        assert_eq!(run(&mut auditor, &heap, 21 * SECOND, 90 * SECOND).0, [""; 0]);
    }

    #[test]
    fn a_round_follows_after_five_seconds_and_a_large_one_after_more() {
        let mut auditor = Auditor::new(&heap(1000));
        let (_, steps) = run(&mut auditor, &heap(1000), SECOND, 2 * SECOND);
        assert_eq!(steps, 2, "two walks of a step each, one right after the other");
        assert_eq!(auditor.due_ns(), 6 * SECOND + 1_000_000);
        assert_eq!(pause(50), Duration::from_secs(5));
        assert_eq!(pause(300), Duration::from_secs(30));
    }
}
