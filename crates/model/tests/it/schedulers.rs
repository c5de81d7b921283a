//! Schedulers against slow, obvious ones written from the text of ipvs.md §6, and against its examples and vectors.

use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;
use rvs_abi::map::Region;
use rvs_abi::sched::{id, word};
use rvs_abi::{Method, proto};
use rvs_core::{Tables as _, sched};
use rvs_model::testing::{DestSetup, ServiceSetup, install, write_sched_state};
use rvs_model::{Capacity, Heap, HostTables, Memory as _};

const CAPACITY: Capacity = Capacity { services: 1, dests: 512, conns: 8, cpus: 1 };
const FALLBACK: u8 = 1;
const PORT: u8 = 2;

/// One service whose destinations have these weights, newest first.
struct Service(Heap);

impl Service {
    fn new(scheduler: u8, sched_flags: u8, weights: &[u32]) -> Self {
        let heap = Heap::new(&CAPACITY);
        let dest = |(n, weight): (u16, &u32)| {
            let [high, low] = n.to_be_bytes();
            let addr = [192, 168, high, low];
            DestSetup { weight: *weight, ..DestSetup::new(addr, 80, Method::MASQ) }
        };
        let dests = (0..).zip(weights).map(dest).collect();
        let service = ServiceSetup {
            vip: [10, 0, 0, 1].into(),
            port: 80,
            protocol: proto::TCP,
            scheduler,
            sched_flags,
            dests,
        };
        install(&heap, &[service]);
        Self(heap)
    }

    fn set_conns(&self, dest: usize, active: u32, total: u32) {
        self.0.region(Region::DestConns)[dest].store(word(active, total), Relaxed);
    }

    /// The place in the list of who gets the next connection.
    fn pick_for(&self, client: [u8; 4], cport: u16) -> Option<usize> {
        let tables = HostTables::without_packets(&self.0);
        let request = sched::Request { client: rvs_abi::Addr::v4(client), cport: cport.to_be_bytes() };
        sched::pick(&tables, tables.service(0)?, &request).map(|dest| dest as usize)
    }

    fn pick(&self) -> Option<usize> {
        self.pick_for([192, 0, 2, 2], 1)
    }

    fn picks(&self, n: usize) -> Vec<usize> {
        (0..n).map(|_| self.pick().expect("somebody takes it")).collect()
    }
}

/// §6.3.
fn rr(weights: &[u32], pointer: &mut Option<usize>) -> Option<usize> {
    let after = pointer.map_or(0, |last| last + 1);
    let chosen = (after..weights.len()).chain(0..after).find(|&i| weights[i] > 0)?;
    *pointer = Some(chosen);
    Some(chosen)
}

/// The state of §6.4; `cl` is `None` at the list's head.
#[derive(Debug, Clone)]
struct Wrr {
    cl: Option<usize>,
    cw: i64,
    mw: i64,
    di: i64,
}

impl Wrr {
    fn fresh(weights: &[u32]) -> Self {
        let common = |d: &i64| weights.iter().all(|weight| i64::from(*weight) % d == 0);
        let max = i64::from(weights.iter().copied().max().unwrap_or(0));
        let di = (1..=max).rev().find(common).unwrap_or(1);
        let mw = max - (di - 1);
        Self { cl: None, cw: mw, mw, di }
    }

    /// §6.4, sentence by sentence.
    fn choose(&mut self, weights: &[u32]) -> Option<usize> {
        if self.mw <= 0 {
            return None;
        }
        let start = self.cl;
        let (mut last, mut restarted) = (false, false);
        loop {
            let after = self.cl.map_or(0, |cl| cl + 1);
            for (i, weight) in weights.iter().enumerate().skip(after) {
                self.cl = Some(i);
                if i64::from(*weight) >= self.cw {
                    return Some(i);
                }
                if last && restarted && start == Some(i) {
                    return None;
                }
            }
            self.cl = None;
            self.cw -= self.di;
            let was_last = last;
            if self.cw <= 0 {
                self.cw = self.mw;
                if was_last || start.is_none() {
                    return None;
                }
                restarted = true;
            }
            last = self.cw <= self.di;
        }
    }
}

/// §6.5, §6.6: with exact fractions instead of cross products.
fn least(dests: &[(u32, u32, u32)], by_weight: bool) -> Option<usize> {
    let cost = |&(weight, active, total): &(u32, u32, u32)| {
        let overhead = u128::from(active) * 256 + u128::from(total);
        // A common denominator of all weights makes the fractions whole numbers.
        let all: u128 = dests.iter().map(|dest| u128::from(dest.0.max(1))).product();
        if by_weight { overhead * (all / u128::from(weight)) } else { overhead }
    };
    let usable = dests.iter().enumerate().filter(|(_, dest)| dest.0 > 0);
    // `min_by_key` keeps the first of equals.
    usable.min_by_key(|(_, dest)| cost(dest)).map(|(i, _)| i)
}

