//! What time does: removed objects, quarantine, averages; and routes, which come from outside.

use rvs_abi::DestFlags;
use rvs_config::*;
use rvs_director::{AdoptError, DestId, Director, RouteInfo};
use rvs_model::{Audit, Heap, records};

use crate::packet;
use crate::support::*;

/// Ticks every second up to a time.
fn run(director: &mut Director<Heap>, from: u64, to: u64) {
    (from..=to).for_each(|second| director.tick(second * SECOND));
}

fn with_three() -> Director<Heap> {
    let mut director = director(&SMALL);
    director.apply(&three(Scheduler::Rr, [1, 1, 1]), 0).unwrap();
    director
}

/// ipvs.md §1.3.
#[test]
fn a_removed_destination_comes_back_with_its_connections_and_counters() {
    let mut director = with_three();
    let id = dest_id(director.memory(), &rs(3));
    let (service, _) = packet::find(director.memory(), &vip(1)).unwrap();
    open_conns(director.memory(), id, 5);
    count(director.memory(), 0, service, id, 40);
    director.apply(&[delete(vip(1), rs(3))], SECOND).unwrap();
    assert_eq!(records::dest(director.memory(), id).unwrap().flags, DestFlags::USED);
    assert_eq!(director.status().trash, 1);
    run(&mut director, 1, 400);
    assert_eq!(director.status().trash, 1, "it has connections");
    director.apply(&[add(vip(1), rs(3), 7)], 401 * SECOND).unwrap();
    let listing = director.service_listing(&vip(1)).unwrap();
    assert_eq!(order(&director, &vip(1)), [(3, 7), (4, 1), (2, 1)]);
    assert_eq!(listing.destinations[0].inactive_conns, 5);
    assert_eq!(listing.destinations[0].counters.conns, 1);
    assert_eq!(dest_id(director.memory(), &rs(3)), id);
    assert_eq!(records::dest(director.memory(), id).unwrap().flags, DestFlags::USED | DestFlags::AVAILABLE);
    assert_eq!(director.status().trash, 0);
}

/// ipvs.md §1.3: counters restart when the service itself was made again; connections don't.
#[test]
fn a_service_made_again_begins_its_counters_at_zero() {
    let mut director = with_three();
    let (service, _) = packet::find(director.memory(), &vip(1)).unwrap();
    let id = dest_id(director.memory(), &rs(3));
    open_conns(director.memory(), id, 5);
    count(director.memory(), 0, service, id, 40);
    director.apply(&[delete_service(vip(1))], SECOND).unwrap();
    assert_eq!(packet::find(director.memory(), &vip(1)), None);
    assert_eq!(records::config(director.memory()).services_v4, 0);
    let mut director = Director::adopt(director.into_memory()).unwrap();
    director.apply(&[add_service(vip(1), Scheduler::Rr), add(vip(1), rs(3), 1)], 2 * SECOND).unwrap();
    assert_eq!(packet::find(director.memory(), &vip(1)).unwrap().0, service, "the same id");
    let listing = director.service_listing(&vip(1)).unwrap();
    assert_eq!(listing.counters, Counters::default());
    assert_eq!(listing.destinations[0].counters, Counters::default());
    assert_eq!(listing.destinations[0].inactive_conns, 5);
    assert_eq!(director.total().0.conns, 1, "the total goes on");
}

/// ipvs.md §1.3: looked at every 60 s, freed after 120 s without users.
#[test]
fn removed_destinations_are_kept_for_120_s_after_their_last_connection() {
    let mut director = with_three();
    let id = dest_id(director.memory(), &rs(3));
    open_conns(director.memory(), id, 1);
    director.apply(&[delete_service(vip(1))], 0).unwrap();
    run(&mut director, 1, 179);
    assert_eq!(director.status().trash, 3, "idle since the look at 61 s");
    run(&mut director, 180, 184);
    assert_eq!(director.status().trash, 1, "only the one with a connection");
    open_conns(director.memory(), id, -1);
    run(&mut director, 185, 359);
    assert_eq!(director.status().trash, 1, "idle since the look at 245 s");
    run(&mut director, 360, 500);
    assert_eq!(director.status().trash, 0);
    assert_eq!((director.status().dests, director.status().sched_words), (0, 0));
    assert!((0..3).all(|id| records::dest(director.memory(), id) == Some(rvs_abi::Dest::default())));
    assert_eq!(records::service(director.memory(), 0), Some(rvs_abi::Service::default()));
    assert_eq!(packet::filter_bits(director.memory()), 0);
}

