//! `kill -9` between any two actions and in the middle of each, refusals of the kernel, and damaged memory. What a journal
//! is for: [`crate::redo`].

use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;
use rvs_abi::map::Region;
use rvs_abi::{DestFlags, ServiceFlags};
use rvs_config::*;
use rvs_director::{Action, AdoptError, Change, Director};
use rvs_model::{Heap, Memory, MemoryError};

use crate::packet;
use crate::properties::{any_commands, beginning, keys};
use crate::support::*;

/// What an operator configured of a service, without what packets did.
fn configured(director: &Director<Heap>, key: &ServiceKey) -> Option<(VirtualService, Vec<Destination>)> {
    let listing = director.service_listing(key)?;
    Some((listing.service, listing.destinations.iter().map(|dest| dest.destination).collect()))
}

/// Ends every service and waits: nothing may be left.
pub(crate) fn assert_nothing_leaks(mut director: Director<Heap>) {
    let now = 10_000 * SECOND;
    director.apply(&[Command::Clear], now).unwrap();
    (0..500).for_each(|second| director.tick(now + second * SECOND));
    let status = director.status();
    assert_eq!((status.services, status.dests, status.trash, status.sched_words), (0, 0, 0, 0));
    assert_eq!(packet::filter_bits(director.memory()), 0);
    // Every id can be used again.
    let all: Vec<_> = (0..SMALL.services as u8).map(|n| add_service(vip(n), Scheduler::Rr)).collect();
    director.apply(&all, 2 * now).unwrap();
    director.apply(&[Command::Clear], 2 * now).unwrap();
    Director::create(director.into_memory()).unwrap();
}

/// The records say what the table says, and the ticks what the seconds say.
pub(crate) fn assert_records_agree(director: &Director<Heap>) {
    let heap = director.memory();
    for key in keys() {
        let Some(listing) = director.service_listing(&key) else { continue };
        let (_, record) = packet::find(heap, &key).unwrap();
        let VirtualService { scheduler, flags, one_packet, mss, client_address, .. } = listing.service;
        let told = match client_address {
            ClientAddress::Option => rvs_abi::ClientTold::OPTION,
            ClientAddress::None => rvs_abi::ClientTold::NONE,
            ClientAddress::Proxy => rvs_abi::ClientTold::PROXY,
        };
        assert_eq!((record.mss, record.client_address), (mss, told), "{key}");
        assert_eq!(record.flags & rvs_abi::ServiceFlags::ONE_PACKET != 0, one_packet, "{key}");
        assert_eq!((record.scheduler, record.sched_flags), (scheduler as u8, flags.0), "{key}");
        for ((id, weight), listed) in packet::list(heap, record.table).into_iter().zip(&listing.destinations)
        {
            let record = rvs_model::records::dest(heap, id).unwrap();
            let method = match listed.destination.method {
                ForwardingMethod::Masq => rvs_abi::Method::MASQ,
                ForwardingMethod::Tunnel => rvs_abi::Method::TUNNEL,
                ForwardingMethod::Dr => rvs_abi::Method::DR,
                ForwardingMethod::FullNat => rvs_abi::Method::FULL_NAT,
            };
            assert_eq!((record.method, record.weight), (method, listed.destination.weight), "{key}");
            let found = (record.tunnel, record.tunnel_flags, u16::from_be(record.tunnel_port));
            assert_eq!(found, tunnel(listed.destination.tunnel), "{key}");
            assert_eq!(weight, record.weight, "{key}");
        }
    }
    let Timeouts { tcp_s, tcp_fin_s, udp_s } = director.timeouts();
    let ticks = rvs_model::records::config(heap).timeouts;
    let expected = [tcp_s, tcp_fin_s, udp_s].map(|secs| rvs_model::ticks_u32(secs.into()));
    assert_eq!([ticks[1], ticks[4], ticks[rvs_abi::Timeout::Udp as usize]], expected);
}

