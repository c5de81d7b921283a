//! The core's view of a data plane's memory, on the host.

use core::cell::{Cell, RefCell};
use core::mem::offset_of;
use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::collections::BTreeMap;

use rvs_abi::map::Region;
use rvs_abi::sched::{high, low};
use rvs_abi::{
    Addr, Config, Dest, DestConns, DestFlags, Event, Outcome, Rule, Service, ServiceKey, Stats, limits,
};
use rvs_core::conn::Geometry;
use rvs_core::pipeline::Scratch;
use rvs_core::{DestRecord, Flow, NextHop, RuleRecord, ServiceRecord, Step, fragment, hold};

use crate::bucket::HostBucket;
use crate::{Held, Memory, records};

/// What handling a packet needs and memory does not hold: clock, CPU, chance, service keys, routes.
pub trait World {
    /// Nanoseconds of the data plane's clock, the same for the whole handling of one packet.
    fn now_ns(&self) -> u64;
    /// The CPU whose part of the statistics is counted in.
    fn cpu(&self) -> u32;
    /// A random number.
    fn random(&self) -> u32;
    /// The id that packets to `key` find.
    fn service_key(&self, key: &ServiceKey) -> Option<u32>;
    /// Where packets of this flow leave.
    ///
    /// # Errors
    /// The outcome of a packet that can't leave: a hand-over or a drop.
    fn next_hop(&self, flow: &Flow) -> Result<NextHop, Outcome>;
    /// A word that says how many ICMP errors may be sent, by its index below [`limits::ERROR_BUDGETS`].
    fn error_budget(&self, index: u32) -> Option<&Cell<u64>>;
    /// Slots for held fragments.
    fn held(&self) -> Option<&Held> {
        None
    }
    /// Whether fragments can be held: under TC.
    fn holds(&self) -> bool {
        false
    }
    /// Words of the table of FTP's control connections.
    fn ftp(&self) -> Option<&[Cell<u64>]> {
        None
    }
    /// Where first fragments went.
    fn fragments(&self) -> Option<&RefCell<BTreeMap<fragment::Key, fragment::Known>>>;
    /// The interface that the packet came in on.
    fn ingress(&self) -> u32;
    /// Whether the packet is one that this host made, on its way out.
    fn is_local(&self) -> bool {
        false
    }
    /// Whether packets can be handed to this host's stack with other addresses than they came with: not under XDP.
    fn reaches_stack(&self) -> bool {
        true
    }
    /// The mark that the packet came with; 0: none.
    fn packet_mark(&self) -> u32 {
        0
    }
    /// Whether the packet has been through the program under XDP on the same interface, which passed it on.
    fn is_second_look(&self) -> bool {
        false
    }
}

/// The world of work that sees no packet: sweeping, listing, flushing. It has no time of its own; those take `now`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoPackets;

impl World for NoPackets {
    fn now_ns(&self) -> u64 {
        0
    }

    fn cpu(&self) -> u32 {
        0
    }

    fn random(&self) -> u32 {
        0
    }

    fn error_budget(&self, _index: u32) -> Option<&Cell<u64>> {
        None
    }

    fn fragments(&self) -> Option<&RefCell<BTreeMap<fragment::Key, fragment::Known>>> {
        None
    }

    fn ingress(&self) -> u32 {
        0
    }

    fn service_key(&self, _key: &ServiceKey) -> Option<u32> {
        None
    }

    fn next_hop(&self, _flow: &Flow) -> Result<NextHop, Outcome> {
        Err(Outcome::NoRoute)
    }
}

/// [`rvs_core::Tables`] over a [`Memory`]: the maps of the programs in the kernel, or their twin on the heap.
///
/// One value serves one thread, as one CPU's scratch memory serves one program; any number of them may work on the same
/// memory at the same time, and beside the programs.
#[derive(Debug)]
pub struct HostTables<'a, W = NoPackets> {
    world: W,
    config: &'a [AtomicU64],
    filter: &'a [AtomicU64],
    services: &'a [AtomicU64],
    dests: &'a [AtomicU64],
    dest_conns: &'a [AtomicU64],
    sched: &'a [AtomicU64],
    conns: &'a [AtomicU64],
    overflow: &'a [AtomicU64],
    local_ports: &'a [AtomicU64],
    stats: &'a [AtomicU64],
    counters: &'a [AtomicU64],
    marked: &'a [AtomicU64],
    rules: &'a [AtomicU64],
    geometry: Geometry,
    stats_rows: u32,
    services_max: u32,
    scratch: RefCell<Scratch>,
}

