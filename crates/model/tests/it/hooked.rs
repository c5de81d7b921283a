//! A table that calls back before each access to a bucket: to let another party act at that very moment, or to make
//! threads change places there.

use core::fmt;

use rvs_abi::{Addr, DestConns, Outcome, ServiceKey, Stats};
use rvs_core::conn::word::Word;
use rvs_core::conn::{Bucket, Geometry};
use rvs_core::pipeline::Scratch;
use rvs_core::{Flow, NextHop, Step, Tables};
use rvs_model::{HostBucket, HostDest, HostRule, HostService, HostTables, World};

/// What is about to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// A slot word is read.
    Word,
    /// A slot word is swapped.
    Swap,
    /// A word of an entry is read.
    Entry,
    /// A word of an entry is written.
    SetEntry,
    /// Statistics are counted.
    Count,
}

type Hook<'a> = &'a dyn Fn(Event);

/// [`HostTables`] with a hook.
pub(crate) struct Hooked<'a, W> {
    pub(crate) tables: HostTables<'a, W>,
    pub(crate) hook: Hook<'a>,
}

#[derive(Clone, Copy)]
pub(crate) struct HookedBucket<'a> {
    bucket: HostBucket<'a>,
    hook: Hook<'a>,
}

impl fmt::Debug for HookedBucket<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bucket.fmt(f)
    }
}

impl Bucket for HookedBucket<'_> {
    fn word(self, slot: usize) -> Word {
        (self.hook)(Event::Word);
        self.bucket.word(slot)
    }

    fn swap(self, slot: usize, old: Word, new: Word) -> bool {
        (self.hook)(Event::Swap);
        self.bucket.swap(slot, old, new)
    }

    fn entry_word(self, slot: usize, index: usize) -> u64 {
        (self.hook)(Event::Entry);
        self.bucket.entry_word(slot, index)
    }

    fn set_entry_word(self, slot: usize, index: usize, value: u64) {
        (self.hook)(Event::SetEntry);
        self.bucket.set_entry_word(slot, index, value);
    }

    fn set_entry_half(self, slot: usize, index: usize, half: usize, value: u32) {
        (self.hook)(Event::SetEntry);
        self.bucket.set_entry_half(slot, index, half, value);
    }

    fn spare(self) -> u64 {
        self.bucket.spare()
    }

    fn add_overflow(self, delta: u32) {
        self.bucket.add_overflow(delta);
    }

    fn prefetch(self, slot: usize) {
        self.bucket.prefetch(slot);
    }

    fn opaque(number: u64) -> u64 {
        number
    }
}

impl<'a, W: World> Hooked<'a, W> {
    fn hooked(&self, bucket: HostBucket<'a>) -> HookedBucket<'a> {
        HookedBucket { bucket, hook: self.hook }
    }
}

impl<'a, W: World> Tables for Hooked<'a, W> {
    type Bucket = HookedBucket<'a>;
    type Dest = HostDest<'a>;
    type Service = HostService<'a>;
    type Rule = HostRule<'a>;

    fn is_second_look(&self) -> bool {
        self.tables.is_second_look()
    }

    fn is_local(&self) -> bool {
        self.tables.is_local()
    }

    fn reaches_stack(&self) -> bool {
        self.tables.reaches_stack()
    }

    fn veiled(&self, number: u64) -> u64 {
        self.tables.veiled(number)
    }

    fn services_v4(&self) -> u32 {
        self.tables.services_v4()
    }

    fn settings(&self) -> u32 {
        self.tables.settings()
    }

    fn ingress(&self) -> u32 {
        self.tables.ingress()
    }

    fn services_v6(&self) -> u32 {
        self.tables.services_v6()
    }

    fn geometry(&self) -> Option<Geometry> {
        self.tables.geometry()
    }

    fn timeout(&self, index: u32) -> u32 {
        self.tables.timeout(index)
    }

    fn tunnel_sources(&self, is_v4: bool) -> (Addr, u32) {
        self.tables.tunnel_sources(is_v4)
    }

    fn full_nat(&self) -> u32 {
        self.tables.full_nat()
    }

    fn local_ports_mask(&self) -> u32 {
        self.tables.local_ports_mask()
    }

    fn local_port(&self, index: u32) -> Option<u64> {
        self.tables.local_port(index)
    }

    fn swap_local_port(&self, index: u32, old: u64, new: u64) -> bool {
        self.tables.swap_local_port(index, old, new)
    }

    fn full_nat_sources(&self, is_v4: bool) -> u32 {
        self.tables.full_nat_sources(is_v4)
    }

    fn local_address(&self, number: u16) -> Option<Addr> {
        self.tables.local_address(number)
    }

    fn filter_word(&self, index: u32) -> u64 {
        self.tables.filter_word(index)
    }

    fn mark_services(&self, is_v4: bool) -> u32 {
        self.tables.mark_services(is_v4)
    }

