//! Neighbours on the way to destinations: kept resolved, so that the first packet of a quiet destination finds its way
//! under XDP, and doesn't wait for ARP under TC.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rvs_netlink::{Event, MacAddr, Neighbour, NeighbourState};

use super::limits::{PROBE, PROBES_PER_STEP};

/// A next hop: interface and address.
pub(super) type NextHop = (u32, IpAddr);

/// What is known about a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Knowledge {
    /// `None`: the kernel has no entry.
    state: Option<NeighbourState>,
    /// Its Ethernet address as it was last known: who does not answer for a while does not become another.
    mac: Option<MacAddr>,
    /// When it was asked for last.
    probed_ns: Option<u64>,
}

impl Knowledge {
    /// Whether asking helps: it is unknown, or did not answer. One that is being resolved needs no help.
    fn wants_probe(&self) -> bool {
        matches!(self.state, None | Some(NeighbourState::None | NeighbourState::Failed))
    }

    fn is_due(&self, now_ns: u64) -> bool {
        self.wants_probe() && self.probed_ns.is_none_or(|at| now_ns.saturating_sub(at) >= probe_ns())
    }
}

fn probe_ns() -> u64 {
    u64::try_from(PROBE.as_nanos()).unwrap_or(u64::MAX)
}

/// The neighbours of all destinations.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    hops: BTreeMap<NextHop, Knowledge>,
    /// Whether an Ethernet address is another one than when this was asked last.
    moved: bool,
}

impl Neighbours {
    /// Follows a change of routes. Tells whether there are new next hops, whose states are to be [learnt](Self::learn).
    pub(super) fn follow(&mut self, hops: &BTreeSet<NextHop>) -> bool {
        self.hops.retain(|hop, _| hops.contains(hop));
        let before = self.hops.len();
        for hop in hops {
            self.hops.entry(*hop).or_default();
        }
        self.hops.len() > before
    }

    /// Takes over the kernel's whole table.
    pub(super) fn learn(&mut self, table: &[Neighbour]) {
        self.hops.values_mut().for_each(|knowledge| knowledge.state = None);
        table.iter().for_each(|neighbour| self.changed(neighbour));
    }