/// A connection that a killed daemon took out of the table and left counted: until the audit finds it, its removed
/// destination waits for it.
#[test]
fn a_removed_destination_does_not_wait_for_a_connection_that_is_only_counted() {
    let mut director = with_three();
    let id = dest_id(director.memory(), &rs(3));
    open_conns(director.memory(), id, 1);
    director.apply(&[delete(vip(1), rs(3))], 0).unwrap();
    run(&mut director, 1, 400);
    assert_eq!((director.status().trash, director.status().dests), (1, 3));
    let mut audit = Audit::new(director.memory());
    let rounds = (0..4).flat_map(|_| (0..).find_map(|_| audit.step(director.memory(), 8)).unwrap());
    assert_eq!(rounds.map(|correction| (correction.dest, correction.total)).collect::<Vec<_>>(), [(id, -1)]);
    run(&mut director, 401, 800);
    assert_eq!((director.status().trash, director.status().dests), (0, 2));
    director.apply(&[add(vip(1), rs(9), 1)], 801 * SECOND).unwrap();
    assert_eq!(dest_id(director.memory(), &rs(9)), id, "its id is given to another");
}

#[test]
fn the_filter_lets_through_what_may_have_connections() {
    let mut director = with_three();
    director.apply(&[add_service(vip(2), Scheduler::Rr), add(vip(2), rs(2), 1)], 0).unwrap();
    open_conns(director.memory(), dest_id(director.memory(), &rs(3)), 1);
    director.apply(&[delete_service(vip(1))], 0).unwrap();
    let has = |director: &Director<Heap>, address| packet::filter_has(director.memory(), address);
    assert!(has(&director, vip(1).address) && has(&director, rs(3).address));
    run(&mut director, 1, 400);
    assert!(has(&director, vip(1).address) && has(&director, rs(3).address), "one connection");
    assert!(!has(&director, rs(4).address));
    assert!(has(&director, rs(2).address), "the other service's");
    open_conns(director.memory(), dest_id(director.memory(), &rs(3)), -1);
    run(&mut director, 401, 800);
    assert!(!has(&director, vip(1).address) && !has(&director, rs(3).address));
    assert!(has(&director, rs(2).address) && has(&director, vip(2).address));
}

#[test]
fn a_table_is_not_overwritten_while_packets_may_read_it() {
    let mut director = with_three();
    let (_, old) = packet::find(director.memory(), &vip(1)).unwrap();
    let before = packet::list(director.memory(), old.table);
    for n in 5..9 {
        director.apply(&[add(vip(1), rs(n), 1)], SECOND).unwrap();
        assert_eq!(packet::list(director.memory(), old.table), before);
    }
    let used = director.status().sched_words;
    director.tick(2 * SECOND + SECOND - 1);
    assert_eq!(director.status().sched_words, used);
    director.tick(3 * SECOND);
    assert!(director.status().sched_words < used);
    // The service's own table, and nothing else: 4 + 2 * 7 words, in whole lines.
    assert_eq!(director.status().sched_words, 24);
}

#[test]
fn an_id_is_not_reused_while_packets_may_hold_it() {
    let mut director = director(&SMALL);
    director.apply(&[add_service(vip(1), Scheduler::Rr)], 0).unwrap();
    let (first, _) = packet::find(director.memory(), &vip(1)).unwrap();
    director.apply(&[delete_service(vip(1))], 0).unwrap();
    director.apply(&[add_service(vip(2), Scheduler::Rr)], SECOND).unwrap();
    assert_ne!(packet::find(director.memory(), &vip(2)).unwrap().0, first);
    director.apply(&[add_service(vip(3), Scheduler::Rr)], 2 * SECOND).unwrap();
    assert_eq!(packet::find(director.memory(), &vip(3)).unwrap().0, first);
}

#[test]
fn ids_used_again_begin_their_counters_at_zero() {
    let mut director = with_three();
    let (service, _) = packet::find(director.memory(), &vip(1)).unwrap();
    (0..3).for_each(|dest| count(director.memory(), 0, service, dest, 40));
    director.apply(&[delete_service(vip(1))], 0).unwrap();
    run(&mut director, 1, 400);
    director.apply(&[add_service(vip(9), Scheduler::Rr), add(vip(9), rs(9), 1)], 401 * SECOND).unwrap();
    assert_eq!(packet::find(director.memory(), &vip(9)).unwrap().0, service);
    let listing = director.service_listing(&vip(9)).unwrap();
    assert_eq!((listing.counters, listing.destinations[0].counters), Default::default());
    assert_eq!(director.total().0.conns, 3);
}