impl<'a> HostTables<'a> {
    /// For work that sees no packet.
    #[must_use]
    pub fn without_packets<M: Memory + ?Sized>(memory: &'a M) -> Self {
        Self::new(memory, NoPackets)
    }
}

impl<'a, W: World> HostTables<'a, W> {
    /// Of a memory that was made with a configuration record ([`crate::Capacity::config`]).
    #[must_use]
    pub fn new<M: Memory + ?Sized>(memory: &'a M, world: W) -> Self {
        let config = records::config(memory);
        Self {
            world,
            config: memory.region(Region::Config),
            filter: memory.region(Region::Filter),
            services: memory.region(Region::Services),
            dests: memory.region(Region::Dests),
            dest_conns: memory.region(Region::DestConns),
            sched: memory.region(Region::SchedTables),
            conns: memory.region(Region::Conns),
            overflow: memory.region(Region::ConnOverflow),
            local_ports: memory.region(Region::LocalPorts),
            stats: memory.region(Region::Stats),
            counters: memory.region(Region::Counters),
            marked: memory.region(Region::Marked),
            rules: memory.region(Region::Classifier),
            geometry: Geometry {
                buckets: config.buckets,
                overflow_buckets: config.overflow_buckets,
                seed: config.hash_seed,
            },
            stats_rows: config.stats_rows,
            services_max: config.services_max,
            scratch: RefCell::new(Scratch::default()),
        }
    }

    fn add_stats(&self, row: u32, delta: &Stats) {
        let index = self.world.cpu() as usize * self.stats_rows as usize + row as usize;
        let Some(words) = self.stats.as_chunks::<STATS_WORDS>().0.get(index) else { return };
        let delta: [u64; STATS_WORDS] = zerocopy::transmute!(*delta);
        for (word, add) in words.iter().zip(delta) {
            if add != 0 {
                word.fetch_add(add, Relaxed);
            }
        }
    }
}

const STATS_WORDS: usize = size_of::<Stats>() / 8;
const DEST_WORDS: usize = size_of::<Dest>() / 8;
const SERVICE_WORDS: usize = size_of::<Service>() / 8;
const RULE_WORDS: usize = size_of::<Rule>() / 8;

/// `N` bytes of a record, which lie within one word of it.
#[inline]
fn bytes<const N: usize>(words: &[AtomicU64], offset: usize) -> [u8; N] {
    let word = words[offset / 8].load(Relaxed).to_ne_bytes();
    core::array::from_fn(|i| word[offset % 8 + i])
}

#[inline]
fn addr(words: &[AtomicU64], offset: usize) -> Addr {
    Addr([words[offset / 8].load(Relaxed), words[offset / 8 + 1].load(Relaxed)])
}

/// A destination's record, read field by field while the director may change it.
#[derive(Debug, Clone, Copy)]
pub struct HostDest<'a>(&'a [AtomicU64; DEST_WORDS]);

impl DestRecord for HostDest<'_> {
    fn addr(self) -> Addr {
        addr(self.0, offset_of!(Dest, addr))
    }

    fn port(self) -> u16 {
        u16::from_ne_bytes(bytes(self.0, offset_of!(Dest, port)))
    }

    fn method(self) -> u8 {
        bytes::<1>(self.0, offset_of!(Dest, method))[0]
    }

    fn flags(self) -> u16 {
        u16::from_ne_bytes(bytes(self.0, offset_of!(Dest, flags)))
    }

    fn tunnel(self) -> (u8, u8, u16) {
        let kind = bytes::<2>(self.0, offset_of!(Dest, tunnel));
        (kind[0], kind[1], u16::from_ne_bytes(bytes(self.0, offset_of!(Dest, tunnel_port))))
    }

    fn source(self) -> Addr {
        addr(self.0, offset_of!(Dest, source))
    }

    fn weight(self) -> u32 {
        u32::from_ne_bytes(bytes(self.0, offset_of!(Dest, weight)))
    }
}