    /// Takes over one change.
    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::NeighbourChanged(neighbour) => self.changed(neighbour),
            Event::NeighbourRemoved { ifindex, address } => {
                if let Some(knowledge) = self.hops.get_mut(&(*ifindex, *address)) {
                    knowledge.state = None;
                }
            }
            _ => {}
        }
    }

    fn changed(&mut self, neighbour: &Neighbour) {
        if let Some(knowledge) = self.hops.get_mut(&(neighbour.ifindex, neighbour.address)) {
            knowledge.state = Some(neighbour.state);
            if let Some(mac) = neighbour.usable_mac() {
                self.moved |= knowledge.mac.replace(mac) != Some(mac);
            }
        }
    }

    /// The Ethernet address of a next hop, if it is known.
    pub(super) fn mac(&self, hop: NextHop) -> Option<MacAddr> {
        self.hops.get(&hop)?.mac
    }

    /// Whether one of them is new since this was asked last.
    pub(super) const fn take_moved(&mut self) -> bool {
        core::mem::replace(&mut self.moved, false)
    }

    /// The next hops to ask for now: none more than once in [`PROBE`], and the one that waits longest first.
    pub(super) fn take_due(&mut self, now_ns: u64) -> Vec<NextHop> {
        let due = self.hops.iter().filter(|(_, knowledge)| knowledge.is_due(now_ns));
        let mut due: Vec<_> = due.map(|(hop, knowledge)| (knowledge.probed_ns, *hop)).collect();
        due.sort_unstable();
        due.truncate(PROBES_PER_STEP);
        let hops: Vec<NextHop> = due.into_iter().map(|(_, hop)| hop).collect();
        for hop in &hops {
            if let Some(knowledge) = self.hops.get_mut(hop) {
                knowledge.probed_ns = Some(now_ns);
            }
        }
        hops
    }

    /// When there is something to ask for next.
    pub(super) fn due_ns(&self) -> Option<u64> {
        let waiting = self.hops.values().filter(|knowledge| knowledge.wants_probe());
        waiting.map(|knowledge| knowledge.probed_ns.map_or(0, |at| at.saturating_add(probe_ns()))).min()
    }

    /// Next hops that did not answer.
    pub(super) fn failed(&self) -> impl Iterator<Item = NextHop> {
        let failed = self.hops.iter().filter(|(_, known)| known.state == Some(NeighbourState::Failed));
        failed.map(|(hop, _)| *hop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn hop(n: u8) -> NextHop {
        (2, IpAddr::from([10, 0, 0, n]))
    }

    fn neighbour(n: u8, state: NeighbourState) -> Neighbour {
        let (ifindex, address) = hop(n);
        Neighbour { ifindex, address, mac: None, state }
    }

    fn neighbours(hops: impl IntoIterator<Item = u8>) -> Neighbours {
        let mut neighbours = Neighbours::default();
        assert!(neighbours.follow(&hops.into_iter().map(hop).collect()));
        neighbours
    }

    #[test]
    fn unknown_and_failed_ones_are_asked_for_others_are_not() {
        use NeighbourState::{Delay, Failed, Incomplete, NoArp, Permanent, Probe, Reachable, Stale};
        let mut neighbours = neighbours(1..=9);
        let states = [Failed, Incomplete, Reachable, Stale, Delay, Probe, NoArp, Permanent];
        let table: Vec<_> = (2..).zip(states).map(|(n, state)| neighbour(n, state)).collect();
        neighbours.learn(&table);
        assert_eq!(neighbours.take_due(SECOND), [hop(1), hop(2)]);
        assert_eq!(neighbours.failed().collect::<Vec<_>>(), [hop(2)]);
    }

    #[test]
    fn nobody_is_asked_for_more_than_once_a_second() {
        let mut neighbours = neighbours([1]);
        assert_eq!(neighbours.due_ns(), Some(0));
        assert_eq!(neighbours.take_due(SECOND), [hop(1)]);
        assert_eq!(neighbours.due_ns(), Some(2 * SECOND));
        for state in [NeighbourState::Incomplete, NeighbourState::Failed] {
            neighbours.event(&Event::NeighbourChanged(neighbour(1, state)));
            assert_eq!(neighbours.take_due(2 * SECOND - 1), []);
        }
        assert_eq!(neighbours.take_due(2 * SECOND), [hop(1)]);
    }

    #[test]
    fn a_forgotten_neighbour_is_asked_for_again() {
        let mut neighbours = neighbours([1]);
        neighbours.learn(&[neighbour(1, NeighbourState::Reachable)]);
        assert_eq!((neighbours.due_ns(), neighbours.take_due(SECOND)), (None, vec![]));
        let (ifindex, address) = hop(1);
        neighbours.event(&Event::NeighbourRemoved { ifindex, address });
        assert_eq!(neighbours.take_due(SECOND), [hop(1)]);
    }

    #[test]
    fn those_that_wait_longest_come_first() {
        let all = u8::try_from(PROBES_PER_STEP - 1).unwrap_or(u8::MAX);
        let mut neighbours = neighbours(0..=all);
        neighbours.follow(&(0..=all).map(hop).chain([(3, hop(0).1), (3, hop(1).1)]).collect());
        assert_eq!(neighbours.take_due(SECOND).len(), PROBES_PER_STEP);
        assert_eq!(neighbours.take_due(2 * SECOND)[..3], [(3, hop(0).1), (3, hop(1).1), hop(0)]);
    }

    #[test]
    fn next_hops_that_are_not_needed_are_forgotten() {
        let mut neighbours = neighbours([1, 2]);
        assert!(!neighbours.follow(&BTreeSet::from([hop(2)])));
        assert_eq!(neighbours.take_due(SECOND), [hop(2)]);
    }
}