    fn packet_mark(&self) -> u32 {
        self.tables.packet_mark()
    }

    fn marked_word(&self, index: u32) -> u64 {
        self.tables.marked_word(index)
    }

    fn learn(&self, index: u32, bits: u64) {
        self.tables.learn(index, bits);
    }

    fn rules(&self) -> u32 {
        self.tables.rules()
    }

    fn rule(&self, index: u32) -> Option<Self::Rule> {
        self.tables.rule(index)
    }

    fn ftp_services(&self) -> u32 {
        self.tables.ftp_services()
    }

    fn any_port_services(&self) -> u32 {
        self.tables.any_port_services()
    }

    fn bucket(&self, index: u32) -> Option<Self::Bucket> {
        self.tables.bucket(index).map(|bucket| self.hooked(bucket))
    }

    fn overflow_bucket(&self, index: u32) -> Option<Self::Bucket> {
        self.tables.overflow_bucket(index).map(|bucket| self.hooked(bucket))
    }

    fn service_id(&self, key: &ServiceKey) -> Option<u32> {
        self.tables.service_id(key)
    }

    fn service(&self, id: u32) -> Option<Self::Service> {
        self.tables.service(id)
    }

    fn dest(&self, id: u32) -> Option<Self::Dest> {
        self.tables.dest(id)
    }

    fn dest_conns(&self, id: u32) -> DestConns {
        self.tables.dest_conns(id)
    }

    fn add_dest_conns(&self, id: u32, delta: u64) {
        self.tables.add_dest_conns(id, delta);
    }

    fn sched_word(&self, index: u32) -> Option<u64> {
        self.tables.sched_word(index)
    }

    fn swap_sched_word(&self, index: u32, old: u64, new: u64) -> bool {
        self.tables.swap_sched_word(index, old, new)
    }

    fn count(&self, service: u32, dest: u32, delta: &Stats) {
        (self.hook)(Event::Count);
        self.tables.count(service, dest, delta);
    }

    fn fragment(&self, key: &rvs_core::fragment::Key) -> Option<rvs_core::fragment::Known> {
        self.tables.fragment(key)
    }

    fn keep_fragment(&self, key: &rvs_core::fragment::Key, known: &rvs_core::fragment::Known) {
        self.tables.keep_fragment(key, known);
    }

    fn holds(&self) -> bool {
        self.tables.holds()
    }

    fn held_word(&self, slot: u32) -> u64 {
        self.tables.held_word(slot)
    }

    fn swap_held_word(&self, slot: u32, old: u64, new: u64) -> bool {
        self.tables.swap_held_word(slot, old, new)
    }

    fn held_is(&self, slot: u32, key: &rvs_core::fragment::Key) -> bool {
        self.tables.held_is(slot, key)
    }

    fn set_held_key(&self, slot: u32, key: &rvs_core::fragment::Key) {
        self.tables.set_held_key(slot, key);
    }

    fn with_held<R>(&self, slot: u32, use_it: impl FnOnce(&mut rvs_core::hold::Bytes) -> R) -> Option<R> {
        self.tables.with_held(slot, use_it)
    }

    fn with_saved<R>(&self, use_it: impl FnOnce(&mut rvs_core::hold::Saved) -> R) -> Option<R> {
        self.tables.with_saved(use_it)
    }

    fn held_at(&self, group: u32) -> u32 {
        self.tables.held_at(group)
    }

    fn set_held_at(&self, group: u32, now: u32) {
        self.tables.set_held_at(group, now);
    }

    fn ftp_ports(&self) -> [[u8; 2]; rvs_abi::limits::FTP_PORTS] {
        self.tables.ftp_ports()
    }

    fn ftp_word(&self, index: u32) -> u64 {
        self.tables.ftp_word(index)
    }

    fn set_ftp_word(&self, index: u32, word: u64) {
        self.tables.set_ftp_word(index, word);
    }

    fn swap_ftp_word(&self, index: u32, old: u64, new: u64) -> bool {
        self.tables.swap_ftp_word(index, old, new)
    }

    fn note(&self, event: rvs_abi::Event) {
        self.tables.note(event);
    }

    fn with_scratch<R>(&self, use_it: impl FnOnce(&mut Scratch) -> R) -> Option<R> {
        self.tables.with_scratch(use_it)
    }

    fn now(&self) -> u64 {
        self.tables.now()
    }

    fn random(&self) -> u32 {
        self.tables.random()
    }

    fn with_error_budget<R>(&self, index: u32, use_it: impl FnOnce(&mut u64) -> R) -> Option<R> {
        self.tables.with_error_budget(index, use_it)
    }

    fn next_hop(&self, flow: &Flow) -> Result<NextHop, Outcome> {
        self.tables.next_hop(flow)
    }

    fn repeat<S: Step<Self>>(&self, rounds: u32, step: &mut S) {
        for round in 0..rounds {
            if step.step(self, round) {
                break;
            }
        }
    }
}