#[test]
fn rates_are_shown_every_two_seconds_and_zeroed() {
    let mut director = with_three();
    let (service, _) = packet::find(director.memory(), &vip(1)).unwrap();
    let id = dest_id(director.memory(), &rs(4));
    director.tick(0);
    assert_eq!(director.next_tick(), Some(2 * SECOND));
    for n in 1..=3 {
        (0..200).for_each(|_| count(director.memory(), 0, service, id, 40));
        director.tick(2 * n * SECOND - 1);
        director.tick(2 * n * SECOND);
        director.tick(2 * n * SECOND + 1);
    }
    let expected = Rates { cps: 58, in_pps: 58, in_bps: 2312, ..Rates::default() };
    let listing = director.service_listing(&vip(1)).unwrap();
    assert_eq!(
        (listing.rates, listing.destinations[0].rates, director.total().1),
        (expected, expected, expected)
    );
    assert_eq!(listing.destinations[1].rates, Rates::default());
    director.apply(&[Command::Zero { service: Some(vip(1)) }], 7 * SECOND).unwrap();
    assert_eq!(director.service_listing(&vip(1)).unwrap().rates, Rates::default());
    assert_eq!(director.total().1, expected);
}

#[test]
fn routes_are_kept_through_edits_and_unknown_for_a_new_destination() {
    let mut director = with_three();
    let needed: Vec<_> = director.routes_needed().collect();
    assert_eq!(needed.len(), 3);
    assert!(needed.contains(&(DestId(0), rs(2).address)));
    let route = RouteInfo {
        ifindex: 7,
        gateway: Some([192, 168, 9, 2].into()),
        source: Some([192, 168, 9, 1].into()),
        mtu: 1500,
        is_local: true,
    };
    director.set_route(DestId(0), &route);
    director.apply(&[edit(vip(1), rs(2), 5)], 0).unwrap();
    let mut director = Director::adopt(director.into_memory()).unwrap();
    let record = records::dest(director.memory(), 0).unwrap();
    assert_eq!((record.ifindex, record.mtu, record.weight), (7, 1500, 5));
    assert_eq!(record.flags, DestFlags::USED | DestFlags::AVAILABLE | DestFlags::LOCAL);
    assert_eq!((record.gateway.to_ip(), record.source.to_ip()), (rs(2).address, [192, 168, 9, 1].into()));
    director.set_route(DestId(0), &RouteInfo::default());
    let record = records::dest(director.memory(), 0).unwrap();
    assert_eq!(record.flags, DestFlags::USED | DestFlags::AVAILABLE);
    assert_eq!((record.ifindex, record.gateway), (0, rvs_abi::Addr::default()));
    // The record is used again for another destination.
    director.set_route(DestId(0), &route);
    director.apply(&[delete(vip(1), rs(2))], 0).unwrap();
    run(&mut director, 1, 400);
    director.apply(&[add(vip(1), rs(9), 1)], 401 * SECOND).unwrap();
    assert_eq!(dest_id(director.memory(), &rs(9)), 0);
    assert_eq!(records::dest(director.memory(), 0).unwrap().ifindex, 0);
}

#[test]
fn an_edit_changes_nothing_but_the_edited_service() {
    let mut director = with_three();
    director.apply(&[add_service(vip(2), Scheduler::Wrr), add(vip(2), rs(2), 3)], 0).unwrap();
    let (_, before) = packet::find(director.memory(), &vip(2)).unwrap();
    director.apply(&[edit(vip(1), rs(2), 3)], 0).unwrap();
    assert_eq!(packet::find(director.memory(), &vip(2)).unwrap().1, before);
}

#[test]
fn a_plan_can_be_read() {
    let director = with_three();
    let plan = director.plan(&[delete(vip(1), rs(3)), add_service(vip(2), Scheduler::Rr)], 0).unwrap();
    let (_, table) = packet::find(director.memory(), &vip(1)).unwrap();
    assert_eq!((table.table, table.table_words), (0, 10));
    let bit = |address: std::net::Ipv4Addr| {
        let (word, bit) = rvs_core::filter::bit(rvs_abi::Addr::from_ip(address.into()));
        word * 64 + bit
    };
    let expected = format!(
        "zero the counters of service #1\n\
         write a table of 8 words at 16\n\
         write a table of 4 words at 24\n\
         make service #1: 10.0.0.2 port 80 protocol 6 scheduler 1\n\
         set bit {} of the filter\n\
         number of IPv4 services: 1 -> 2\n\
         packets to 10.0.0.2:80/tcp find service #1\n\
         service #0: switch the table from words 0..10 to words 16..24\n\
         remove destination #1: 192.168.9.3 port 80 method 0 weight 1\n",
        bit([10, 0, 0, 2].into())
    );
    assert_eq!(plan.to_string(), expected);
    assert_eq!(order(&director, &vip(1)).len(), 3, "a plan is not carried out");
}

#[test]
fn memory_in_use_is_not_new() {
    let director = with_three();
    assert_eq!(Director::create(director.into_memory()).unwrap_err(), AdoptError::NotEmpty);
}
