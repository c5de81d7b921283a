//! The core's view of the maps.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns, bpf_loop};
use core::ffi::c_void;
use rvs_abi::{Addr, Config, DestConns, Event, LOOPBACK, Outcome, Port, Program, ServiceKey, Stats, limits};
use rvs_core::conn::Geometry;
use rvs_core::pipeline::{About, Scratch, Side};
use rvs_core::{Flow, Link, NextHop, Packet, Step, Verdict};
use rvs_core::{fragment, hold};
use rvs_ebpf::atomic;

use crate::bucket::Bucket;
use crate::hooks::{stages, under_tc};
use crate::records::{DestPointer, RulePointer, ServicePointer};
use crate::{behind, maps, next_hop, stage};

/// What is told to stages under TC: XDP has looked at the packet before.
pub(crate) const AFTER_XDP: u8 = 1;
/// This host made the packet, and it is on its way out.
pub(crate) const MADE_HERE: u8 = 2;

/// Mark of a packet of this host that is of concern and is looked at now, in a field that only classifiers of TC use: "rv".
/// Its copies have it too: those that are sent while it is at work do not meet a program in the middle of it.
pub(crate) const SEEN: u32 = 0x7276;

/// The maps, seen by the program that handles one packet: under XDP or under TC. Types of their own, so that what is asked
/// for one hook alone is not in the programs of the other.
pub(crate) struct Tables<const XDP: bool = false> {
    /// The program's context, for helpers.
    pub(crate) context: *mut c_void,
    /// Interface that the packet came in on.
    pub(crate) ingress: u32,
    /// TC: [`AFTER_XDP`], [`MADE_HERE`].
    pub(crate) look: u8,
    config: *const Config,
}

impl Tables<true> {
    /// For a packet under XDP. `None` only if the map of the configuration were empty.
    #[inline(always)]
    pub(crate) fn of_xdp(context: *mut xdp_md) -> Option<Self> {
        // SAFETY: the kernel's context is valid for the program's whole run.
        let ingress = unsafe { (*context).ingress_ifindex };
        Some(Self { context: context.cast(), ingress, ..Self::new()? })
    }
}

impl Tables<false> {
    /// For a packet under TC that came in.
    #[inline(always)]
    pub(crate) fn of_skb(context: *mut __sk_buff, look: u8) -> Option<Self> {
        // SAFETY: the kernel's context is valid for the program's whole run.
        let ingress = unsafe { (*context).ifindex };
        Some(Self { context: context.cast(), ingress, look, ..Self::new()? })
    }

    /// For one that may be of this host's making. It is routed as what comes from here.
    #[inline(always)]
    pub(crate) fn of_own(context: *mut __sk_buff, look: u8) -> Option<Self> {
        // SAFETY: the kernel's context is valid for the program's whole run.
        let ifindex = unsafe { (*context).ifindex };
        // Without a branch: the verifier would go through all that follows for either.
        let is_local = atomic::opaque(u64::from(look & MADE_HERE != 0)).wrapping_neg() as u32;
        let ingress = ifindex & !is_local | LOOPBACK & is_local;
        Some(Self { context: context.cast(), ingress, look, ..Self::new()? })
    }

    /// For what needs neither a packet nor a route.
    #[inline(always)]
    pub(crate) fn without_packet() -> Option<Self> {
        Self::new()
    }

    /// What the program before handed over: the outcome to go on with, and what kind of program it is under TC.
    #[inline(always)]
    pub(crate) fn handed_over() -> Option<(Outcome, u8)> {
        let scratch = maps::SCRATCH.get_ptr(0)?;
        // SAFETY: this CPU's own part of the map, and one program runs on it at a time.
        unsafe { Some((outcome((*scratch).outcome), (*scratch).look as u8)) }
    }
}

impl<const XDP: bool> Tables<XDP> {
    #[inline(always)]
    fn new() -> Option<Self> {
        let config = maps::CONFIG.get_ptr(0)?;
        Some(Self { context: core::ptr::null_mut(), ingress: 0, look: 0, config })
    }