/// A service's record, read field by field while the director may change it.
#[derive(Debug, Clone, Copy)]
pub struct HostService<'a>(&'a [AtomicU64; SERVICE_WORDS]);

impl ServiceRecord for HostService<'_> {
    fn flags(self) -> u16 {
        u16::from_ne_bytes(bytes(self.0, offset_of!(Service, flags)))
    }

    fn protocol(self) -> u8 {
        bytes::<1>(self.0, offset_of!(Service, protocol))[0]
    }

    fn port(self) -> u16 {
        u16::from_ne_bytes(bytes(self.0, offset_of!(Service, vport)))
    }

    fn mss(self) -> u16 {
        u16::from_ne_bytes(bytes(self.0, offset_of!(Service, mss)))
    }

    fn client_address(self) -> u8 {
        bytes::<1>(self.0, offset_of!(Service, client_address))[0]
    }

    fn table(self) -> (u32, u32) {
        // One load: the director changes both with one store.
        let word = self.0[offset_of!(Service, table) / 8].load(Acquire);
        (low(word), high(word))
    }
}

/// A rule of the classifier.
#[derive(Debug, Clone, Copy)]
pub struct HostRule<'a>(&'a [AtomicU64; RULE_WORDS]);

impl RuleRecord for HostRule<'_> {
    fn is_between(self, source: Addr, destination: Addr) -> bool {
        let at = |offset| addr(self.0, offset).0;
        let differs = |address: Addr, prefix: [u64; 2], mask: [u64; 2]| {
            (0..2).any(|i| (address.0[i] ^ prefix[i]) & mask[i] != 0)
        };
        !differs(source, at(offset_of!(Rule, source)), at(offset_of!(Rule, source_mask)))
            && !differs(
                destination,
                at(offset_of!(Rule, destination)),
                at(offset_of!(Rule, destination_mask)),
            )
    }

    fn ports(self) -> [u16; 4] {
        let word = bytes::<8>(self.0, offset_of!(Rule, source_ports));
        core::array::from_fn(|i| u16::from_ne_bytes([word[2 * i], word[2 * i + 1]]))
    }

    fn kind(self) -> (u8, u8) {
        let [protocol, family] = bytes(self.0, offset_of!(Rule, protocol));
        (protocol, family)
    }

    fn mark(self) -> u32 {
        u32::from_ne_bytes(bytes(self.0, offset_of!(Rule, mark)))
    }
}

// Offset in the low half, length in the high one; the programs' machine is little-endian, and so is this one.
const _: () = assert!(
    cfg!(target_endian = "little")
        && offset_of!(Service, table) % 8 == 0
        && offset_of!(Service, table_words) == offset_of!(Service, table) + 4
);

impl<'a, W: World> rvs_core::Tables for HostTables<'a, W> {
    type Bucket = HostBucket<'a>;
    type Dest = HostDest<'a>;
    type Service = HostService<'a>;
    type Rule = HostRule<'a>;

    fn veiled(&self, number: u64) -> u64 {
        number
    }

    fn is_second_look(&self) -> bool {
        self.world.is_second_look()
    }

    fn is_local(&self) -> bool {
        self.world.is_local()
    }

    fn reaches_stack(&self) -> bool {
        self.world.reaches_stack()
    }

    fn services_v4(&self) -> u32 {
        u32::from_ne_bytes(bytes(self.config, offset_of!(Config, services_v4)))
    }

    fn settings(&self) -> u32 {
        u32::from_ne_bytes(bytes(self.config, offset_of!(Config, settings)))
    }

    fn ingress(&self) -> u32 {
        self.world.ingress()
    }

    fn services_v6(&self) -> u32 {
        u32::from_ne_bytes(bytes(self.config, offset_of!(Config, services_v6)))
    }

    fn geometry(&self) -> Option<Geometry> {
        Some(self.geometry)
    }

    fn timeout(&self, index: u32) -> u32 {
        // The programs take it modulo the number of time-outs as well.
        let index = index as usize % 32;
        u32::from_ne_bytes(bytes(self.config, offset_of!(Config, timeouts) + 4 * index))
    }

