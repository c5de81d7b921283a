//! Services by mark, and the rules that give marks.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use rvs_abi::map::Region;
use rvs_abi::{limits, mark};
use rvs_config::{Command, CommandError, MarkRule, ServiceKey};
use rvs_director::Director;
use rvs_model::{Heap, Memory, records};

use crate::support::{SMALL, director, service, vip};

fn rule(mark: u32) -> MarkRule {
    let prefix = |text: &str| Some(text.parse().unwrap());
    MarkRule {
        mark,
        source: prefix("192.0.2.0/24"),
        destination: prefix("203.0.113.10"),
        protocol: Some(rvs_config::Protocol::Tcp),
        source_ports: None,
        ports: Some("80-90".parse().unwrap()),
    }
}

fn put(number: Option<u32>, rule: MarkRule) -> Command {
    Command::AddMarkRule { number, rule }
}

fn marks(director: &Director<Heap>) -> Vec<u32> {
    director.mark_rules().rules.iter().map(|rule| rule.mark).collect()
}

fn bit(heap: &Heap, address: &str) -> bool {
    let (word, bit) = mark::ruled_bit(rvs_abi::Addr::from_ip(address.parse().unwrap()));
    heap.region(Region::Marked)[word as usize].load(Relaxed) >> bit & 1 == 1
}

#[test]
fn rules_keep_their_order() {
    let mut director = director(&SMALL);
    director
        .apply(&[put(None, rule(1)), put(None, rule(3)), put(Some(2), rule(2)), put(Some(1), rule(9))], 0)
        .unwrap();
    assert_eq!(marks(&director), [9, 1, 2, 3]);
    director
        .apply(&[Command::DeleteMarkRule { number: 1 }, Command::DeleteMarkRule { number: 3 }], 0)
        .unwrap();
    assert_eq!(marks(&director), [1, 2]);
    director.apply(&[Command::ClearMarkRules], 0).unwrap();
    assert!(marks(&director).is_empty());
}

#[test]
fn rules_survive_their_director_as_they_were_given() {
    let none = MarkRule {
        mark: 1,
        source: None,
        destination: None,
        protocol: None,
        source_ports: None,
        ports: None,
    };
    let prefix = |text: &str| Some(text.parse().unwrap());
    let rules = [
        none,
        rule(2),
        MarkRule { source: prefix("::/0"), ..none },
        MarkRule { destination: prefix("0.0.0.0/0"), ..none },
        MarkRule { destination: prefix("2001:db8::/32"), ports: Some("0-65535".parse().unwrap()), ..none },
        MarkRule { source: prefix("10.0.0.0/9"), source_ports: Some("7".parse().unwrap()), ..none },
    ];
    let mut first = director(&SMALL);
    first.apply(&rules.map(|rule| put(None, rule)), 0).unwrap();
    let second = Director::adopt(first.into_memory()).unwrap();
    assert_eq!(second.mark_rules().rules, rules);
}

#[test]
fn wrong_rules_are_refused() {
    let mut director = director(&SMALL);
    director.apply(&[put(None, rule(1))], 0).unwrap();
    for (command, expected) in [
        (put(None, rule(0)), "mark rule: mark 0, expected 1 to 4294967295"),
        (put(Some(3), rule(1)), "mark rule number 3: expected 1 to 2"),
        (put(Some(0), rule(1)), "mark rule number 0: expected 1 to 2"),
        (Command::DeleteMarkRule { number: 2 }, "mark rule number 2: expected 1 to 1"),
        (Command::DeleteMarkRule { number: 0 }, "mark rule number 0: expected 1 to 1"),
    ] {
        let refusal = director.apply(&[Command::ClearMarkRules, put(None, rule(5)), command], 0).unwrap_err();
        assert_eq!((refusal.index, refusal.error.to_string().as_str()), (2, expected));
    }
    assert_eq!(marks(&director), [1]);
    let refusal = director.apply(&[Command::ClearMarkRules, Command::DeleteMarkRule { number: 1 }], 0);
    assert_eq!(refusal.unwrap_err().error.to_string(), "mark rule number 1: there are no rules");
}

#[test]
fn the_limit_of_rules_is_counted() {
    let mut director = director(&SMALL);
    let full: Vec<Command> = (1..=limits::RULES_MAX).map(|mark| put(None, rule(mark))).collect();
    director.apply(&full, 0).unwrap();
    let before = director.status().limits_reached;
    let refusal = director.apply(&[put(None, rule(1))], 0).unwrap_err();
    assert_eq!(refusal.error, CommandError::LimitReached { what: "mark rules: 256 are the maximum".into() });
    assert_eq!(director.status().limits_reached, before + 1);
    assert_eq!(Director::adopt(director.into_memory()).unwrap().mark_rules().rules.len(), 256);
}