/// Type, flags and port of a tunnel, numbered as in ipvs.md §1.2.
fn tunnel(tunnel: Tunnel) -> (u8, u8, u16) {
    let flags = |checksum| match checksum {
        TunnelChecksum::None => 0,
        TunnelChecksum::Csum => 1,
        TunnelChecksum::Remcsum => 2,
    };
    match tunnel {
        Tunnel::Ipip => (0, 0, 0),
        Tunnel::Gue { port, checksum } => (1, flags(checksum), port),
        Tunnel::Gre { checksum } => (2, flags(checksum), 0),
    }
}

/// Does half of what an action does: its stores up to the one that makes it visible, or only that one when something goes.
pub(crate) fn half_execute(action: &Action, memory: &Heap) {
    let done = copy(memory, &SMALL, &keys());
    action.execute(&done).unwrap();
    let regions = [Region::Config, Region::Services, Region::Dests, Region::SchedTables, Region::Classifier];
    for region in regions {
        let (from, to) = (memory.region(region), done.region(region));
        let changed = |at: usize| from[at].load(Relaxed) != to[at].load(Relaxed);
        for at in (0..from.len()).filter(|at| changed(*at)) {
            let record = at / region.value_words();
            let first = record * region.value_words();
            let (deciding, appears) = match region {
                // The record's flags; of a service that stays, where its table is.
                Region::Services if changed(first + 2) => (first + 2, is_live(&done, record)),
                Region::Services => (first + 3, true),
                Region::Dests => (first + 2, is_available(&done, record)),
                // Which rules are in force; the time-outs in seconds.
                Region::Config if changed(RULES) => (RULES, true),
                Region::Config => (SET_TIMEOUTS, true),
                _ => (usize::MAX, true),
            };
            if (at == deciding) != appears {
                from[at].store(to[at].load(Relaxed), Relaxed);
            }
        }
    }
}

fn is_live(heap: &Heap, service: usize) -> bool {
    rvs_model::records::service(heap, service as u32).unwrap().flags
        & (ServiceFlags::USED | ServiceFlags::REMOVED)
        == ServiceFlags::USED
}

fn is_available(heap: &Heap, dest: usize) -> bool {
    rvs_model::records::dest(heap, dest as u32).unwrap().flags & DestFlags::AVAILABLE != 0
}

/// Words of the configuration record.
const RULES: usize = core::mem::offset_of!(rvs_abi::Config, rules) / 8;
const SET_TIMEOUTS: usize = core::mem::offset_of!(rvs_abi::Config, set_timeouts_s) / 8;

/// All that is configured: of each of [`keys`], the time-outs and the rules that give marks.
pub(crate) type Configured = (Vec<Option<(VirtualService, Vec<Destination>)>>, Timeouts, Settings, MarkRules);

pub(crate) fn all_configured(director: &Director<Heap>) -> Configured {
    let services = keys().iter().map(|key| configured(director, key)).collect();
    (services, director.timeouts(), director.settings(), director.mark_rules())
}

/// Takes over what a killed director left, and finishes what it had written down.
fn assert_recovers(
    memory: Heap,
    (before, after): (&Configured, &Configured),
    change: Option<&Change>,
    when: &str,
) {
    let mut adopted = Director::adopt(memory).unwrap();
    for (key, (before, after)) in keys().iter().zip(before.0.iter().zip(&after.0)) {
        let now = configured(&adopted, key);
        assert!(now == *before || now == *after, "{key} {when}: {now:?}");
        assert_eq!(packet::find(adopted.memory(), key).is_some(), now.is_some(), "{key} {when}");
    }
    packet::check(adopted.memory(), &keys());
    assert_records_agree(&adopted);
    if let Some(change) = change {
        adopted.apply(&adopted.remaining(change), 311 * SECOND).unwrap();
        assert_eq!(&all_configured(&adopted), after, "{when}");
        packet::check(adopted.memory(), &keys());
        assert_records_agree(&adopted);
    } else {
        let now = all_configured(&adopted);
        assert!(now == *before || now == *after, "{when}: {now:?}");
    }
    assert_nothing_leaks(adopted);
}