    fn tunnel_sources(&self, is_v4: bool) -> (Addr, u32) {
        let (first, masks) = if is_v4 {
            (offset_of!(Config, tunnel_sources_v4), offset_of!(Config, tunnel_source_masks))
        } else {
            (offset_of!(Config, tunnel_sources_v6), offset_of!(Config, tunnel_source_masks) + 4)
        };
        (addr(self.config, first), u32::from_ne_bytes(bytes(self.config, masks)))
    }

    fn full_nat(&self) -> u32 {
        u32::from_ne_bytes(bytes(self.config, offset_of!(Config, full_nat)))
    }

    fn local_ports_mask(&self) -> u32 {
        u32::from_ne_bytes(bytes(self.config, offset_of!(Config, local_ports_mask)))
    }

    fn local_port(&self, index: u32) -> Option<u64> {
        self.local_ports.get(index as usize).map(|word| word.load(Acquire))
    }

    fn swap_local_port(&self, index: u32, old: u64, new: u64) -> bool {
        let swap = |word: &AtomicU64| word.compare_exchange(old, new, AcqRel, Relaxed).is_ok();
        self.local_ports.get(index as usize).is_some_and(swap)
    }

    fn filter_word(&self, index: u32) -> u64 {
        self.filter.get(index as usize).map_or(0, |word| word.load(Relaxed))
    }

    fn mark_services(&self, is_v4: bool) -> u32 {
        let offset = if is_v4 { offset_of!(Config, marks_v4) } else { offset_of!(Config, marks_v6) };
        u32::from_ne_bytes(bytes(self.config, offset))
    }

    fn packet_mark(&self) -> u32 {
        self.world.packet_mark()
    }

    fn marked_word(&self, index: u32) -> u64 {
        self.marked.get(index as usize).map_or(0, |word| word.load(Relaxed))
    }

    fn learn(&self, index: u32, bits: u64) {
        if let Some(word) = self.marked.get(index as usize) {
            word.fetch_or(bits, Relaxed);
        }
    }

    fn rules(&self) -> u32 {
        u32::from_ne_bytes(bytes(self.config, offset_of!(Config, rules)))
    }

