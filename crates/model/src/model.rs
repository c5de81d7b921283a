//! A data plane in this process: packets in, verdicts and counters out, as the programs in the kernel do it.

use core::cell::{Cell, RefCell};
use core::sync::atomic::Ordering::Relaxed;
use std::collections::BTreeMap;

use rvs_abi::map::Region;
use rvs_abi::{Class, Outcome, ServiceKey, limits};
use rvs_core::{Flow, NextHop, Packet, Verdict, fragment, pipeline};

use crate::{Heap, Held, HostTables, Memory, World};

/// A data plane over [`Heap`], with routes from a function and a clock that stands until it is set.
#[derive(Debug)]
pub struct Model<R> {
    heap: Heap,
    routes: R,
    now_ns: u64,
    cpu: u32,
    chance: Cell<u64>,
    error_budgets: Vec<Cell<u64>>,
    fragments: RefCell<BTreeMap<fragment::Key, fragment::Known>>,
    held: Held,
    ftp: Vec<Cell<u64>>,
    is_tc: bool,
    packet_mark: u32,
}

/// What one packet sees.
struct Site<'a, R> {
    model: &'a Model<R>,
    is_second_look: bool,
    is_local: bool,
    ingress: u32,
}

impl<R: Fn(&Flow) -> Result<NextHop, Outcome>> World for Site<'_, R> {
    fn now_ns(&self) -> u64 {
        self.model.now_ns
    }

    fn cpu(&self) -> u32 {
        self.model.cpu
    }

    #[allow(clippy::cast_possible_truncation, reason = "the low half is as random as the other")]
    fn random(&self) -> u32 {
        // A Weyl sequence, mixed (splitmix64): repeatable, and good enough for an IP identification.
        let state = self.model.chance.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.model.chance.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)) as u32
    }

    fn error_budget(&self, index: u32) -> Option<&Cell<u64>> {
        self.model.error_budgets.get(index as usize)
    }

    fn fragments(&self) -> Option<&RefCell<BTreeMap<fragment::Key, fragment::Known>>> {
        Some(&self.model.fragments)
    }

    fn ingress(&self) -> u32 {
        self.ingress
    }

    fn held(&self) -> Option<&Held> {
        Some(&self.model.held)
    }

    fn ftp(&self) -> Option<&[Cell<u64>]> {
        Some(&self.model.ftp)
    }

    fn holds(&self) -> bool {
        self.model.is_tc || self.is_second_look
    }

    fn service_key(&self, key: &ServiceKey) -> Option<u32> {
        self.model.heap.service_key(key)
    }

    fn next_hop(&self, flow: &Flow) -> Result<NextHop, Outcome> {
        (self.model.routes)(flow)
    }

    fn is_local(&self) -> bool {
        self.is_local
    }

    fn reaches_stack(&self) -> bool {
        self.is_local || self.is_second_look || self.model.is_tc
    }

    fn is_second_look(&self) -> bool {
        self.is_second_look
    }

    fn packet_mark(&self) -> u32 {
        // Under XDP it is not known, and what XDP did not see must not count after it.
        if self.is_second_look { 0 } else { self.model.packet_mark }
    }
}

impl<R: Fn(&Flow) -> Result<NextHop, Outcome>> Model<R> {
    /// Of that memory, on CPU 0 at time 0.
    #[must_use]
    pub fn new(heap: Heap, routes: R) -> Self {
        let error_budgets = vec![Cell::new(0); limits::ERROR_BUDGETS as usize];
        Self {
            heap,
            routes,
            now_ns: 0,
            cpu: 0,
            chance: Cell::new(0),
            error_budgets,
            fragments: RefCell::default(),
            held: Held::default(),
            ftp: vec![Cell::new(0); (limits::FTP_CONTROLS * limits::FTP_WORDS) as usize],
            is_tc: false,
            packet_mark: 0,
        }
    }

    /// Its memory: what a director works on.
    #[must_use]
    pub const fn heap(&self) -> &Heap {
        &self.heap
    }

    /// The time, in nanoseconds.
    #[must_use]
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Sets the time, in nanoseconds.
    pub const fn set_now_ns(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Sets the CPU on which packets arrive; its part of statistics and counters is counted in.
    pub const fn set_cpu(&mut self, cpu: u32) {
        self.cpu = cpu;
    }

    /// Chooses TC, and not XDP, for packets that no other program has seen.
    pub const fn set_tc(&mut self, is_tc: bool) {
        self.is_tc = is_tc;
    }

    /// Sets the routes.
    pub fn set_routes(&mut self, routes: R) {
        self.routes = routes;
    }

    /// Sets the mark that packets come with, as far as TC sees it.
    pub const fn set_packet_mark(&mut self, mark: u32) {
        self.packet_mark = mark;
    }

    /// Handles a packet that came in on interface `from` as the programs do under XDP, and under TC on an interface without
    /// XDP: its one outcome is counted.
    pub fn ingress<P: Packet>(&self, packet: &mut P, from: u32) -> Verdict {
        let verdict = self.decide(packet, from, false);
        self.count(verdict.outcome);
        verdict
    }

    /// Handles a packet as the program under TC does on an interface with XDP: what XDP had no interest in was counted
    /// there.
    pub fn ingress_after_xdp<P: Packet>(&self, packet: &mut P, from: u32) -> Verdict {
        let verdict = self.decide(packet, from, true);
        if verdict.outcome.class() != Class::Pass {
            self.count(verdict.outcome);
        }
        verdict
    }

    /// Handles a packet that this host made, as the program on the way out does: what it has no interest in is not counted.
    pub fn egress<P: Packet>(&self, packet: &mut P) -> Verdict {
        let site = Site { model: self, is_second_look: false, is_local: true, ingress: rvs_abi::LOOPBACK };
        let verdict = pipeline::egress(packet, &HostTables::new(&self.heap, site));
        if verdict.outcome.class() != Class::Pass || verdict.outcome == Outcome::ReplyUnchanged {
            self.count(verdict.outcome);
        }
        verdict
    }

    fn decide<P: Packet>(&self, packet: &mut P, ingress: u32, is_second_look: bool) -> Verdict {
        let site = Site { model: self, is_second_look, is_local: false, ingress };
        pipeline::ingress(packet, &HostTables::new(&self.heap, site))
    }

    fn count(&self, outcome: Outcome) {
        let index = self.cpu as usize * limits::COUNTERS as usize + outcome as usize;
        if let Some(counter) = self.heap.region(Region::Counters).get(index) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How many packets ended so, on all CPUs.
    #[must_use]
    pub fn outcomes(&self, outcome: Outcome) -> u64 {
        let counters = self.heap.region(Region::Counters).chunks_exact(limits::COUNTERS as usize);
        counters.map(|of_cpu| of_cpu[outcome as usize].load(Relaxed)).sum()
    }
}