/// As a journal gives it back.
pub(crate) fn written_down(change: Change) -> Change {
    serde_json::from_slice(&serde_json::to_vec(&change).unwrap()).unwrap()
}

/// Two services with a destination in the trash; the third is not there, so that one may come into being.
pub(crate) fn start() -> Director<Heap> {
    let mut director = director(&SMALL);
    director.apply(&beginning(), 0).unwrap();
    let removed = [delete_service(vip(3)), delete(vip(1), rs(1)), delete(vip(2), rs(1))];
    director.apply(&removed, 0).unwrap();
    (0..300).for_each(|second| director.tick(second * SECOND));
    director.apply(&[delete(vip(1), rs(2)), delete(vip(2), rs(2))], 300 * SECOND).unwrap();
    director
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_killed_director_leaves_all_as_before_or_after(
        history in prop::collection::vec(any_commands(), 0..4),
        last in any_commands(),
    ) {
        let mut director = start();
        for (commands, second) in history.iter().zip(301..) {
            // A refused list is a list that changes nothing.
            drop(director.apply(commands, second * SECOND));
        }
        let Ok(plan) = director.plan(&last, 310 * SECOND) else { return Ok(()) };
        let change = plan.change().map(written_down);
        let before = all_configured(&director);
        let mut done = Director::adopt(copy(director.memory(), &SMALL, &keys())).unwrap();
        done.apply(&last, 310 * SECOND).unwrap();
        let after = all_configured(&done);
        for killed_at in 0..plan.actions().len() {
            let memory = copy(director.memory(), &SMALL, &keys());
            for action in &plan.actions()[..killed_at] {
                action.execute(&memory).unwrap();
                packet::check(&memory, &keys());
            }
            let half = copy(&memory, &SMALL, &keys());
            assert_recovers(memory, (&before, &after), change.as_ref(), &format!("after {killed_at} actions"));
            half_execute(&plan.actions()[killed_at], &half);
            assert_recovers(half, (&before, &after), change.as_ref(), &format!("in {}", plan.actions()[killed_at]));
        }
        let memory = copy(director.memory(), &SMALL, &keys());
        plan.actions().iter().for_each(|action| action.execute(&memory).unwrap());
        let adopted = Director::adopt(memory).unwrap();
        prop_assert_eq!(all_configured(&adopted), after, "a plan that was executed to its end");
    }
}

/// Memory whose map of keys refuses one change.
struct Refusing {
    heap: Heap,
    /// Changes until then.
    countdown: Cell<u32>,
}

impl Memory for Refusing {
    fn region(&self, region: Region) -> &[AtomicU64] {
        self.heap.region(region)
    }

    fn set_service_key(&self, key: &rvs_abi::ServiceKey, id: Option<u32>) -> Result<(), MemoryError> {
        let left = self.countdown.get();
        self.countdown.set(left.wrapping_sub(1));
        if left == 0 {
            return Err(MemoryError::Keys("refused".into()));
        }
        self.heap.set_service_key(key, id)
    }

    fn service_keys(&self) -> Result<Vec<rvs_abi::ServiceKey>, MemoryError> {
        self.heap.service_keys()
    }
}

/// Everything but the words of tables that nothing refers to, and the counters of records that are not in use.
fn visible(heap: &Heap) -> Vec<u64> {
    let regions = [Region::Config, Region::Filter, Region::Services, Region::Dests, Region::DestConns];
    regions.iter().flat_map(|region| heap.region(*region)).map(|word| word.load(Relaxed)).collect()
}