    fn rule(&self, index: u32) -> Option<HostRule<'a>> {
        self.rules.as_chunks().0.get(index as usize).map(HostRule)
    }

    fn ftp_services(&self) -> u32 {
        u32::from_ne_bytes(bytes(self.config, offset_of!(Config, ftp_services)))
    }

    fn any_port_services(&self) -> u32 {
        u32::from_ne_bytes(bytes(self.config, offset_of!(Config, any_port_services)))
    }

    fn bucket(&self, index: u32) -> Option<HostBucket<'a>> {
        HostBucket::of(self.conns, index)
    }

    fn overflow_bucket(&self, index: u32) -> Option<HostBucket<'a>> {
        HostBucket::of(self.overflow, index)
    }

    fn service_id(&self, key: &ServiceKey) -> Option<u32> {
        self.world.service_key(key)
    }

    fn service(&self, id: u32) -> Option<HostService<'a>> {
        self.services.as_chunks().0.get(id as usize).map(HostService)
    }

    fn dest(&self, id: u32) -> Option<HostDest<'a>> {
        self.dests.as_chunks().0.get(id as usize).map(HostDest)
    }

    fn dest_conns(&self, id: u32) -> DestConns {
        DestConns::from_word(self.dest_conns.get(id as usize).map_or(0, |word| word.load(Relaxed)))
    }

    fn add_dest_conns(&self, id: u32, delta: u64) {
        if let Some(word) = self.dest_conns.get(id as usize) {
            word.fetch_add(delta, Relaxed);
        }
    }

    fn sched_word(&self, index: u32) -> Option<u64> {
        self.sched.get(index as usize).map(|word| word.load(Relaxed))
    }

    fn swap_sched_word(&self, index: u32, old: u64, new: u64) -> bool {
        let swap = |word: &AtomicU64| word.compare_exchange(old, new, AcqRel, Relaxed).is_ok();
        self.sched.get(index as usize).is_some_and(swap)
    }

    fn count(&self, service: u32, dest: u32, delta: &Stats) {
        for row in [0, 1 + service, 1 + self.services_max + dest] {
            self.add_stats(row, delta);
        }
    }

    fn fragment(&self, key: &fragment::Key) -> Option<fragment::Known> {
        self.world.fragments()?.borrow().get(key).copied()
    }

    fn keep_fragment(&self, key: &fragment::Key, known: &fragment::Known) {
        if let Some(fragments) = self.world.fragments() {
            fragments.borrow_mut().insert(*key, *known);
        }
    }

    fn holds(&self) -> bool {
        self.world.holds()
    }

    fn held_word(&self, slot: u32) -> u64 {
        self.world.held().map_or(0, |held| held.word(slot))
    }

    fn swap_held_word(&self, slot: u32, old: u64, new: u64) -> bool {
        self.world.held().is_some_and(|held| held.swap_word(slot, old, new))
    }

    fn held_is(&self, slot: u32, key: &fragment::Key) -> bool {
        self.world.held().is_some_and(|held| held.is(slot, key))
    }

    fn set_held_key(&self, slot: u32, key: &fragment::Key) {
        if let Some(held) = self.world.held() {
            held.set_key(slot, key);
        }
    }

    fn with_held<R>(&self, slot: u32, use_it: impl FnOnce(&mut hold::Bytes) -> R) -> Option<R> {
        Some(self.world.held()?.with(slot, use_it))
    }

    fn with_saved<R>(&self, use_it: impl FnOnce(&mut hold::Saved) -> R) -> Option<R> {
        Some(self.world.held()?.with_saved(use_it))
    }

    fn held_at(&self, group: u32) -> u32 {
        self.world.held().map_or(0, |held| held.at(group))
    }

    fn set_held_at(&self, group: u32, now: u32) {
        if let Some(held) = self.world.held() {
            held.set_at(group, now);
        }
    }

    fn ftp_ports(&self) -> [[u8; 2]; limits::FTP_PORTS] {
        let packed: [u8; 2 * limits::FTP_PORTS] = bytes(self.config, offset_of!(Config, ftp_ports));
        core::array::from_fn(|i| [packed[2 * i], packed[2 * i + 1]])
    }

    fn ftp_word(&self, index: u32) -> u64 {
        self.world.ftp().and_then(|words| words.get(index as usize)).map_or(0, Cell::get)
    }

    fn set_ftp_word(&self, index: u32, word: u64) {
        if let Some(cell) = self.world.ftp().and_then(|words| words.get(index as usize)) {
            cell.set(word);
        }
    }

    fn swap_ftp_word(&self, index: u32, old: u64, new: u64) -> bool {
        let is_old = self.ftp_word(index) == old;
        if is_old {
            self.set_ftp_word(index, new);
        }
        is_old
    }

    fn note(&self, event: Event) {
        let index = self.world.cpu() * limits::COUNTERS + event as u32;
        if let Some(counter) = self.counters.get(index as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    fn with_scratch<R>(&self, use_it: impl FnOnce(&mut Scratch) -> R) -> Option<R> {
        Some(use_it(&mut *self.scratch.try_borrow_mut().ok()?))
    }

    fn now(&self) -> u64 {
        self.world.now_ns()
    }

    fn random(&self) -> u32 {
        self.world.random()
    }

    fn with_error_budget<R>(&self, index: u32, use_it: impl FnOnce(&mut u64) -> R) -> Option<R> {
        let cell = self.world.error_budget(index)?;
        let mut budget = cell.get();
        let result = use_it(&mut budget);
        cell.set(budget);
        Some(result)
    }

    fn next_hop(&self, flow: &Flow) -> Result<NextHop, Outcome> {
        let dest = flow.dest.and_then(|id| self.dest(id));
        if !self.reaches_stack() && dest.is_some_and(|dest| dest.flags() & DestFlags::LOCAL != 0) {
            return Err(Outcome::HandOverRoute);
        }
        self.world.next_hop(flow)
    }

    fn repeat<S: Step<Self>>(&self, rounds: u32, step: &mut S) {
        for round in 0..rounds {
            if step.step(self, round) {
                break;
            }
        }
    }
}