    #[inline(always)]
    fn config(&self) -> &Config {
        // SAFETY: the kernel gave this pointer for a map's value; single words are read, and each is valid by itself.
        unsafe { &*self.config }
    }

    /// Counts where a packet ended.
    #[inline(always)]
    pub(crate) fn count_outcome(&self, outcome: Outcome) {
        Self::count_at(outcome as u32);
    }

    #[inline(always)]
    fn count_at(index: u32) {
        // SAFETY: a helper without arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
        if let Some(counter) = maps::COUNTERS.get_ptr_mut(cpu * limits::COUNTERS + index) {
            // SAFETY: a live word of a map, of this CPU alone.
            unsafe { *counter += 1 };
        }
    }

    #[inline(always)]
    fn add_stats(row: u32, delta: &Stats) {
        if let Some(stats) = maps::STATS.get_ptr_mut(row) {
            // SAFETY: a live record of a map, of this CPU alone.
            let stats = unsafe { &mut *stats };
            stats.conns += delta.conns;
            stats.in_packets += delta.in_packets;
            stats.out_packets += delta.out_packets;
            stats.in_bytes += delta.in_bytes;
            stats.out_bytes += delta.out_bytes;
        }
    }
}

impl<const XDP: bool> EbpfContext for Tables<XDP> {
    #[inline(always)]
    fn as_ptr(&self) -> *mut c_void {
        self.context
    }
}

/// What is known of an interface.
#[inline(always)]
pub(crate) fn port(ifindex: u32) -> Port {
    Port::from_word(maps::PORTS.get(ifindex).copied().unwrap_or(0))
}

/// Body of a loop, as the kernel calls it.
#[inline(never)]
extern "C" fn round<const XDP: bool, S: Step<Tables<XDP>>>(
    round: u32,
    context: *mut Loop<'_, XDP, S>,
) -> i64 {
    // SAFETY: `repeat` passed a pointer to its own `Loop`, which lives until the loop ends.
    let context = unsafe { &mut *context };
    i64::from(context.step.step(context.tables, round))
}

struct Loop<'a, const XDP: bool, S> {
    tables: &'a Tables<XDP>,
    step: &'a mut S,
}

/// The outcome that a stage returned as a number.
#[inline(always)]
pub(crate) fn outcome(number: u32) -> Outcome {
    // SAFETY: stages return, and programs hand over, nothing but numbers of outcomes.
    unsafe { core::mem::transmute::<u32, Outcome>(number) }
}

impl<const XDP: bool> rvs_core::Tables for Tables<XDP> {
    type Bucket = Bucket;
    type Dest = DestPointer;
    type Service = ServicePointer;
    type Rule = RulePointer;

    #[inline(always)]
    fn veiled(&self, number: u64) -> u64 {
        // SAFETY: as in `config`. The field is zero, which neither compiler nor verifier can know.
        number ^ u64::from(unsafe { (&raw const (*self.config).zero).read_volatile() })
    }

    #[inline(always)]
    fn is_second_look(&self) -> bool {
        !XDP && self.look & AFTER_XDP != 0
    }

    #[inline(always)]
    fn is_local(&self) -> bool {
        !XDP && self.look & MADE_HERE != 0
    }

    #[inline(always)]
    fn reaches_stack(&self) -> bool {
        !XDP
    }

    #[inline(always)]
    fn services_v4(&self) -> u32 {
        // SAFETY: as in `config`; volatile, since user space changes it.
        unsafe { (&raw const (*self.config).services_v4).read_volatile() }
    }

    #[inline(always)]
    fn settings(&self) -> u32 {
        // SAFETY: as in `config`; volatile, since user space changes it.
        unsafe { (&raw const (*self.config).settings).read_volatile() }
    }

    #[inline(always)]
    fn ingress(&self) -> u32 {
        self.ingress
    }

    #[inline(always)]
    fn services_v6(&self) -> u32 {
        // SAFETY: a live word of a map; user space changes it, hence volatile.
        unsafe { (&raw const (*self.config).services_v6).read_volatile() }
    }