#[test]
fn a_refusal_of_the_kernel_is_undone() {
    let list = [
        edit(vip(1), rs(2), 9),
        add_service(vip(2), Scheduler::Sh),
        add(vip(2), rs(5), 1),
        add_service(vip(3), Scheduler::Rr),
        delete_service(vip(4)),
        add(vip(1), rs(6), 1),
    ];
    for (countdown, index) in [(0, 4), (1, 2), (2, 3)] {
        let memory = Refusing { heap: Heap::new(&SMALL), countdown: Cell::new(u32::MAX) };
        let mut director = Director::create(memory).unwrap();
        director.apply(&three(Scheduler::Rr, [1, 1, 1]), 0).unwrap();
        director.apply(&[add_service(vip(4), Scheduler::Rr), add(vip(4), rs(2), 1)], 0).unwrap();
        director.apply(&[delete(vip(1), rs(4))], 0).unwrap();
        let (listing, memory) = (director.listing(), visible(&director.memory().heap));
        director.memory().countdown.set(countdown);
        let refusal = director.apply(&list, SECOND).unwrap_err();
        assert_eq!(refusal.index, index);
        let expected = CommandError::LimitReached { what: "map SERVICE_KEYS: refused".into() };
        assert_eq!(refusal.error, expected);
        assert_eq!(director.listing(), listing);
        assert_eq!(visible(&director.memory().heap), memory);
        for n in [2, 3] {
            assert_eq!(packet::find(&director.memory().heap, &vip(n)), None);
        }
        packet::check(&director.memory().heap, &[vip(1), vip(4)]);
        assert!(packet::find(&director.memory().heap, &vip(4)).is_some());
        director.apply(&list, 2 * SECOND).unwrap();
        packet::check(&director.memory().heap, &[vip(1), vip(2), vip(3)]);
    }
}

fn damaged(damage: impl Fn(&Heap)) -> AdoptError {
    let mut director = director(&SMALL);
    director.apply(&three(Scheduler::Rr, [1, 1, 1]), 0).unwrap();
    director.apply(&[add_service(vip(2), Scheduler::Rr), add(vip(2), rs(2), 1)], 0).unwrap();
    let heap = director.into_memory();
    damage(&heap);
    let before = visible(&heap);
    let error = Director::adopt(copy(&heap, &SMALL, &[vip(1), vip(2)])).unwrap_err();
    assert_eq!(visible(&heap), before);
    error
}

fn set(heap: &Heap, region: Region, word: usize, value: u64) {
    heap.region(region)[word].store(value, Relaxed);
}

#[test]
fn damaged_memory_is_refused_and_the_damage_named() {
    let version = damaged(|heap| {
        let config = rvs_model::records::config(heap);
        rvs_model::records::write_config(heap, &rvs_abi::Config { abi_version: 99, ..config });
    });
    assert_eq!(version, AdoptError::AbiVersion { found: 99 });
    let rows = damaged(|heap| {
        let config = rvs_model::records::config(heap);
        rvs_model::records::write_config(heap, &rvs_abi::Config { stats_rows: 7, ..config });
    });
    assert_eq!(rows.to_string(), "data plane's maps: CONFIG: 7 rows of statistics, expected 1033");
    let text = |error: AdoptError| error.to_string();
    // Words 8 to 15: the second service, whose word 3 says where its table is.
    let outside = damaged(|heap| set(heap, Region::Services, 11, u64::MAX));
    assert!(text(outside).contains("10.0.0.2:80/tcp: its table"));
    let overlap = damaged(|heap| {
        let first = heap.region(Region::Services)[3].load(Relaxed);
        set(heap, Region::Services, 11, first);
    });
    assert!(text(overlap).contains("overlaps another"));
    let twice = damaged(|heap| {
        for word in 0..3 {
            set(heap, Region::Services, 8 + word, heap.region(Region::Services)[word].load(Relaxed));
        }
    });
    assert!(text(twice).contains("10.0.0.1:80/tcp is service #0 as well"));
    let foreign = damaged(|heap| set(heap, Region::SchedTables, 4, rvs_abi::sched::word(3, 1)));
    assert!(text(foreign).contains("10.0.0.1:80/tcp: destination #3 is not one of its destinations"));
}