/// §6.13.
fn sh(weights: &[u32], flags: u8, client: [u8; 4], cport: u16) -> Option<usize> {
    let mut buckets = Vec::new();
    while buckets.len() < 256 && !weights.is_empty() {
        for (i, weight) in weights.iter().enumerate() {
            buckets.extend(vec![i; (*weight).clamp(1, 256) as usize]);
        }
    }
    let port = if flags & PORT != 0 { u64::from(cport) } else { 0 };
    let key = (u64::from(u32::from_be_bytes(client)) + port) % (1 << 32);
    let hash = |offset: u64| ((offset + ((key * 0x61C8_8647 % (1 << 32)) >> 24)) & 255) as usize;
    let usable = |bucket: usize| buckets.get(bucket).copied().filter(|&i| weights[i] > 0);
    let first = hash(0);
    usable(first).or_else(|| {
        let tries = if flags & FALLBACK != 0 { 0..256 } else { 0..0 };
        tries.map(|k| hash((k + first as u64) % 256)).find_map(usable)
    })
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    let weight = prop_oneof![2 => Just(0), 6 => 1..8_u32, 1 => 1..200_u32];
    prop::collection::vec(weight, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rr_is_the_obvious_one(weights in weights()) {
        let service = Service::new(id::RR, 0, &weights);
        let mut pointer = None;
        for _ in 0..3 * weights.len() + 3 {
            prop_assert_eq!(service.pick(), rr(&weights, &mut pointer));
        }
    }

    /// From a fresh start, and from any state that edits may have left behind.
    #[test]
    fn wrr_is_the_obvious_one(weights in weights(), at in any::<prop::sample::Index>(), cw in any::<u32>(), is_fresh in any::<bool>()) {
        let service = Service::new(id::WRR, 0, &weights);
        let mut reference = Wrr::fresh(&weights);
        if !is_fresh && reference.mw > 0 {
            let cl = at.index(weights.len() + 1);
            reference.cl = cl.checked_sub(1);
            reference.cw = i64::from(cw) % reference.mw + 1;
            write_sched_state(&service.0, 0, word(cl as u32, u32::try_from(reference.cw).unwrap()));
        }
        for _ in 0..weights.iter().sum::<u32>() + 5 {
            prop_assert_eq!(service.pick(), reference.choose(&weights));
        }
    }

    #[test]
    fn lc_and_wlc_are_the_obvious_ones(
        dests in prop::collection::vec((prop_oneof![Just(0), 1..6_u32], 0..4_u32, 0..600_u32), 0..12),
        rounds in 1..40_usize,
    ) {
        for (scheduler, by_weight) in [(id::LC, false), (id::WLC, true)] {
            let weights: Vec<u32> = dests.iter().map(|dest| dest.0).collect();
            let service = Service::new(scheduler, 0, &weights);
            let mut dests: Vec<_> = dests.iter().map(|&(w, active, more)| (w, active, active + more)).collect();
            for round in 0..rounds {
                for (i, dest) in dests.iter().enumerate() {
                    service.set_conns(i, dest.1, dest.2);
                }
                let chosen = least(&dests, by_weight);
                prop_assert_eq!(service.pick(), chosen, "{} {:?}", by_weight, dests);
                // The connection is held; some of them become inactive.
                if let Some(i) = chosen {
                    dests[i].1 += u32::from(round % 3 != 0);
                    dests[i].2 += 1;
                }
            }
        }
    }

    #[test]
    fn sh_is_the_obvious_one(
        weights in weights(),
        flags in 0..4_u8,
        clients in prop::collection::vec((any::<[u8; 4]>(), any::<u16>()), 1..60),
    ) {
        let service = Service::new(id::SH, flags, &weights);
        for (client, cport) in clients {
            prop_assert_eq!(service.pick_for(client, cport), sh(&weights, flags, client, cport));
        }
    }
}

/// §6.3: A, B, C added in this order.
#[test]
fn rr_begins_with_the_newest() {
    assert_eq!(Service::new(id::RR, 0, &[1, 1, 1]).picks(6), [0, 1, 2, 0, 1, 2]);
}

#[test]
fn statement_99_rr_skips_weight_0() {
    assert_eq!(Service::new(id::RR, 0, &[1, 0, 5]).picks(5), [0, 2, 0, 2, 0]);
    assert_eq!(Service::new(id::RR, 0, &[0, 0]).pick(), None);
    assert_eq!(Service::new(id::RR, 0, &[]).pick(), None);
}

/// .2, .3, .4 with the pointer at .3: its removal moves the pointer to .4, so that .2 is next.
#[test]
fn statement_100_rr_goes_on_after_the_pointer() {
    let service = Service::new(id::RR, 0, &[1, 1]);
    write_sched_state(&service.0, 0, 1);
    assert_eq!(service.picks(3), [1, 0, 1]);
}

/// §6.4, the examples of a fresh start.
#[test]
fn wrr_from_a_fresh_start() {
    assert_eq!(Service::new(id::WRR, 0, &[4, 2]).picks(9), [0, 0, 1, 0, 0, 1, 0, 0, 1]);
    assert_eq!(Service::new(id::WRR, 0, &[3, 2, 1]).picks(12), [0, 0, 1, 0, 1, 2, 0, 0, 1, 0, 1, 2]);
}

/// Weights .2=1, .3=3, .4=2 added in this order: the list is .4, .3, .2, and `cw` was left at 1.
#[test]
fn statement_101_wrr_after_one_by_one_additions() {
    let service = Service::new(id::WRR, 0, &[2, 3, 1]);
    write_sched_state(&service.0, 0, word(0, 1));
    let last_bytes: Vec<usize> = service.picks(12).iter().map(|i| 4 - i).collect();
    assert_eq!(last_bytes, [4, 3, 2, 3, 4, 3, 4, 3, 2, 3, 4, 3]);
}

#[test]
fn statement_102_wrr_without_weight_picks_nobody() {
    assert_eq!(Service::new(id::WRR, 0, &[0, 0, 0]).pick(), None);
}

#[test]
fn statement_103_wlc_gives_the_first_connection_to_the_newest() {
    assert_eq!(Service::new(id::WLC, 0, &[1, 1, 1]).pick(), Some(0));
}

#[test]
fn statement_104_wlc_splits_by_weight() {
    let service = Service::new(id::WLC, 0, &[1, 2]);
    let mut held = [0_u32; 2];
    for _ in 0..300 {
        let chosen = service.pick().unwrap();
        held[chosen] += 1;
        service.set_conns(chosen, held[chosen], held[chosen]);
    }
    assert_eq!(held, [100, 200]);
}

/// 10 inactive ones weigh 10, one active one 257.
#[test]
fn statement_105_lc_counts_an_active_connection_257_times() {
    let service = Service::new(id::LC, 0, &[1, 1]);
    service.set_conns(0, 1, 1);
    service.set_conns(1, 0, 10);
    assert_eq!(service.pick(), Some(1));
    service.set_conns(1, 0, 256);
    assert_eq!(service.pick(), Some(1));
    service.set_conns(1, 0, 257);
    assert_eq!(service.pick(), Some(0), "a tie goes to the first");
}

/// .3, .4 and .5, added in this order, and clients 192.0.2.2 to .9.
fn sh_clients(flags: u8, cport: u16) -> Vec<usize> {
    let service = Service::new(id::SH, flags, &[1, 1, 1]);
    let pick = |octet: u8| service.pick_for([192, 0, 2, octet], cport + u16::from(octet)).unwrap();
    (2..10).map(|octet| 5 - pick(octet)).collect()
}

#[test]
fn statement_110_sh_by_address() {
    assert_eq!(sh_clients(0, 40_000), [4, 5, 4, 3, 5, 3, 4, 3]);
}

#[test]
fn statement_111_sh_by_address_and_port() {
    assert_eq!(sh_clients(PORT, 40_000), [5, 3, 3, 4, 4, 4, 4, 4]);
}

/// Quiesced, a destination keeps one bucket, and clients there get nobody.
#[test]
fn statement_115_sh_without_fallback_finds_nobody_in_a_quiesced_bucket() {
    let service = Service::new(id::SH, 0, &[1, 0, 1]);
    assert_eq!(service.pick_for([192, 0, 2, 2], 0), None);
    assert!(Service::new(id::SH, FALLBACK, &[1, 0, 1]).pick_for([192, 0, 2, 2], 0).is_some());
}

/// §6.13: bucket of each client, with a destination in each bucket.
#[test]
fn sh_buckets_are_those_of_the_vectors() {
    let service = Service::new(id::SH, 0, &[1; 256]);
    let vectors = [
        ([10, 0, 0, 1], 39),
        ([192, 0, 2, 1], 50),
        ([192, 0, 2, 2], 148),
        ([192, 0, 2, 3], 246),
        ([198, 51, 100, 7], 171),
    ];
    for (client, bucket) in vectors {
        assert_eq!(service.pick_for(client, 40_000), Some(bucket), "{client:?}");
    }
    let with_port = Service::new(id::SH, PORT, &[1; 256]);
    assert_eq!(with_port.pick_for([192, 0, 2, 1], 40_000), Some(214));
}

/// No scheduler: a service never finds a destination.
#[test]
fn no_scheduler_picks_nobody() {
    assert_eq!(Service::new(0, 0, &[1, 1]).pick(), None);
    assert_eq!(Service::new(99, 0, &[1, 1]).pick(), None);
}
