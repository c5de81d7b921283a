//! Which addresses full NAT comes from: what a pool becomes in memory, and that no connection's address becomes another.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use rvs_abi::map::Region;
use rvs_abi::{Addr, ConnEntry, Method, family, limits, proto};
use rvs_core::conn::{self, Birth, How, Place, Request, ticks};
use rvs_core::{Tables as _, state};
use rvs_director::{Director, FullNatSources, SourcesError};
use rvs_model::{Capacity, Heap, HostTables, Memory, records, ticks_u32};

use crate::support::*;

const NOW: u64 = 1 << 40;

fn sources(texts: &[&str]) -> FullNatSources {
    let prefixes: Vec<_> = texts.iter().map(|text| text.parse().unwrap()).collect();
    FullNatSources::new(&prefixes).unwrap()
}

/// The address with that number.
fn address(heap: &Heap, number: usize) -> String {
    let words = &heap.region(Region::LocalAddresses)[2 * number..][..2];
    Addr([words[0].load(Relaxed), words[1].load(Relaxed)]).to_ip().to_string()
}

/// The numbers in force, in IPv4 and in IPv6.
fn in_force(heap: &Heap) -> [std::ops::Range<usize>; 2] {
    let row = |word: u32| (word & 0xffff) as usize..(word & 0xffff) as usize + (word >> 16) as usize;
    records::config(heap).full_nat_sources.map(row)
}

fn addresses(heap: &Heap) -> [Vec<String>; 2] {
    in_force(heap).map(|row| row.map(|number| address(heap, number)).collect())
}

/// A connection from the address with that number, for an hour.
fn connect(heap: &Heap, number: usize) {
    let tables = HostTables::without_packets(heap);
    let n = u16::try_from(number).unwrap();
    let entry = ConnEntry {
        client: Addr::v4([198, 18, 0, 1]),
        vip: Addr::v4([10, 0, 0, 1]),
        cport: n,
        protocol: proto::UDP,
        family: family::V4,
        flags: u16::from(Method::FULL_NAT),
        local: n,
        ..ConnEntry::default()
    };
    let place =
        Place::of(&tables.geometry().unwrap(), &entry.client, entry.cport.to_ne_bytes(), entry.protocol);
    let birth = Birth { state: state::UDP, now: ticks(NOW), timeout: ticks_u32(3600) };
    assert_eq!(conn::insert(&tables, &Request { place, entry, birth }), How::New);
}

#[test]
fn a_pool_is_written_and_taken_back() {
    let mut director = director(&SMALL);
    director.set_full_nat_sources(&sources(&["192.0.2.8/31", "2001:db8::8"]), NOW).unwrap();
    assert_eq!(addresses(director.memory()), [vec!["192.0.2.8", "192.0.2.9"], vec!["2001:db8::8"]]);
    assert!(in_force(director.memory()).iter().all(|row| !row.contains(&0)), "0 is none");
    director.set_full_nat_sources(&sources(&["2001:db8::8"]), NOW).unwrap();
    assert_eq!(addresses(director.memory()), [vec![], vec!["2001:db8::8".to_owned()]]);
    director.set_full_nat_sources(&FullNatSources::default(), NOW).unwrap();
    assert_eq!(records::config(director.memory()).full_nat_sources, [0, 0]);
}

/// The next director is given the same pool and changes nothing, or another one, which gets other numbers.
#[test]
fn another_pool_leaves_the_numbers_of_the_first() {
    let mut director = director(&SMALL);
    director.set_full_nat_sources(&sources(&["192.0.2.8/31", "2001:db8::8"]), NOW).unwrap();
    let first = in_force(director.memory());
    let mut director = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(in_force(director.memory()), first, "before it is told");
    director.set_full_nat_sources(&sources(&["192.0.2.8/31", "2001:db8::8"]), NOW).unwrap();
    assert_eq!(in_force(director.memory()), first);
    let mut director = Director::adopt(director.into_memory()).unwrap();
    director.set_full_nat_sources(&sources(&["192.0.2.9", "2001:db8::8"]), NOW).unwrap();
    assert_eq!(addresses(director.memory()), [vec!["192.0.2.9"], vec!["2001:db8::8"]]);
    let [v4, v6] = in_force(director.memory());
    assert!(v6 == first[1] && v4.start != first[0].start && v4.start != first[0].start + 1, "{v4:?}");
    for (number, was) in first[0].clone().zip(["192.0.2.8", "192.0.2.9"]) {
        assert_eq!(address(director.memory(), number), was);
    }
}

/// Pools without end: numbers come round, but never those that connections have, or that were in force a moment ago.
#[test]
fn numbers_of_living_connections_are_nobody_elses() {
    let mut director = director(&Capacity { conns: 4000, ..SMALL });
    let mut kept: Vec<(usize, String)> = Vec::new();
    let mut seen = BTreeSet::new();
    for turn in 0..40 {
        let before = in_force(director.memory());
        director.set_full_nat_sources(&sources(&[&format!("10.{turn}.0.0/22")]), NOW).unwrap();
        let heap = director.memory();
        let [row, _] = in_force(heap);
        assert_eq!(row.len(), 1024);
        assert!(row.end <= before[0].start || before[0].end <= row.start, "{before:?}, then {row:?}");
        for (number, was) in &kept {
            assert!(!row.contains(number) && address(heap, *number) == *was, "{number}: {was}");
        }
        // Connections keep some.
        if turn % 5 == 0 && turn < 30 {
            let number = row.start + 7;
            connect(heap, number);
            kept.push((number, address(heap, number)));
        }
        seen.insert(row.start);
    }
    assert!(seen.len() > 1);
}

#[test]
fn a_pool_without_room_is_refused_and_changes_nothing() {
    let mut director = director(&Capacity { conns: 4000, ..SMALL });
    // Each of them as large as can be; the first number is nobody's.
    let pools = limits::LOCAL_ADDRESSES / limits::FULL_NAT_SOURCES_MAX - 1;
    for n in 0..pools {
        director.set_full_nat_sources(&sources(&[&format!("10.{n}.0.0/22")]), NOW).unwrap();
        let [row, _] = in_force(director.memory());
        row.step_by(512).for_each(|number| connect(director.memory(), number));
    }
    let before = records::config(director.memory());
    let error = director.set_full_nat_sources(&sources(&["10.99.0.0/22"]), NOW).unwrap_err();
    let used = 2 * (pools - 1) + 1024;
    assert_eq!(error, SourcesError::NoRoom { needed: 1024, used });
    assert_eq!(
        error.to_string(),
        format!(
            "no room for 1024 addresses: connections from former ones have {used} of {} places",
            limits::LOCAL_ADDRESSES
        )
    );
    assert_eq!(records::config(director.memory()), before);
    assert_eq!(addresses(director.memory())[0][0], format!("10.{}.0.0", pools - 1));
    // An hour later they have ended.
    director.set_full_nat_sources(&sources(&["10.99.0.0/22"]), NOW + 4000 * SECOND).unwrap();
    assert_eq!(addresses(director.memory())[0][0], "10.99.0.0");
}