#[test]
fn packets_are_classified_only_where_a_rule_may_concern_them() {
    let mut director = director(&SMALL);
    let to = |text: &str| {
        put(None, MarkRule { source: None, destination: Some(text.parse().unwrap()), ..rule(1) })
    };
    director.apply(&[to("203.0.113.0/24"), to("10.64.0.0/11"), to("2001:db8:1::/48")], 0).unwrap();
    let heap = director.memory();
    for (address, expected) in [
        ("203.0.200.1", true),
        ("203.1.113.1", false),
        ("10.63.0.1", false),
        ("10.64.0.1", true),
        ("10.95.255.255", true),
        ("10.96.0.1", false),
        ("2001:db8:2::", true),
        ("2001:db9::", false),
    ] {
        assert_eq!(bit(heap, address), expected, "{address}");
    }
    director
        .apply(
            &[Command::ClearMarkRules, put(None, MarkRule { source: None, destination: None, ..rule(1) })],
            0,
        )
        .unwrap();
    assert!(bit(director.memory(), "203.1.113.1") && bit(director.memory(), "2001:db9::"));
    director.apply(&[Command::ClearMarkRules, to("::/8")], 0).unwrap();
    assert!(!bit(director.memory(), "203.1.113.1") && bit(director.memory(), "2001:db9::"));
}

#[test]
fn the_bits_of_a_prefix_are_those_of_its_addresses() {
    for length in [0, 1, 5, 9, 10, 11, 15, 16, 17, 32] {
        let mut director = director(&SMALL);
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        let own = Ipv4Addr::from(u32::from(Ipv4Addr::new(203, 0, 113, 10)) & mask);
        let destination = Some(rvs_config::Prefix::new(own.into(), length).unwrap());
        director.apply(&[put(None, MarkRule { destination, source: None, ..rule(1) })], 0).unwrap();
        let differ = |index: u32| (index << 16 ^ u32::from(own)) & mask & 0xffff_0000 != 0;
        for index in 0..1 << 16 {
            let address = Ipv4Addr::from(index << 16).to_string();
            assert_eq!(bit(director.memory(), &address), !differ(index), "{address} and /{length}");
        }
        assert!(!bit(director.memory(), "2001:db8::1"), "/{length}");
    }
}

#[test]
fn one_more_rule_for_all_packets_takes_no_time() {
    let all = MarkRule { source: None, destination: None, protocol: None, ports: None, ..rule(1) };
    let mut director = director(&SMALL);
    director.apply(&vec![put(None, all); limits::RULES_MAX as usize - 5], 0).unwrap();
    let fastest = (0..5).map(|_| {
        let start = Instant::now();
        director.apply(&[put(None, all)], 0).unwrap();
        start.elapsed()
    });
    // It was a second once, when each rule's bits were listed one by one.
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(20), "{fastest:?}");
}

#[test]
fn services_by_mark_are_counted_and_have_no_address() {
    let mut director = director(&SMALL);
    let (v4, v6) = (ServiceKey::marked(7, false).unwrap(), ServiceKey::marked(7, true).unwrap());
    let new = |key| {
        Command::AddService(rvs_config::VirtualService { key, ..service(vip(1), rvs_config::Scheduler::Rr) })
    };
    director.apply(&[new(v4), new(v6)], 0).unwrap();
    let config = records::config(director.memory());
    assert_eq!((config.services_v4, config.services_v6), (1, 1));
    assert_eq!((config.marks_v4, config.marks_v6), (1, 1));
    let bits: u32 =
        director.memory().region(Region::Filter).iter().map(|word| word.load(Relaxed).count_ones()).sum();
    assert_eq!(bits, 0, "no packet is for the address 0.0.0.7");
    // What was learnt goes with the last of them.
    director.memory().region(Region::Marked)[5].store(1, Relaxed);
    director.apply(&[Command::DeleteService { service: v6 }], 0).unwrap();
    assert_eq!(director.memory().region(Region::Marked)[5].load(Relaxed), 1);
    let mut director = Director::adopt(director.into_memory()).unwrap();
    assert_eq!(director.service_listing(&v4).map(|listed| listed.service.key), Some(v4));
    assert_eq!(
        director.memory().region(Region::Marked)[5].load(Relaxed),
        1,
        "adoption forgets no connection"
    );
    director.apply(&[Command::DeleteService { service: v4 }], 0).unwrap();
    assert_eq!(director.memory().region(Region::Marked)[5].load(Relaxed), 0);
    assert_eq!(records::config(director.memory()).marks_v4, 0);
}