    #[inline(always)]
    fn geometry(&self) -> Option<Geometry> {
        let config = self.config();
        Some(Geometry {
            buckets: config.buckets,
            overflow_buckets: config.overflow_buckets,
            seed: config.hash_seed,
        })
    }

    #[inline(always)]
    fn timeout(&self, index: u32) -> u32 {
        let index = atomic::opaque(u64::from(index)) as usize & 31;
        // SAFETY: 32 time-outs; user space changes them, hence volatile.
        unsafe { (&raw const (*self.config).timeouts).cast::<u32>().add(index).read_volatile() }
    }

    #[inline(always)]
    fn tunnel_sources(&self, is_v4: bool) -> (Addr, u32) {
        // SAFETY: as in `config`; volatile, since user space changes it.
        unsafe {
            let masks = (&raw const (*self.config).tunnel_source_masks).cast::<u32>();
            if is_v4 {
                ((&raw const (*self.config).tunnel_sources_v4).read_volatile(), masks.read_volatile())
            } else {
                ((&raw const (*self.config).tunnel_sources_v6).read_volatile(), masks.add(1).read_volatile())
            }
        }
    }

    #[inline(always)]
    fn full_nat(&self) -> u32 {
        // SAFETY: as in `config`; volatile, since user space changes it.
        unsafe { (&raw const (*self.config).full_nat).read_volatile() }
    }

    #[inline(always)]
    fn local_ports_mask(&self) -> u32 {
        self.config().local_ports_mask
    }

    #[inline(always)]
    fn local_port(&self, index: u32) -> Option<u64> {
        // SAFETY: a live, aligned word of a map; others change it, hence volatile.
        maps::LOCAL_PORTS.get_ptr(index).map(|word| unsafe { word.read_volatile() })
    }

    #[inline(always)]
    fn swap_local_port(&self, index: u32, old: u64, new: u64) -> bool {
        // SAFETY: a live, aligned word of a map.
        maps::LOCAL_PORTS.get_ptr_mut(index).is_some_and(|word| unsafe { atomic::swap(word, old, new) })
    }

    #[inline(always)]
    fn full_nat_sources(&self, is_v4: bool) -> u32 {
        // SAFETY: as in `config`; volatile, since user space changes it.
        unsafe {
            let words = (&raw const (*self.config).full_nat_sources).cast::<u32>();
            if is_v4 { words.read_volatile() } else { words.add(1).read_volatile() }
        }
    }

    #[inline(always)]
    fn local_address(&self, number: u16) -> Option<Addr> {
        maps::LOCAL_ADDRESSES.get(u32::from(number)).copied()
    }

    #[inline(always)]
    fn filter_word(&self, index: u32) -> u64 {
        maps::FILTER.get(index).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn mark_services(&self, is_v4: bool) -> u32 {
        // SAFETY: as in `services_v6`.
        unsafe {
            if is_v4 {
                (&raw const (*self.config).marks_v4).read_volatile()
            } else {
                (&raw const (*self.config).marks_v6).read_volatile()
            }
        }
    }

    #[inline(always)]
    fn packet_mark(&self) -> u32 {
        // What XDP did not see must not count after it: the packet has been counted there.
        if XDP || self.look & AFTER_XDP != 0 || self.context.is_null() {
            return 0;
        }
        // SAFETY: under TC this is the kernel's context, valid for the program's whole run.
        unsafe { (*self.context.cast::<__sk_buff>()).mark }
    }

    #[inline(always)]
    fn marked_word(&self, index: u32) -> u64 {
        maps::MARKED.get(index).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn learn(&self, index: u32, bits: u64) {
        if let Some(word) = maps::MARKED.get_ptr_mut(index) {
            // SAFETY: a live, aligned word of a map.
            unsafe { atomic::or(word, bits) };
        }
    }

    #[inline(always)]
    fn rules(&self) -> u32 {
        // SAFETY: as in `services_v6`.
        unsafe { (&raw const (*self.config).rules).read_volatile() }
    }

    #[inline(always)]
    fn ftp_services(&self) -> u32 {
        // SAFETY: as in `services_v6`.
        unsafe { (&raw const (*self.config).ftp_services).read_volatile() }
    }

    #[inline(always)]
    fn any_port_services(&self) -> u32 {
        // SAFETY: as in `services_v6`.
        unsafe { (&raw const (*self.config).any_port_services).read_volatile() }
    }

    #[inline(always)]
    fn rule(&self, index: u32) -> Option<RulePointer> {
        maps::CLASSIFIER.get_ptr(index).map(RulePointer)
    }

    #[inline(always)]
    fn bucket(&self, index: u32) -> Option<Bucket> {
        maps::CONNS.get_ptr_mut(index).map(Bucket)
    }

    #[inline(always)]
    fn overflow_bucket(&self, index: u32) -> Option<Bucket> {
        maps::CONN_OVERFLOW.get_ptr_mut(index).map(Bucket)
    }

    #[inline(always)]
    fn service_id(&self, key: &ServiceKey) -> Option<u32> {
        // SAFETY: the value is one word, and is read at once.
        unsafe { maps::SERVICE_KEYS.get(key).copied() }
    }

    #[inline(always)]
    fn service(&self, id: u32) -> Option<ServicePointer> {
        maps::SERVICES.get_ptr(id).map(ServicePointer)
    }

    #[inline(always)]
    fn dest(&self, id: u32) -> Option<DestPointer> {
        maps::DESTS.get_ptr(id).map(DestPointer)
    }

    #[inline(always)]
    fn dest_conns(&self, id: u32) -> DestConns {
        DestConns::from_word(maps::DEST_CONNS.get(id).copied().unwrap_or(0))
    }

    #[inline(always)]
    fn add_dest_conns(&self, id: u32, delta: u64) {
        if let Some(word) = maps::DEST_CONNS.get_ptr_mut(id) {
            // SAFETY: a live, aligned word of a map.
            unsafe { atomic::add(word, delta) };
        }
    }

    #[inline(always)]
    fn sched_word(&self, index: u32) -> Option<u64> {
        maps::SCHED_TABLES.get(index).copied()
    }

    #[inline(always)]
    fn swap_sched_word(&self, index: u32, old: u64, new: u64) -> bool {
        // SAFETY: a live, aligned word of a map.
        maps::SCHED_TABLES.get_ptr_mut(index).is_some_and(|word| unsafe { atomic::swap(word, old, new) })
    }

    #[inline(always)]
    fn count(&self, service: u32, dest: u32, delta: &Stats) {
        let config = self.config();
        // SAFETY: a helper without arguments.
        let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
        let part = cpu * config.stats_rows;
        Self::add_stats(part, delta);
        Self::add_stats(part + 1 + service, delta);
        Self::add_stats(part + 1 + config.services_max + dest, delta);
    }

    #[inline(always)]
    fn fragment(&self, key: &fragment::Key) -> Option<fragment::Known> {
        // SAFETY: the value is copied at once; another CPU may be changing it, and each word of it is valid.
        unsafe { maps::FRAGMENTS.get(key).copied() }
    }

    #[inline(always)]
    fn keep_fragment(&self, key: &fragment::Key, known: &fragment::Known) {
        // If it fails, the fragments behind are left to the stack.
        let _ = maps::FRAGMENTS.insert(key, known, 0);
    }

    #[inline(always)]
    fn holds(&self) -> bool {
        !XDP
    }

    #[inline(always)]
    fn held_word(&self, slot: u32) -> u64 {
        // SAFETY: a live word of a map; other CPUs change it, hence volatile.
        maps::HELD.get_ptr(slot).map_or(0, |held| unsafe { (&raw const (*held).word).read_volatile() })
    }

    #[inline(always)]
    fn swap_held_word(&self, slot: u32, old: u64, new: u64) -> bool {
        // SAFETY: a live, aligned word of a map.
        maps::HELD
            .get_ptr_mut(slot)
            .is_some_and(|held| unsafe { atomic::swap(&raw mut (*held).word, old, new) })
    }

    #[inline(always)]
    fn held_is(&self, slot: u32, key: &fragment::Key) -> bool {
        // SAFETY: a live record of a map; what another CPU is writing is of a word that has changed.
        maps::HELD.get_ptr(slot).is_some_and(|held| unsafe { (*held).key == *key })
    }

    #[inline(always)]
    fn set_held_key(&self, slot: u32, key: &fragment::Key) {
        if let Some(held) = maps::HELD.get_ptr_mut(slot) {
            // SAFETY: a live record of a map, which this CPU has claimed.
            unsafe { (*held).key = *key };
        }
    }

    #[inline(always)]
    fn with_held<R>(&self, slot: u32, use_it: impl FnOnce(&mut hold::Bytes) -> R) -> Option<R> {
        let frame = maps::HELD_FRAMES.get_ptr_mut(slot)?;
        // SAFETY: a live record of a map, which this CPU has claimed.
        Some(use_it(unsafe { &mut *frame }))
    }

    #[inline(always)]
    fn with_saved<R>(&self, use_it: impl FnOnce(&mut hold::Saved) -> R) -> Option<R> {
        let frame = maps::SAVED_FRAME.get_ptr_mut(0)?;
        // SAFETY: this CPU's own part of the map, and one program runs on it at a time.
        Some(use_it(unsafe { &mut *frame }))
    }

    #[inline(always)]
    fn held_at(&self, group: u32) -> u32 {
        maps::HELD_AT.get(group).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn set_held_at(&self, group: u32, now: u32) {
        if let Some(at) = maps::HELD_AT.get_ptr_mut(group) {
            // SAFETY: a live word of a map.
            unsafe { at.write_volatile(now) };
        }
    }

    #[inline(always)]
    fn ftp_ports(&self) -> [[u8; 2]; limits::FTP_PORTS] {
        // SAFETY: as in `services_v6`.
        let ports = unsafe { (&raw const (*self.config).ftp_ports).cast::<u32>().read_volatile() };
        let [a, b, c, d] = ports.to_ne_bytes();
        [[a, b], [c, d]]
    }

    #[inline(always)]
    fn ftp_word(&self, index: u32) -> u64 {
        // SAFETY: a live, aligned word of a map; others change it, hence volatile.
        maps::FTP_CONTROLS.get_ptr(index).map_or(0, |word| unsafe { word.read_volatile() })
    }

    #[inline(always)]
    fn set_ftp_word(&self, index: u32, new: u64) {
        if let Some(word) = maps::FTP_CONTROLS.get_ptr_mut(index) {
            // SAFETY: a live, aligned word of a map.
            unsafe { word.write_volatile(new) };
        }
    }

    #[inline(always)]
    fn swap_ftp_word(&self, index: u32, old: u64, new: u64) -> bool {
        // SAFETY: a live, aligned word of a map.
        maps::FTP_CONTROLS.get_ptr_mut(index).is_some_and(|word| unsafe { atomic::swap(word, old, new) })
    }

    #[inline(always)]
    fn note(&self, event: Event) {
        Self::count_at(event as u32);
    }

    #[inline(always)]
    fn with_scratch<R>(&self, use_it: impl FnOnce(&mut Scratch) -> R) -> Option<R> {
        let scratch = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: this CPU's own part of the map, and one program runs on it at a time.
        Some(use_it(unsafe { &mut *scratch }))
    }

    #[inline(always)]
    fn go_on<P: Packet>(&self, _packet: &mut P, program: Program, outcome: Outcome) -> Verdict {
        let _written = self.with_scratch(|scratch| {
            scratch.outcome = outcome as u32;
            scratch.look = u32::from(self.look);
        });
        if !XDP && self.look & MADE_HERE != 0 {
            let skb: *mut __sk_buff = self.context.cast();
            // SAFETY: the kernel's context is valid for the program's whole run; it lets programs under TC write this field.
            unsafe { (*skb).tc_index = SEEN };
        }
        behind::call(self, program);
        Verdict { outcome: Outcome::Inconsistent, link: Link::default() }
    }

    stages! {
        reply: rvs_xdp_reply, rvs_tc_reply (look);
        request: rvs_xdp_request, rvs_tc_request (look);
        icmp: rvs_xdp_icmp, rvs_tc_icmp (look);
        local_reply: rvs_xdp_local_reply, rvs_tc_local_reply;
        client_option: rvs_xdp_client_option, rvs_tc_client_option;
        fragment_stage: rvs_xdp_fragment, rvs_tc_fragment (look);
        tunnel: rvs_xdp_tunnel, rvs_tc_tunnel;
        translate: rvs_xdp_translate, rvs_tc_translate (look);
        translate_error: rvs_xdp_translate_error, rvs_tc_translate_error;
        tunnel_error: rvs_xdp_tunnel_error, rvs_tc_tunnel_error;
        one_packet: rvs_xdp_one_packet, rvs_tc_one_packet;
    }

    under_tc! {
        reply_here: rvs_tc_reply_here (look);
        request_here: rvs_tc_request_here (look);
        one_packet_here: rvs_tc_one_packet_here (look);
        deliver: rvs_tc_deliver (look);
        hold: rvs_tc_hold;
        cut: rvs_tc_cut;
        cut_outer: rvs_tc_cut_outer;
    }

    #[inline(always)]
    fn find(&self, side: Side) -> bool {
        stage::rvs_find(side as u32) != 0
    }

    #[inline(always)]
    fn find_local(&self, about: About) -> bool {
        stage::rvs_find_local(about as u32) != 0
    }

    #[inline(always)]
    fn reserve(&self) -> Outcome {
        outcome(stage::rvs_reserve())
    }

    #[inline(always)]
    fn publish(&self) -> Outcome {
        outcome(stage::rvs_publish())
    }

    #[inline(always)]
    fn full_nat_stage<P: Packet>(&self, _packet: &mut P, step: Outcome) -> Outcome {
        outcome(if XDP {
            stage::rvs_xdp_full_nat(self.context.cast(), step as u32)
        } else {
            stage::rvs_tc_full_nat(self.context.cast(), step as u32)
        })
    }

    #[inline(always)]
    fn clamp<P: Packet>(&self, _packet: &mut P) -> bool {
        let is_done = if XDP {
            stage::rvs_xdp_clamp(self.context.cast())
        } else {
            stage::rvs_tc_clamp(self.context.cast())
        };
        is_done != 0
    }

    #[inline(always)]
    fn become_other<P: Packet>(&self, _packet: &mut P) -> bool {
        let is_done = if XDP {
            stage::rvs_xdp_become_other(self.context.cast())
        } else {
            stage::rvs_tc_become_other(self.context.cast())
        };
        is_done != 0
    }

    #[inline(always)]
    fn error_becomes_other<P: Packet>(&self, _packet: &mut P) -> bool {
        let is_done = if XDP {
            stage::rvs_xdp_error_becomes_other(self.context.cast())
        } else {
            stage::rvs_tc_error_becomes_other(self.context.cast())
        };
        is_done != 0
    }

    #[inline(always)]
    fn proxy<P: Packet>(&self, _packet: &mut P, step: Outcome) -> Outcome {
        outcome(if XDP {
            stage::rvs_xdp_proxy(self.context.cast(), step as u32)
        } else {
            stage::rvs_tc_proxy(self.context.cast(), step as u32)
        })
    }

    #[inline(always)]
    fn proxy_quoted<P: Packet>(&self, _packet: &mut P) {
        let _done = if XDP {
            stage::rvs_xdp_proxy_quoted(self.context.cast())
        } else {
            stage::rvs_tc_proxy_quoted(self.context.cast())
        };
    }

    #[inline(always)]
    fn ftp_find(&self, step: Outcome) -> bool {
        stage::rvs_ftp_find(step as u32) != 0
    }

    #[inline(always)]
    fn ftp_look<P: Packet>(&self, _packet: &mut P, step: Outcome) -> Outcome {
        if XDP {
            Outcome::Inconsistent
        } else {
            outcome(stage::rvs_tc_ftp_look(self.context.cast(), step as u32))
        }
    }

    #[inline(always)]
    fn ftp_reuse(&self) -> bool {
        stage::rvs_ftp_reuse() != 0
    }

    #[inline(always)]
    fn ftp_rewrite<P: Packet>(&self, _packet: &mut P, step: Outcome) -> Outcome {
        if XDP {
            Outcome::Inconsistent
        } else {
            outcome(stage::rvs_tc_ftp_rewrite(self.context.cast(), step as u32))
        }
    }

    #[inline(always)]
    fn find_same(&self) -> bool {
        stage::rvs_find_same() != 0
    }

    #[inline(always)]
    fn expected(&self) -> Outcome {
        outcome(stage::rvs_expected())
    }

    #[inline(always)]
    fn arrived(&self) {
        let _done = stage::rvs_arrived();
    }

    #[inline(always)]
    fn keep_control(&self, name: u32, now: u64, ticks: i64) {
        let _kept = stage::rvs_keep_control(name, now, ticks);
    }

    #[inline(always)]
    fn keep(&self, about: Outcome) {
        let _kept = stage::rvs_keep(about as u32);
    }

    #[inline(always)]
    fn release<P: Packet>(&self, _packet: &mut P) -> bool {
        !XDP && stage::rvs_tc_release(self.context.cast()) != 0
    }

    #[inline(always)]
    fn bypass<P: Packet>(&self, _packet: &mut P) -> Outcome {
        outcome(if XDP {
            stage::rvs_xdp_bypass(self.context.cast())
        } else {
            stage::rvs_tc_bypass(self.context.cast(), u32::from(self.look))
        })
    }

    #[inline(always)]
    fn answer<P: Packet>(&self, _packet: &mut P, about: Outcome) -> bool {
        let sent = if XDP {
            stage::rvs_xdp_answer(self.context.cast(), about as u32)
        } else {
            stage::rvs_tc_answer(self.context.cast(), about as u32, u32::from(self.look))
        };
        sent != 0
    }

    #[inline(always)]
    fn classify(&self) -> Outcome {
        outcome(if XDP {
            stage::rvs_xdp_classify(self.context.cast())
        } else {
            stage::rvs_tc_classify(self.context.cast(), u32::from(self.look))
        })
    }

    #[inline(always)]
    fn prepare(&self) -> Outcome {
        outcome(stage::rvs_prepare())
    }

    #[inline(always)]
    fn insert(&self) -> Outcome {
        outcome(stage::rvs_insert())
    }

    #[inline(always)]
    fn take_quoted(&self) {
        stage::rvs_take_quoted();
    }

    #[inline(always)]
    fn give_quoted_back(&self) {
        stage::rvs_give_quoted_back();
    }

    #[inline(always)]
    fn server(&self) -> Outcome {
        outcome(stage::rvs_server())
    }

    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_ktime_get_coarse_ns() }
    }

    #[inline(always)]
    fn random(&self) -> u32 {
        // SAFETY: a helper without arguments.
        unsafe { bpf_get_prandom_u32() }
    }

    #[inline(always)]
    fn with_error_budget<R>(&self, index: u32, use_it: impl FnOnce(&mut u64) -> R) -> Option<R> {
        let budget = maps::ERROR_BUDGETS.get_ptr_mut(index)?;
        // SAFETY: a value of this CPU's own part of the map, and the program is not preempted by itself.
        Some(use_it(unsafe { &mut *budget }))
    }

    #[inline(always)]
    fn next_hop(&self, flow: &Flow) -> Result<NextHop, Outcome> {
        next_hop::find(self, flow)
    }

    #[inline(always)]
    fn repeat<S: Step<Self>>(&self, rounds: u32, step: &mut S) {
        let mut context = Loop { tables: self, step };
        // SAFETY: the callback takes what is passed here, and the loop is over before `context` is.
        unsafe {
            bpf_loop(rounds, round::<XDP, S> as *mut c_void, (&raw mut context).cast(), 0);
        }
    }
}
